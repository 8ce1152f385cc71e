/** Retries, aborts and tokens. Time is simulated wherever a test would have to wait. */
import assert from "node:assert/strict";
import test from "node:test";
import { ProblemError, foldlog, is, newId, users } from "../index.js";
import { transport } from "../runtime.js";
import { ada, api, baseUrl, intercepted, problem, rejection } from "./support.js";

const health = JSON.stringify({ status: "up" });

// Fails when an append whose response was lost is stored twice, or is answered differently the third time.
test("an append whose first two responses are lost is stored once", async () => {
  const { send, requests } = intercepted(() => {}, (n) => {
    if (n <= 2) throw new TypeError("connection lost");
  });
  const flaky = foldlog({ baseUrl, fetch: send });
  const id = newId();
  const event = users.created(id, ada(id));
  const saved = await flaky.users.append(event, { expected: 0 });
  assert.equal(saved.version, 1);
  assert.equal(requests.length, 3);
  assert.equal(requests[0]?.init.body, requests[2]?.init.body);
  assert.deepEqual(await api.users.append(event, { expected: 0 }), saved);
  const history = await api.users.historyPage(id);
  assert.equal(history.result.length, 1);
});

// Fails when the client sends a request again before the server wants it.
test("a 503 is sent again after Retry-After", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let respond = () => {};
  const answered = new Promise((resolve) => (respond = () => resolve(undefined)));
  const { send, requests } = intercepted((n) => {
    if (n > 1) return new Response(health);
    respond();
    return problem("unavailable", 503, { "Retry-After": "7" });
  });
  const reading = foldlog({ baseUrl, fetch: send }).health();
  await answered;
  await settled();
  t.mock.timers.tick(6_999);
  await settled();
  assert.equal(requests.length, 1);
  // Retry-After, and at most 300 ms of jitter.
  t.mock.timers.tick(400);
  assert.equal((await reading).status, "up");
  assert.equal(requests.length, 2);
});

// Fails when an abort waits for the end of a pause, or when the client asks for a token or sends another request after it.
test("an abort during a pause rejects at once, and neither a token nor a request follows", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { send, requests } = intercepted(() => problem("unavailable", 503, { "Retry-After": "30" }));
  let tokens = 0;
  const token = () => `token ${++tokens}`;
  const stop = new AbortController();
  const client = foldlog({ baseUrl, fetch: send, token });
  const reading = rejection(client.health({ signal: stop.signal }));
  await settled();
  assert.deepEqual([requests.length, tokens], [1, 1]);
  const reason = new Error("the user has left");
  stop.abort(reason);
  assert.equal(await reading, reason);
  assert.equal(await rejection(client.health({ signal: stop.signal })), reason);
  t.mock.timers.tick(120_000);
  await settled();
  assert.deepEqual([requests.length, tokens], [1, 1]);
});

// Fails when an abort does not end a request that is under way.
test("an abort ends the request that is under way", async () => {
  const stop = new AbortController();
  const feed = api.events.feedPage({ after: (await api.events.feedPage({ order: "desc", limit: 1 })).newest, wait: 20, signal: stop.signal });
  const reason = new Error("enough");
  stop.abort(reason);
  assert.equal(await rejection(feed), reason);
});

// Fails when a server that does not answer holds a caller for ever, or is asked only once.
test("a try that takes too long is given up, and sent again", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { send, requests } = intercepted((n, { init }) =>
    n > 1
      ? new Response(health)
      : new Promise((_, reject) => init.signal?.addEventListener("abort", () => reject(init.signal?.reason))),
  );
  const reading = foldlog({ baseUrl, fetch: send, timeout: 5_000 }).health();
  await settled();
  t.mock.timers.tick(5_000);
  await settled();
  t.mock.timers.tick(400);
  await reading;
  assert.equal(requests.length, 2);
});

// Fails when the last error is hidden, or when `tries` is not the number of requests.
test("the last try's error is thrown", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const lost = new TypeError("connection lost");
  const { send, requests } = intercepted(() => {
    throw lost;
  });
  assert.equal(await rejection(foldlog({ baseUrl, fetch: send, tries: 1 }).health()), lost);
  assert.equal(requests.length, 1);
  const busy = intercepted(() => problem("unavailable", 503));
  const failing = rejection(foldlog({ baseUrl, fetch: busy.send, tries: 3 }).health());
  for (let n = 0; n < 3; n++) {
    await settled();
    t.mock.timers.tick(5_000);
  }
  assert.ok(is(await failing, "unavailable"));
  assert.equal(busy.requests.length, 3);
});

// Fails when a refused request is repeated, which cannot help.
test("a 4xx is not sent again", async () => {
  const { send, requests } = intercepted(() => {});
  const error = await rejection(foldlog({ baseUrl, fetch: send }).users.get(newId()));
  assert.ok(is(error, "not-found"));
  assert.ok(error instanceof ProblemError && error.requestId);
  assert.equal(error.message, error.problem.detail);
  assert.equal(requests.length, 1);
});

// Fails when an expired token is not replaced, when a wrong one is asked for again and again, or when the callback does not learn
// which token was rejected.
test("a 401 asks for another token once", async () => {
  /** @type {(string | undefined)[]} */
  const asked = [];
  const token = async (/** @type {string | undefined} */ rejected) => (asked.push(rejected), rejected ? "new" : "old");
  const { send, requests } = intercepted((_, { init }) =>
    new Headers(init.headers).get("Authorization") === "Bearer new" ? new Response(health) : problem("unauthorized", 401),
  );
  // A token is not a retry.
  await foldlog({ baseUrl, fetch: send, token, tries: 1 }).health();
  assert.deepEqual(asked, [undefined, "old"]);
  assert.equal(requests.length, 2);

  const refused = intercepted(() => problem("unauthorized", 401));
  const error = await rejection(foldlog({ baseUrl, fetch: refused.send, token }).health());
  assert.ok(is(error, "unauthorized"));
  assert.equal(refused.requests.length, 2);
});

// Fails when the error page of a gateway looks like a problem of the API, or as a success.
test("an error that the API did not answer is `foreign`", async () => {
  const page = intercepted(() => new Response("<h1>Forbidden</h1>", { status: 403 }));
  const error = await rejection(foldlog({ baseUrl, fetch: page.send }).health());
  assert.ok(is(error, "foreign"));
  assert.equal(error.problem.status, 403);
});

// Fails when a verb whose response was lost is sent again, and then reports that there is nothing to skip or nothing parked, or begins
// the next generation.
test("a skip, a reprojection and a retry of one aggregate are sent once", async () => {
  const { send, requests } = intercepted(() => {
    throw new TypeError("connection lost");
  });
  const { projections } = foldlog({ baseUrl, fetch: send });
  const skip = { domain: "users", event_id: newId(), reason: "a test" };
  for (const verb of [{ skip }, { reproject: "users" }, { retry: "users", aggregate_id: newId() }]) {
    requests.length = 0;
    await rejection(projections.operate(/** @type {any} */ (verb)));
    assert.equal(requests.length, 1, JSON.stringify(verb));
  }
});

// Fails when a base URL with a path or a slash at its end, a `Date` or an absent value reaches the server in another form.
test("paths and queries are written as the API expects them", async () => {
  const { send, requests } = intercepted(() => new Response("{}"));
  const { request } = transport({ baseUrl: "https://example.org/api/", fetch: send });
  await request("GET", "/users", { query: { as_of: new Date(0), email: "a+b@c.d", limit: undefined, active: false } });
  assert.equal(requests[0]?.url, "https://example.org/api/users?as_of=1970-01-01T00%3A00%3A00.000Z&email=a%2Bb%40c.d&active=false");
  await request("GET", "/health");
  assert.equal(requests[1]?.url, "https://example.org/api/health");
});

/** Lets everything run that waits for nothing but other promises and the event loop. */
async function settled() {
  for (let n = 0; n < 10; n++) await new Promise((resolve) => setImmediate(resolve));
}
