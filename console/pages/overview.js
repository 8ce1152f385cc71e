/**
 * Overview: does everything work, how much happens, what has happened last. `#/?wall` shows it without navigation.
 *
 * @import {Ctx, Page} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { panels } from "../parts/api.js";
import { panel } from "../parts/problem.js";
import { to } from "../parts/routes.js";
import { pageHead, pill, sheet, spark, table, tile } from "../parts/table.js";
import { actor, copy, number, plural, short } from "../parts/text.js";
import { duration, when, stamp, zone } from "../parts/time.js";

const NEWEST = 100;
const SHOWN = 12;

/** @type {Page} */
export const page = {
  title: () => "Overview",
  async load(ctx, signal) {
    const get = (/** @type {string} */ path, /** @type {any} */ query = {}) => ctx.api.get(path, query, { signal });
    // A token without the scope `operate` still sees the public figures.
    const data = await panels({
      status: get(ctx.can("operate") ? "/projections" : "/health"),
      ...(readable(ctx) && { events: get("/events", { order: "desc", limit: NEWEST, domain: readable(ctx)?.domain }) }),
    }, ctx.data);
    const all = entries(data.status.value);
    if (all.length > 0) ctx.state.parked = all.reduce((sum, [, at]) => sum + (at.parked ?? 0), 0);
    return data;
  },
  view(ctx) {
    const { status, events } = ctx.data;
    return html`${pageHead({ title: "Overview", sub: status.value ? verdict(ctx, entries(status.value)) : nothing })}
      ${panel(ctx, status, (value) => html`${noWorker(entries(value))}${tiles(entries(value), events?.value)}`)}
      ${panel(ctx, status, (value) => projections(ctx, entries(value)))}
      ${events ? lastEvents(ctx, events) : html`<p class="hint calm">The last events are shown to a token that may read every domain.</p>`}`;
  },
};

/** The feed is of every domain or of one; null if the token may read some domains only. @param {Ctx} ctx @returns {{domain?: string | undefined} | null} */
function readable(ctx) {
  const names = ctx.schema.domains.map(({ name }) => name).filter((name) => ctx.can(`${name}:read`));
  if (names.length === ctx.schema.domains.length) return {};
  return names.length === 1 ? { domain: names[0] } : null;
}

/** @param {any} value @returns {[string, any][]} */
const entries = (value) => Object.entries(value?.projections ?? {});

/** When a worker was last seen: the two routes name it differently. @param {any} at @returns {string | null} */
const seen = (at) => at.workers?.last_seen ?? at.worker_seen_at ?? null;

/** @param {[string, any][]} all */
const newestSeen = (all) => all.map(([, at]) => seen(at)).filter(Boolean).sort().at(-1) ?? null;

/**
 * What to say about a projection: the colour, the words.
 * @param {any} at @returns {["ok" | "warn" | "run" | "bad" | "", string]}
 */
export function condition(at) {
  if (at.error) return ["bad", "cannot be measured"];
  if (at.parked > 0) return ["warn", `${plural(at.parked, "aggregate")} parked`];
  if (at.state === "stuck") return ["bad", "stuck"];
  if (at.state === "unprocessed") return ["warn", "no worker yet"];
  if (at.fold_changed) return ["warn", "rows of another fold"];
  if (at.reprojection) return ["run", reprojecting(at.reprojection)];
  if (at.state === "behind") return ["run", "catching up"];
  if (at.state === "current") return ["ok", "caught up"];
  return ["", "unknown"];
}

/** @param {any} at */
function reprojecting(at) {
  if (at.state === "filled") return `generation ${at.generation} waits for you`;
  if (at.state === "refused") return `generation ${at.generation} was refused`;
  return `generation ${at.generation} is filled${at.slices ? `, ${Math.floor((100 * (at.slices_done ?? 0)) / at.slices)} %` : ""}`;
}

/** @param {Ctx} ctx @param {[string, any][]} all */
function verdict(ctx, all) {
  const wrong = all.filter(([, at]) => ["warn", "bad", ""].includes(condition(at)[0]));
  const worker = newestSeen(all);
  return html`${wrong.length === 0 ? pill("ok", all.length === 1 ? "The view is caught up" : all.every(([, at]) => condition(at)[0] === "ok") ? "All views are caught up" : "Everything works")
    : pill("warn", wrong.length === 1 ? `${wrong[0]?.[0]}: ${condition(wrong[0]?.[1])[1]}` : `${wrong.length} of ${all.length} views need attention`)}
    <span>${worker ? html`a worker was seen ${when(worker, "ago")}` : "no worker has been seen"}</span>
    ${ctx.schema.version ? html`<span>version ${ctx.schema.version}</span>` : nothing}
    ${ctx.state.loadedAt ? html`<span>read at ${stamp(ctx.state.loadedAt, "clock")} ${zone()}</span>` : nothing}`;
}

/** @param {[string, any][]} all */
function noWorker(all) {
  const worker = newestSeen(all);
  if (all.length === 0 || (worker && Date.now() - new Date(worker).getTime() < 120_000)) return nothing;
  const behind = all.reduce((sum, [, at]) => sum + (at.lag_events ?? 0), 0);
  if (behind === 0 && worker) return nothing;
  return html`<p class="hint"><span aria-hidden="true">◆</span><span>${worker ? html`No worker has been seen since ${when(worker)}.` : "No worker has ever been seen."} ${behind > 0 ? `${plural(behind, "event waits", "events wait")} for one.` : "New events will wait until one runs."}</span></p>`;
}

/** @param {[string, any][]} all @param {any} feed */
function tiles(all, feed) {
  const sum = (/** @type {string} */ name) => all.reduce((total, [, at]) => total + (at[name] ?? 0), 0);
  const oldest = Math.max(0, ...all.map(([, at]) => at.lag_seconds ?? 0));
  const parked = sum("parked");
  const behind = sum("lag_events");
  const parkedIn = all.filter(([, at]) => at.parked > 0).length;
  return html`<div class="tiles">
    ${feed ? appended(feed.result) : nothing}
    ${tile("waiting to be folded", number(behind), behind === 0 ? "every event is in its view" : plural(behind, "event"))}
    ${tile("oldest waits", behind > 0 || oldest > 0 ? duration(oldest) : "–", oldest > 300 ? "longer than five minutes" : behind > 0 ? "since it was appended" : "nothing waits", oldest > 300 ? "warn" : "")}
    ${tile("parked", number(parked), parked > 0 ? html`<a href="#/projections">in ${plural(parkedIn, "view")}</a>` : "nothing is parked", parked > 0 ? "warn" : "")}</div>`;
}

/** How many events a second the newest of the log are: exact while they span a minute. @param {any[]} events */
function appended(events) {
  const now = Date.now();
  const ages = events.map((at) => (now - new Date(at.created_at).getTime()) / 1000).filter((age) => age < 60);
  const span = ages.length === NEWEST ? Math.max(.1, ages.at(-1) ?? 60) : 60;
  const slots = Array.from({ length: 12 }, () => 0);
  for (const age of ages) {
    const slot = 11 - Math.min(11, Math.max(0, Math.floor((age / span) * 12)));
    slots[slot] = (slots[slot] ?? 0) + 1;
  }
  const rate = ages.length / span;
  const last = events[0]?.created_at;
  return tile("appended a second", html`${number(rate >= 10 ? Math.round(rate) : Math.round(rate * 10) / 10)} ${spark(slots)}`,
    ages.length > 0 ? (span < 60 ? `by the newest ${NEWEST} events, of the last ${duration(span)}` : "in the last minute") : last ? html`the newest is of ${when(last)}` : "no events yet");
}

/** @param {Ctx} ctx @param {[string, any][]} all */
function projections(ctx, all) {
  return sheet({ title: "Projections", actions: html`<a class="btn small" href="#/projections">Open</a>` }, table({
    label: "Projections", rows: all,
    columns: [
      { head: "projection", class: "name", cell: ([name, at]) => html`<a data-row href=${`#/projections/${name}`}><bdi>${name}</bdi></a>${at.generation ? html`<small>generation ${at.generation}</small>` : nothing}` },
      { head: "status", cell: ([, at]) => pill(...condition(at)) },
      { head: "events behind", right: true, mono: true, cell: ([, at]) => number(at.lag_events) },
      { head: "oldest waits", right: true, mono: true, nowrap: true, cell: ([, at]) => (at.lag_seconds > 0 ? duration(at.lag_seconds) : "–") },
      { head: "parked", right: true, mono: true, cell: ([, at]) => number(at.parked) },
      { head: "worker seen", nowrap: true, class: "dim", cell: ([, at]) => (seen(at) ? when(seen(at), "ago") : "never") },
      ...(ctx.can("operate") ? [{ head: "verified", nowrap: true, class: "dim", cell: (/** @type {[string, any]} */ [, at]) => verified(at.last_verify) }] : []),
    ],
  }));
}

/** @param {any} at */
const verified = (at) => (at ? html`${when(at.verified_at, "ago")} ${at.differ > 0 ? html`<span class="warnText">${plural(at.differ, "row differs", "rows differ")}</span>` : "no differences"}` : "never");

/** @param {Ctx} ctx @param {import("../types.js").Panel<any>} events */
function lastEvents(ctx, events) {
  return sheet({ title: "Last events", actions: html`<a class="btn small" href="#/events">Open the feed</a>` }, panel(ctx, events, ({ result }) => table({
    label: "Last events", rows: result.slice(0, SHOWN), empty: firstSteps(ctx),
    columns: [
      { head: "time", mono: true, nowrap: true, cell: (at) => when(at.created_at, Date.now() - new Date(at.created_at).getTime() < 43_200_000 ? "clock" : "stamp") },
      { head: "event", cell: (at) => html`<b class="plain">${at.type ?? `type ${at.type_id}`}</b>` },
      { head: "domain", cell: (at) => html`<bdi>${at.domain}</bdi>` },
      { head: "aggregate", mono: true, nowrap: true, cell: (at) => html`<a data-row href=${to(at.domain, at.aggregate_id, at.version)} title=${at.aggregate_id}>${short(at.aggregate_id)}</a> <span class="dim">v${at.version}</span>` },
      { head: "by", cell: (at) => actor(at.metadata?.actor) },
    ],
  })));
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
