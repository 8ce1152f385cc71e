/**
 * What the server says about the projections, for every page: how much is parked, and whether events wait without a worker. A page
 * that reads the projections anyway notes them here; for the others, `/health` is read twice a minute after their own data.
 *
 * @import {Ctx} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { pill } from "./table.js";
import { number, plural } from "./text.js";
import { duration, when } from "./time.js";

/** @typedef {import("./table.js").Kind} Kind */

/** How old the status of a page that does not read the projections may become, in milliseconds. */
const READ_AFTER = 30_000;
/** A worker looks at least this often while it is well, in milliseconds: a schedule of a minute may be two minutes late. */
const WORKER_LATE = 150_000;

/** When a worker of a projection was last seen: the two routes name it differently. @param {any} at @returns {string | null} */
export const seen = (at) => at.workers?.last_seen ?? at.worker_seen_at ?? null;

/** When a worker of any of these projections was last seen. @param {[string, any][]} all @returns {string | null} */
export const newestSeen = (all) => all.map(([, at]) => seen(at)).filter(Boolean).sort().at(-1) ?? null;

/** @param {string | null} time */
export const isLate = (time) => time === null || Date.now() - new Date(time).getTime() > WORKER_LATE;

/**
 * What to say about a projection, the worst first.
 * @param {any} at what `/health` or `/projections` reports of it @returns {[Kind, string][]} at least one
 */
export function conditions({ error, state, parked, fold_changed, reprojection }) {
  /** @type {[Kind, string][]} */
  const found = [];
  if (error) found.push(["bad", "could not be measured"]);
  if (state === "stuck") found.push(["bad", "stuck: an event has waited for five minutes"]);
  if (state === "unprocessed") found.push(["bad", "no worker processes it"]);
  if (parked > 0) found.push(["warn", `${number(parked)} parked`]);
  if (reprojection) found.push(["run", reprojecting(reprojection)]);
  else if (fold_changed) found.push(["warn", "the fold has changed: reproject"]);
  if (found.length > 0) return found;
  return [state === "behind" ? ["run", "catching up"] : state === "current" ? ["ok", "caught up"] : ["warn", "could not be measured"]];
}

/** @param {any} reprojection */
function reprojecting({ state, generation, slices, slices_done = 0 }) {
  if (state !== "filling") return `generation ${generation} waits for you`;
  return `filling generation ${generation}${slices ? `, ${Math.floor((100 * slices_done) / slices)} %` : ""}`;
}

/**
 * What every table of projections has. A row is `[name, report]`.
 * @type {import("./table.js").Column<[string, any]>[]}
 */
export const projectionColumns = [
  { head: "projection", class: "name", cell: ([name, { generation }]) => html`<a data-row href=${`#/projections/${encodeURIComponent(name)}`}><bdi>${name}</bdi></a>${generation === undefined ? nothing : html`<small>${generation === null ? "serves no reader yet" : `generation ${generation}`}</small>`}` },
  { head: "status", cell: ([, at]) => conditions(at).map(([kind, text], index) => html`${index > 0 ? " " : nothing}${pill(kind, text)}`) },
  { head: "events behind", right: true, mono: true, cell: ([, at]) => number(at.lag_events) },
  { head: "oldest waits", right: true, mono: true, nowrap: true, cell: ([, at]) => (at.lag_events > 0 ? duration(at.lag_seconds ?? 0) : "–") },
];

/** @type {import("./table.js").Column<[string, any]>} */
export const workerColumn = { head: "worker seen", nowrap: true, class: "dim", cell: ([, at]) => (seen(at) ? when(seen(at), "ago") : "never") };

/** Keeps what a page has read. @param {Ctx} ctx @param {Record<string, any> | undefined} projections */
export function note(ctx, projections) {
  if (!projections) return;
  ctx.state.status = { projections, readAt: Date.now() };
  ctx.state.parked = Object.values(projections).reduce((sum, at) => sum + (at.parked ?? 0), 0);
}

/** Reads the status if no page has done so lately. A page is never blank because of it. @param {Ctx} ctx @param {AbortSignal} signal */
export async function keep(ctx, signal) {
  const { status } = ctx.state;
  if (status && Date.now() - status.readAt < READ_AFTER) return;
  try {
    note(ctx, (await ctx.api.get("/health", {}, { signal, tries: 1 })).projections);
    ctx.draw();
  } catch {
    // The next reading tries again.
  }
}

/** Says at the top of each page that events wait and no worker has been seen lately. @param {Ctx} ctx */
export function workerLine(ctx) {
  const alone = Object.entries(ctx.state.status?.projections ?? {}).filter(([, at]) => at.lag_events > 0 && isLate(seen(at)));
  if (alone.length === 0) return nothing;
  const last = newestSeen(alone);
  const waiting = alone.reduce((sum, [, at]) => sum + at.lag_events, 0);
  return html`<div class="hint" role="status"><span aria-hidden="true">◆</span><span class="grow"><b>No worker.</b> ${plural(waiting, "event waits", "events wait")} to be folded into
    ${alone.map(([name], index) => html`${index > 0 ? ", " : nothing}<a class="link" href=${`#/projections/${encodeURIComponent(name)}`}><bdi>${name}</bdi></a>`)}, and ${last ? html`no worker has been seen since ${when(last)}` : "no worker has ever been seen"}.</span></div>`;
}
