/**
 * A verification: the rows and claims of a view, compared with what the events give.
 *
 * @import {Ctx, Dialog} from "../types.js"
 * @import {Details} from "./projections.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { verbDialog } from "../parts/dialog.js";
import { rowLink, sheet, table } from "../parts/table.js";
import { number, plural, shown } from "../parts/text.js";
import { when } from "../parts/time.js";
import { jobs, run } from "./verbs.js";

/** @param {Ctx} ctx @param {string} name @param {Details} details */
export function verifySheet(ctx, name, { report, differences }) {
  const last = report.last_verify;
  if (!last) return nothing;
  const busy = Boolean(jobs(ctx)[name]?.running);
  const goOn = last.complete || !ctx.can("operate") ? nothing : html`<button type="button" class="btn small" ?disabled=${busy} @click=${() => (last.repair ? repair(ctx, name) : verify(ctx, name))}>Continue</button>`;
  if (left(last) === 0) {
    const title = last.complete ? "verified" : busy ? "verification in progress" : "verification not complete";
    return sheet({ title: `${name}: ${title}`, note: html`${when(last.verified_at)}`, actions: goOn }, html`<div class="empty"><p><b>${outcome(last)}</b> ${compared(last)}.</p></div>`);
  }
  const found = last.differ + last.orphan_claims;
  const actions = ctx.can("operate") ? html`${goOn}<button type="button" class="btn small" ?disabled=${busy} @click=${() => ctx.open(repairDialog(name, last))}>Repair ${found === 1 ? "this one" : `these ${number(found)}`}…</button>` : nothing;
  const note = html`${when(last.verified_at)} · ${compared(last)}${last.differ > 0 && last.orphan_claims > 0 ? html` · ${orphans(last)}` : nothing}`;
  const rows = differences?.result ?? [];
  const title = `${name}: ${last.differ > 0 ? `${plural(last.differ, "aggregate")} ${last.differ === 1 ? "differs" : "differ"} from the events` : orphans(last)}`;
  if (last.differ === 0) return sheet({ title, id: `differences-${name}`, note, actions }, html`<div class="empty"><p>Every row is what the events give. A claim says that an event is folded; without the event it has no effect, and a repair removes it.</p></div>`);
  return sheet({ title, id: `differences-${name}`, note, actions }, html`${table({
    label: "Differences", rows, columns: [
      { head: "row", mono: true, cell: (row) => rowLink(ctx, name, row.id) },
      { head: "field", mono: true, cell: (row) => row.field || html`<span class="null">the row itself</span>` },
      { head: "in the view", mono: true, cell: (row) => row.live === null ? shown(null) : html`<del>${shown(row.live)}</del>` },
      { head: "from the events", mono: true, cell: (row) => row.field === "" ? html`${row.new}` : row.new === null ? shown(null) : html`<ins>${shown(row.new)}</ins>` },
    ],
  })}${differences?.next ? html`<p class="under dim">The first ${number(rows.length)} are shown.</p>` : nothing}`);
}

/**
 * The result of a verification.
 * @typedef {{differ: number, repaired: number, orphan_claims: number, removed_claims: number, aggregates: number,
 *   estimated_aggregates: number | null, complete: boolean, repair: boolean}} LastVerify
 */

/** How many differences are not repaired. @param {LastVerify} last */
export const left = (last) => last.differ - last.repaired + last.orphan_claims - last.removed_claims;

/** When a projection was verified, and what was found, for a table. @param {(LastVerify & {verified_at: string}) | null} last */
export function verified(last) {
  if (!last) return html`<span class="dim">never</span>`;
  const found = last.differ + last.orphan_claims;
  const text = found === 0 ? "no differences" : left(last) === 0 ? `${plural(found, "difference")} repaired` : plural(found, "difference");
  return html`<span class=${left(last) > 0 ? "warnText" : "dim"}>${when(last.verified_at, "ago")}, ${text}${last.complete ? nothing : ", not complete"}</span>`;
}

/** What a verification that leaves no difference has found. @param {LastVerify} last */
function outcome(last) {
  const folded = last.repaired > 0 && `${plural(last.repaired, "aggregate")} differed and ${last.repaired === 1 ? "was" : "were"} folded anew`;
  const removed = last.removed_claims > 0 && `${orphans(last)} ${last.removed_claims === 1 ? "was" : "were"} removed`;
  const done = [folded, removed].filter(Boolean).join("; ");
  if (done) return `${done}.`;
  return last.complete ? "Every row is what the events give." : "No differences so far.";
}

/** How far a verification is. @param {LastVerify} last */
function compared({ aggregates, estimated_aggregates: estimate, complete }) {
  if (complete) return `${plural(aggregates, "aggregate")} compared`;
  return estimate !== null && estimate > aggregates ? `${number(aggregates)} of about ${plural(estimate, "aggregate")} compared so far` : `${plural(aggregates, "aggregate")} compared so far`;
}

/** Verifies until all aggregates are compared. @param {Ctx} ctx @param {string} name */
export const verify = (ctx, name) => run(ctx, name, { verb: "verify", label: "Verifying", body: { verify: name }, repeats: true });

/** @param {{orphan_claims: number}} last */
const orphans = ({ orphan_claims: count }) => `${plural(count, "claim")} of events that are not in the log`;

/** @param {string} name @param {{differ: number, orphan_claims: number}} last @returns {Dialog} */
function repairDialog(name, last) {
  const found = [last.differ > 0 && plural(last.differ, "aggregate"), last.orphan_claims > 0 && orphans(last)].filter(Boolean).join(" and ");
  const body = { verify: name, repair: true };
  return verbDialog({
    title: `Repair ${name}`, label: "Repair", body, open: true, send: (ctx) => repair(ctx, name),
    text: `Compares all rows again, folds anew what differs, and removes claims of events that are not in the log: ${found} at the last look. The events stay as they are.`,
  });
}

/** Verifies and repairs until all aggregates are compared. @param {Ctx} ctx @param {string} name */
async function repair(ctx, name) {
  const result = await run(ctx, name, { verb: "verify", label: "Repairing", body: { verify: name, repair: true }, repeats: true });
  if (!result) return;
  const { repaired, removed_claims: removed } = result.verification;
  ctx.say(`${plural(repaired, "aggregate")} of ${name} repaired${removed > 0 ? `, ${plural(removed, "claim")} removed` : ""}`);
}
