/**
 * The rows of a domain, now or as of a time. Filters, the time, the page and the columns are in the address; the console's own
 * parameters begin with a hyphen, which no column does.
 *
 * @import {Ctx, Domain, Page} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { panels } from "../parts/api.js";
import { mayAppend, openAppend } from "../parts/append.js";
import { same } from "../parts/diff.js";
import { asOfSlider, readActivity } from "../parts/as_of.js";
import { menu } from "../parts/menu.js";
import { panel } from "../parts/problem.js";
import { to, withQuery } from "../parts/routes.js";
import { pageHead, readAt, table, unknownDomain } from "../parts/table.js";
import { download, number, plural, short, shown, visible, words } from "../parts/text.js";
import { when } from "../parts/time.js";

const LIMIT = 100;

/** @type {Page} */
export const page = {
  title: (ctx) => ctx.route.domain ?? "",
  live: (ctx) => !ctx.route.query["as_of"],
  async load(ctx, signal) {
    const { domain, route } = ctx;
    if (!domain) return { missing: true };
    const { as_of, after } = route.query;
    const path = `/${domain.name}`;
    const query = { ...filters(domain, route.query), limit: LIMIT, after };
    const question = asked(ctx, domain);
    const known = ctx.data?.first;
    const data = await panels({
      rows: ctx.api.get(path, { ...query, as_of }, { signal }),
      // The filters would hide a row that has another value now.
      ...(as_of && { now: ctx.api.get(path, { limit: 1000, after }, { signal }) }),
      first: known?.value ? Promise.resolve(known.value) : ctx.api.get("/events", { domain: domain.name, limit: 1 }, { signal }).then(({ result }) => result[0]?.created_at ?? null),
    }, ctx.data?.asked === question ? ctx.data : undefined);
    if (data.rows.error) throw data.rows.error;
    if (data.first.value) void readActivity(ctx, data.first.value);
    return { ...data, asked: question };
  },
  view(ctx) {
    const { domain, data } = ctx;
    if (!domain || data.missing) return unknownDomain(ctx);
    const { as_of } = ctx.route.query;
    const isAnswered = data.asked === asked(ctx, domain);
    return html`${pageHead({
      title: domain.name,
      sub: html`${domain.description ? html`<span>${domain.description}</span>` : nothing}${as_of ? nothing : readAt(ctx)}`,
      actions: mayAppend(ctx, domain) ? html`<button type="button" class="btn" @click=${() => append(ctx, domain)}>Append an event…</button>` : nothing,
    })}
    ${data.first.value ? asOfSlider(ctx, { from: data.first.value, at: as_of, go: (time) => ctx.go(withQuery(ctx.route.hash, { as_of: time, after: null })) }) : nothing}
    ${as_of ? past(ctx, domain, isAnswered) : nothing}
    ${chips(ctx, domain, isAnswered)}
    ${panel(ctx, data.rows, (rows) => (isAnswered ? sheet(ctx, domain, rows) : outdated(ctx, domain, rows)))}`;
  },
};

/** @param {Domain} domain @param {Record<string, string>} query */
const filters = (domain, query) => Object.fromEntries(domain.filters.filter((name) => name in query).map((name) => [name, query[name] ?? ""]));

/** What the address asks the server for. Until the answer arrives, `ctx.data` answers another question. @param {Ctx} ctx @param {Domain} domain */
const asked = ({ route: { query } }, domain) => JSON.stringify([filters(domain, query), query["as_of"], query["after"]]);

/** @param {Ctx} ctx @param {Domain} domain */
const append = (ctx, domain) => openAppend(ctx, domain, {}, ({ aggregate_id }) => ctx.go(to(domain.name, aggregate_id)));

/** How a row of the past differs from now; null if it does not. @param {any} row @param {Map<string, any> | null} now */
function difference(row, now) {
  if (!now) return null;
  const today = now.get(row.id);
  return today === undefined ? "gone" : today.version === row.version ? null : "changed";
}

/**
 * The rows of today in the range of ids that this page covers; null if they were not read.
 * @param {any} data @returns {{byId: Map<string, any>, later: any[]} | null}
 */
function today(data) {
  const now = data.now?.value;
  const rows = data.rows.value;
  if (!now || !rows) return null;
  const last = rows.next ? rows.result.at(-1)?.id : null;
  // More rows exist today than were read: nothing can be said about those.
  if (now.next && (!last || last > now.result.at(-1)?.id)) return null;
  const inRange = now.result.filter((/** @type {any} */ at) => !last || at.id <= last);
  const then = new Set(rows.result.map((/** @type {any} */ at) => at.id));
  return { byId: new Map(inRange.map((/** @type {any} */ at) => [at.id, at])), later: inRange.filter((/** @type {any} */ at) => !then.has(at.id)) };
}

/** @param {Ctx} ctx @param {Domain} domain @param {boolean} isAnswered whether the data is of this time */
function past(ctx, domain, isAnswered) {
  const { rows } = ctx.data;
  const as_of = ctx.route.query["as_of"] ?? "";
  const now = isAnswered ? today(ctx.data) : null;
  const filtered = Object.keys(filters(domain, ctx.route.query)).length > 0;
  const kinds = (rows.value?.result ?? []).map((/** @type {any} */ row) => difference(row, now?.byId ?? null));
  const count = (/** @type {string} */ kind) => kinds.filter((/** @type {any} */ at) => at === kind).length;
  const parts = [count("changed") && `${plural(count("changed"), "row is", "rows are")} different now`, count("gone") && `${plural(count("gone"), "row is", "rows are")} gone`, !filtered && now?.later.length && `${plural(now.later.length, "row", "rows")} came later`].filter(Boolean);
  return html`<div class="hint" role="status"><span aria-hidden="true">◆</span><span class="grow">You are looking at the past: ${domain.name} as of ${when(as_of)}.
    ${now ? (parts.length > 0 ? html`On this page ${parts.join(", ")}.` : "This page is the same now.") : nothing}
    ${count("changed") + count("gone") > 0 ? html` <button type="button" class="link" aria-pressed=${Boolean(ctx.ui["only"])} @click=${() => ctx.set({ only: !ctx.ui["only"] })}>${ctx.ui["only"] ? "Show all rows" : "Show only these"}</button>` : nothing}</span>
    <a class="btn small" href=${withQuery(ctx.route.hash, { as_of: null, after: null })}>Now</a></div>`;
}

/** @param {Ctx} ctx @param {Domain} domain @param {boolean} isAnswered */
function chips(ctx, domain, isAnswered) {
  const active = Object.entries(filters(domain, ctx.route.query));
  const add = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    const values = new FormData(form);
    ctx.go(withQuery(ctx.route.hash, { [String(values.get("column"))]: String(values.get("value")), after: null }));
    form.reset();
    form.closest("details")?.removeAttribute("open");
  };
  const choice = chosen(ctx, domain);
  return html`<div class="chips">
    ${active.map(([name, value]) => html`<span class="chip"><code>${name}</code> = ${words(value)}<button type="button" aria-label=${`Remove the filter ${name}`} @click=${() => ctx.go(withQuery(ctx.route.hash, { [name]: null, after: null }))}>×</button></span>`)}
    ${domain.filters.length === 0 ? nothing : menu("+ filter by a column", html`<form class="pop" @submit=${add}>
      <label class="field">column<select name="column" aria-label="column">${domain.filters.map((name) => html`<option>${name}</option>`)}</select></label>
      <label class="field">is exactly<input name="value" required autocomplete="off" spellcheck="false"></label><button class="btn go">Filter</button></form>`)}
    <span class="grow"></span>
    ${menu("columns ▾", html`<div class="pop">${domain.columns.filter(({ name }) => name !== "id").map(({ name }) => html`<label class="check"><input type="checkbox" .checked=${choice.has(name)} @change=${() => toggle(ctx, domain, name)}> <code>${name}</code></label>`)}</div>`, "right")}
    <button type="button" class="btn small" ?disabled=${!isAnswered} @click=${() => download(`${domain.name}.json`, ctx.data.rows.value?.result ?? [])}>↓ JSON of this page</button></div>`;
}

/** The columns that are shown besides the id. A wide row shows its first eight until others are chosen. @param {Ctx} ctx @param {Domain} domain */
function chosen(ctx, domain) {
  const all = domain.columns.map((at) => at.name).filter((name) => name !== "id");
  const wanted = ctx.route.query["-columns"]?.split(",");
  if (wanted) return new Set(all.filter((name) => wanted.includes(name)));
  const first = all.filter((name) => name !== "version").slice(0, 8);
  return new Set([...first, "version"]);
}

/** @param {Ctx} ctx @param {Domain} domain @param {string} name */
function toggle(ctx, domain, name) {
  const choice = chosen(ctx, domain);
  if (!choice.delete(name)) choice.add(name);
  ctx.go(withQuery(ctx.route.hash, { "-columns": [...choice].join(",") || "id" }), { replace: true });
}

/** @param {Ctx} ctx @param {Domain} domain @param {any} answer */
function sheet(ctx, domain, answer) {
  const { after } = ctx.route.query;
  const now = today(ctx.data)?.byId ?? null;
  const rows = ctx.ui["only"] && now ? answer.result.filter((/** @type {any} */ row) => difference(row, now)) : answer.result;
  return html`<section class="sheet" aria-label=${`Rows of ${domain.name}`}>${rowTable(ctx, domain, rows, now, empty(ctx, domain, answer))}
  ${answer.next || after ? html`<div class="under">${after ? html`<a class="btn small" href=${withQuery(ctx.route.hash, { after: null })}>First page</a>` : nothing}
    <span class="dim">${plural(answer.result.length, "row")} on this page, in the order of their ids</span><span class="grow"></span>
    ${answer.next ? html`<a class="btn small" rel="next" href=${withQuery(ctx.route.hash, { after: answer.next })}>Next ${LIMIT}</a>` : html`<span class="dim">This is the last page.</span>`}</div>`
    : answer.result.length > 0 ? html`<div class="under dim">${plural(answer.result.length, "row")} in all</div>` : nothing}</section>`;
}

/**
 * The rows of the last answer, greyed while another one is read: without pages or comparisons, which would be those of another question.
 * @param {Ctx} ctx @param {Domain} domain @param {any} answer
 */
function outdated(ctx, domain, answer) {
  const reading = ctx.state.loading;
  return html`<section class="sheet stale" aria-label=${`Rows of ${domain.name}`} aria-busy=${reading}>${rowTable(ctx, domain, answer.result, null, reading ? "Reading…" : "These rows could not be read.")}</section>`;
}

/** @param {Ctx} ctx @param {Domain} domain @param {any[]} rows @param {Map<string, any> | null} now @param {unknown} none */
function rowTable(ctx, domain, rows, now, none) {
  const { as_of } = ctx.route.query;
  const choice = chosen(ctx, domain);
  const columns = domain.columns.filter((at) => choice.has(at.name) && at.name !== "version");
  const numeric = (/** @type {any} */ at) => at.type === "integer" || at.type === "number";
  return table({
    label: `Rows of ${domain.name}`, rows, empty: none,
    rowClass: (/** @type {any} */ row) => (difference(row, now) ? "moved" : ""),
    columns: [
      { head: "id", mono: true, nowrap: true, cell: (row) => html`<a data-row href=${withQuery(to(domain.name, row.id), { as_of })} title=${row.id}>${short(row.id)}</a>` },
      ...columns.map((at) => ({
        head: at.name, right: numeric(at), class: `value${numeric(at) ? " m" : ""}`,
        cell: (/** @type {any} */ row) => html`${shown(row[at.name])}${later(row, now?.get(row.id), at.name)}`,
      })),
      ...(choice.has("version") ? [{ head: "version", right: true, mono: true, cell: (/** @type {any} */ row) => html`${number(row.version)}${difference(row, now) === "gone" ? html`<small class="later">gone now</small>` : nothing}` }] : []),
    ],
  });
}

/** What a field of the past is now, if it is another value. @param {any} row @param {any} now @param {string} name */
const later = (row, now, name) => (now && name !== "version" && !same(row[name], now[name]) ? html`<small class="later">now ${shown(now[name])}</small>` : nothing);

/** @param {Ctx} ctx @param {Domain} domain @param {any} answer */
function empty(ctx, domain, answer) {
  if (ctx.ui["only"]) return html`<b>Every row of this page is the same now.</b>`;
  if (answer.next) return html`<b>No row on this page.</b><span>There are more pages.</span>`;
  const active = Object.entries(filters(domain, ctx.route.query));
  if (active.length > 0) {
    const none = Object.fromEntries(active.map(([name]) => [name, null]));
    return html`<b>No row has ${active.map(([name, value]) => `${name} = ${visible(value)}`).join(" and ")}.</b><a class="btn small" href=${withQuery(ctx.route.hash, { ...none, after: null })}>Clear the filters</a>`;
  }
  if (ctx.route.query["after"]) return html`<b>This page has no rows any more.</b><a class="btn small" href=${withQuery(ctx.route.hash, { after: null })}>First page</a>`;
  if (ctx.route.query["as_of"]) return html`<b>${domain.name} had no rows then.</b>${ctx.data.first.value ? html`<span>Its first event is of ${when(ctx.data.first.value)}.</span>` : nothing}`;
  return html`<b>${domain.name} has no rows yet.</b>${mayAppend(ctx, domain) ? html`<button type="button" class="btn small" @click=${() => append(ctx, domain)}>Append the first event…</button>` : nothing}`;
}
