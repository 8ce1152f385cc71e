/**
 * The projections: how far each is, and what operators do about it. Below the table, each projection that needs attention has its
 * own boxes: a new generation, differences, parked aggregates.
 *
 * @import {Ctx, Page} from "../types.js"
 * @import {Job} from "./verbs.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { panels } from "../parts/api.js";
import { footer, requestShown, sender } from "../parts/dialog.js";
import { notice } from "../parts/problem.js";
import { isLate, newestSeen, note, projectionColumns } from "../parts/status.js";
import { pageHead, readAt, sheet, table } from "../parts/table.js";
import { number, plural } from "../parts/text.js";
import { when } from "../parts/time.js";
import { parkedSheet, skippedSheet } from "./parked.js";
import { reprojectDialog, reprojectionSheet } from "./reproject.js";
import { left, verified, verify, verifySheet } from "./verify.js";
import { jobs } from "./verbs.js";

/**
 * @typedef {{state: string, lag_events: number | null, lag_seconds: number | null, newest_event_at: string | null,
 *   oldest_waiting_at: string | null, parked: number | null, fold_changed: boolean | null, workers: {last_seen: string | null},
 *   generation: number | null, reprojection: any, last_verify: any, last_results?: Record<string, {answered_at: string, result: any}>}} Report
 * @typedef {{report: Report, parked: {result: any[], next: string | null} | null,
 *   differences: {result: any[], next: string | null} | null, skipped: {result: any[], next: string | null} | null}} Details
 * @typedef {{all: Record<string, Report>, details: Record<string, import("../types.js").Panel<Details>>}} Data
 */

/** @type {Page} */
export const page = {
  title: (ctx) => ctx.route.name ?? "Projections",
  crumbs: (ctx) => (ctx.route.name ? [{ text: "Projections", href: "#/projections" }] : []),
  async load(ctx, signal) {
    const may = ctx.has("operate");
    const { projections } = await ctx.api.get(may ? "/projections" : "/health", {}, { signal });
    const all = /** @type {Record<string, Report>} */ (projections);
    note(ctx, all);
    const names = Object.keys(all).filter((name) => may && (ctx.route.name ? ctx.route.name === name : needsAttention(ctx, name, all)));
    const reads = Object.fromEntries(names.map((name) => [name, readDetails(ctx, name, signal)]));
    const details = names.length === 0 ? {} : await panels(reads, ctx.data?.details);
    return /** @type {Data} */ ({ all, details });
  },
  view: (ctx) => view(ctx, /** @type {Data} */ (ctx.data)),
};

/** @param {Ctx} ctx @param {string} name @param {Record<string, Report>} all */
function needsAttention(ctx, name, all) {
  const report = all[name];
  if (!report) return false;
  const differs = report.last_verify && (left(report.last_verify) > 0 || !report.last_verify.complete);
  return Object.keys(all).length === 1 || Boolean(report.reprojection || report.parked || differs || report.fold_changed || jobs(ctx)[name]);
}

/** @param {Ctx} ctx @param {string} name @param {AbortSignal} signal @returns {Promise<Details>} */
async function readDetails(ctx, name, signal) {
  const path = `/projections/${encodeURIComponent(name)}`;
  const report = /** @type {Report} */ (await ctx.api.get(path, {}, { signal }));
  const list = (/** @type {string} */ what, /** @type {unknown} */ wanted) =>
    wanted ? ctx.api.get(`${path}/${what}`, { limit: 100 }, { signal }) : Promise.resolve(null);
  const [parked, differences, skipped] = await Promise.all([
    list("parked", report.parked), list("differences", report.last_verify?.differ), list("skipped", true),
  ]);
  return { report, parked, differences, skipped };
}

/** @param {Ctx} ctx @param {Data} data */
function view(ctx, data) {
  const { name } = ctx.route;
  if (name && !data.all[name]) return html`${pageHead({ title: `No projection is called ${name}` })}<p><a href="#/projections">All projections</a></p>`;
  const shown = name ? [name] : Object.keys(data.all);
  const sub = html`${workers(newestSeen(Object.entries(data.all)))}${readAt(ctx)}`;
  const actions = ctx.can("operate") ? html`<button type="button" class="btn" @click=${() => catchUp(ctx)}>Catch up now</button>` : nothing;
  return html`${pageHead({ title: name ?? "Projections", sub, actions })}
    ${sheet({ label: "All projections" }, table({ label: "Projections", rows: Object.entries(data.all).filter(([at]) => shown.includes(at)), columns: columns(ctx) }))}
    ${ctx.has("operate") ? nothing : html`<p class="hint calm">What is parked, verified and built anew is shown to a token with the scope <code>operate</code>.</p>`}
    ${shown.map((at) => boxes(ctx, at, data))}`;
}

/** @param {string | null} seen */
function workers(seen) {
  if (!seen) return html`<span class="warnText">▲ no worker has looked for events yet</span>`;
  const late = isLate(seen);
  return html`<span class=${late ? "warnText" : ""}>${late ? "▲ " : ""}a worker was last seen ${when(seen, "ago")}</span>`;
}

/** @param {Ctx} ctx @param {string} name @param {Data} data */
function boxes(ctx, name, data) {
  const panel = data.details[name];
  const job = jobs(ctx)[name];
  if (!panel && !job) return nothing;
  const value = panel?.value;
  return html`${job ? jobLine(ctx, name, job) : nothing}${panel?.error ? notice(ctx, panel.error) : nothing}
    ${value ? html`${reprojectionSheet(ctx, name, value)}${parkedSheet(ctx, name, value)}${verifySheet(ctx, name, value)}${skippedSheet(ctx, name, value)}` : nothing}`;
}

/** What this page has asked for and how it went. @param {Ctx} ctx @param {string} name @param {Job} job */
function jobLine(ctx, name, job) {
  if (job.error) return notice(ctx, job.error);
  if (!job.running) return nothing;
  return html`<div class="hint calm" role="status"><span class="spin" aria-hidden="true"></span><span class="grow">${job.label} ${name}…${job.rounds > 0 ? html` <span class="dim">round ${number(job.rounds + 1)}; the page sends the request again until it is done, so keep it open</span>` : nothing}</span></div>`;
}

/** @param {Ctx} ctx @returns {import("../parts/table.js").Column<[string, any]>[]} */
function columns(ctx) {
  const busy = (/** @type {string} */ name) => Boolean(jobs(ctx)[name]?.running);
  return [
    ...projectionColumns,
    { head: "last event", nowrap: true, class: "dim", cell: ([, at]) => (at.newest_event_at ? when(at.newest_event_at, "ago") : "none yet") },
    ...(ctx.has("operate") ? [{ head: "verified", cell: (/** @type {[string, any]} */ [, at]) => verified(at.last_verify) }] : []),
    { head: "actions", hidden: true, cell: ([name, at]) => ctx.can("operate") ? html`<span class="acts2">
      <button type="button" class="btn small" ?disabled=${busy(name)} aria-label=${`Verify ${name}`} @click=${() => verify(ctx, name)}>Verify</button>
      <button type="button" class="btn small" ?disabled=${busy(name) || Boolean(at.reprojection)} aria-label=${`Reproject ${name}`} @click=${() => ctx.open(reprojectDialog(name, at))}>Reproject…</button></span>` : nothing },
  ];
}

/** @param {Ctx} ctx */
function catchUp(ctx) {
  const sending = sender(ctx, async () => {
    const answer = await ctx.api.post("/projections", {});
    const applied = Object.values(answer.projections ?? {}).reduce((sum, /** @type {any} */ at) => sum + (at.applied ?? 0), 0);
    ctx.close();
    await ctx.reload();
    ctx.say(answer.projections ? `${plural(/** @type {number} */ (applied), "event")} folded` : "Handed over to the catch-up function");
  });
  ctx.open({
    title: "Catch up now",
    busy: () => sending.busy,
    view: () => html`<section><p>Folds the events that wait, in every projection, instead of at the next turn of a worker. Parked aggregates keep their own times.</p>${sending.error ? notice(ctx, sending.error) : nothing}</section>
      <section>${requestShown(ctx, { path: "/projections", body: {} })}</section>
      ${footer(ctx, { label: "Catch up", busy: sending.busy, run: sending.run })}`,
  });
}
