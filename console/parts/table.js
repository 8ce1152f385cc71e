/** Tables that scroll inside their own box, so that the page never scrolls sideways. */
import { html, nothing } from "../vendor/lit-html.js";
import { to } from "./routes.js";
import { short, words } from "./text.js";
import { stamp, zone } from "./time.js";

/**
 * @template T
 * @typedef {{
 *   head: unknown, cell(row: T, index: number): unknown,
 *   right?: boolean, mono?: boolean, top?: boolean, nowrap?: boolean, hidden?: boolean, class?: string,
 * }} Column `hidden`: the heading is for screen readers only, as for a column of buttons
 */

/**
 * @template T
 * @param {{label: string, columns: Column<T>[], rows: T[], empty?: unknown, rowClass?: (row: T) => string}} table
 */
export function table({ label, columns, rows, empty = nothing, rowClass = () => "" }) {
  if (rows.length === 0 && empty !== nothing) return html`<div class="empty">${empty}</div>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${`${label}, scrolls`}><table>
    <thead><tr>${columns.map((at) => html`<th scope="col" class=${at.right ? "right" : ""}>${at.hidden ? html`<span class="vh">${at.head}</span>` : at.head}</th>`)}</tr></thead>
    <tbody>${rows.map((row, index) => html`<tr class=${rowClass(row)}>${columns.map((at) => html`<td class=${classes(at)}>${at.cell(row, index)}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

/** @param {Column<any>} column */
const classes = ({ right, mono, top, nowrap, class: more }) =>
  [right && "right", mono && "m", top && "top", nowrap && "nowrap", more].filter(Boolean).join(" ");

/**
 * A box with a heading.
 * @param {{title?: unknown, label?: string, id?: string, actions?: unknown, note?: unknown}} head @param {unknown} content
 */
export function sheet({ title, label, id, actions = nothing, note = nothing }, content) {
  return html`<section class="sheet" id=${id ?? nothing} aria-label=${label ?? (typeof title === "string" ? title : nothing)}>
    ${title ? html`<div class="cap"><h2>${title}</h2><span class="dim">${note}</span><span class="grow"></span>${actions}</div>` : nothing}${content}</section>`;
}

/**
 * The heading of a page. Focus moves to it when the page changes.
 * @param {{title: unknown, sub?: unknown, actions?: unknown}} head
 */
export const pageHead = ({ title, sub = nothing, actions = nothing }) =>
  html`<div class="head"><h1 tabindex="-1">${title}</h1><div class="sub">${sub}</div><div class="acts">${actions}</div></div>`;

/** When the page was last read. @param {import("../types.js").Ctx} ctx */
export const readAt = ({ state }) => (state.loadedAt ? html`<span>read at ${stamp(state.loadedAt, "clock")} ${zone()}</span>` : nothing);

/** @typedef {"ok" | "warn" | "run" | "bad" | ""} Kind */

/** A state with a colour, a shape and words. @param {Kind} kind @param {unknown} text */
export const pill = (kind, text) => html`<span class=${`pill ${kind}`}>${text}</span>`;

/** The page of a domain that does not exist. @param {import("../types.js").Ctx} ctx */
export const unknownDomain = ({ route, schema }) => html`${pageHead({ title: "There is no such domain", sub: html`<span>${words(route.domain ?? "")} is not served here</span>` })}
  <p>This server has ${schema.domains.map(({ name }, index) => html`${index > 0 ? ", " : ""}<a href=${to(name)}>${name}</a>`)}.</p>`;

/**
 * A row of a projection, as a link if a domain has the projection's name.
 * @param {import("../types.js").Ctx} ctx @param {string} projection @param {string} id @param {number} [version]
 */
export const rowLink = (ctx, projection, id, version) => ctx.schema.domains.some((at) => at.name === projection)
  ? html`<a href=${to(projection, id, version)} title=${id}>${short(id)}</a>` : html`<span title=${id}>${short(id)}</span>`;

/**
 * A line of figures over time. @param {number[]} values
 */
export function spark(values) {
  const top = Math.max(...values, 1);
  const points = values.map((at, index) => `${((index / Math.max(1, values.length - 1)) * 96).toFixed(1)},${(22 - (at / top) * 20).toFixed(1)}`).join(" ");
  return html`<svg class="spark" viewBox="0 0 96 24" preserveAspectRatio="none" aria-hidden="true"><line class="base" x1="0" x2="96" y1="22.5" y2="22.5"></line><polyline points=${points}></polyline></svg>`;
}

/** @param {unknown} label @param {unknown} value @param {unknown} [more] @param {string} [kind] */
export const tile = (label, value, more = nothing, kind = "") =>
  html`<div class=${`tile ${kind}`}><div class="dim">${label}</div><div class="huge">${value}</div><div class="fine dim">${more}</div></div>`;
