/** Values before and after. Colour is never the only signal: what was is struck, what is follows an arrow. */
import { html, nothing } from "../vendor/lit-html.js";
import { shown } from "./text.js";

/** `-before- → after`. @param {unknown} before @param {unknown} after */
export function change(before, after) {
  const added = before === null || before === undefined;
  const removed = after === null || after === undefined;
  return html`${added ? nothing : html`<del>${shown(before)}</del>`}${added || removed ? nothing : html`<span class="arr" role="img" aria-label="becomes">→</span>`}${removed
    ? html`<span class="arr" role="img" aria-label="becomes">→</span>${shown(null)}` : html`<ins>${shown(after)}</ins>`}`;
}

/**
 * All changes of an event or of a dry run, one field a line.
 * @param {Record<string, [unknown, unknown]> | null | undefined} changes
 * @param {string[]} [order] the declared order of the columns
 */
export function changeList(changes, order = []) {
  const entries = inOrder(Object.entries(changes ?? {}), order);
  if (entries.length === 0) return nothing;
  return html`<dl class="ch">${entries.map(([field, [before, after]]) => html`<dt>${field}</dt><dd>${change(before, after)}</dd>`)}</dl>`;
}

/**
 * @template T
 * @param {[string, T][]} entries @param {string[]} order @returns {[string, T][]} known fields first, in their order
 */
export function inOrder(entries, order) {
  const place = (/** @type {string} */ name) => (order.indexOf(name) + 1 || order.length + 1);
  return [...entries].sort(([a], [b]) => place(a) - place(b));
}

/** Whether two JSON values are equal. @param {unknown} a @param {unknown} b */
export const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
