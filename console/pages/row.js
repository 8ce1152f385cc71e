/**
 * One aggregate at a version or a time: its timeline, what happened, its state, and why its row is what it is.
 * `#/users/{id}`, `#/users/{id}@7`, `#/users/{id}?as_of=…`, `#/users/{id}/explain`.
 *
 * @import {Ctx, Domain, Page} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { panels, problemOf } from "../parts/api.js";
import { mayAppend, openAppend } from "../parts/append.js";
import { explanation, rowPill } from "../parts/explain.js";
import { filtersOf, historyList } from "../parts/history.js";
import { notice } from "../parts/problem.js";
import { openRevert } from "../parts/revert.js";
import { to, withQuery } from "../parts/routes.js";
import { statePanel } from "../parts/state.js";
import { pageHead, unknownDomain } from "../parts/table.js";
import { actor, copy, json, short, visible } from "../parts/text.js";
import { when } from "../parts/time.js";
import { timeline } from "../parts/timeline.js";

const EVENTS = 100;

/** @type {Page} */
export const page = {
  title: (ctx) => name(ctx) ?? short(ctx.route.id ?? ""),
  crumbs: (ctx) => [{ text: ctx.route.domain ?? "", href: to(ctx.route.domain ?? "") }],
  async load(ctx, signal) {
    const { domain, route } = ctx;
    if (!domain) return { missing: "domain" };
    const path = `/${domain.name}/${encodeURIComponent(route.id ?? "")}`;
    const get = (/** @type {string} */ what, /** @type {any} */ query = {}) => ctx.api.get(`${path}/${what}`, query, { signal });
    const { version } = route;
    const as_of = version === undefined ? route.query["as_of"] : undefined;
    const { field, by } = filtersOf(ctx);
    const moment = version ?? as_of;
    let data;
    try {
      data = await panels({
        explain: get("explain"),
        history: get("events", { order: "desc", limit: EVENTS, field, actor: by }),
        blame: get("blame", { version, as_of }),
        diff: moment === undefined ? Promise.resolve(null) : get("diff", { from: moment }),
      });
    } catch (error) {
      if (problemOf(error)?.name === "not-found") return { missing: "aggregate" };
      throw error;
    }
    if (data.explain.error) throw data.explain.error;
    const newest = data.explain.value.newest;
    const at = data.diff.value ? data.diff.value.from.version : version ?? newest;
    const deleted = problemOf(data.blame.error)?.name === "deleted";
    // What was there before the end: the event that ends an aggregate follows a state.
    if (deleted && at > 1) data.blame = (await panels({ before: get("blame", { version: at - 1 }) }).catch((error) => ({ before: { error } }))).before;
    return { ...data, newest, at, deleted, ...merged(ctx, data.history.value, `${field ?? ""}/${by ?? ""}`) };
  },
  view(ctx) {
    const { domain, data, route } = ctx;
    if (!domain) return unknownDomain(ctx);
    if (data.missing) return notFound(ctx, domain);
    return html`${head(ctx, domain)}${route.part === "explain" ? explanation(ctx, data.explain.value) : body(ctx, domain)}`;
  },
  keys: [
    { key: "ArrowLeft", label: "previous version", run: (ctx) => step(ctx, -1) },
    { key: "ArrowRight", label: "next version", run: (ctx) => step(ctx, 1) },
    { key: "Home", label: "first version", run: (ctx) => show(ctx, 1) },
    { key: "End", label: "now", run: (ctx) => show(ctx, ctx.data?.newest) },
    { key: "c", label: "compare with now, or who set it", run: (ctx) => ctx.set({ compare: !ctx.ui["compare"] }) },
    { key: "r", label: "revert to this version", run: (ctx) => { if (ctx.domain && revertTo(ctx, ctx.domain)) revert(ctx, ctx.domain); } },
    { key: "e", label: "explain this row", run: (ctx) => ctx.go(`${to(ctx.route.domain ?? "", ctx.route.id)}/explain`) },
  ],
};

/** The events that were read before stay if the newest page reaches them. @param {Ctx} ctx @param {any} answer @param {string} filter */
function merged(ctx, answer, filter) {
  const before = ctx.data?.filter === filter ? ctx.data : null;
  if (!answer) return { events: before?.events ?? [], next: before?.next ?? null, filter };
  const lowest = answer.result.at(-1)?.version ?? 0;
  const older = before?.events.filter((/** @type {any} */ at) => at.version < lowest) ?? [];
  const reaches = before && answer.next !== null && older.length > 0 && before.events[0].version >= lowest;
  return reaches ? { events: [...answer.result, ...older], next: before.next, filter } : { events: answer.result, next: answer.next, filter };
}

/** What this row is called, now or before it ended. @param {Ctx} ctx @returns {string | undefined} */
function name(ctx) {
  const column = ctx.domain?.title;
  const field = column && ctx.data?.blame?.value?.fields[column];
  if (!field) return undefined;
  const now = ctx.data.diff?.value?.changes[column]?.[1];
  const text = now ?? field.value;
  return typeof text === "string" && text.trim() ? visible(text.slice(0, 120)) : undefined;
}

/** @param {Ctx} ctx @param {Domain} domain */
function head(ctx, domain) {
  const { route, data } = ctx;
  const id = route.id ?? "";
  const explain = data.explain.value;
  const explaining = route.part === "explain";
  const link = new URL(to(domain.name, id, data.at ?? data.newest), location.href).href;
  return pageHead({
    title: html`<bdi dir="auto">${name(ctx) ?? short(id)}</bdi>`,
    sub: html`<code class="anywhere">${id}</code>${copy(ctx, id)}${rowPill(explain)}
      ${explain.revision ? html`<span>revision <code title=${explain.revision}>${explain.revision.slice(0, 8)}</code></span>` : nothing}
      ${explaining ? html`<a href=${to(domain.name, id)}>Back to its history</a>` : html`<a href=${`${to(domain.name, id)}/explain`}>Explain this row</a>`}`,
    actions: html`${explaining ? nothing : copy(ctx, link, `the link to v${data.at}`, `Copy link to v${data.at}`, "btn")}
      ${mayAppend(ctx, domain) ? html`<button type="button" class="btn" @click=${() => openAppend(ctx, domain, { id, version: data.newest, title: name(ctx) ?? short(id) }, () => now(ctx, domain))}>Append an event…</button>` : nothing}`,
  });
}

/** @param {Ctx} ctx @param {Domain} domain */
function body(ctx, domain) {
  const { data, route, ui } = ctx;
  const events = new Map(data.events.map((/** @type {any} */ at) => [at.version, at]));
  const at = route.version ?? data.at;
  const problem = problemOf(data.blame.error);
  const never = data.at === 0 || data.at === null || (problem?.name === "not-found" && route.version === undefined);
  const more = async () => {
    ctx.set({ reading: true });
    try {
      const { field, by } = filtersOf(ctx);
      const answer = await ctx.api.get(`/${domain.name}/${encodeURIComponent(route.id ?? "")}/events`, { order: "desc", limit: EVENTS, after: data.next, field, actor: by });
      // The user may have gone to another aggregate, or a refresh may have replaced the events.
      const now = ctx.data;
      if (ctx.route.key !== route.key || now?.filter !== data.filter || now.next !== data.next) return;
      Object.assign(now, { events: [...now.events, ...answer.result], next: answer.next });
    } catch (error) {
      if (ctx.route.key === route.key) ctx.set({ moreError: error });
    } finally {
      if (ctx.route.key === route.key) ctx.set({ reading: false });
    }
  };
  const shownAt = Math.min(Math.max(at || 1, 1), data.newest);
  return html`${timeline(ctx, {
    newest: data.newest, at: shownAt, event: events.get(shownAt), events, asOf: route.version === undefined ? route.query["as_of"] : undefined,
    toVersion: (version) => show(ctx, version), toTime: (time) => ctx.go(withQuery(to(domain.name, route.id), { ...hyphened(ctx), as_of: time })),
  })}
  <div class="cols">
    <div>${data.history.error ? notice(ctx, data.history.error) : nothing}${ui["moreError"] ? notice(ctx, ui["moreError"]) : nothing}
      ${historyList(ctx, domain, { events: data.events, next: data.next, at: shownAt, more, reading: Boolean(ui["reading"]) })}</div>
    ${never ? notYet(ctx, domain, events) : data.blame.value ? html`<div class=${at === data.at ? "side2" : "side2 stale"}>${data.deleted ? ended(events.get(data.at)) : nothing}${statePanel(ctx, domain, {
      at: data.at, newest: data.newest, deleted: data.deleted, fields: data.blame.value.fields,
      changes: data.diff.value && !data.deleted ? data.diff.value.changes : {}, endedNow: Boolean(data.diff.value?.to.deleted), events: data.events, foot: foot(ctx, domain),
    })}</div>` : noVersion(ctx, domain, problem)}
  </div>`;
}

/** @param {any} event */
const ended = (event) => html`<p class="hint calm"><span aria-hidden="true">■</span><span>${event ? html`Ended by ${actor(event.metadata?.actor)} at v${event.version}, ${when(event.created_at)}.` : "It has ended."} Its history stays.</span></p>`;

/** @param {Ctx} ctx @param {Domain} domain @param {Map<number, any>} events */
function notYet(ctx, domain, events) {
  const first = events.get(1);
  return html`<section class="state" aria-label="State"><div class="empty"><b>It did not exist yet.</b><span>${first ? html`Its first event is of ${when(first.created_at)}.` : nothing}</span><a class="btn small" href=${to(domain.name, ctx.route.id, 1)}>Show version 1</a></div></section>`;
}

/** @param {Ctx} ctx @param {Domain} domain @param {any} problem */
function noVersion(ctx, domain, problem) {
  if (problem?.name === "not-found") return html`<section class="state" aria-label="State"><div class="empty"><b>There is no version ${ctx.route.version}.</b><span>The newest is ${ctx.data.newest}.</span><a class="btn small" href=${to(domain.name, ctx.route.id)}>Show it now</a></div></section>`;
  return html`<div>${notice(ctx, ctx.data.blame.error)}</div>`;
}

/** @param {Ctx} ctx @param {Domain} domain */
function foot(ctx, domain) {
  const fields = Object.fromEntries(Object.entries(ctx.data.blame.value.fields).map(([field, at]) => [field, /** @type {any} */ (at).value]));
  const version = revertTo(ctx, domain);
  return html`<div class="foot">${version ? html`<button type="button" class="btn go" @click=${() => revert(ctx, domain)}>Revert to v${version}…</button><span class="fine dim grow opt">You will see what changes before anything is stored.</span>` : html`<span class="grow"></span>`}${copy(ctx, json(fields), "the state as JSON", "Copy as JSON")}</div>`;
}

/** The version that a revert from here goes to; undefined if it could change nothing. @param {Ctx} ctx @param {Domain} domain @returns {number | undefined} */
function revertTo(ctx, domain) {
  const { data } = ctx;
  if (!data?.blame?.value || !mayAppend(ctx, domain)) return undefined;
  if (data.deleted) return data.at - 1;
  return data.diff.value && Object.keys(data.diff.value.changes).length > 0 ? data.at : undefined;
}

/** @param {Ctx} ctx @param {Domain} domain */
function revert(ctx, domain) {
  const { fields } = ctx.data.blame.value;
  const version = revertTo(ctx, domain) ?? 1;
  openRevert(ctx, domain, {
    id: ctx.route.id ?? "", to: version, newest: ctx.data.newest, title: name(ctx) ?? short(ctx.route.id ?? ""),
    state: Object.fromEntries(Object.entries(fields).map(([field, at]) => [field, /** @type {any} */ (at).value])),
  }, () => now(ctx, domain));
}

/** @param {Ctx} ctx @param {Domain} domain */
const now = (ctx, domain) => ctx.go(withQuery(to(domain.name, ctx.route.id), hyphened(ctx)));

/** The page's own parameters, which stay when the version changes. @param {Ctx} ctx */
const hyphened = (ctx) => Object.fromEntries(Object.entries(ctx.route.query).filter(([key]) => key.startsWith("-")));

/** @param {Ctx} ctx @param {number | undefined} version */
function show(ctx, version) {
  if (!version || !ctx.domain || !ctx.data?.newest) return;
  const at = version >= ctx.data.newest ? undefined : Math.max(1, version);
  ctx.set({ wrongTime: false });
  ctx.go(withQuery(to(ctx.domain.name, ctx.route.id, at), hyphened(ctx)), { replace: true });
}

/** @param {Ctx} ctx @param {number} by */
const step = (ctx, by) => show(ctx, (ctx.route.version ?? ctx.data?.at ?? 1) + by);

/** @param {Ctx} ctx @param {Domain} domain */
function notFound(ctx, domain) {
  const id = ctx.route.id ?? "";
  return html`${pageHead({ title: "There is no such aggregate", sub: html`<code class="anywhere">${id}</code>${copy(ctx, id)}` })}
    <p>${domain.name} has no event of this id.</p><p class="acts3"><a class="btn" href=${to(domain.name)}>All ${domain.name}</a>
    ${mayAppend(ctx, domain) ? html` <button type="button" class="btn" @click=${() => openAppend(ctx, domain, { id, version: 0 }, () => now(ctx, domain))}>Append its first event…</button>` : nothing}</p>`;
}
