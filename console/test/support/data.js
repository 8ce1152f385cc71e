/** Users as people and programs write them, and what an operator has to find. */
import { randomUUID } from "node:crypto";
import { call, until } from "./server.js";

/** @import {Server} from "./server.js" */

export const TYPES = { created: 1000, passwordChanged: 1001, usernameChanged: 1002, emailChanged: 1003, deleted: 1004 };

/**
 * @param {string} aggregate @param {keyof typeof TYPES} type @param {Record<string, unknown>} payload @param {Record<string, unknown>} [metadata]
 */
export const event = (aggregate, type, payload, metadata = { actor: "ada" }) => ({
  id: randomUUID(), aggregate_id: aggregate, type_id: TYPES[type],
  payload: type === "created" ? { id: aggregate, ...payload } : payload, metadata,
});

const NAMES = ["ada", "grace", "linus", "barbara", "edsger", "frances", "dennis", "radia", "ken", "margaret", "alan", "hedy"];

/**
 * Creates users. @param {string} url @param {number} count @returns {Promise<string[]>} their ids
 */
export async function createUsers(url, count) {
  const ids = Array.from({ length: count }, () => randomUUID());
  for (let from = 0; from < count; from += 500) {
    await call(`${url}/users`, ids.slice(from, from + 500).map((id, index) => {
      const name = `${NAMES[(from + index) % NAMES.length]}${from + index < NAMES.length ? "" : from + index}`;
      return event(id, "created", { username: name, email: `${name}@example.org` }, { actor: index % 3 === 0 ? "grace" : "signup" });
    }));
  }
  return ids;
}

/**
 * Waits until the feed ends with an event: it shows none before the transactions that were open at its append have ended.
 * @param {string} url @param {string} id the event @param {Record<string, string>} [headers]
 */
export const inFeed = (url, id, headers) =>
  until("the feed ends with the event", async () => (await call(`${url}/events?order=desc&limit=1`, undefined, headers)).result[0]?.id === id);

/**
 * Stores an event that no build can fold: it changes a user with a payload of another type.
 * @param {Server} server @param {string} aggregate
 */
export async function plantUnfoldable(server, aggregate) {
  const id = randomUUID();
  await server.sql(
    `insert into events (id, aggregate_id, version, type_id, payload)
     select $1, $2, max(version) + 1, $3, '{"username": 7}' from events where aggregate_id = $2`,
    [id, aggregate, TYPES.usernameChanged],
  );
  return id;
}

/**
 * Stores many users at once, each with one event, as if they had been appended. A worker folds them.
 * @param {Server} server @param {number} count
 */
export async function plantUsers(server, count) {
  await server.sql(
    `insert into events (id, aggregate_id, version, type_id, payload, metadata)
     select gen_random_uuid(), user_id, 1, $1, jsonb_build_object('id', user_id, 'username', 'user' || n, 'email', 'user' || n || '@example.org'), '{"actor": "import"}'
     from (select gen_random_uuid() as user_id, n from generate_series(1, $2::int) n) users`,
    [TYPES.created, count],
  );
  await call(`${server.url}/projections`, {});
}
