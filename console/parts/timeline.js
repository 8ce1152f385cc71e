/**
 * The versions of one aggregate as a range input: the arrow keys work, and a screen reader hears each version's event.
 *
 * @import {Ctx} from "../types.js"
 */
import { html, nothing, svg } from "../vendor/lit-html.js";
import { timeField, wrongTime } from "./as_of.js";
import { actor, number, onValue } from "./text.js";
import { dayOfYear, stamp, zone } from "./time.js";

/** More versions than this are a line without a dot for each. */
const DOTS = 40;

/**
 * @param {Ctx} ctx
 * @param {{newest: number, at: number, event: any, events: Map<number, any>, asOf: string | undefined, toVersion(version: number): void, toTime(time: string): void}} timeline
 *   `event`: the event at the version, if it is known; `events`: those that were read
 */
export function timeline(ctx, { newest, at, event, events, asOf, toVersion, toTime }) {
  const words = event ? `${stamp(event.created_at, "second")} ${zone()}, ${event.type ?? `type ${event.type_id}`}${typeof event.metadata?.actor === "string" ? ` by ${event.metadata.actor}` : ""}` : "";
  const reverts = [...events.values()].some((one) => one.metadata?.revert);
  return html`<section class="scrub" aria-label="Time"><div class="top"><strong>Version ${number(at)} of ${number(newest)}</strong>
      <span class="dim">${event ? html`${stamp(event.created_at, "second")} ${zone()} · ${event.type ?? `type ${event.type_id}`} by ${actor(event.metadata?.actor)}` : nothing}</span><span class="grow"></span>
      ${reverts ? html`<span class="dim legend"><i></i> a revert</span>` : nothing}
      <span class="dim opt" aria-hidden="true"><kbd>←</kbd> <kbd>→</kbd></span>
      ${timeField(ctx, asOf ?? event?.created_at, toTime)}
      <button type="button" class="btn small" ?disabled=${at === newest && !asOf} @click=${() => toVersion(newest)}>Now</button></div>
    ${wrongTime(ctx)}
    <div class="track">${drawing(newest, at, events)}
      <input type="range" min="1" max=${newest} step="1" .value=${String(at)} ?disabled=${newest === 1} aria-label="Version" aria-valuetext=${`version ${at} of ${newest}${words ? `, ${words}` : ""}`} @input=${onValue((version) => toVersion(Number(version)))}></div></section>`;
}

/** @param {number} newest @param {number} at @param {Map<number, any>} events */
function drawing(newest, at, events) {
  const x = (/** @type {number} */ version) => `${newest === 1 ? 50 : (((version - 1) / (newest - 1)) * 100).toFixed(2)}%`;
  const versions = newest <= DOTS ? Array.from({ length: newest }, (_, index) => index + 1) : [at];
  const dots = versions.map((version) => {
    const kind = `dot${version < at ? " past" : version === at ? " here" : ""}`;
    const size = version === at ? 9 : 5;
    return events.get(version)?.metadata?.revert
      ? svg`<svg x=${x(version)} y="13" class="box"><rect class=${kind} x=${-size} y=${-size} width=${size * 2} height=${size * 2} rx="2"></rect></svg>`
      : svg`<circle class=${kind} cx=${x(version)} cy="13" r=${size}></circle>`;
  });
  const known = [...events.values()];
  const oneDay = known.every((event) => stamp(event.created_at, "day") === stamp(known[0].created_at, "day"));
  const date = (/** @type {any} */ event) => (oneDay ? stamp(event.created_at, "clock") : dayOfYear(event.created_at));
  return html`<svg aria-hidden="true"><line class="rail" x1="0" x2="100%" y1="13" y2="13"></line>
    ${at > 1 ? svg`<line class="gone" x1="0" x2=${x(at)} y1="13" y2="13"></line>` : nothing}${dots}
    ${labelled(newest, at).map((version) => svg`<text class=${labelClass(version, newest, at)} x=${x(version)} y="38">v${version}</text>
      ${events.get(version) ? svg`<text class=${`on ${labelClass(version, newest, at)}`} x=${x(version)} y="51">${date(events.get(version))}</text>` : nothing}`)}</svg>`;
}

/** The versions with room for a label: the ends, the chosen one, and others at a distance. @param {number} newest @param {number} at */
function labelled(newest, at) {
  const room = Math.max(1, (newest - 1) * 0.075);
  /** @type {number[]} */
  const kept = [at];
  const add = (/** @type {number} */ version) => {
    if (version >= 1 && version <= newest && kept.every((other) => Math.abs(other - version) >= room)) kept.push(version);
  };
  add(1);
  add(newest);
  if (newest <= DOTS) for (let version = 2; version < newest; version += 1) add(version);
  return kept;
}

/** On a narrow page only the ends and the chosen version have labels, and no end that the chosen one covers. @param {number} version @param {number} newest @param {number} at */
function labelClass(version, newest, at) {
  if (version === at) return "label here";
  const end = version === 1 || version === newest;
  return `label${end ? " end" : ""}${Math.abs(version - at) < (newest - 1) * 0.2 ? " near" : ""}`;
}
