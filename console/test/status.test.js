/** Whether all is well: the overview, the health of the database, and the line on every page when no worker runs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { go, openConsole, review, screenshot, started } from "./support/browser.js";
import { createUsers, plantUnfoldable, plantUsers } from "./support/data.js";
import { makeIssuer } from "./support/tokens.js";
import { call, startServer, until } from "./support/server.js";

const { server, browser } = await started();
const report = () => call(`${server.url}/projections/users`);
const ids = await createUsers(server.url, 20);
await until("the view is current", async () => (await report()).lag_events === 0);

const open = (hash = "#/") => openConsole(browser, `${server.url}/${hash}`);
/** The server remembers what it reports of the database for a while. */
const readAnew = () => call(`${server.url}/projections`, undefined, { "cache-control": "no-cache" });

// Fails when the overview does not say how much is folded, what it runs on, or which of the last events are not in their view.
test("the overview shows what is folded, the versions, and which of the last events are parked", async () => {
  const { page, quiet, close } = await openConsole(browser, `${server.url}/#/`, { clock: true });
  const refreshed = async () => {
    await page.clock.runFor(5000);
    await quiet();
  };
  const { database } = await call(`${server.url}/projections`);
  await page.getByText(`Postgres ${database.connection.postgres}`).waitFor();
  await page.getByText(/^foldlog \d/).waitFor();
  const folded = page.locator(".tile").filter({ hasText: "folded a second" });
  await refreshed();
  await folded.getByText(/in the last \d/).waitFor();
  await createUsers(server.url, 40);
  await until("a rate is shown", async () => {
    await refreshed();
    return Number.parseFloat(await folded.locator(".huge").innerText()) > 0;
  });
  const row = page.locator("tr").filter({ has: page.getByRole("link", { name: "users", exact: true }) });
  assert.match(await row.locator("td").nth(4).innerText(), /^[\d.]+/);

  const [parked, well] = /** @type {[string, string]} */ ([ids[0], ids[1]]);
  await plantUnfoldable(server, parked);
  await call(`${server.url}/projections`, {});
  await until("it is parked", async () => (await report()).parked === 1);
  await call(`${server.url}/users`, { id: crypto.randomUUID(), aggregate_id: well, type_id: 1002, payload: { username: "well" } });
  const mark = page.getByRole("link", { name: "◆ parked" });
  await until("the parked event is marked", async () => {
    await refreshed();
    return mark.isVisible();
  });
  await page.locator(".tile").getByText("all but what is parked is folded").waitFor();
  assert.equal(await mark.count(), 1, "only the event that waits is marked");
  assert.equal(await mark.getAttribute("href"), `#/users/${parked}/explain`);
  for (const hash of ["#/projections", "#/health", "#/"]) {
    await go(page, hash);
    await page.locator("main .pill").getByText("1 parked", { exact: true }).waitFor();
  }
  await review(browser, `${server.url}/#/`, "overview-parked");
  await close();
});

// Fails when a burst is counted by the newest 100 events alone, of which there are always 100.
test("the overview counts a burst that is longer than what it reads", async () => {
  const { page, quiet, close } = await openConsole(browser, `${server.url}/#/`, { clock: true });
  const tile = page.locator(".tile").filter({ hasText: "appended a second" });
  await tile.waitFor();
  await plantUsers(server, 5000);
  await until("the burst is counted", async () => {
    await page.clock.runFor(5000);
    await quiet();
    return Number((await tile.locator(".huge").innerText()).replace(/[^\d.]/g, "")) > 200;
  });
  await tile.getByText("in the last 5 s", { exact: true }).waitFor();
  await close();
});

// Fails when the page of a projection does not say that nothing is parked, or when the last retry was.
test("what is no longer parked is said, with the last retry", async () => {
  const event = (await call(`${server.url}/projections/users/parked`)).result[0];
  await call(`${server.url}/projections`, { retry: "users" });
  await call(`${server.url}/projections`, { skip: { domain: "users", event_id: event.event_id, reason: "planted by a test" } });
  const { page, close } = await open("#/projections/users");
  await page.getByText(/Nothing is parked\. An operator has last retried .*, with 0 aggregates folded again\./).waitFor();
  await close();
});

// Fails when a fault of the database that the server knows is not shown, or one is shown that is none.
test("the health of the database is shown", async () => {
  const { page, close } = await open("#/health");
  const sheet = page.getByRole("region", { name: "The database", exact: true });
  await sheet.getByText(/^\d+ of \d+ applied$/).waitFor();
  await sheet.getByText("as recommended").waitFor();
  await sheet.getByText("none", { exact: true }).waitFor();
  assert.equal(await page.getByText("complete", { exact: true }).count(), 4);

  await server.sql("alter database foldlog set jit = on");
  await server.sql("revoke select on skipped from foldlog_command");
  const [newest] = await server.sql("delete from foldlog_migrations where version = (select max(version) from foldlog_migrations) returning *");
  // A transaction that has been open for minutes is nothing that a test can wait for.
  const [body] = await server.sql("select pg_get_functiondef('open_transactions()'::regprocedure) as text");
  await server.sql(`create or replace function open_transactions()
    returns table (pid integer, application_name text, state text, since timestamptz, has_written boolean) language sql
    as $$ values (4711, 'psql of grace', 'idle in transaction', now() - interval '12 minutes', true), (null, null, null, null, null) $$`);
  await readAnew();
  await go(page, "#/projections");
  await go(page, "#/health");
  await page.getByText("4 things to look at in the database").waitFor();
  await page.getByText("Run migrate up.").waitFor();
  await page.getByText("lacks 1 privilege").waitFor();
  await page.getByText("select on skipped").first().waitFor();
  await page.getByText("1 differs from what is recommended").waitFor();
  await page.getByRole("cell", { name: "jit", exact: true }).waitFor();
  const transaction = page.locator("tr").filter({ hasText: "psql of grace" });
  assert.match(await transaction.innerText(), /4711\s.*idle in transaction\s+12 min ago\s+▲ yes/s);
  await page.getByText("1 session of other logins cannot be looked at").waitFor();
  assert.match(await page.getByRole("region", { name: "The answer of GET /projections" }).innerText(), /"pending"/);
  await review(browser, `${server.url}/#/health`, "health-faults");
  await page.setViewportSize({ width: 1280, height: 1900 });
  await screenshot(page, "health-faults-whole");

  await server.sql(body.text);
  await server.sql("alter database foldlog set jit = off");
  await server.sql("grant select on skipped to foldlog_command");
  await server.sql("insert into foldlog_migrations select * from json_populate_record(null::foldlog_migrations, $1)", [JSON.stringify({ ...newest, checksum: `\\x${newest.checksum.toString("hex")}` })]);
  await readAnew();
  await review(browser, `${server.url}/#/health`, "health");
  await close();
});

// Fails when a page does not say that events wait without a worker, when it says so beside a worker, or when a page that reads the
// projections asks a second time for that.
test("every page says when no worker runs", async () => {
  const [id] = ids;
  const { page, close } = await open();
  const line = page.getByText(/No worker\. .*1 event waits to be folded into\s+users, and no worker has been seen since/);
  await server.sql("revoke update on settled from foldlog_projection");
  try {
    await server.sql("update settled set settled_at = now() - interval '1 hour'");
    await call(`${server.url}/users`, { id: crypto.randomUUID(), aggregate_id: id, type_id: 1002, payload: { username: "waits" } });
    await line.waitFor();
    for (const hash of ["#/users", `#/users/${id}`, "#/events", "#/health", "#/projections"]) {
      await go(page, hash);
      await line.waitFor();
    }
    await review(browser, `${server.url}/#/users`, "no-worker");
    const second = await open("#/users");
    await second.page.getByText("No worker.").waitFor();
    await second.close();
    const third = await openConsole(browser, `${server.url}/#/projections`);
    await third.page.getByText("No worker.").waitFor();
    const read = await third.page.evaluate(() => performance.getEntriesByType("resource").map((at) => new URL(at.name).pathname));
    assert.ok(!read.includes("/health") && read.includes("/projections"), read.join(" "));
    await third.close();
  } finally {
    await server.sql("grant update on settled to foldlog_projection");
  }
  await until("the view is current", async () => (await report()).lag_events === 0);
  await line.waitFor({ state: "detached" });
  await close();
});

// Fails when a projection that no worker has seen yet hides when a worker of another one was seen.
test("the last time of a worker is shown beside a projection without one", async () => {
  const { page, close } = await open("#/users");
  const time = "2026-01-02T03:04:05Z";
  await page.route("**/projections", async (route) => {
    const response = await route.fetch();
    const status = await response.json();
    const users = { ...status.projections.users, lag_events: 2, workers: { ...status.projections.users.workers, last_seen: time } };
    await route.fulfill({ response, json: { ...status, projections: { users, bills: { ...users, workers: { ...users.workers, last_seen: null } } } } });
  });
  await go(page, "#/projections");
  await page.getByText("No worker.").waitFor();
  await page.getByText(/no worker has been seen since/).locator(`time[datetime="${time}"]`).waitFor();
  await close();
});

// Fails when the page cannot be drawn with an API that is older than the console, as while functions are deployed after its files.
test("the health of an API that does not report its database is shown", async () => {
  const { page, close } = await open("#/users");
  await page.route("**/projections", async (route) => {
    const response = await route.fetch();
    const { database: _, ...status } = await response.json();
    await route.fulfill({ response, json: status });
  });
  await go(page, "#/health");
  await page.getByText("This API does not report its database").waitFor();
  await page.getByRole("region", { name: "The server", exact: true }).waitFor();
  await close();
});

// Fails when the bars of the time slider are at other times than the events, or are said to be of one domain.
test("the time slider shows when the events were appended", async () => {
  const server = await startServer();
  try {
    // In the order of time, as a log is.
    for (const [days, count] of [[60, 40], [44.5, 300], [19.5, 120], [18.5, 90], [1.5, 500]]) {
      await server.sql(`insert into events (id, aggregate_id, version, type_id, payload, metadata, created_at)
        select gen_random_uuid(), user_id, 1, 1000, jsonb_build_object('id', user_id, 'username', 'user', 'email', 'user@example.org'), '{}', now() - make_interval(hours => (24 * $1::float8)::int)
        from (select gen_random_uuid() as user_id from generate_series(1, $2::int)) users`, [days, count]);
    }
    await until("the view is current", async () => (await call(`${server.url}/projections/users`)).lag_events === 0);
    const { page, close } = await openConsole(browser, `${server.url}/#/users`);
    await page.getByText("the bars are events of the whole log").waitFor();
    const bars = await page.locator(".bars rect").evaluateAll((all) => all.map((at) => ({ x: Number(at.getAttribute("x")), height: Number(at.getAttribute("height")), title: at.textContent ?? "" })));
    const shown = bars.filter((at) => at.height > 0).map((at) => Number(/about (\d+) events of the whole log/.exec(at.title)?.[1]));
    assert.deepEqual([bars.length, shown], [60, [40, 300, 120, 90, 500]]);
    const tallest = bars.reduce((most, at) => (at.height > most.height ? at : most));
    assert.ok(tallest.x > 950 && tallest.x < 1000, "of two days ago, near the end");
    await close();
    await review(browser, `${server.url}/#/users`, "list-bars", { prepare: (page) => page.locator(".bars").waitFor() });
  } finally {
    await server.stop();
  }
});

// Fails when a token without the scope is shown, or asks for, what only operators may see.
test("the database is for operators", async () => {
  const issuer = await makeIssuer();
  const secured = await startServer({ env: issuer.env });
  try {
    const { page, close } = await openConsole(browser, `${secured.url}/#/health`);
    await page.getByText("are shown to a token with the scope operate").waitFor();
    assert.equal(await page.getByRole("region", { name: "The database", exact: true }).count(), 0);
    await assert.rejects(call(`${secured.url}/projections`, undefined, { authorization: `Bearer ${issuer.token("users:read")}` }), { status: 403 });
    await close();
  } finally {
    await secured.stop();
  }
});
