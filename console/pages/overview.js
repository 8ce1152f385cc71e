/**
 * Overview: does everything work, how much happens, what has happened last. `#/?wall` shows it without navigation.
 *
 * @import {Ctx, Page} from "../types.js"
 * @import {Pace} from "../parts/pace.js"
 * @import {Kind} from "../parts/table.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { panels } from "../parts/api.js";
import { panel } from "../parts/problem.js";
import { to } from "../parts/routes.js";
import { conditions, newestSeen, note, projectionColumns, workerColumn } from "../parts/status.js";
import { pageHead, pill, readAt, sheet, spark, table, tile } from "../parts/table.js";
import { actor, copy, number, plural, short } from "../parts/text.js";
import { duration, when } from "../parts/time.js";
import { FOLDED, NEWEST, pace, rate } from "../parts/pace.js";
import { verified } from "./verify.js";

const SHOWN = 12;

/** @type {Page} */
export const page = {
  title: () => "Overview",
  async load(ctx, signal) {
    const get = (/** @type {string} */ path, /** @type {any} */ query = {}) => ctx.api.get(path, query, { signal });
    // A token without the scope `operate` still sees the public figures.
    const data = await panels({
      status: get(ctx.has("operate") ? "/projections" : "/health"),
      ...(readable(ctx) && { events: get("/events", { order: "desc", limit: NEWEST, domain: readable(ctx)?.domain }) }),
    }, ctx.data);
    note(ctx, data.status.value?.projections);
    const parked = ctx.has("operate") ? await parkedAggregates(get, entries(data.status.value)) : null;
    return { ...data, parked, pace: pace(ctx.data?.pace, data.status, data.events, new Set(ctx.schema.domains.map(({ name }) => name)), readable(ctx)?.domain) };
  },
  view(ctx) {
    const { status, events, parked, pace } = ctx.data;
    return html`${pageHead({ title: "Overview", sub: status.value ? verdict(ctx, status.value) : nothing })}
      ${panel(ctx, status, (value) => tiles(entries(value), events?.value, pace))}
      ${panel(ctx, status, (value) => projections(ctx, entries(value), pace))}
      ${events ? lastEvents(ctx, events, parked) : html`<p class="hint calm">The last events are shown to a token that may read every domain.</p>`}`;
  },
};

/**
 * What is parked, for the marks of the last events: a page of each of the first few projections that have parked aggregates.
 * @param {(path: string, query: any) => Promise<any>} get @param {[string, any][]} all
 * @returns {Promise<{at: Map<string, {projection: string, version: number}>, complete: boolean}>}
 */
async function parkedAggregates(get, all) {
  const names = all.filter(([, at]) => at.parked > 0).map(([name]) => name);
  const pages = await Promise.all(names.slice(0, 3).map((name) =>
    get(`/projections/${encodeURIComponent(name)}/parked`, { limit: NEWEST }).then((page) => ({ name, ...page }), () => null)));
  const at = new Map();
  for (const page of pages) for (const row of page?.result ?? []) at.set(row.aggregate_id, { projection: page.name, version: row.version });
  return { at, complete: names.length <= 3 && pages.every((page) => page?.next === null) };
}

/** The feed is of every domain or of one; null if the token may read some domains only. @param {Ctx} ctx @returns {{domain?: string | undefined} | null} */
function readable(ctx) {
  if (ctx.readsAll) return {};
  return ctx.readable.length === 1 ? { domain: ctx.readable[0] } : null;
}

/** @param {any} value @returns {[string, any][]} */
const entries = (value) => Object.entries(value?.projections ?? {});

/** @param {Ctx} ctx @param {any} status */
function verdict(ctx, status) {
  const all = entries(status);
  const postgres = status.database?.connection?.postgres;
  const worst = all.map(([name, at]) => ({ name, worst: /** @type {[Kind, string]} */ (conditions(at)[0]) }));
  const wrong = worst.filter(({ worst: [kind] }) => kind === "warn" || kind === "bad");
  const worker = newestSeen(all);
  return html`${wrong.length === 0 ? pill("ok", worst.some(({ worst: [kind] }) => kind !== "ok") ? "Everything works" : all.length === 1 ? "The view is caught up" : "All views are caught up")
    : pill("warn", wrong[0] && wrong.length === 1 ? `${wrong[0].name}: ${wrong[0].worst[1]}` : `${wrong.length} of ${all.length} views need attention`)}
    <span>${worker ? html`a worker was seen ${when(worker, "ago")}` : "no worker has been seen"}</span>
    ${postgres ? html`<span>Postgres ${postgres}</span>` : nothing}
    ${ctx.schema.version ? html`<span>foldlog ${ctx.schema.version}</span>` : nothing}
    ${readAt(ctx)}`;
}

/** @param {[string, any][]} all @param {any} feed @param {Pace | null} pace */
function tiles(all, feed, pace) {
  const sum = (/** @type {string} */ name) => all.reduce((total, [, at]) => total + (at[name] ?? 0), 0);
  const oldest = Math.max(0, ...all.map(([, at]) => at.lag_seconds ?? 0));
  const parked = sum("parked");
  const behind = sum("lag_events");
  const allIn = parked > 0 ? "all but what is parked is folded" : "every event is in its view";
  const parkedIn = all.filter(([, at]) => at.parked > 0).length;
  return html`<div class="tiles">
    ${feed ? appended(feed.result, pace) : nothing}
    ${feed ? foldedTile(pace) : tile("waiting to be folded", number(behind), behind === 0 ? allIn : plural(behind, "event"))}
    ${tile("oldest waits", behind > 0 || oldest > 0 ? duration(oldest) : "–", oldest > 300 ? "longer than five minutes" : behind > 0 ? html`${plural(behind, "event waits", "events wait")} to be folded` : allIn, oldest > 300 ? "warn" : "")}
    ${tile("parked", number(parked), parked > 0 ? html`<a href="#/projections">in ${plural(parkedIn, "view")}</a>` : "nothing is parked", parked > 0 ? "warn" : "")}</div>`;
}

/** @param {Pace | null} pace */
function foldedTile(pace) {
  const all = Object.entries(pace?.folded ?? {});
  // A sum that leaves a view out says which views it has.
  const counted = all.filter(([, rates]) => rates.at(-1) !== null);
  const steps = Math.min(...counted.map(([, rates]) => rates.length));
  const sums = counted.length === 0 ? [] : Array.from({ length: steps }, (_, step) => total(counted.map(([, rates]) => rates.at(step - steps))));
  const last = sums.at(-1) ?? null;
  const views = counted.length < all.length ? (counted.length > 3 ? `${counted.length} of ${all.length} views` : counted.map(([name]) => name).join(", ")) : all.length === 1 ? "the view" : "all views";
  return tile("folded a second", html`<span title=${FOLDED}>${rate(last)}</span> ${line(sums)}`,
    pace?.since === undefined ? "known after the next refresh" : last === null ? "too many events to tell" : html`in <bdi>${views}</bdi>, in the last ${duration(pace.since)}`);
}

/** The sum of rates; null if one is not known. @param {(number | null | undefined)[]} rates */
const total = (rates) => rates.reduce((/** @type {number | null} */ sum, at) => (sum === null || at == null ? null : sum + at), 0);

/** The rates that are known, over time. @param {(number | null)[]} rates */
function line(rates) {
  const known = rates.filter((at) => at !== null);
  return known.length > 1 ? spark(known) : nothing;
}

/**
 * How many events a second the newest of the log are: exact while they span a minute. Otherwise the difference of positions since the last
 * refresh, which has no bound, or at first what the newest events say at least.
 * @param {any[]} events @param {Pace | null} pace
 */
function appended(events, pace) {
  const now = Date.now();
  const ages = events.map((at) => (now - new Date(at.created_at).getTime()) / 1000).filter((age) => age < 60);
  const span = ages.length === NEWEST ? Math.max(.1, ages.at(-1) ?? 60) : 60;
  const slots = Array.from({ length: 12 }, () => 0);
  for (const age of ages) {
    const slot = 11 - Math.min(11, Math.max(0, Math.floor((age / span) * 12)));
    slots[slot] = (slots[slot] ?? 0) + 1;
  }
  const last = events[0]?.created_at;
  const many = ages.length === NEWEST;
  const exact = many ? pace?.appended : ages.length / span;
  return tile(pace?.domain ? html`appended a second to <bdi>${pace.domain}</bdi>` : "appended a second", html`${exact === undefined ? `≥\u2009${rate(ages.length / span)}` : rate(exact)} ${spark(slots)}`,
    ages.length > 0 ? (!many ? "in the last minute" : exact === undefined ? `by the newest ${NEWEST} events, of the last ${duration(span)}` : `in the last ${duration(pace?.since ?? span)}`) : last ? html`the newest is of ${when(last)}` : "no events yet");
}

/** @param {Ctx} ctx @param {[string, any][]} all @param {Pace | null} pace */
function projections(ctx, all, pace) {
  return sheet({ title: "Projections", actions: html`<a class="btn small" href="#/projections">Open</a>` }, table({
    label: "Projections", rows: all,
    columns: [
      ...projectionColumns,
      { head: html`<span title=${FOLDED}>folded a second</span>`, right: true, mono: true, nowrap: true, cell: ([name]) => foldedCell(pace?.folded[name]) },
      { head: "parked", right: true, mono: true, cell: ([, at]) => number(at.parked) },
      workerColumn,
      ...(ctx.has("operate") ? [{ head: "verified", nowrap: true, cell: (/** @type {[string, any]} */ [, at]) => verified(at.last_verify) }] : []),
    ],
  }));
}

/** @param {(number | null)[] | undefined} rates */
const foldedCell = (rates) => (rates ? html`${rate(rates.at(-1) ?? null)} ${line(rates)}` : html`<span class="dim">–</span>`);

/** @param {Ctx} ctx @param {import("../types.js").Panel<any>} events @param {any} parked */
function lastEvents(ctx, events, parked) {
  const note = parked && !parked.complete ? "more is parked than is marked here" : nothing;
  return sheet({ title: "Last events", note, actions: html`<a class="btn small" href="#/events">Open the feed</a>` }, panel(ctx, events, ({ result }) => table({
    label: "Last events", rows: result.slice(0, SHOWN), empty: firstSteps(ctx),
    columns: [
      { head: "time", mono: true, nowrap: true, cell: (at) => when(at.created_at, Date.now() - new Date(at.created_at).getTime() < 43_200_000 ? "clock" : "stamp") },
      { head: "event", cell: (at) => html`<b class="plain">${at.type ?? `type ${at.type_id}`}</b>` },
      { head: "domain", cell: (at) => html`<bdi>${at.domain}</bdi>` },
      { head: "aggregate", mono: true, nowrap: true, cell: (at) => html`<a data-row href=${to(at.domain, at.aggregate_id, at.version)} title=${at.aggregate_id}>${short(at.aggregate_id)}</a> <span class="dim">v${at.version}</span>` },
      { head: "by", cell: (at) => actor(at.metadata?.actor) },
      ...(parked?.at.size > 0 ? [{ head: "in the view", nowrap: true, cell: (/** @type {any} */ at) => parkedMark(parked.at.get(at.aggregate_id), at) }] : []),
    ],
  })));
}

/** The mark of an event that is not in its view, because it, or one before it, cannot be folded. @param {any} parked @param {any} event */
function parkedMark(parked, event) {
  if (!parked || event.version < parked.version) return nothing;
  return html`<a class="warnText" href=${`${to(event.domain, event.aggregate_id)}/explain`} title=${`${parked.projection} waits at version ${parked.version} of this aggregate`}>◆ parked</a>`;
}

/** What a newcomer can do: the two requests of the README, with the names of this deployment. @param {Ctx} ctx */
function firstSteps(ctx) {
  const event = sample(ctx);
  if (!event) return html`<b>No events yet.</b>`;
  const base = ctx.api.baseUrl.replace(/\/$/, "");
  const text = `curl ${base}/${event.domain} -H 'Content-Type: application/json' -d '${JSON.stringify(event.body)}'\ncurl ${base}/${event.domain}`;
  return html`<b>No events yet.</b><span>Append the first one, and read it back:</span><pre tabindex="0" role="region" aria-label="Commands">${text}</pre>${copy(ctx, text, "the commands")}`;
}

/** @param {Ctx} ctx */
function sample(ctx) {
  const domain = ctx.schema.domains[0];
  const event = domain?.events[0];
  return domain && event?.example ? { domain: domain.name, body: event.example } : null;
}
