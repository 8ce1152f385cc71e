/**
 * The one dialog of the page. A write shows the request that it will send; the ids are made when the dialog opens, so that a
 * second click sends the same request.
 *
 * @import {Ctx, Dialog} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { claims } from "./session.js";
import { copy } from "./text.js";

/** @param {Ctx} ctx @param {Dialog | null} dialog @param {string} id @param {() => void} closed */
export function dialogElement(ctx, dialog, id, closed) {
  return html`<dialog id=${id} aria-labelledby=${`${id}-title`} @close=${closed} @cancel=${(/** @type {Event} */ event) => { if (dialog?.busy?.()) event.preventDefault(); }}>
    ${dialog ? html`<header><h2 id=${`${id}-title`}>${dialog.title}</h2></header>${dialog.view(ctx)}` : nothing}</dialog>`;
}

/**
 * The end of a dialog: what it depends on, Cancel, and the action.
 * @param {Ctx} ctx @param {{note?: unknown, label: string, danger?: boolean, disabled?: boolean, busy?: boolean, run(): void, cancel?: string}} action
 */
export const footer = (ctx, { note = nothing, label, danger = false, disabled = false, busy = false, run, cancel = "Cancel" }) =>
  html`<footer><span class="dim">${note}</span><span class="grow"></span>
    <button type="button" class="btn" ?disabled=${busy} @click=${() => ctx.close()}>${cancel}</button>
    <button type="button" class=${danger ? "btn danger" : "btn go"} ?disabled=${disabled || busy} @click=${run}>${busy ? "Sending…" : label}</button></footer>`;

/**
 * The request that a dialog will send.
 * @param {Ctx} ctx
 * @param {{method?: string, path: string, headers?: Record<string, string>, body?: unknown, open?: boolean}} request
 */
export function requestShown(ctx, { method = "POST", path, headers = {}, body, open = false }) {
  const lines = [`${method} ${path}`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`)];
  if (claims()) lines.push("Authorization: Bearer …");
  const text = `${lines.join("\n")}${body === undefined ? "" : `\n\n${JSON.stringify(body, null, 2)}`}`;
  return html`<details class="request" ?open=${open}><summary>The request</summary><pre tabindex="0" role="region" aria-label="The request">${text}</pre>${copy(ctx, text, "the request")}</details>`;
}
