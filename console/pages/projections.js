/**
 * The projections: how far each is, and what operators do about it. Below the table, each projection that needs attention has its
 * own boxes: a new generation, differences, parked aggregates.
 *
 * @import {Ctx, Page} from "../types.js"
 * @import {Job} from "./verbs.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { panels } from "../parts/api.js";
import { footer, requestShown } from "../parts/dialog.js";
import { notice } from "../parts/problem.js";
import { isLate, note } from "../parts/status.js";
import { pageHead, pill, sheet, table } from "../parts/table.js";
import { number, plural } from "../parts/text.js";
import { ago, duration, when } from "../parts/time.js";
import { parkedSheet, skippedSheet } from "./parked.js";
import { reprojectDialog, reprojectionSheet } from "./reproject.js";
import { left, verify, verifySheet } from "./verify.js";
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
    const { projections } = await ctx.api.get("/projections", {}, { signal });
    const all = /** @type {Record<string, Report>} */ (projections);
    note(ctx, all);
    const names = Object.keys(all).filter((name) => (ctx.route.name ? ctx.route.name === name : needsAttention(ctx, name, all)));
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
  const seen = Object.values(data.all).map((at) => at.workers.last_seen).filter((at) => at !== null).sort().at(-1);
  const sub = html`${workers(seen)}<span>read ${ctx.state.loadedAt ? ago(ctx.state.loadedAt) : "now"}, again every 5 s</span>`;
  const actions = ctx.can("operate") ? html`<button type="button" class="btn" @click=${() => catchUp(ctx)}>Catch up now</button>` : nothing;
  return html`${pageHead({ title: name ?? "Projections", sub, actions })}
    ${sheet({ label: "All projections" }, table({ label: "Projections", rows: shown, columns: columns(ctx, data.all) }))}
    ${shown.map((at) => boxes(ctx, at, data))}`;
}

/** @param {string | undefined} seen */
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

/** @param {Ctx} ctx @param {Record<string, Report>} all @returns {import("../parts/table.js").Column<string>[]} */
function columns(ctx, all) {
  const of = (/** @type {string} */ name) => /** @type {Report} */ (all[name]);
  const busy = (/** @type {string} */ name) => Boolean(jobs(ctx)[name]?.running);
  return [
    { head: "projection", class: "name", cell: (name) => html`<a href=${`#/projections/${encodeURIComponent(name)}`}><bdi>${name}</bdi></a><small>${of(name).generation === null ? "serves no reader yet" : `generation ${of(name).generation}`}</small>` },
    { head: "status", cell: (name) => status(of(name)) },
    { head: "events behind", right: true, mono: true, cell: (name) => number(of(name).lag_events) },
    { head: "oldest waits", right: true, mono: true, nowrap: true, cell: (name) => waits(of(name)) },
    { head: "last event", cell: (name) => html`<span class="dim nowrap">${of(name).newest_event_at ? when(of(name).newest_event_at, "ago") : "none yet"}</span>` },
    { head: "verified", cell: (name) => verified(of(name).last_verify) },
    { head: "actions", hidden: true, cell: (name) => ctx.can("operate") ? html`<span class="acts2">
      <button type="button" class="btn small" ?disabled=${busy(name)} aria-label=${`Verify ${name}`} @click=${() => verify(ctx, name)}>Verify</button>
      <button type="button" class="btn small" ?disabled=${busy(name) || Boolean(of(name).reprojection)} aria-label=${`Reproject ${name}`} @click=${() => ctx.open(reprojectDialog(name, of(name)))}>Reproject…</button></span>` : nothing },
  ];
}

/** @param {Report} report */
function waits({ lag_seconds: lag, lag_events: events }) {
  if (lag === null) return "–";
  return events === 0 ? "0 s" : duration(lag);
}

/** The worst news first, in words. @param {Report} report */
export function status(report) {
  const { state, reprojection, parked } = report;
  if (state === "stuck") return pill("bad", "stuck: an event has waited for five minutes");
  if (state === "unprocessed") return pill("bad", "no worker processes it");
  const fresh = reprojection ? pill("run", reprojection.state === "filling" ? `filling generation ${reprojection.generation}` : `generation ${reprojection.generation} waits for you`) : nothing;
  if (parked) return html`${pill("warn", `${number(parked)} parked`)} ${fresh}`;
  if (reprojection) return fresh;
  if (report.fold_changed) return pill("warn", "the fold has changed: reproject");
  if (state === "behind") return pill("run", "catching up");
  return state === "current" ? pill("ok", "caught up") : pill("warn", "could not be measured");
}

/** @param {any} last */
function verified(last) {
  if (!last) return html`<span class="dim">never</span>`;
  const found = last.differ + last.orphan_claims;
  const text = found === 0 ? "no differences" : left(last) === 0 ? `${plural(found, "difference")} repaired` : plural(found, "difference");
  return html`<span class=${left(last) > 0 ? "warnText" : "dim"}>${when(last.verified_at, "ago")}, ${text}${last.complete ? nothing : ", not complete"}</span>`;
}

/** @param {Ctx} ctx */
function catchUp(ctx) {
  let busy = false;
  /** @type {unknown} */
  let error = null;
  const send = async () => {
    busy = true;
    ctx.draw();
    try {
      const answer = await ctx.api.post("/projections", {});
      const applied = Object.values(answer.projections ?? {}).reduce((sum, /** @type {any} */ at) => sum + (at.applied ?? 0), 0);
      ctx.close();
      await ctx.reload();
      ctx.say(answer.projections ? `${plural(/** @type {number} */ (applied), "event")} folded` : "Handed over to the catch-up function");
    } catch (caught) {
      [error, busy] = [caught, false];
      ctx.draw();
    }
  };
  ctx.open({
    title: "Catch up now",
    busy: () => busy,
    view: () => html`<section><p>Folds the events that wait, in every projection, instead of at the next turn of a worker. Parked aggregates keep their own times.</p>${error ? notice(ctx, error) : nothing}</section>
      <section>${requestShown(ctx, { path: "/projections", body: {} })}</section>
      ${footer(ctx, { label: "Catch up", busy, run: send })}`,
  });
}
