/**
 * A new generation of a projection: filled beside the live one, compared with it row by row, and only then live.
 *
 * @import {Ctx, Dialog} from "../types.js"
 * @import {Details, Report} from "./projections.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { footer, requestShown, verbDialog } from "../parts/dialog.js";
import { rowLink, sheet, table } from "../parts/table.js";
import { number, plural, shown, short } from "../parts/text.js";
import { when } from "../parts/time.js";
import { jobs, run } from "./verbs.js";

const STEPS = ["fill from the events", "catch up", "look at what changes", "go live"];

/** Asks how to build the projection again. @param {string} name @param {Report} report @returns {Dialog} */
export function reprojectDialog(name, report) {
  let look = true;
  return {
    title: `Reproject ${name}`,
    view: (ctx) => {
      const body = look ? { reproject: name, max_changes: 0 } : { reproject: name };
      const choose = (/** @type {boolean} */ value) => { look = value; ctx.draw(); };
      return html`<section><p>Builds the view again from all events, in a new table beside the live one. Generation ${report.generation ?? "–"} serves every read until the new one goes live.${report.fold_changed ? html` <b>The fold has changed since the live rows were written.</b>` : nothing}</p></section>
        <section class="choices" role="radiogroup" aria-label="When it goes live">
          <label class="check"><input type="radio" name="look" .checked=${look} @change=${() => choose(true)}> <span><b>Stop and show me what changes.</b> If no row changes, it goes live at once.</span></label>
          <label class="check"><input type="radio" name="look" .checked=${!look} @change=${() => choose(false)}> <span><b>Go live as soon as it is filled</b>, whatever changes.</span></label></section>
        <section>${requestShown(ctx, { path: "/projections", body })}</section>
        ${footer(ctx, { note: "The page sends it again until the generation is filled.", label: "Build the new generation", run: () => { ctx.close(); void build(ctx, name, body); } })}`;
    },
  };
}

/** @param {Ctx} ctx @param {string} name @param {Record<string, unknown>} body */
async function build(ctx, name, body) {
  const result = await run(ctx, name, { verb: "reproject", label: "Building a new generation of", body, repeats: true });
  const state = result?.reprojection?.state;
  if (state === "live") ctx.say(`Generation ${result.reprojection.generation} of ${name} is live`);
  if (state === "refused" && !result.reprojection.behind) await compare(ctx, name);
}

/** @param {Ctx} ctx @param {string} name */
const compare = (ctx, name) => run(ctx, name, { verb: "preview", label: "Comparing the rows of", body: { preview: name } });

/** @param {Ctx} ctx @param {string} name @param {Details} details */
export function reprojectionSheet(ctx, name, { report }) {
  const { reprojection } = report;
  if (!reprojection) return nothing;
  const busy = Boolean(jobs(ctx)[name]?.running);
  const results = report.last_results ?? {};
  const answered = (/** @type {string} */ verb) => {
    const last = results[verb];
    return last && last.answered_at >= reprojection.created_at ? last.result : null;
  };
  const preview = answered("preview")?.preview;
  const current = preview?.generation === reprojection.generation ? preview : null;
  const behind = answered("reproject")?.reprojection?.behind;
  const filled = reprojection.state !== "filling";
  const step = filled ? 2 : reprojection.slices > 0 && reprojection.slices_done === reprojection.slices ? 1 : 0;
  const actions = ctx.can("operate") ? html`<button type="button" class="btn small danger" @click=${() => ctx.open(cancelDialog(name, reprojection.generation))}>Cancel it…</button>` : nothing;
  const note = html`begun ${when(reprojection.created_at)}${reprojection.is_current === false ? html` · <b>by another build</b>, which has to continue it` : nothing}`;
  return sheet({ title: `${name}: generation ${reprojection.generation}`, id: `new-${name}`, note, actions }, html`
    <div class="prog"><ol class="steps">${STEPS.map((text, index) => html`<li class=${index < step ? "done" : ""} aria-current=${index === step ? "step" : nothing}>${text}</li>`)}</ol>
      <progress max=${Math.max(1, reprojection.slices)} .value=${filled ? Math.max(1, reprojection.slices) : reprojection.slices_done} aria-label="How much of the generation is filled"></progress>
      <div class="facts"><span><b>${number(reprojection.aggregates)}</b> ${reprojection.aggregates === 1 ? "aggregate" : "aggregates"}</span><span><b>${number(reprojection.events)}</b> ${reprojection.events === 1 ? "event" : "events"} folded</span><span>${number(reprojection.slices_done)} of ${number(reprojection.slices)} parts</span>
        <span>${filled ? "kept up to date until it goes live" : "generation filled while the live one is read"}</span></div></div>
    ${!filled && !busy && ctx.can("operate") ? html`<div class="foot"><span class="dim grow">No request of this page continues it.</span><button type="button" class="btn" @click=${() => build(ctx, name, { reproject: name, max_changes: 0 })}>Continue to fill it</button></div>` : nothing}
    ${filled ? html`<div class="split">${changes(ctx, name, current, busy)}${decide(ctx, name, reprojection.generation, current, behind, busy)}</div>` : nothing}`);
}

/** The rows that differ. @param {Ctx} ctx @param {string} name @param {any} preview @param {boolean} busy */
function changes(ctx, name, preview, busy) {
  if (!preview) {
    return html`<div class="empty"><p>The rows of the new generation have not been compared with the live ones yet.</p>${ctx.can("operate") ? html`<button type="button" class="btn" ?disabled=${busy} @click=${() => compare(ctx, name)}>Compare them</button>` : nothing}</div>`;
  }
  const rows = preview.differences.flatMap((/** @type {any} */ row) => Object.entries(row.changes).map(([field, [live, fresh]]) => ({ id: row.id, version: row.version, field, live, fresh })));
  return html`<div>${table({
    label: "Rows that change", rows, empty: html`<p><b>No row changes.</b> All ${number(preview.rows)} were compared.</p>`,
    columns: [
      { head: "row", mono: true, cell: (row) => rowLink(ctx, name, row.id) },
      { head: "field", mono: true, cell: (row) => row.field },
      { head: "live", mono: true, cell: (row) => row.live === null ? shown(null) : html`<del>${shown(row.live)}</del>` },
      { head: "new", mono: true, cell: (row) => row.fresh === null ? shown(null) : html`<ins>${shown(row.fresh)}</ins>` },
    ],
  })}${preview.differences.length < preview.differ ? html`<p class="under dim">The first ${number(preview.differences.length)} of ${number(preview.differ)} rows are shown.</p>` : nothing}</div>`;
}

/**
 * What changes in numbers, and the way to go live.
 * @param {Ctx} ctx @param {string} name @param {number} generation @param {any} preview @param {any} behind @param {boolean} busy
 */
function decide(ctx, name, generation, preview, behind, busy) {
  if (behind) {
    return html`<div><p class="huge">It cannot go live</p><p>${plural(behind.aggregates, "aggregate")} would go back to an earlier version: parked in the new generation at an event that the live one has applied.</p>
      <p class="m">${short(behind.aggregate_id)} v${behind.version}</p><p class="dim">Let the fold accept the event, or cancel.</p></div>`;
  }
  if (!preview) return html`<div><p class="dim">Compare the rows first: then the page asks how many of them may change.</p></div>`;
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const row of preview.differences) for (const field of Object.keys(row.changes)) counts.set(field, (counts.get(field) ?? 0) + 1);
  const sample = preview.differences.length < preview.differ ? ` among the first ${number(preview.differences.length)}` : "";
  const max = () => Number(/** @type {HTMLInputElement | null} */ (document.getElementById(`max-${name}`))?.value ?? preview.differ);
  return html`<div><div><p class="huge">${number(preview.differ)} of ${plural(preview.rows, "row")} ${preview.differ === 1 ? "changes" : "change"}</p>
      ${preview.behind > 0 ? html`<p class="dim">${plural(preview.behind, "row")} not compared: a worker is still folding ${preview.behind === 1 ? "it" : "them"}</p>` : nothing}
      ${preview.complete ? nothing : html`<p class="warnText">▲ The time did not suffice to compare all rows.</p>`}</div>
    <div class="facts down">${[...counts].map(([field, count]) => html`<span><b class="m">${field}</b> in ${plural(count, "row")}${sample}</span>`)}</div>
    ${ctx.can("operate") ? html`<label class="field">Go live only if at most this many rows change<input type="number" id=${`max-${name}`} min="0" step="1" .defaultValue=${String(preview.differ)}></label>
      <button type="button" class="btn go" ?disabled=${busy} @click=${() => ctx.open(goLiveDialog(name, generation, max()))}>Go live with generation ${generation}…</button>
      <button type="button" class="btn" ?disabled=${busy} @click=${() => compare(ctx, name)}>Compare again</button>` : nothing}
    <p class="dim fine">One short transaction: appends wait for it, reads do not.</p></div>`;
}

/** @param {string} name @param {number} generation @param {number} max @returns {Dialog} */
function goLiveDialog(name, generation, max) {
  const body = { reproject: name, max_changes: max };
  return verbDialog({
    title: `Go live with generation ${generation} of ${name}`, label: "Go live", body, open: true, send: (ctx) => goLive(ctx, name, body),
    text: html`Readers get the rows of generation ${generation} from then on. If more than <b>${plural(max, "row")}</b> would change by then, nothing happens and the page says how many.`,
  });
}

/** @param {Ctx} ctx @param {string} name @param {Record<string, unknown>} body */
async function goLive(ctx, name, body) {
  const result = await run(ctx, name, { verb: "reproject", label: "Going live with the new generation of", body, repeats: true });
  const reprojection = result?.reprojection;
  if (reprojection?.state === "live") ctx.say(`Generation ${reprojection.generation} of ${name} is live`);
  if (reprojection?.state === "refused" && !reprojection.behind) {
    ctx.say(`Not live: ${plural(reprojection.changes, "row")} would change`);
    await compare(ctx, name);
  }
}

/** @param {string} name @param {number} generation @returns {Dialog} */
function cancelDialog(name, generation) {
  const body = { cancel: name };
  return verbDialog({
    title: `Cancel generation ${generation} of ${name}`, label: "Cancel the reprojection", danger: true, cancel: "Keep it", body, send: (ctx) => stop(ctx, name, body),
    text: "Removes the new table. The live generation stays, and nothing that a reader sees changes.",
  });
}

/** @param {Ctx} ctx @param {string} name @param {Record<string, unknown>} body */
async function stop(ctx, name, body) {
  const result = await run(ctx, name, { verb: "cancel", label: "Cancelling the reprojection of", body, repeats: true });
  if (result) ctx.say(`The reprojection of ${name} is cancelled`);
}
