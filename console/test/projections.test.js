/** What operators do, with clicks only and with the keyboard alone. Each result is read back from the server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openConsole, review, screenshot, started } from "./support/browser.js";
import { createUsers, event, plantUnfoldable } from "./support/data.js";
import { byKeyboard, byMouse } from "./support/input.js";
import { call, until } from "./support/server.js";

/** @import {Input} from "./support/input.js" */

const { server, browser } = await started();
const report = () => call(`${server.url}/projections/users`);
const ids = await createUsers(server.url, 60);
await until("the view is current", async () => (await report()).lag_events === 0);

const open = (hash = "#/projections") => openConsole(browser, `${server.url}/${hash}`);
/** The table of the generation that serves readers. */
const table = async () => `"${(await server.sql("select name from views where projection = 'users' and state = 'live'"))[0].name}"`;

/** Makes rows of the live view differ from what the events give. @param {number} count @param {string} text */
async function plantDifferences(count, text) {
  await server.sql(`update ${await table()} set username = username || $1 where id = any($2::uuid[])`, [text, ids.slice(0, count)]);
}

for (const input of /** @type {Input[]} */ ([byMouse, byKeyboard])) {
  // Fails when a reprojection cannot be filled, looked at, cancelled, refused by `max_changes` or made live from the page.
  test(`a reprojection is looked at, cancelled, refused, and goes live, ${input.name}`, async () => {
    await plantDifferences(3, " (old)");
    const { page, close } = await open();
    const start = async () => {
      await input.press(page.getByRole("button", { name: "Reproject users" }));
      await input.press(page.getByRole("button", { name: "Build the new generation" }));
      await page.getByText(/3 of 60 rows change/).waitFor();
    };
    await start();
    assert.equal((await report()).reprojection.state, "refused");
    assert.equal(await page.locator(".split del").count(), 3);
    assert.match(await page.locator(".split .facts").innerText(), /username\s+in 3 rows/);

    await input.press(page.getByRole("button", { name: "Cancel it" }));
    await input.press(page.getByRole("button", { name: "Cancel the reprojection" }));
    await page.locator(".steps").waitFor({ state: "detached" });
    assert.equal((await report()).reprojection, null);

    await start();
    const before = (await report()).generation;
    await input.type(page.getByLabel("Go live only if at most this many rows change"), "2");
    await input.press(page.getByRole("button", { name: /^Go live with generation/ }));
    await input.press(page.getByRole("button", { name: "Go live", exact: true }));
    await page.getByText("Not live: 3 rows would change").waitFor();
    assert.deepEqual([(await report()).generation, (await report()).reprojection.state], [before, "refused"]);

    await input.type(page.getByLabel("Go live only if at most this many rows change"), "3");
    await input.press(page.getByRole("button", { name: /^Go live with generation/ }));
    await input.press(page.getByRole("button", { name: "Go live", exact: true }));
    await page.getByText(/Generation \d+ of users is live/).waitFor();
    const now = await report();
    assert.ok(now.generation > before && now.reprojection === null);
    assert.equal((await server.sql(`select count(*)::int as old from ${await table()} where username like '%(old)'`))[0].old, 0);
    await close();
  });

  // Fails when a row that was changed by hand is not found, not shown field by field, or not repaired from the page.
  test(`a verification finds a planted difference, and repairs it, ${input.name}`, async () => {
    await plantDifferences(2, " (changed by hand)");
    const { page, close } = await open();
    await input.press(page.getByRole("button", { name: "Verify users" }));
    await page.getByRole("heading", { name: "users: 2 aggregates differ from the events" }).waitFor();
    assert.equal(await page.locator("#differences-users del", { hasText: "(changed by hand)" }).count(), 2);
    await input.press(page.getByRole("button", { name: "Repair these 2" }));
    await input.press(page.getByRole("button", { name: "Repair", exact: true }));
    await page.getByText("2 aggregates differed and were folded anew.").waitFor();
    assert.equal((await report()).last_verify.repaired, 2);
    assert.equal((await server.sql(`select count(*)::int as wrong from ${await table()} where username like '%by hand)'`))[0].wrong, 0);
    await close();
  });

  // Fails when a parked aggregate is not shown with its reason, or cannot be retried or skipped from the page, with the reason kept.
  test(`parked aggregates are retried and skipped with a reason, ${input.name}`, async () => {
    const skipped = (await call(`${server.url}/projections/users/skipped`)).result.length;
    const [first, second] = input === byMouse ? [ids[10], ids[11]] : [ids[12], ids[13]];
    const event = await plantUnfoldable(server, /** @type {string} */ (first));
    await plantUnfoldable(server, /** @type {string} */ (second));
    await call(`${server.url}/projections`, {});
    await until("two are parked", async () => (await report()).parked === 2);
    const { page, close } = await open();
    await page.getByRole("heading", { name: "users: 2 parked aggregates" }).waitFor();
    const tries = async () => new Map((await call(`${server.url}/projections/users/parked`)).result.map((/** @type {any} */ at) => [at.aggregate_id, at.attempts]));
    const before = await tries();
    await input.press(page.getByRole("button", { name: "Retry all 2" }));
    await input.press(page.getByRole("dialog").getByRole("button", { name: "Retry all 2" }));
    await page.getByText("0 aggregates folded again, 2 still parked").waitFor();
    for (const [id, count] of await tries()) assert.ok(count > before.get(id), id);

    await input.press(page.getByRole("button", { name: `Skip version 2 of ${first}` }));
    const confirm = page.getByRole("button", { name: "Skip this event" });
    assert.ok(await confirm.isDisabled(), "a skip without a reason");
    await input.type(page.getByLabel("Why? It is recorded."), "typed by hand, ticket 4411");
    await input.type(page.getByLabel("Who skips it"), "grace");
    if (input === byMouse) await screenshot(page, "projections-skip-light");
    await input.press(confirm);
    await page.getByRole("heading", { name: "users: 1 parked aggregate" }).waitFor();
    const { result } = await call(`${server.url}/projections/users/skipped`);
    assert.equal(result.length, skipped + 1);
    const kept = result.find((/** @type {any} */ at) => at.event_id === event);
    assert.deepEqual([kept.reason, kept.actor, kept.version], ["typed by hand, ticket 4411", "grace", 2]);
    await page.locator("#skipped-users").getByText("typed by hand, ticket 4411").first().waitFor();

    // Another operator is faster.
    await input.press(page.getByRole("button", { name: `Skip version 2 of ${second}` }));
    await input.type(page.getByLabel("Why? It is recorded."), "again");
    const { event_id: other } = (await call(`${server.url}/projections/users/parked`)).result[0];
    await call(`${server.url}/projections`, { skip: { domain: "users", event_id: other, reason: "faster" } });
    await input.press(page.getByRole("button", { name: "Skip this event" }));
    await page.getByRole("dialog").getByText("no aggregate of the projection is parked because of the event").waitFor();
    await input.press(page.getByRole("button", { name: "Cancel", exact: true }));
    await close();
  });

  // Fails when the button of a row retries other aggregates, too, or says that it has folded what stays parked.
  test(`one parked aggregate is retried, ${input.name}`, async () => {
    const [one, other] = /** @type {[string, string]} */ (input === byMouse ? [ids[30], ids[31]] : [ids[32], ids[33]]);
    const parked = async () => (await call(`${server.url}/projections/users/parked`)).result.map((/** @type {any} */ at) => at.aggregate_id);
    // Without that, the worker is faster than the test.
    const stopWorker = () => server.sql("update parked set next_try = 'infinity'");
    await server.sql(`alter table ${await table()} add constraint no_eve check (username not like 'eve%') not valid`);
    for (const id of [one, other]) await call(`${server.url}/users`, event(id, "usernameChanged", { username: `eve ${id}` }));
    await until("both are parked", async () => (await parked()).length === 2);
    await stopWorker();
    const { page, close } = await open();
    const retry = async () => {
      await input.press(page.getByRole("button", { name: `Retry ${one}` }));
      await input.press(page.getByRole("dialog").getByRole("button", { name: "Retry", exact: true }));
    };
    await retry();
    await page.getByText("It has failed again, and stays parked").waitFor();
    assert.equal((await parked()).length, 2);

    await stopWorker();
    await server.sql(`alter table ${await table()} drop constraint no_eve`);
    await retry();
    await page.getByText("Folded again: 1 event applied").waitFor();
    await page.getByRole("heading", { name: "users: 1 parked aggregate" }).waitFor();
    assert.deepEqual(await parked(), [other]);
    assert.equal((await call(`${server.url}/users/${one}`)).username, `eve ${one}`);

    // Another operator is faster.
    await input.press(page.getByRole("button", { name: `Retry ${other}` }));
    await call(`${server.url}/projections`, { retry: "users", aggregate_id: other });
    await input.press(page.getByRole("dialog").getByRole("button", { name: "Retry", exact: true }));
    await page.getByRole("alert").getByText("The aggregate or event is not parked").waitFor();
    await close();
  });
}

// Fails when claims of events that are not in the log are shown as "0 aggregates differ", or cannot be removed from the page.
test("a verification that finds only claims without events names them, and removes them", async () => {
  const name = JSON.parse(await table());
  const plant = (/** @type {number} */ count) => server.sql("insert into locker (event_id, aggregate_id, lock_domain) select gen_random_uuid(), gen_random_uuid(), $1 from generate_series(1, $2::int)", [name, count]);
  await plant(1);
  await call(`${server.url}/projections`, { verify: "users" });
  await plant(1);
  const { page, close } = await open();
  await page.getByRole("heading", { name: "users: 1 claim of events that are not in the log" }).waitFor();
  await page.getByRole("button", { name: "Verify users" }).click();
  await page.getByRole("heading", { name: "users: 2 claims of events that are not in the log" }).waitFor();
  assert.equal(await page.getByText(/\b0 aggregates/).count(), 0);
  await page.getByRole("button", { name: "Repair these 2" }).click();
  await page.getByRole("dialog").getByText("2 claims of events that are not in the log at the last look").waitFor();
  await page.getByRole("button", { name: "Repair", exact: true }).click();
  await page.getByText("0 aggregates of users repaired, 2 claims removed").waitFor();
  await page.getByText("2 claims of events that are not in the log were removed.").waitFor();
  assert.equal((await server.sql("select count(*)::int as left from locker l where not exists (select from events e where e.id = l.event_id)"))[0].left, 0);
  await close();
});

// Fails when a verification that was left behind is shown like one that has ended, or cannot be continued; or when the page takes the first
// answer for the result although the verification is not done.
test("a verification goes on until it is done, and one that is not complete can be continued", async () => {
  await call(`${server.url}/projections`, { verify: "users" });
  await server.sql("update verifications set complete = false, aggregates = 12, estimated_aggregates = 900 where projection = 'users'");
  const { page, close } = await open();
  await page.getByRole("heading", { name: "users: verification not complete" }).waitFor();
  await page.getByText("No differences so far. 12 of about 900 aggregates compared so far.").waitFor();
  /** @type {unknown[]} */
  const sent = [];
  /** @type {() => void} */
  let goOn = () => {};
  await page.route("**/projections", async (route) => {
    if (route.request().method() !== "POST") return route.continue();
    sent.push(route.request().postDataJSON());
    if (sent.length > 2) return route.continue();
    if (sent.length === 2) await new Promise((resolve) => { goOn = () => resolve(undefined); });
    return route.fulfill({ status: 200, json: { projections: { users: { done: false, verification: { complete: false } } } } });
  });
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByText("Verifying users… round 2").waitFor();
  await page.getByRole("heading", { name: "users: verification in progress" }).waitFor();
  goOn();
  await page.getByRole("heading", { name: "users: verified" }).waitFor();
  assert.deepEqual(sent, Array(3).fill({ verify: "users" }));
  assert.equal((await report()).last_verify.complete, true);
  await close();
});

// Fails when a hidden tab keeps asking for the result of a verb that was handed over, or when the page does not show it afterwards.
test("the result of a verb that was handed over is read when the tab is visible again", async () => {
  const { page, requests, quiet, close } = await openConsole(browser, `${server.url}/#/projections`, { clock: true });
  const hide = (/** @type {boolean} */ hidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { get: () => value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await page.route("**/projections", async (route) => {
    if (route.request().method() === "POST") await route.fulfill({ status: 202, json: { result: "Handed over" } });
    else await route.continue();
  });
  const handedOver = page.waitForResponse((response) => response.request().method() === "POST");
  await page.getByRole("button", { name: "Verify users" }).click();
  await page.getByText("Verifying users…").waitFor();
  await handedOver;
  await hide(true);
  await quiet();
  const before = requests.length;
  await page.clock.runFor(60_000);
  assert.deepEqual(requests.slice(before), [], "requests of a hidden tab");
  await page.getByText("Verifying users…").waitFor();
  await call(`${server.url}/projections`, { verify: "users" });
  await hide(false);
  await page.clock.runFor(4000);
  await page.getByText("Verifying users…").waitFor({ state: "detached" });
  await page.getByRole("heading", { name: "users: verified" }).waitFor();
  await close();
});

// Fails when a retry whose answer was lost is sent again, which answers that nothing is parked although the first has worked.
test("a retry of one aggregate is sent once", async () => {
  const [id] = /** @type {[string]} */ (ids.slice(30));
  await plantUnfoldable(server, id);
  await call(`${server.url}/projections`, {});
  await until("it is parked", async () => (await report()).parked > 0);
  const { page, close } = await open();
  let sent = 0;
  await page.route("**/projections", async (route) => {
    if (route.request().method() !== "POST") return route.continue();
    sent += 1;
    await route.fetch();
    await route.abort("connectionreset");
  });
  await page.getByRole("button", { name: `Retry ${id}` }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Retry", exact: true }).click();
  await page.getByText("The server cannot be reached.").waitFor();
  assert.equal(sent, 1);
  await close();
});

// Fails when the page, one of its boxes or a dialog cannot be used by everyone or does not fit.
test("projections are accessible and fit, light, dark and on a phone", async () => {
  await plantDifferences(9, " (old)");
  await plantUnfoldable(server, /** @type {string} */ (ids[20]));
  await call(`${server.url}/projections`, {});
  await call(`${server.url}/projections`, { reproject: "users", max_changes: 0 });
  await call(`${server.url}/projections`, { preview: "users" });
  await call(`${server.url}/projections`, { verify: "users" });
  await review(browser, `${server.url}/#/projections`, "projections");
  for (const [name, button] of Object.entries({ "go-live": /^Go live with generation/, cancel: "Cancel it", retry: /^Retry [0-9a-f-]{36}$/, repair: "Repair these", skip: /^Skip version/ })) {
    await review(browser, `${server.url}/#/projections`, `projections-${name}`, {
      prepare: async (page) => {
        await page.getByRole("button", { name: button }).first().click();
        await page.getByRole("dialog").waitFor();
      },
    });
  }
  await call(`${server.url}/projections`, { cancel: "users" });
  await review(browser, `${server.url}/#/projections`, "projections-reproject", {
    prepare: (page) => page.getByRole("button", { name: "Reproject users" }).click(),
  });
  await review(browser, `${server.url}/#/health`, "health");
});
