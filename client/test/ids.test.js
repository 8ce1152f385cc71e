/** Ids of events and aggregates. */
import assert from "node:assert/strict";
import test from "node:test";
import { newId, users } from "../index.js";

// Fails when two ids are equal, or one sorts before an earlier one: an offline queue would change the order of its events.
test("a million ids are unique and sort in the order in which they were made", () => {
  let previous = "";
  for (let n = 0; n < 1_000_000; n++) {
    const id = newId();
    if (id <= previous) assert.fail(`${id} does not follow ${previous}`);
    previous = id;
  }
});

// Fails when an adjustment of the clock makes ids that sort before earlier ones.
test("ids still sort after the clock was set back", () => {
  const now = Date.now() + 1_000_000;
  const ids = [now, now - 3_600_000, now - 3_600_000, now, now + 1].map((time) => newId(time));
  assert.deepEqual(ids, [...ids].sort());
  assert.equal(new Set(ids).size, ids.length);
});

// Fails when an id is not a UUID of version 7 with the time in front (RFC 9562).
test("an id is a UUID of version 7", () => {
  const time = Date.now() + 10_000_000;
  const id = newId(time);
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(parseInt(id.replaceAll("-", "").slice(0, 12), 16), time);
});

// Fails when two events share an id, or an event cannot be sent again as it was.
test("an event has its id before it is sent", () => {
  const id = newId();
  const [one, two] = [users.usernameChanged(id, { username: "a" }), users.usernameChanged(id, { username: "a" })];
  assert.notEqual(one.id, two.id);
  assert.deepEqual(JSON.parse(JSON.stringify(one)), {
    id: one.id,
    aggregate_id: id,
    type_id: 1002,
    payload: { username: "a" },
  });
  assert.deepEqual(users.deleted(id).payload, {});
});
