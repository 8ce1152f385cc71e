/** What the compiler has to accept, and what it has to reject. Each `@ts-expect-error` fails when its line compiles. */
import { foldlog, is, newId, queries, users } from "../../index.js";
import type { FeedEvent, HistoryEvent, Problem } from "../../index.js";

const api = foldlog({ baseUrl: "", token: async () => "token", tries: 1, timeout: 1_000 });
const id = newId();

export async function appends() {
  const event = users.created(id, { id, username: "ada", email: "ada@example.org" }, { reason: "a test" });
  const typeId: 1000 = event.type_id;
  const { version, created_at } = await api.users.append(event, { expected: 0 });
  const many = await api.users.append([event, users.deleted(id)], { expected: [1, 2] });
  await api.events.append([event, users.deleted(id)]);
  const dry = await api.users.append(event, { dryRun: true });
  const name: string | undefined = dry.aggregates[0]?.state?.username;
  // @ts-expect-error A column that the payload does not have.
  users.created(id, { id, username: "ada", email: "ada@example.org", age: 7 });
  // @ts-expect-error A field is missing.
  users.created(id, { id, username: "ada" });
  // @ts-expect-error The payload of another event.
  users.emailChanged(id, { username: "ada" });
  // @ts-expect-error A field of another type.
  users.emailChanged(id, { email: 7 });
  // @ts-expect-error No such event.
  users.renamed(id, {});
  // @ts-expect-error An event that is not of this domain.
  await api.users.append({ id, aggregate_id: id, type_id: 2000, payload: { owner: "ada" } });
  // @ts-expect-error An aggregate can be expected at a version, and not at a tag.
  await api.users.append(event, { expected: '"7"' });
  // @ts-expect-error The answer to one event has no events.
  many.version;
  return [typeId, version, created_at, many.length, name];
}

export async function reads() {
  const row = await api.users.get(id, { asOf: new Date() });
  const email: string = row.email;
  for await (const { username, version } of api.users.list({ email, limit: 10 }, { strong: true })) console.log(username, version);
  // @ts-expect-error No such column.
  api.users.list({ name: "ada" });
  // @ts-expect-error A row has no password.
  row.password;
  // @ts-expect-error A version is a number.
  await api.users.get(id, { version: "7" });
  // @ts-expect-error No such domain.
  api.accounts;
  // @ts-expect-error A difference needs a start.
  await api.users.diff(id, {});
  const { events } = await api.users.revert(id, { to: 1, except: ["email"], metadata: { reason: "asked" } });
  const preview = await api.users.revert(id, { to: 1, dryRun: true });
  // @ts-expect-error A dry run appends no events.
  preview.events;
  const feed = api.events.feed({ domain: "users", types: ["Created", 1001], signal: new AbortController().signal });
  for await (const event of feed) use(event, feed.cursor);
  // @ts-expect-error No such domain.
  api.events.feed({ domain: "accounts" });
  for await (const event of api.users.history(id, { order: "desc", field: "email", actor: "ada" })) use(event, event.changes);
  return events;
}

function use(event: FeedEvent | HistoryEvent, more: unknown): [string, number, unknown] {
  return [event.created_at, event.version, more];
}

export async function operates() {
  const done = await api.projections.operate({ reproject: "users", max_changes: 5 });
  await api.projections.operate({ skip: { domain: "users", event_id: id, reason: "a test" } });
  // @ts-expect-error No such verb.
  await api.projections.operate({ rebuild: "users" });
  // @ts-expect-error A skip needs a reason.
  await api.projections.operate({ skip: { domain: "users", event_id: id } });
  const { status } = await api.health();
  return ["projections" in done && done.projections["users"], status];
}

export function problems(error: unknown): string | number | undefined {
  if (is(error, "version-mismatch")) return error.problem.version;
  if (is(error, "rule-broken")) {
    const rule: "users_email_key" | "already_exists" | string = error.problem.rule;
    // @ts-expect-error No such rule.
    if (error.problem.rule === "email_taken") return "taken";
    return rule;
  }
  if (is(error, "unprocessable")) return error.problem.pointer;
  // @ts-expect-error No such problem.
  if (is(error, "unprocessible")) return undefined;
  // @ts-expect-error This problem has no version.
  if (is(error, "deleted")) return error.problem.version;
  return undefined;
}

/** Every name of a problem is known. */
export function describe(problem: Problem): string {
  switch (problem.name) {
    case "version-mismatch":
      return `${problem.version}`;
    case "foreign":
      return problem.detail;
    default:
      return problem.title;
  }
}

export async function queriesOfTanStack() {
  const row = queries(api).users.row(id, { strong: true });
  const { username } = await row.queryFn({ signal: new AbortController().signal });
  const list = queries(api).users.list({ username, limit: 10 });
  const page = await list.queryFn({ pageParam: list.initialPageParam, signal: new AbortController().signal });
  const next: string | undefined = list.getNextPageParam(page);
  // @ts-expect-error No such column.
  queries(api).users.list({ name: "ada" });
  return next;
}
