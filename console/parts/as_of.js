/**
 * The slider that chooses a time between the first event and now, with a field for an exact one.
 *
 * @import {Ctx} from "../types.js"
 */
import { html, nothing, svg } from "../vendor/lit-html.js";
import { onValue, plural } from "./text.js";
import { ago, duration, fromInput, stamp, zone } from "./time.js";

const STEPS = 1000;
/** How long the bars stay, in milliseconds: the list itself is read more often. */
const KEPT = 60_000;

/**
 * Reads how many events were appended over time, for the bars above the slider. The list does not wait for it.
 * @param {Ctx} ctx @param {string} from the first event
 */
export async function readActivity(ctx, from) {
  const { ui } = ctx;
  // The count is of the whole log.
  if (!ctx.readsAll || Date.now() - (ui["activity"]?.readAt ?? 0) < KEPT) return;
  ui["activity"] = { ...ui["activity"], readAt: Date.now() };
  try {
    const { result } = await ctx.api.get("/events/activity", { from }, { tries: 1 });
    if (ctx.ui === ui) ctx.set({ activity: { readAt: Date.now(), result } });
  } catch {
    // The slider works without them.
  }
}

/**
 * @param {{from: string, to: string, events: number}[]} intervals @param {number} start @param {number} end @param {number} chosen
 */
function bars(intervals, start, end, chosen) {
  const most = Math.max(1, ...intervals.map((at) => at.events));
  const x = (/** @type {number} */ time) => (1000 * (time - start)) / (end - start);
  return html`<svg class="bars" viewBox="0 0 1000 28" preserveAspectRatio="none" aria-hidden="true">${intervals.map(({ from, to, events }) => {
    const [left, right] = [x(Date.parse(from)), x(Date.parse(to))];
    const height = events === 0 ? 0 : Math.max(1.5, (events / most) * 27);
    return svg`<rect class=${left >= chosen ? "later" : ""} x=${left + 1} width=${Math.max(1, right - left - 2)} y=${28 - height} height=${height}><title>${stamp(from)} to ${stamp(to)}: about ${plural(events, "event")} of the whole log</title></rect>`;
  })}</svg>`;
}

/**
 * A field for an exact time.
 * @param {Ctx} ctx @param {string | undefined} at @param {(time: string) => void} go
 */
export function timeField(ctx, at, go) {
  const typed = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const { value } = /** @type {HTMLInputElement} */ (/** @type {HTMLFormElement} */ (event.target).elements.namedItem("time"));
    const time = fromInput(value);
    ctx.set({ wrongTime: !time && value.trim() !== "" });
    if (time) go(time);
  };
  return html`<form @submit=${typed}><label class="dim">as of <input class="in m" name="time" size="18" autocomplete="off" spellcheck="false" aria-invalid=${ctx.ui["wrongTime"] ? "true" : nothing} aria-describedby="as-of-help" placeholder="2026-11-18 09:00" .value=${at === undefined ? "" : stamp(at)}></label><span id="as-of-help" class="vh">A time in ${zone()}, as 2026-11-18 09:00</span></form>`;
}

/** What is wrong with the time in the field. @param {Ctx} ctx */
export const wrongTime = (ctx) => (ctx.ui["wrongTime"] ? html`<p class="fine badText" role="alert">Write a time as 2026-11-18 or 2026-11-18 09:00, in ${zone()}, or with a zone such as +02:00.</p>` : nothing);

/**
 * @param {Ctx} ctx
 * @param {{from: string, at: string | undefined, go(time: string | null): void}} slider `at` undefined: now
 */
export function asOfSlider(ctx, { from, at, go }) {
  const start = new Date(from).getTime();
  const end = Math.max(Date.now(), start + 1000);
  const time = (/** @type {number} */ step) => new Date(start + ((end - start) * step) / STEPS);
  const value = at === undefined ? STEPS : Math.round(STEPS * Math.min(1, Math.max(0, (new Date(at).getTime() - start) / (end - start))));
  const moving = ctx.ui["asOf"] ?? value;
  const text = moving >= STEPS ? "every event so far" : at !== undefined && moving === value ? `${stamp(at)} ${zone()}, ${ago(at)}` : `${stamp(time(moving))} ${zone()}, ${ago(time(moving))}`;
  /** @type {{from: string, to: string, events: number}[] | undefined} */
  const counted = ctx.ui["activity"]?.result;
  return html`<section class="scrub list" aria-label="Time"><div class="top"><strong>${at === undefined ? "Now" : "As of"}</strong><span class="dim">${text}</span><span class="grow"></span>
      ${timeField(ctx, at, go)}
      <button type="button" class="btn small" ?disabled=${at === undefined} @click=${() => go(null)}>Now</button></div>
    ${wrongTime(ctx)}
    <div class="wide">${counted ? bars(counted, start, end, moving) : nothing}<input type="range" min="0" max=${STEPS} .value=${String(moving)} aria-label="As of" aria-valuetext=${text}
      @input=${onValue((step) => ctx.set({ asOf: Number(step) }))}
      @change=${onValue((step) => { delete ctx.ui["asOf"]; go(Number(step) >= STEPS ? null : time(Number(step)).toISOString()); })}>
      <div class="ends fine dim" aria-hidden="true"><span>first event, ${stamp(from, "day")}</span><span>${duration((end - start) / 1000)}${counted ? html`<span class="legend">; the bars are events of the whole log</span>` : nothing}</span><span>now</span></div></div></section>`;
}
