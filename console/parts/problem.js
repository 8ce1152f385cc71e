/** What went wrong, for people: the problem's title and detail, and the id of the request for the log. */
import { html, nothing } from "../vendor/lit-html.js";
import { problemOf } from "./api.js";
import { copy } from "./text.js";

/** @import {Ctx} from "../types.js" */

/** The sentence of an error. @param {any} error */
export function sentence(error) {
  const problem = problemOf(error);
  if (problem) return problem.detail || problem.title;
  if (error instanceof TypeError) return "The server cannot be reached.";
  if (error?.name === "TimeoutError") return "The server has not answered in time.";
  return String(error?.message ?? error);
}

/** The heading of an error. @param {unknown} error */
export const heading = (error) => problemOf(error)?.title ?? (error instanceof TypeError ? "No connection" : "This could not be read");

/**
 * A notice in a page, a panel or a dialog.
 * @param {Ctx} ctx @param {unknown} error @param {unknown} [action] such as a button @param {unknown} [title]
 */
export function notice(ctx, error, action = nothing, title = html`<b>${heading(error)}</b> `) {
  const problem = problemOf(error);
  return html`<div class="hint bad" role="alert">
    <span aria-hidden="true">▲</span>
    <div class="grow">${title}<span class="say">${sentence(error)}</span>
      ${problem?.requestId ? html`<div class="fine">request <code>${problem.requestId}</code> ${copy(ctx, problem.requestId, "the request's id")}</div>` : nothing}
    </div>${action}</div>`;
}

/**
 * A panel that was loaded by `panels`: its content, and above it why it is not current.
 * @template T
 * @param {Ctx} ctx @param {import("../types.js").Panel<T>} panel @param {(value: T) => unknown} view
 */
export function panel(ctx, panel, view) {
  return html`${panel.error ? notice(ctx, panel.error) : nothing}
    ${panel.value === undefined ? nothing : html`<div class=${panel.error ? "stale" : "fresh"}>${view(panel.value)}</div>`}`;
}
