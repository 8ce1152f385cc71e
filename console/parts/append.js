/**
 * The dialog that appends one event: choose the type, fill in its fields, look at what would change, append. Nothing is stored
 * before a dry run has shown the result, and only if the aggregate is then still at the version that was looked at.
 *
 * @import {Ctx, Dialog, Domain, EventType} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { newId } from "../runtime.js";
import { problemOf } from "./api.js";
import { changeList } from "./diff.js";
import { footer, requestShown } from "./dialog.js";
import { collect, form, initial, masked, pointedField } from "./form.js";
import { notice } from "./problem.js";
import { number, onValue, short } from "./text.js";

/** Whether an event can be appended: its dry run reads the row. @param {Ctx} ctx @param {Domain} domain */
export const mayAppend = (ctx, { name }) => ctx.can(`${name}:read`, `${name}:write`);

/**
 * @param {Ctx} ctx @param {Domain} domain
 * @param {{id?: string, version?: number, ended?: boolean, title?: string}} aggregate without an id: a new one
 * @param {(saved: {aggregate_id: string, version: number}) => void} done
 */
export function openAppend(ctx, domain, aggregate, done) {
  const fresh = !aggregate.id;
  const first = domain.events[0];
  if (!first) return;
  const aggregateId = aggregate.id ?? newId();
  /** @type {any} */
  const dialog = {
    eventId: newId(), aggregateId, type: first, values: initial(first, aggregateId), actor: "", version: aggregate.version,
    wrong: {}, dry: null, error: null, busy: false, edit: {},
  };
  const path = `/${domain.name}`;
  const event = () => {
    const { payload, wrong } = collect(dialog.type, dialog.values);
    const metadata = !ctx.schema.secured && dialog.actor ? { metadata: { actor: dialog.actor } } : {};
    return { wrong, body: { id: dialog.eventId, aggregate_id: dialog.aggregateId, type_id: dialog.type.type_id, payload, ...metadata } };
  };
  /** @returns {Record<string, string>} */
  const headers = () => {
    const expected = dialog.version ?? (dialog.dry ? dialog.dry.version - 1 : undefined);
    return expected === undefined ? {} : expected === 0 ? { "If-None-Match": "*" } : { "If-Match": `"${expected}"` };
  };
  /** Every change of the form makes the last dry run void. @param {Record<string, any>} changes */
  const change = (changes) => {
    Object.assign(dialog, { dry: null, error: null, wrong: {}, edit: {} }, changes);
    ctx.draw();
  };
  /** @param {boolean} dry */
  const send = async (dry) => {
    if (dialog.busy) return;
    // An answer counts only for the form that was sent.
    const { edit, type } = dialog;
    const { wrong, body } = event();
    Object.assign(dialog, { wrong, error: null });
    if (Object.keys(wrong).length > 0) return ctx.draw();
    dialog.busy = true;
    ctx.draw();
    try {
      const answer = await ctx.api.post(path, body, { headers: headers(), ...(dry && { query: { dry_run: true } }) });
      dialog.busy = false;
      if (!dry) {
        ctx.say(`${type.name} is stored as version ${answer.version}`);
        // The user may have gone to another page meanwhile.
        if (ctx.state.dialog !== self) return;
        ctx.close();
        return done(answer);
      }
      if (edit === dialog.edit) dialog.dry = answer.aggregates[0];
    } catch (error) {
      if (!dry || edit === dialog.edit) refused(error);
    }
    dialog.busy = false;
    return ctx.draw();
  };
  /** @param {unknown} error */
  const refused = (error) => {
    const problem = problemOf(error);
    const field = pointedField(problem);
    dialog.dry = null;
    if (field && dialog.type.fields.some((/** @type {any} */ at) => at.name === field)) dialog.wrong = { [field]: (problem?.detail ?? "").replace(/^event 0: /, "") };
    else dialog.error = error;
    // The next dry run looks at the aggregate as it is then.
    if (problem?.name === "version-mismatch") dialog.version = problem["version"];
  };
  const title = `Append an event to ${aggregate.title ?? (fresh ? `a new aggregate of ${domain.name}` : short(aggregateId))}`;
  const self = {
    title,
    busy: () => dialog.busy,
    view: () => html`<form @submit=${(/** @type {Event} */ at) => { at.preventDefault(); void send(true); }}><section class="fields">
        <label class="field" for="event-type"><span>event</span><select id="event-type" aria-label="event" aria-describedby=${dialog.type.description ? "event-type-why" : nothing} @change=${onValue((id) => pick(Number(id)))}>
          ${domain.events.map((type) => html`<option value=${type.type_id} .selected=${type === dialog.type}>${type.name}</option>`)}</select>
          ${dialog.type.description ? html`<span class="why" id="event-type-why">${dialog.type.description}</span>` : nothing}</label>
        ${fresh ? html`<label class="field" for="event-aggregate"><span>aggregate <span class="why" id="event-aggregate-why">a new id; replace it to append to another aggregate</span></span><input id="event-aggregate" aria-label="aggregate" aria-describedby="event-aggregate-why" class="m" spellcheck="false" .value=${dialog.aggregateId} @input=${onValue((id) => another(id.trim()))}></label>` : nothing}
        ${form(dialog.type, dialog.values, dialog.wrong, (name, value) => change({ values: { ...dialog.values, [name]: value } }))}
        ${ctx.schema.secured ? nothing : html`<label class="field" for="event-actor"><span>by <span class="why" id="event-actor-why">your name, stored as <code>metadata.actor</code>; with a sign-in it is the token's</span></span><input id="event-actor" aria-label="by" aria-describedby="event-actor-why" autocomplete="username" .value=${dialog.actor} @input=${onValue((actor) => change({ actor }))}></label>`}
      </section></form>
      ${dialog.error ? html`<section>${notice(ctx, dialog.error)}</section>` : nothing}
      ${dialog.dry ? result() : nothing}
      <section>${shownRequest()}</section>
      ${dialog.dry ? footer(ctx, { note: expectation(), label: "Append 1 event", busy: dialog.busy, run: () => void send(false) })
    : footer(ctx, { note: "Nothing is stored yet.", label: "Look at the result", busy: dialog.busy, run: () => void send(true) })}`,
  };
  ctx.open(self);

  /** @param {number} typeId */
  function pick(typeId) {
    const type = /** @type {EventType} */ (domain.events.find((at) => at.type_id === typeId));
    change({ type, values: { ...initial(type, dialog.aggregateId), ...shared(type) } });
  }
  /** What was typed for a field that the other type has, too. @param {EventType} type */
  function shared(type) {
    return Object.fromEntries(type.fields.filter((at) => dialog.values[at.name]).map((at) => [at.name, dialog.values[at.name] ?? ""]));
  }
  /** @param {string} id */
  function another(id) {
    const follows = dialog.values["id"] === dialog.aggregateId;
    change({ aggregateId: id, ...(follows && { values: { ...dialog.values, id } }) });
  }
  const result = () => html`<section role="status"><h3>${dialog.dry.version === 1 ? "This begins a new aggregate" : dialog.dry.state === null ? "The aggregate ends" : "What changes"}</h3>
    ${Object.keys(dialog.dry.changes).length > 0 ? changeList(dialog.dry.changes, domain.columns.map((at) => at.name)) : html`<p class="dim">No field of the row changes.</p>`}</section>`;
  const expectation = () => html`Only if it still is at version ${number(dialog.dry.version - 1)}`;
  function shownRequest() {
    const { body } = event();
    return requestShown(ctx, { path, headers: headers(), body: { ...body, payload: masked(dialog.type, body.payload) } });
  }
}
