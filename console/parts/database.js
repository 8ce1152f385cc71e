/** What an operator sees of the database: Postgres, migrations, roles, open transactions, settings. A part that is null is not known. */
import { html, nothing } from "../vendor/lit-html.js";
import { pill, sheet, table } from "./table.js";
import { number, plural } from "./text.js";
import { when } from "./time.js";

/**
 * @typedef {{
 *   connection: {postgres: string, login: string, role: string} | null,
 *   roles: {name: string, is_present: boolean, lacks: string[] | null}[] | null,
 *   migrations: {applied: number, expected: number, pending: string[], newer: number[]} | null,
 *   open_transactions: {result: {pid: number | null, application_name: string | null, state: string | null, since: string, has_written: boolean}[], hidden: number} | null,
 *   settings: {name: string, value: string | null, recommended: string, why: string}[] | null,
 * }} Database
 */

const UNKNOWN = html`<span class="warnText">▲ could not be read</span>`;

/** How many things an operator should look at. @param {Database} database */
export const findings = ({ roles, migrations, open_transactions: open, settings }) =>
  (roles ?? []).filter((at) => !at.is_present || (at.lacks ?? []).length > 0).length + (migrations?.pending.length ?? 0) + (open?.result.length ?? 0) + (settings ?? []).length;

/** @param {Database} database */
export function databaseSheets({ connection, roles, migrations, open_transactions: open, settings }) {
  return html`${sheet({ title: "The database" }, html`<dl class="pairs">
      <dt>Postgres</dt><dd>${connection ? connection.postgres : UNKNOWN}</dd>
      <dt>Login and role</dt><dd>${connection ? html`<code>${connection.login}</code> as <code>${connection.role}</code>` : UNKNOWN}</dd>
      <dt>Migrations</dt><dd>${migrations ? migrationsLine(migrations) : UNKNOWN}</dd>
      <dt>Open for over 10 s</dt><dd>${open ? transactionsLine(open) : UNKNOWN}</dd>
      <dt>Settings</dt><dd>${!settings ? UNKNOWN : settings.length === 0 ? pill("ok", "as recommended") : pill("warn", `${plural(settings.length, "differs", "differ")} from what is recommended`)}</dd></dl>`)}
    ${open && open.result.length > 0 ? transactionsSheet(open.result) : nothing}
    ${settings && settings.length > 0 ? settingsSheet(settings) : nothing}
    ${sheet({ title: "Roles" }, roles ? rolesTable(roles) : html`<div class="empty">${UNKNOWN}</div>`)}`;
}

/** @param {NonNullable<Database["migrations"]>} migrations */
function migrationsLine({ applied, expected, pending, newer }) {
  const known = html`${number(applied - newer.length)} of ${number(expected)} applied`;
  if (pending.length > 0) return html`${pill("bad", known)}<div class="fine dim">Run <code>migrate up</code>. Pending: ${list(pending)}</div>`;
  if (newer.length > 0) return html`${pill("warn", known)}<div class="fine dim">A newer build has applied ${plural(newer.length, "more migration")}: ${list(newer.map(String))}</div>`;
  return pill("ok", known);
}

/** @param {string[]} names */
const list = (names) => names.map((name, index) => html`${index > 0 ? ", " : nothing}<code>${name}</code>`);

/** @param {NonNullable<Database["open_transactions"]>} open */
function transactionsLine({ result, hidden }) {
  const found = result.length > 0 ? pill("warn", plural(result.length, "transaction")) : pill(hidden > 0 ? "" : "ok", "none");
  return html`${found}${hidden > 0 ? html`<div class="fine dim">${plural(hidden, "session")} of other logins cannot be looked at; <code>grant pg_read_all_stats</code> to the owner of foldlog's schema shows them.</div>` : nothing}`;
}

/** @param {NonNullable<Database["open_transactions"]>["result"]} rows */
const transactionsSheet = (rows) => sheet({ title: "Open transactions", note: "new events of the feed wait for those that have written" }, table({
  label: "Open transactions", rows, columns: [
    { head: "process", right: true, mono: true, cell: (at) => at.pid ?? "–" },
    { head: "application", cell: (at) => (at.application_name ? html`<bdi>${at.application_name}</bdi>` : html`<span class="null">no name</span>`) },
    { head: "state", cell: (at) => at.state ?? "–" },
    { head: "since", nowrap: true, cell: (at) => when(at.since, "ago") },
    { head: "has written", cell: (at) => (at.has_written ? html`<span class="warnText">▲ yes</span>` : html`<span class="dim">no</span>`) },
  ],
}));

/** @param {NonNullable<Database["settings"]>} rows */
const settingsSheet = (rows) => sheet({ title: "Settings that differ from the recommended ones" }, table({
  label: "Settings", rows, columns: [
    { head: "setting", mono: true, top: true, cell: (at) => at.name },
    { head: "value", mono: true, top: true, nowrap: true, cell: (at) => at.value ?? html`<span class="null">not set for this database</span>` },
    { head: "recommended", mono: true, top: true, nowrap: true, cell: (at) => at.recommended },
    { head: "why", top: true, cell: (at) => html`<span class="dim">${at.why}</span>` },
  ],
}));

/** @param {NonNullable<Database["roles"]>} rows */
const rolesTable = (rows) => table({
  label: "Roles", rows, columns: [
    { head: "role", mono: true, top: true, cell: (at) => at.name },
    { head: "privileges", top: true, cell: (at) => (!at.is_present ? pill("bad", "does not exist")
      : at.lacks === null ? "not known"
      : at.lacks.length === 0 ? pill("ok", "complete")
      : html`${pill("bad", `lacks ${plural(at.lacks.length, "privilege")}`)}<div class="fine dim">${list(at.lacks)}</div>`) },
  ],
});
