/** The package of the README's domain `accounts` beside `users`, and of domains and events with awkward names. */
import { accounts, foldlog, newId, users } from "accounts";
import { any_, event, foldlog as awkward, is_, new_, new__, problem } from "awkward";

const id = newId();

export async function ofTheReadme() {
  const api = foldlog({ baseUrl: "" });
  const opened = accounts.opened(id, { owner: "ada" });
  await api.accounts.append(opened);
  await api.accounts.append([opened, accounts.deposited(id, { cents: 500 })]);
  await api.events.append([opened, users.deleted(id)]);
  const { owner, balance_cents } = await api.accounts.get(id);
  // @ts-expect-error An event of another domain.
  await api.accounts.append(users.deleted(id));
  // @ts-expect-error One of the events is of another domain.
  await api.accounts.append([opened, users.deleted(id)]);
  // @ts-expect-error A wrong payload.
  accounts.opened(id, { holder: "ada" });
  // @ts-expect-error A number is expected.
  accounts.deposited(id, { cents: "500" });
  // @ts-expect-error A column of another domain.
  api.accounts.list({ email: "ada@example.org" });
  return [owner.length, balance_cents + 1];
}

export async function withAwkwardNames() {
  const api = awkward({ baseUrl: "" });
  await api.problem.append(problem.row(id, { row: { id, filter: "x" } }));
  await api.any.append(any_.page(id));
  await api.event.append(event.event(id, { event: null }));
  await api.new.append(new_.record(id, { get: "x", then: 1 }));
  await api.new_.append(new__.page(id));
  await api.is.append(is_.page(id));
  // @ts-expect-error An event of another domain, whose events have the same names.
  await api.new.append(new__.page(id));
  for await (const row of api.problem.list({ class: "x" }, { strong: true })) {
    const values: [boolean, string, number] = [row.strong, row.class, row.version];
    console.log(values);
  }
  type Names = [problem.event.Row, problem.event.Page, problem.Row, problem.Page, problem.payload.Page, any_.Event, event.Filter];
  return [] as unknown as Names;
}
