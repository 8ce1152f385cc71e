/** Appends and reads of a domain, against the real server. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import pg from "pg";
import { foldlog, is, newId, users } from "../index.js";
import { ada, api, append, baseUrl, collect, intercepted, rejection } from "./support.js";

// Fails when a write cannot be read back at once, or a lost race does not say what the version is.
test("a client reads its own writes, and a conflict has the version", async () => {
  const id = newId();
  const saved = await api.users.append(users.created(id, ada(id)), { expected: 0 });
  assert.equal(saved.version, 1);
  assert.ok(!Number.isNaN(Date.parse(saved.created_at)));
  assert.deepEqual(await api.users.get(id), { ...ada(id), version: 1 });

  const changes = [users.usernameChanged(id, { username: "bea" }), users.emailChanged(id, { email: `b${id}@example.org` })];
  const both = await api.users.append(changes, { expected: 1 });
  assert.deepEqual(both.map(({ version }) => version), [2, 3]);
  assert.deepEqual(await api.users.get(id), { id, username: "bea", email: `b${id}@example.org`, version: 3 });

  const error = await rejection(api.users.append(users.deleted(id), { expected: [1, 2] }));
  assert.ok(is(error, "version-mismatch"));
  assert.equal(error.problem.version, 3);
  const again = await rejection(api.users.append(users.created(id, ada(id)), { expected: 0 }));
  assert.ok(is(again, "version-mismatch"));
  assert.ok(is(await rejection(api.users.append(users.deleted(newId()), { expected: "exists" })), "version-mismatch"));
});

// Fails when a broken rule or an invalid field cannot be told apart by a program.
test("rules and fields of problems are typed", async () => {
  const id = await append();
  const taken = await rejection(api.users.append(users.created(id, ada(id))));
  assert.ok(is(taken, "rule-broken"));
  assert.equal(taken.problem.rule, "already_exists");
  assert.equal(taken.problem.index, 0);
  const invalid = await rejection(api.users.append(users.emailChanged(id, { email: "no address" })));
  assert.ok(is(invalid, "unprocessable"));
  assert.equal(invalid.problem.pointer, "/0/payload/email");
});

// Fails when part of a request is stored although another part is rejected.
test("events of any domains are stored together or not at all", async () => {
  const [one, two] = [newId(), newId()];
  const saved = await api.events.append([users.created(one, ada(one)), users.created(two, ada(two))]);
  assert.deepEqual(saved.map(({ aggregate_id: id, version }) => [id, version]), [[one, 1], [two, 1]]);
  const change = users.usernameChanged(one, { username: "changed" });
  assert.ok(is(await rejection(api.events.append([change, users.created(two, ada(two))])), "rule-broken"));
  assert.equal((await api.users.get(one, { strong: true })).username, "ada");
});

// Fails when a dry run stores something, or does not show what would change.
test("a dry run shows the change and stores nothing", async () => {
  const id = await append();
  const change = users.usernameChanged(id, { username: "eve" });
  const { aggregates, duplicate } = await api.users.append(change, { dryRun: true, expected: 1 });
  assert.equal(duplicate, false);
  assert.deepEqual(aggregates[0]?.changes, { username: ["ada", "eve"] });
  assert.equal(aggregates[0]?.state?.username, "eve");
  assert.equal((await api.events.append([change], { dryRun: true })).aggregates.length, 1);
  assert.equal((await api.users.get(id, { strong: true })).version, 1);
});

// Fails when two writers both believe that they wrote a version, or when one that lost learns a wrong version.
test("each of ten writers on one row wins or loses, with the right version, and reads what it wrote", async () => {
  const id = await append();
  const writers = Array.from({ length: 10 }, () => foldlog({ baseUrl }));
  /** @type {number[]} */
  const won = [];
  await Promise.all(
    writers.map(async (writer, n) => {
      for (let expected = 1; ; ) {
        try {
          const { version } = await writer.users.append(users.usernameChanged(id, { username: `writer${n}` }), { expected });
          won.push(version);
          const row = await writer.users.get(id);
          assert.ok(row.version >= version);
          if (row.version === version) assert.equal(row.username, `writer${n}`);
          return;
        } catch (error) {
          assert.ok(is(error, "version-mismatch"));
          assert.ok(error.problem.version > expected);
          expected = error.problem.version;
        }
      }
    }),
  );
  assert.deepEqual(won.sort((a, b) => a - b), Array.from({ length: 10 }, (_, n) => n + 2));
});

// Fails when a read of an own write waits for the view.
test("a client reads its own writes while the listener cannot project", async () => {
  const data = /** @type {string} */ (process.env["DATA"]);
  const password = (await readFile(join(data, "password"), "utf8")).trim();
  const database = new pg.Client({ host: join(data, "socket"), user: "foldlog", database: "foldlog", password });
  await database.connect();
  try {
    // Nothing can be claimed, and so nothing projected, until this transaction ends.
    await database.query("begin; lock table locker in share row exclusive mode");
    const id = newId();
    await api.users.append(users.created(id, ada(id)));
    await api.users.append(users.usernameChanged(id, { username: "bea" }));
    assert.deepEqual(await api.users.get(id), { ...ada(id, "bea"), version: 2 });
    // Another client, which has not written, sees the view.
    assert.ok(is(await rejection(foldlog({ baseUrl }).users.get(id)), "not-found"));
  } finally {
    await database.end();
  }
});

// Fails when the loop shows a row twice or ends early while others write, or reads on after it was left.
test("the iterator over 10,000 rows shows each once while rows are added", async () => {
  const username = `many-${newId()}`;
  const events = Array.from({ length: 10_000 }, () => {
    const id = newId();
    return users.created(id, ada(id, username));
  });
  for (let n = 0; n < events.length; n += 500) await api.users.append(events.slice(n, n + 500));
  const { send, requests } = intercepted(() => {});
  const reader = foldlog({ baseUrl, fetch: send });
  /** @type {Set<string>} */
  const seen = new Set();
  let read = 0;
  for await (const row of reader.users.list({ username, limit: 1000 }, { strong: true })) {
    read++;
    seen.add(row.id);
    if (read % 1000 === 0) await append(username);
  }
  assert.equal(seen.size, read);
  for (const { aggregate_id: id } of events) assert.ok(seen.has(id));

  const before = requests.length;
  for await (const row of reader.users.list({ username, limit: 10 }, { strong: true })) {
    assert.ok(row);
    break;
  }
  assert.equal(requests.length, before + 1);
});

// Fails when a page cannot be continued, or a filter is not sent.
test("a page has a cursor", async () => {
  const username = `paged-${newId()}`;
  const ids = [await append(username), await append(username), await append(username)];
  const first = await api.users.page({ username, limit: 2 }, { strong: true });
  assert.deepEqual(first.result.map(({ id }) => id), ids.slice(0, 2));
  assert.ok(first.next);
  const second = await api.users.page({ username, after: first.next }, { strong: true });
  assert.deepEqual(second.result.map(({ id }) => id), ids.slice(2));
  assert.equal(second.next, null);
  assert.deepEqual(await collect(api.users.list({ username, after: first.next }, { strong: true })), second.result);
});

// Fails when a past state, a comparison, or the origin of a field is not the one of that moment.
test("the past of a row: versions, times, history, differences, blame", async () => {
  const id = newId();
  const by = (/** @type {string} */ actor) => ({ actor });
  await api.users.append(users.created(id, ada(id), by("grace")));
  const { created_at } = await api.users.append(users.usernameChanged(id, { username: "bea" }, by("linus")));
  await api.users.append(users.usernameChanged(id, { username: "cleo" }, by("grace")));
  assert.equal((await api.users.get(id, { version: 1 })).username, "ada");
  assert.equal((await api.users.get(id, { asOf: created_at })).username, "bea");
  assert.equal((await api.users.get(id, { asOf: new Date(Date.now() + 60_000) })).username, "cleo");
  assert.deepEqual(await collect(api.users.list({ username: "bea", email: `${id}@example.org` }, { asOf: created_at })), [
    { ...ada(id, "bea"), version: 2 },
  ]);

  const history = await collect(api.users.history(id, { limit: 1, order: "desc" }));
  assert.deepEqual(history.map(({ type, version }) => [type, version]), [["UsernameChanged", 3], ["UsernameChanged", 2], ["Created", 1]]);
  assert.deepEqual(history[0]?.changes, { username: ["bea", "cleo"] });
  const changes = await api.users.historyPage(id, { field: "username", actor: "linus" });
  assert.deepEqual(changes.result.map(({ version }) => version), [2]);

  const diff = await api.users.diff(id, { from: 1, to: created_at });
  assert.deepEqual(diff.changes, { username: ["ada", "bea"] });
  assert.equal((await api.users.diff(id, { from: 1 })).to.version, 3);
  const blame = await api.users.blame(id);
  assert.deepEqual([blame.fields["username"]?.actor, blame.fields["username"]?.version], ["grace", 3]);
  assert.equal((await api.users.blame(id, { version: 2 })).fields["username"]?.actor, "linus");
  const explained = await api.users.explain(id);
  assert.equal(explained.newest, 3);
});

// Fails when a revert restores another state, or a dry run of it stores something, or one that is sent again appends twice.
test("a revert is previewed, applied, and safe to send again", async () => {
  const id = await append();
  await api.users.append([users.usernameChanged(id, { username: "bea" }), users.emailChanged(id, { email: `b${id}@example.org` })]);
  const preview = await api.users.revert(id, { to: 1, except: ["email"], dryRun: true });
  assert.deepEqual(preview.aggregates[0]?.changes, { username: ["bea", "ada"] });
  assert.equal((await api.users.get(id)).version, 3);

  const eventId = newId();
  const options = { to: 1, except: ["email"], eventId, metadata: { reason: "a test" } };
  assert.ok(is(await rejection(api.users.revert(id, { ...options, expected: 2 })), "version-mismatch"));
  const reverted = await api.users.revert(id, { ...options, expected: 3 });
  assert.deepEqual(reverted.changes, { username: ["bea", "ada"] });
  assert.equal(reverted.events[0]?.id, eventId);
  assert.deepEqual(await api.users.get(id), { id, username: "ada", email: `b${id}@example.org`, version: 4 });
  assert.deepEqual(await api.users.revert(id, options), reverted);
  const newest = await api.users.historyPage(id, { order: "desc", limit: 1 });
  assert.equal(newest.result[0]?.metadata["reason"], "a test");
});
