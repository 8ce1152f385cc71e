/**
 * Measures what the client adds to the time of a write and a read of it: append an event, then read the row at its version. Turns of
 * the client and of bare `fetch` alternate, so that both see the same server.
 *
 *     FOLDLOG=http://127.0.0.1:7755 node client/bench/round_trip.js [TURNS]
 */
import { foldlog, newId, users } from "../index.js";

const baseUrl = process.env["FOLDLOG"] ?? "http://127.0.0.1:7755";
const turns = Number(process.argv[2] ?? 2000);
const api = foldlog({ baseUrl });

/** @param {string} id */
const created = (id) => users.created(id, { id, username: "ada", email: `${id}@example.org` });

const ways = {
  async client() {
    const id = newId();
    await api.users.append(created(id), { expected: 0 });
    return api.users.get(id);
  },
  async fetch() {
    const id = newId();
    const headers = { "Content-Type": "application/json", "If-None-Match": "*" };
    const saved = await fetch(`${baseUrl}/users`, { method: "POST", headers, body: JSON.stringify([created(id)]) });
    const { events } = await saved.json();
    return (await fetch(`${baseUrl}/users/${id}?min_version=${events[0].version}`)).json();
  },
};

/** @type {Record<keyof typeof ways, number[]>} */
const times = { client: [], fetch: [] };
for (let turn = -100; turn < turns; turn++)
  for (const way of /** @type {(keyof typeof ways)[]} */ (turn % 2 ? ["client", "fetch"] : ["fetch", "client"])) {
    const start = performance.now();
    const row = await ways[way]();
    if (row.version !== 1) throw new Error(`the row is at version ${row.version}`);
    // The first turns warm up connections and compilers.
    if (turn >= 0) times[way].push(performance.now() - start);
  }
/** @param {number[]} list @param {number} share */
const at = (list, share) => /** @type {number} */ ([...list].sort((a, b) => a - b)[Math.floor(share * (list.length - 1))]);
for (const share of [0.5, 0.99]) {
  const [client, bare] = [at(times.client, share), at(times.fetch, share)];
  console.log(`p${share * 100}: client ${client.toFixed(2)} ms, fetch ${bare.toFixed(2)} ms, ratio ${(client / bare).toFixed(3)}`);
}
