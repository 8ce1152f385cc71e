/**
 * Why a row is as old as it is: which events made it, which wait, and why.
 *
 * @import {Ctx} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { to } from "./routes.js";
import { pill, sheet, table } from "./table.js";
import { actor, copy, number, plural } from "./text.js";
import { isDue, when } from "./time.js";
import { notice } from "./problem.js";
import { retryDialog } from "../pages/parked.js";
import { jobs } from "../pages/verbs.js";

/** What is not the normal course. @type {Record<string, [import("./table.js").Kind, string]>} */
const STATES = {
  parked: ["warn", "parked: an event cannot be folded"], inconsistent: ["bad", "row and claims contradict each other"],
};

/** @type {Record<string, string>} */
const REASONS = { not_projected: "no worker has folded them yet", parked: "an event before them cannot be folded", claim_lost: "their claims are missing, because rows or claims were changed by hand" };

/** @param {[number, number][]} ranges */
const ranges = (ranges) => ranges.map(([from, to]) => (from === to ? `v${from}` : `v${from}–v${to}`)).join(", ");

/** The state in a few words, for the head of the page. @param {any} explanation */
export function rowPill({ state, version, newest, waiting }) {
  if (state === "current") return pill("ok", `the row is at version ${number(version)}`);
  if (state === "deleted") return pill("", "deleted");
  if (state === "behind") return pill("run", `the row is at version ${number(version ?? 0)}, ${plural(waiting.events, "event waits", "events wait")}`);
  const [kind, text] = STATES[state] ?? ["", state];
  return pill(kind, text);
}

/** @param {Ctx} ctx @param {any} at what `GET …/explain` answered */
export function explanation(ctx, at) {
  const { claimed, waiting, parked } = at;
  const job = jobs(ctx)[at.projection];
  return html`${sheet({ title: "Why this row is what it is" }, html`<dl class="pairs">
      <dt>row</dt><dd>${at.version === null ? "there is none" : html`at version ${number(at.version)} of ${number(at.newest)}`}, in the view <code>${at.projection}</code></dd>
      <dt>applied</dt><dd>${plural(claimed.events, "event")}${claimed.ranges.length > 0 ? html`: <code>${ranges(claimed.ranges)}</code>` : nothing}</dd>
      <dt>waiting</dt><dd>${waiting.events === 0 ? "no event" : html`${plural(waiting.events, "event")}: <code>${ranges(waiting.ranges)}</code>, because ${waiting.reason === "parked" && parked ? `v${parked.version} cannot be folded` : REASONS[waiting.reason] ?? waiting.reason}${waiting.since ? html`, since ${when(waiting.since)}` : nothing}`}</dd>
      ${parked ? html`<dt>parked at</dt><dd><a href=${to(ctx.route.domain ?? "", at.id, parked.version)}>v${parked.version}</a>: class <code>${parked.class}</code>, after ${plural(parked.attempts, "try", "tries")}, since ${when(parked.parked_at)}.
        ${!parked.next_try ? "An operator has stopped its tries." : isDue(parked.next_try) ? "Its next try is due." : html`Next try ${when(parked.next_try, "ago")}.`} ${parked.foldable ? "This build can fold the event, so the next try succeeds unless the database rejects the row." : "This build cannot fold the event either."}</dd>` : nothing}
      <dt>revision</dt><dd>${at.revision ? html`<code class="anywhere">${at.revision}</code> ${copy(ctx, at.revision, "the revision")}<div class="fine dim">Equal revisions have applied equal events.</div>` : "none, because no event is applied"}</dd></dl>
    ${parked && ctx.can("operate") ? html`${job?.error ? notice(ctx, job.error) : nothing}<div class="foot"><button type="button" class="btn" ?disabled=${job?.running} @click=${() => ctx.open(retryDialog(at.projection, at.id, parked.version))}>Retry…</button><span class="dim fine">Retries this aggregate only. To retry all, or to skip an event, open <a href=${`#/projections/${encodeURIComponent(at.projection)}`}>${at.projection}</a>.</span></div>` : nothing}`)}
  ${sheet({ title: "The newest events" }, table({
    label: "The newest events", rows: at.events,
    columns: [
      { head: "version", mono: true, cell: (event) => html`<a data-row href=${to(ctx.route.domain ?? "", at.id, event.version)}>v${event.version}</a>` },
      { head: "event", cell: (event) => event.type ?? "unknown to this build" },
      { head: "by", cell: (event) => actor(event.actor) },
      { head: "recorded", nowrap: true, cell: (event) => when(event.created_at) },
      { head: "in the row", cell: (event) => (event.claimed ? pill("ok", "applied") : pill("run", "waits")) },
    ],
  }))}`;
}
