/**
 * What the server says about the projections, for every page: how much is parked, and whether events wait without a worker. A page
 * that reads the projections anyway notes them here; for the others, `/health` is read twice a minute after their own data.
 *
 * @import {Ctx} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { plural } from "./text.js";
import { when } from "./time.js";

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
