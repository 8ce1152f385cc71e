/**
 * A form made from an event type's schema, and the payload that it describes.
 *
 * @import {EventType, Field} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { onValue } from "./text.js";

/** What a secret looks like in a shown request. */
const MASK = "••••••";

/**
 * What a new form has in it: a field called `id` repeats the aggregate's id.
 * @param {EventType} type @param {string} aggregateId @returns {Record<string, string>}
 */
export const initial = (type, aggregateId) =>
  Object.fromEntries(type.fields.map((field) => [field.name, field.name === "id" && field.format === "uuid" && field.required ? aggregateId : ""]));

/**
 * @param {EventType} type @param {Record<string, string>} values @param {Record<string, string>} wrong sentences by field
 * @param {(name: string, value: string) => void} changed
 */
export function form(type, values, wrong, changed) {
  if (type.fields.length === 0) return html`<p class="dim">This event has no fields.</p>`;
  return html`<div class="fields">${type.fields.map((field) => {
    const id = `field-${field.name}`;
    const sentence = wrong[field.name];
    return html`<label class="field" for=${id}><span><code>${field.name}</code> ${field.required ? nothing : html`<span class="why">may be empty</span>`} ${field.secret ? html`<span class="why">a secret: it is stored, and never shown again</span>` : nothing}</span>
      ${control(field, id, values[field.name] ?? "", Boolean(sentence), (value) => changed(field.name, value))}
      ${field.description ? html`<span class="why" id=${`${id}-why`}>${field.description}</span>` : nothing}
      ${sentence ? html`<span class="wrong" id=${`${id}-wrong`}>${sentence}</span>` : nothing}</label>`;
  })}</div>`;
}

/** @param {Field} field @param {string} id @param {string} value @param {boolean} wrong @param {(value: string) => void} changed */
function control(field, id, value, wrong, changed) {
  const input = onValue(changed);
  const described = [wrong && `${id}-wrong`, field.description && `${id}-why`].filter(Boolean).join(" ") || nothing;
  const invalid = wrong ? "true" : nothing;
  const choices = field.choices ?? (field.type === "boolean" ? [true, false] : null);
  if (choices) {
    return html`<select id=${id} aria-label=${field.name} aria-invalid=${invalid} aria-describedby=${described} @change=${input}>
      ${field.required && value !== "" ? nothing : html`<option value="" .selected=${value === ""}></option>`}
      ${choices.map((at) => html`<option value=${JSON.stringify(at)} .selected=${value === JSON.stringify(at)}>${String(at)}</option>`)}</select>`;
  }
  if (!["string", "integer", "number"].includes(field.type ?? "")) {
    return html`<textarea id=${id} aria-label=${field.name} class="m" rows="4" placeholder="JSON" spellcheck="false" aria-invalid=${invalid} aria-describedby=${described} .value=${value} @input=${input}></textarea>`;
  }
  const numeric = field.type !== "string";
  return html`<input id=${id} aria-label=${field.name} type=${field.secret ? "password" : "text"} autocomplete=${field.secret ? "new-password" : "off"} spellcheck="false" class=${field.format === "uuid" || numeric ? "m" : ""}
    inputmode=${numeric ? "decimal" : nothing} placeholder=${PLACEHOLDERS[field.format ?? ""] ?? nothing} aria-invalid=${invalid} aria-describedby=${described} .value=${value} @input=${input}>`;
}

/** @type {Record<string, string>} */
const PLACEHOLDERS = { uuid: "00000000-0000-0000-0000-000000000000", date: "2026-11-26", "date-time": "2026-11-26T08:00:00Z" };

/**
 * The payload of a form. An empty field that is not required is left out.
 * @param {EventType} type @param {Record<string, string>} values
 * @returns {{payload: Record<string, unknown>, wrong: Record<string, string>}}
 */
export function collect(type, values) {
  /** @type {Record<string, unknown>} */
  const payload = {};
  /** @type {Record<string, string>} */
  const wrong = {};
  for (const field of type.fields) {
    const text = values[field.name] ?? "";
    if (text === "" && !field.required) continue;
    try {
      payload[field.name] = convert(field, text);
    } catch (error) {
      wrong[field.name] = error instanceof SyntaxError ? "This is not JSON." : String(/** @type {Error} */ (error).message);
    }
  }
  return { payload, wrong };
}

/** @param {Field} field @param {string} text */
function convert(field, text) {
  if (field.choices || field.type === "boolean") {
    if (text === "") throw new Error("Choose one.");
    return JSON.parse(text);
  }
  if (field.type === "string") return text;
  if (field.type === "integer" || field.type === "number") {
    const value = Number(text.trim().replaceAll(/[\s\u2009]/g, ""));
    if (text.trim() === "" || !Number.isFinite(value)) throw new Error("This has to be a number.");
    if (field.type === "integer" && !Number.isSafeInteger(value)) throw new Error("This has to be a whole number below 9 007 199 254 740 992.");
    return value;
  }
  return JSON.parse(text);
}

/** A payload without its secrets, for the shown request. @param {EventType} type @param {Record<string, unknown>} payload */
export const masked = (type, payload) =>
  Object.fromEntries(Object.entries(payload).map(([name, value]) => [name, type.fields.find((at) => at.name === name)?.secret ? MASK : value]));

/**
 * The field that a problem points to: `/payload/email`, or `/0/payload/email` in an array.
 * @param {{[member: string]: any} | null} problem
 */
export function pointedField(problem) {
  const name = /^(?:\/\d+)?\/payload\/([^/]+)/.exec(problem?.["pointer"] ?? "")?.[1];
  return name?.replaceAll("~1", "/").replaceAll("~0", "~");
}
