// Emmett: an append is one function call with an expected version. Inline views are written in its transaction, others by a
// consumer that holds a lock and stores its checkpoint with the view.
//
//   node emmett.mjs setup URL
//   node emmett.mjs grow URL        appends nine more events to each aggregate
//   node emmett.mjs append new|existing CLIENTS SECONDS URL [view]
//   node emmett.mjs project URL
//
// The output is that of src/main.rs.
import { SQL } from '@event-driven-io/dumbo';
import {
  getPostgreSQLEventStore,
  postgreSQLEventStoreConsumer,
  postgreSQLRawBatchSQLProjection,
} from '@event-driven-io/emmett-postgresql';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

const AGGREGATES = 10_000;
const FURTHER_EVENTS = 9;
const CONCURRENT_APPENDS = 50;
const WARM_UP_MS = 700;

const aggregate = (n) => `10000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
const created = (id) => ({ type: 'Created', data: { id, username: `user ${id}`, email: `${id}@example.org` } });
const renamed = (id) => ({
  type: 'Renamed',
  data: { id, username: `user ${id} has another name now, one about as long as it may be` },
});

const users = postgreSQLRawBatchSQLProjection({
  name: 'users',
  canHandle: ['Created', 'Renamed'],
  evolve: (events) =>
    events.map(({ type, data }) =>
      type === 'Created'
        ? SQL`insert into users (id, username, email) values (${data.id}, ${data.username}, ${data.email})
              on conflict (id) do update set username = excluded.username, email = excluded.email`
        : SQL`update users set username = ${data.username} where id = ${data.id}`,
    ),
  init: () => SQL`create table if not exists users (id text primary key, username text, email text)`,
});

const appendToEach = async (store, events) => {
  for (let first = 0; first < AGGREGATES; first += CONCURRENT_APPENDS) {
    const ids = Array.from({ length: CONCURRENT_APPENDS }, (_, i) => aggregate(first + i));
    await Promise.all(ids.map((id) => store.appendToStream(`user-${id}`, events(id))));
  }
};

const setup = async (url) => {
  const store = getPostgreSQLEventStore(url);
  await store.schema.migrate();
  const client = new pg.Client(url);
  await client.connect();
  await client.query('create table if not exists users (id text primary key, username text, email text)');
  await appendToEach(store, (id) => [created(id)]);
  await client.end();
  await store.close();
};

const grow = async (url) => {
  const store = getPostgreSQLEventStore(url, { schema: { autoMigration: 'None' } });
  for (let n = 0; n < FURTHER_EVENTS; n += 3) {
    await appendToEach(store, (id) => [renamed(id), renamed(id), renamed(id)]);
  }
  await store.close();
};

const append = async (kind, clients, seconds, url, view) => {
  const store = getPostgreSQLEventStore(url, {
    schema: { autoMigration: 'None' },
    projections: view ? [{ type: 'inline', projection: users }] : [],
    connectionOptions: { pool: new pg.Pool({ connectionString: url, max: clients }) },
  });
  let done = 0;
  let stop = false;
  const client = async () => {
    while (!stop) {
      const id = kind === 'new' ? randomUUID() : aggregate(Math.floor(Math.random() * AGGREGATES));
      try {
        await store.appendToStream(`user-${id}`, [kind === 'new' ? created(id) : renamed(id)]);
        done += 1;
      } catch (error) {
        // Another client appended to the same user first.
        if (!/version|conflict/i.test(error.message + error.name)) throw error;
      }
    }
  };
  const running = Array.from({ length: clients }, client);
  await sleep(WARM_UP_MS);
  const [before, begun, cpu] = [done, performance.now(), process.cpuUsage()];
  await sleep(seconds * 1000);
  const count = done - before;
  const used = process.cpuUsage(cpu);
  const rate = Math.round((count * 1000) / (performance.now() - begun));
  stop = true;
  await Promise.all(running);
  console.log(done, Math.round((used.user + used.system) / count), rate);
};

const project = async (url) => {
  const client = new pg.Client(url);
  await client.connect();
  const { rows } = await client.query('select count(*)::int as events from emt_messages');
  const begun = performance.now();
  const consumer = postgreSQLEventStoreConsumer({
    connectionString: url,
    pulling: { batchSize: 1000, pullingFrequencyInMs: 5 },
    stopWhen: { noMessagesLeft: true },
  });
  consumer.projector({ processorId: `users-${Date.now()}`, projection: users });
  await consumer.start();
  console.log(Math.round((rows[0].events * 1000) / (performance.now() - begun)));
  await consumer.close();
};

const [what, ...rest] = process.argv.slice(2);
switch (what) {
  case 'setup':
    await setup(rest[0]);
    break;
  case 'grow':
    await grow(rest[0]);
    break;
  case 'append':
    await append(rest[0], Number(rest[1]), Number(rest[2]), rest[3], rest[4] === 'view');
    break;
  case 'project':
    await project(rest[0]);
    break;
  default:
    throw new Error(`there is no command ${what}`);
}
// Pools that are still open would keep the process alive.
process.exit(0);
