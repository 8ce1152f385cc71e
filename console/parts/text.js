/** Numbers, ids, values of columns and payloads, and the clipboard. */
import { html, nothing } from "../vendor/lit-html.js";

const THIN = "\u2009";

/** `1 204 331`, with thin spaces. @param {number | bigint | null | undefined} value */
export function number(value) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString("en-US", { maximumFractionDigits: 2 }).replaceAll(",", THIN);
}

/** `1 event`, `3 events`. @param {number} count @param {string} noun @param {string} [plural] */
export const plural = (count, noun, plural = `${noun}s`) => `${number(count)} ${count === 1 ? noun : plural}`;

/** An id without its middle, for reading only: it is always copied whole. @param {string} id */
export const short = (id) => (id.length > 20 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id);

/**
 * A text in which the marks that change the direction are shown as JSON escapes: one that does not end could show what follows it, such
 * as the value after a change, in another place.
 * @param {string} text
 */
export const visible = (text) => text.replace(/[\u202a-\u202e\u2066-\u2069]/g, (mark) => `\\u${mark.charCodeAt(0).toString(16)}`);

/** A value as JSON, for reading and copying. @param {unknown} value */
export const json = (value) => visible(JSON.stringify(value, null, 2));

/**
 * A text that is cut in the middle of the screen but kept whole in the title and for the clipboard.
 * @param {string} text @param {number} [limit]
 */
function long(text, limit = 400) {
  if (text.length <= limit) return visible(text);
  return html`<span title=${`${number(text.length)} characters`}>${visible(text.slice(0, limit))}…</span>`;
}

/**
 * A JSON value as text nodes only; the browser never parses any of it.
 * @param {unknown} value
 */
export function shown(value) {
  if (value === null || value === undefined) return html`<span class="null">none</span>`;
  if (value === "") return html`<span class="null">empty text</span>`;
  // Every digit: a stored value is not rounded.
  if (typeof value === "number") return html`<bdi>${value.toLocaleString("en-US", { maximumFractionDigits: 20 }).replaceAll(",", THIN)}</bdi>`;
  if (typeof value === "string") return words(value);
  if (typeof value === "boolean") return value ? "true" : "false";
  return html`<bdi>${long(JSON.stringify(value))}</bdi>`;
}

/** A text of a person or a program, in its own direction. @param {string} text @param {number} [limit] */
export const words = (text, limit) => html`<bdi dir="auto">${long(text, limit)}</bdi>`;

/** What a secret looks like: the API omits its value. @param {string} [text] */
export const secret = (text = "a secret") => html`<span class="lock dim">${text}</span>`;

/** Who has appended an event. @param {unknown} actor */
export function actor(actor) {
  if (typeof actor === "string" && actor) return words(actor, 80);
  return html`<span class="null">unknown</span>`;
}

/** A listener for what is typed or chosen. @param {(value: string) => unknown} run */
export const onValue = (run) => (/** @type {Event} */ event) => run(/** @type {HTMLInputElement} */ (event.target).value);

/**
 * A button that copies a text and says so.
 * @param {{say(text: string): void}} ctx @param {string} text @param {string} [what] @param {unknown} [label] @param {string} [look]
 */
export function copy(ctx, text, what = "the id", label = "Copy", look = "btn small") {
  const run = async () => {
    try {
      await navigator.clipboard.writeText(text);
      ctx.say(`Copied ${what}`);
    } catch {
      ctx.say("This browser does not allow the page to copy");
    }
  };
  return html`<button type="button" class=${look} aria-label=${label === "Copy" ? `Copy ${what}` : nothing} @click=${run}>${label}</button>`;
}

/**
 * Offers a value as a file.
 * @param {string} name @param {unknown} value
 */
export function download(name, value) {
  const url = URL.createObjectURL(new Blob([json(value)], { type: "application/json" }));
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  URL.revokeObjectURL(url);
}
