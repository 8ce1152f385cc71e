/**
 * The one dialog of the page. A write shows the request that it will send; the ids are made when the dialog opens, so that a
 * second click sends the same request.
 *
 * @import {Ctx, Dialog} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { claims } from "./session.js";
import { copy, json } from "./text.js";

/** @param {Ctx} ctx @param {Dialog | null} dialog @param {string} id @param {() => void} closed */
export function dialogElement(ctx, dialog, id, closed) {
  return html`<dialog id=${id} aria-labelledby=${`${id}-title`} @close=${closed} @cancel=${(/** @type {Event} */ event) => { if (dialog?.busy?.()) event.preventDefault(); }}>
    ${dialog ? html`<header><h2 id=${`${id}-title`}>${dialog.title}</h2></header>${dialog.view(ctx)}` : nothing}</dialog>`;
}

/**
 * Sends what a dialog shows; while it is under way the dialog cannot be closed, and if it fails the dialog shows why.
 * @param {Ctx} ctx @param {() => Promise<void>} send
 */
export function sender(ctx, send) {
  const self = {
    busy: false,
    /** @type {unknown} */
    error: null,
    async run() {
      Object.assign(self, { busy: true, error: null });
      ctx.draw();
      try {
        await send();
      } catch (error) {
        Object.assign(self, { busy: false, error });
        ctx.draw();
      }
    },
  };
  return self;
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
 * A dialog that sends a verb when it is closed; the page shows how far it is.
 * @param {{title: string, text: unknown, body: Record<string, unknown>, label: string, danger?: boolean, cancel?: string, open?: boolean, send(ctx: Ctx): Promise<void>}} verb
 * @returns {Dialog}
 */
export const verbDialog = ({ title, text, body, open = false, send, ...action }) => ({
  title,
  view: (ctx) => html`<section><p>${text}</p></section><section>${requestShown(ctx, { path: "/projections", body, open })}</section>
    ${footer(ctx, { ...action, run: () => { ctx.close(); void send(ctx); } })}`,
});

/**
 * The request that a dialog will send.
 * @param {Ctx} ctx
 * @param {{method?: string, path: string, headers?: Record<string, string>, body?: unknown, open?: boolean}} request
 */
export function requestShown(ctx, { method = "POST", path, headers = {}, body, open = false }) {
  const lines = [`${method} ${path}`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`)];
  if (claims()) lines.push("Authorization: Bearer …");
  const text = `${lines.join("\n")}${body === undefined ? "" : `\n\n${json(body)}`}`;
  return html`<details class="request" ?open=${open}><summary>The request</summary><pre tabindex="0" role="region" aria-label="The request">${text}</pre>${copy(ctx, text, "the request")}</details>`;
}
