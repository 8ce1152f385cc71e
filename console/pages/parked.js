/**
 * Parked aggregates: an event of each cannot be folded, and its later events wait. All others go on.
 *
 * @import {Ctx, Dialog} from "../types.js"
 * @import {Details} from "./projections.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { footer, requestShown, sender, verbDialog } from "../parts/dialog.js";
import { notice } from "../parts/problem.js";
import { rowLink, sheet, table } from "../parts/table.js";
import { actor, number, onValue, plural, short, words } from "../parts/text.js";
import { isDue, when } from "../parts/time.js";
import { jobs, run } from "./verbs.js";

/** What a class of failure means. @type {Record<string, string>} */
const CLASSES = {
  fold: "the fold rejects the event", panic: "the fold panicked", event: "the payload is not what its type says",
  row: "the stored row is not what its type says", write: "the database rejects the row", gap: "an earlier event is missing",
  claims: "claims were deleted", unknown: "an unknown failure",
};

/** @param {Ctx} ctx @param {string} name @param {Details} details */
export function parkedSheet(ctx, name, { report, parked }) {
  const rows = parked?.result ?? [];
  if (rows.length === 0) return report.parked === 0 ? sheet({ title: `${name}: parked aggregates`, id: `parked-${name}` }, html`<div class="empty">Nothing is parked.${lastRetry(report.last_results?.["retry"])}</div>`) : nothing;
  const total = report.parked ?? rows.length;
  const waiting = rows.reduce((sum, at) => sum + at.waiting, 0);
  const busy = Boolean(jobs(ctx)[name]?.running);
  const may = ctx.can("operate");
  // With one, the button of its row says the same.
  const actions = may && total > 1 ? html`<button type="button" class="btn small" ?disabled=${busy} @click=${() => ctx.open(retryAllDialog(name, total))}>Retry all ${number(total)}…</button>` : nothing;
  return sheet({ title: `${name}: ${plural(total, "parked aggregate")}`, id: `parked-${name}`, note: html`all others go on; ${plural(waiting, "event")} ${waiting === 1 ? "waits" : "wait"} in ${total === 1 ? "it" : "these"}`, actions }, html`${table({
    label: "Parked aggregates", rows, columns: [
      { head: "aggregate", mono: true, top: true, cell: (row) => html`${rowLink(ctx, name, row.aggregate_id)} <span class="dim">v${row.version}</span>` },
      { head: "why", class: "reason", top: true, cell: (row) => html`<b>${row.class}</b> ${row.error ?? CLASSES[row.class] ?? ""}` },
      { head: "parked", top: true, cell: (row) => html`<span class="dim nowrap">${when(row.parked_at, "ago")}</span>` },
      { head: "tries", right: true, mono: true, top: true, cell: (row) => number(row.attempts) },
      { head: "next", top: true, cell: (row) => html`<span class="dim nowrap">${!row.next_try ? "never by itself" : isDue(row.next_try) ? "due" : when(row.next_try, "ago")}</span>` },
      { head: "waiting", right: true, mono: true, top: true, cell: (row) => number(row.waiting) },
      { head: "actions", hidden: true, top: true, cell: (row) => may ? html`<span class="acts2">
        <button type="button" class="btn small" ?disabled=${busy} aria-label=${`Retry ${row.aggregate_id}`} @click=${() => ctx.open(retryDialog(name, row.aggregate_id, row.version))}>Retry…</button>
        <button type="button" class="btn small danger" ?disabled=${busy} aria-label=${`Skip version ${row.version} of ${row.aggregate_id}`} @click=${() => ctx.open(skipDialog(ctx, name, row))}>Skip…</button></span>` : nothing },
    ],
  })}${parked?.next ? html`<p class="under dim">The first ${number(rows.length)} of ${number(total)} are shown.</p>` : nothing}`);
}

/** When an operator has last retried, and how it ended; the tries of workers are not recorded. @param {{answered_at: string, result: any} | undefined} last */
function lastRetry(last) {
  if (!last || last.result.error) return nothing;
  const { unparked = 0, failed = 0 } = last.result;
  const outcome = unparked + failed === 0 ? "and found nothing" : `with ${plural(unparked, "aggregate")} folded again`;
  return html` An operator has last retried ${when(last.answered_at, "ago")}, ${outcome}.`;
}

/** @param {string} name @param {number} total @returns {Dialog} */
function retryAllDialog(name, total) {
  const body = { retry: name };
  const send = async (/** @type {Ctx} */ ctx) => {
    const result = await run(ctx, name, { verb: "retry", label: "Retrying the parked aggregates of", body });
    if (result) ctx.say(`${plural(result.unparked ?? 0, "aggregate")} folded again, ${number(result.parked ?? 0)} still parked`);
  };
  return verbDialog({
    title: `Retry ${plural(total, "parked aggregate")} of ${name}`, label: `Retry all ${number(total)}`, body, send,
    text: "Folds their events again now, instead of at the next try of each. It helps if the fold or the database has been corrected; otherwise they stay parked.",
  });
}

/** Retries one parked aggregate. @param {string} name @param {string} id @param {number} version @returns {Dialog} */
export function retryDialog(name, id, version) {
  const body = { retry: name, aggregate_id: id };
  const send = async (/** @type {Ctx} */ ctx) => {
    const result = await run(ctx, name, { verb: "retry", label: "Retrying an aggregate of", body });
    if (!result) return;
    if (result.unparked > 0) ctx.say(`Folded again: ${plural(result.applied ?? 0, "event")} applied, and it is no longer parked`);
    else ctx.say(result.failed > 0 ? "It has failed again, and stays parked" : "It is still parked; its other events are folded by the next try");
  };
  return verbDialog({
    title: `Retry ${short(id)} in ${name}`, label: "Retry", body, send,
    text: `Folds its events from version ${number(version)} on again now, instead of at its next try. It helps if the fold or the database has been corrected; otherwise it stays parked. Other parked aggregates keep their own times.`,
  });
}

/** @param {Ctx} ctx @param {string} name @param {any} row @returns {Dialog} */
function skipDialog(ctx, name, row) {
  let reason = "";
  let by = "";
  const body = () => ({ skip: { domain: name, event_id: row.event_id, aggregate_id: row.aggregate_id, reason: reason.trim() || "…", ...(by.trim() && { actor: by.trim() }) } });
  const sending = sender(ctx, async () => {
    // A skip that is sent again is refused, as if the first had failed.
    const answer = await ctx.api.post("/projections", body(), { tries: 1 });
    const failure = answer.projections?.[name]?.error;
    if (failure) throw new Error(failure);
    ctx.close();
    await ctx.reload();
    ctx.say(answer.projections ? `Skipped; ${plural(answer.projections[name].applied ?? 0, "event")} folded` : "Handed over to the catch-up function");
  });
  return {
    title: `Skip version ${row.version} in ${name}`,
    busy: () => sending.busy,
    view: () => html`<section><p>The event counts as applied, without any effect on this view. It stays in the log, and other projections fold it.</p></section>
      <section><div class="hint warn"><span aria-hidden="true">▲</span><span>This cannot be undone, and holds for later generations too. If a corrected fold could accept the event, retry instead.</span></div></section>
      <section class="fields"><label class="field">Why? It is recorded.<input required maxlength="1024" .value=${reason} @input=${onValue((text) => { reason = text; ctx.draw(); })} placeholder="The shipment was booked twice; see ticket 4411"></label>
        ${ctx.schema.secured ? nothing : html`<label class="field">Who skips it (optional)<input maxlength="200" autocomplete="off" .value=${by} @input=${onValue((text) => { by = text; ctx.draw(); })}></label>`}</section>
      ${sending.error ? html`<section>${notice(ctx, sending.error)}</section>` : nothing}
      <section>${requestShown(ctx, { path: "/projections", body: body() })}</section>
      ${footer(ctx, { note: row.waiting > 1 ? `${plural(row.waiting - 1, "event")} behind it ${row.waiting === 2 ? "is" : "are"} folded next` : nothing, label: "Skip this event", danger: true, disabled: !reason.trim(), busy: sending.busy, run: sending.run })}`,
  };
}

/** @param {Ctx} ctx @param {string} name @param {Details} details */
export function skippedSheet(ctx, name, { skipped }) {
  const rows = skipped?.result ?? [];
  if (rows.length === 0) return nothing;
  return sheet({ title: `${name}: skipped events`, id: `skipped-${name}`, note: "without effect on this view, for ever" }, html`${table({
    label: "Skipped events", rows, columns: [
      { head: "event", mono: true, top: true, cell: (row) => html`${rowLink(ctx, name, row.aggregate_id, row.version)} <span class="dim">v${row.version}</span>` },
      { head: "reason", top: true, cell: (row) => words(row.reason, 1024) },
      { head: "by", top: true, cell: (row) => actor(row.actor) },
      { head: "skipped", top: true, cell: (row) => html`<span class="nowrap">${when(row.skipped_at)}</span>` },
    ],
  })}${skipped?.next ? html`<p class="under dim">The first ${number(rows.length)} are shown.</p>` : nothing}`);
}
