/**
 * The fields of an aggregate at a version: who set each of them, or what they are now.
 *
 * @import {Ctx, Domain} from "../types.js"
 */
import { html } from "../vendor/lit-html.js";
import { inOrder } from "./diff.js";
import { to } from "./routes.js";
import { actor, number, secret, shown } from "./text.js";
import { stamp, zone } from "./time.js";

/**
 * @param {Ctx} ctx @param {Domain} domain
 * @param {{at: number, newest: number, deleted: boolean, fields: Record<string, any>, changes: Record<string, [unknown, unknown]>, endedNow: boolean, events: any[], foot: unknown}} state
 *   `changes`: the fields that are different now; `deleted`: the fields are those before the aggregate ended
 */
export function statePanel(ctx, domain, { at, newest, deleted, fields, changes, endedNow, events, foot }) {
  const compare = Boolean(ctx.ui["compare"]);
  const moved = Object.keys(changes);
  const order = domain.columns.map((one) => one.name);
  const secrets = secretFields(domain, at, events);
  const all = Object.keys(fields).length;
  return html`<section class=${`state${compare ? " now" : ""}`} aria-label="State"><div class="cap"><h2>${deleted ? html`State before v${number(at)}` : html`State at v${number(at)}`}</h2><span class="grow"></span>
      <div class="seg" role="group" aria-label="Beside the values">${[[false, "who set it"], [true, "compare with now"]].map(([value, name]) => html`<button type="button" aria-pressed=${compare === value} @click=${() => ctx.set({ compare: value })}>${name}</button>`)}</div></div>
    <p class="note">${deleted ? "The aggregate ended with this event." : at === newest ? "This is now." : endedNow ? "The aggregate has ended since." : moved.length === 0 ? "The same as now." : `${moved.length} of ${all} ${all === 1 ? "field" : "fields"} ${moved.length === 1 ? "is" : "are"} different now`}</p>
    <div class="scroll" tabindex="0" role="region" aria-label="Fields, scrolls"><table><thead><tr><th scope="col">field</th><th scope="col">value</th><th scope="col">${compare ? "now" : "set by"}</th></tr></thead><tbody>
      ${inOrder(Object.entries(fields), order).map(([name, field]) => {
        const differs = name in changes;
        return html`<tr class=${differs ? "moved" : ""}><td class="m">${name}</td><td class="m">${compare && differs ? html`<del>${shown(field.value)}</del>` : shown(field.value)}</td>
          ${compare ? html`<td class="m">${differs ? (endedNow ? html`<span class="null">ended</span>` : html`<ins>${shown(changes[name]?.[1])}</ins>`) : html`<span class="null">the same</span>`}</td>` : setBy(ctx, domain, field)}</tr>`;
      })}
      ${secrets.map(({ name, by }) => html`<tr><td class="m">${name}</td><td>${secret()}</td>${compare ? html`<td class="null">not compared</td>` : by ? setBy(ctx, domain, by) : html`<td class="blame">–</td>`}</tr>`)}
    </tbody></table></div>${foot}</section>`;
}

/** @param {Ctx} ctx @param {Domain} domain @param {any} field */
const setBy = (ctx, domain, field) => html`<td class="blame">${actor(field.actor)}, <a href=${to(domain.name, ctx.route.id ?? "", field.version)} title=${`${field.type ?? ""} ${stamp(field.created_at, "second")} ${zone()}`}>v${field.version}</a><br>${stamp(field.created_at, "day")}</td>`;

/**
 * Secrets have no value in any response. If there is one only, the last event that has certainly set it is known, if it was read.
 * @param {Domain} domain @param {number} at @param {any[]} events the newest first
 */
function secretFields(domain, at, events) {
  const sets = new Set(domain.events.filter((type) => type.fields.some((field) => field.secret && field.required)).map((type) => type.type_id));
  const event = domain.hidden.length === 1 && events.find((one) => one.version <= at && sets.has(one.type_id));
  return domain.hidden.map((name) => ({ name, by: event && { actor: event.metadata?.actor, version: event.version, created_at: event.created_at, type: event.type } }));
}
