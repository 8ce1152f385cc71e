/** What belongs to no domain: the feed, projections, health, the document; and the query objects. */
import assert from "node:assert/strict";
import test from "node:test";
import { InfiniteQueryObserver, QueryClient } from "@tanstack/query-core";
import { documentHash, foldlog, newId, queries, users } from "../index.js";
import { api, append, baseUrl, collect, intercepted } from "./support.js";

/** Where the feed ends when it has every event: it shows none before the transactions that were open at its append have ended. */
async function end() {
  for (;;) {
    const { newest, waiting } = await api.events.feedPage({ order: "desc", limit: 1 });
    if (!waiting) return newest;
  }
}

// Fails when a reader misses an event, does not wait for the next one, or cannot continue where it stopped.
test("the feed is followed, and continued from its cursor", async () => {
  const after = await end();
  const first = await append();
  const feed = api.events.feed({ after, domain: "users", types: ["Created"], limit: 1 });
  const seen = [];
  /** @type {string | null | undefined} */
  let cursor;
  /** @type {Promise<string> | undefined} */
  let appending;
  for await (const event of feed) {
    seen.push(event.aggregate_id);
    cursor = feed.cursor;
    if (appending) break;
    // The next request waits for this event.
    appending = append();
  }
  assert.deepEqual(seen, [first, await appending]);
  const third = await append();
  await end();
  const rest = await collect(api.events.feed({ after: cursor ?? undefined, follow: false }));
  assert.deepEqual(rest.map(({ aggregate_id: id }) => id), [third]);
});

// Fails when the feed cannot be read backward, or does not end at its first event.
test("the feed is read newest first", async () => {
  const ids = [await append(), await append(), await append()];
  await end();
  const seen = [];
  for await (const event of api.events.feed({ newestFirst: true, limit: 2 })) {
    seen.push(event.aggregate_id);
    if (seen.length === 3) break;
  }
  assert.deepEqual(seen, ids.reverse());
  const all = await collect(api.events.feed({ follow: false, limit: 1000 }));
  const backward = await collect(api.events.feed({ newestFirst: true, limit: 1000 }));
  assert.deepEqual(backward.map(({ position }) => position), all.map(({ position }) => position).reverse());
});

// Fails when a follower asks without a pause if a server answers an empty page at once.
test("a follower pauses when the server does not wait", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const empty = JSON.stringify({ result: [], next: "here", waiting: null });
  const { send, requests } = intercepted(() => new Response(empty));
  const stop = new AbortController();
  const reading = foldlog({ baseUrl, fetch: send }).events.feed({ after: "here", signal: stop.signal }).next();
  for (let n = 0; n < 20; n++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(requests.length, 1);
  stop.abort();
  await assert.rejects(reading, { name: "AbortError" });
});

// Fails when a follower asks the server to wait longer than the client waits for an answer, so that a quiet log is an error.
test("a follower's wait fits the timeout", async () => {
  /** @param {number} [timeout] */
  const asked = async (timeout) => {
    const { send, requests } = intercepted(() => {
      throw new TypeError("no server");
    });
    await foldlog({ baseUrl, fetch: send, tries: 1, ...(timeout && { timeout }) }).events.feed().next().catch(() => {});
    return Number(new URL(requests[0]?.url ?? "").searchParams.get("wait"));
  };
  assert.equal(await asked(), 20);
  assert.equal(await asked(Infinity), 20);
  for (const timeout of [25_000, 20_000, 5_000, 1_000]) {
    const wait = await asked(timeout);
    assert.ok(Number.isInteger(wait) && wait * 1000 < timeout, `${wait} s within ${timeout} ms`);
  }
});

// Fails when a route for operators is missing, or a verb's answer is not returned.
test("projections are listed, operated and verified", async () => {
  await append();
  const caughtUp = await api.projections.operate({});
  assert.ok("projections" in caughtUp && caughtUp.projections["users"]);
  const { projections } = await api.projections.all();
  assert.equal(typeof projections["users"]?.lag_events, "number");
  await api.projections.operate({ verify: "users" });
  const report = await api.projections.get("users");
  assert.equal(report.last_verify?.differ, 0);
  assert.ok(report.last_results?.["verify"]);
  assert.deepEqual(await collect(api.projections.differences("users")), []);
  assert.deepEqual(await collect(api.projections.parked("users")), []);
  assert.deepEqual(await collect(api.projections.skipped("users")), []);
  assert.deepEqual((await api.projections.parkedPage("users", { limit: 1 })).result, []);
});

// Fails when a client cannot find out that it is older than the API.
test("health, and whether the client is current", async () => {
  const health = await api.health();
  assert.equal(health.database, "up");
  assert.ok(health.projections["users"]);
  assert.equal(await api.isCurrent(), true);
  const { send } = intercepted(() => new Response(JSON.stringify({ "x-foldlog": { hash: `not ${documentHash}` } })));
  assert.equal(await foldlog({ baseUrl, fetch: send }).isCurrent(), false);
});

// Fails when the times or the number of intervals do not reach the server, or it counts other events.
test("the events of an interval are counted", async () => {
  const [from, before] = ["2026-01-01T00:00:00Z", await api.events.activity({ from: "2026-01-01T00:00:00Z", intervals: 1 })];
  await append();
  const { result } = await api.events.activity({ from, intervals: 1 });
  assert.deepEqual([result.length, result[0]?.from, (result[0]?.events ?? 0) > (before.result[0]?.events ?? 0)], [1, from, true]);
  const past = await api.events.activity({ from: "2025-01-01T00:00:00Z", to: from, intervals: 12 });
  assert.deepEqual(past.result.map(({ events }) => events), Array.from({ length: 12 }, () => 0));
});

// Fails when the API has an operation for which the client has no method.
test("every operation of the document has a method", async () => {
  const document = await (await fetch(`${baseUrl}/openapi.json`)).json();
  const operations = Object.entries(document.paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method} ${path}`));
  const { send, requests } = intercepted(() => new Response(JSON.stringify({ result: [], next: null, events: [] })));
  const { users: domain, events, projections, health, isCurrent } = foldlog({ baseUrl, fetch: send });
  const id = newId();
  const event = users.deleted(id);
  await Promise.all([domain.append([event]), domain.revert(id, { to: 1 }), domain.get(id), domain.page(), domain.historyPage(id)]);
  await Promise.all([domain.diff(id, { from: 1 }), domain.blame(id), domain.explain(id)]);
  await Promise.all([events.append([event]), events.feedPage(), events.activity({ from: "2026-11-01T00:00:00Z" }), health(), isCurrent()]);
  await Promise.all([projections.all(), projections.operate({}), projections.get("name")]);
  await Promise.all([projections.parkedPage("name"), projections.skippedPage("name"), projections.differencesPage("name")]);
  const sent = requests.map(({ url, init }) => {
    const path = new URL(url).pathname.replace(id, "{id}").replace("/name", "/{name}");
    return `${init.method?.toLowerCase()} ${path}`;
  });
  assert.deepEqual(sent.sort(), operations.sort());
});

// Fails when the query objects do not fit TanStack Query.
test("TanStack Query pages with the query objects", async () => {
  const username = `query-${newId()}`;
  const ids = [await append(username), await append(username), await append(username)];
  const client = new QueryClient();
  const list = queries(api).users.list({ username, limit: 2 }, { strong: true });
  const observer = new InfiniteQueryObserver(client, list);
  const first = await observer.refetch();
  assert.deepEqual(first.data?.pages[0]?.result.map(({ id }) => id), ids.slice(0, 2));
  const second = await observer.fetchNextPage();
  assert.deepEqual(second.data?.pages[1]?.result.map(({ id }) => id), ids.slice(2));
  assert.equal(second.hasNextPage, false);
  const id = /** @type {string} */ (ids[0]);
  const row = await client.fetchQuery(queries(api).users.row(id));
  assert.equal(row.username, username);
  await api.users.append(users.usernameChanged(id, { username: "changed" }));
  assert.equal((await client.fetchQuery({ ...queries(api).users.row(id), staleTime: 0 })).username, "changed");
  observer.destroy();
  client.clear();
});
