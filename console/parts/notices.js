/** What concerns the whole page, above it. */
import { html, nothing } from "../vendor/lit-html.js";
import { transient } from "./api.js";
import { heading, sentence } from "./problem.js";
import { ago, duration } from "./time.js";

/** @import {Ctx} from "../types.js" */
/** @typedef {ReturnType<typeof import("./refresh.js").refresher>} Refresh */

/** @param {Ctx} ctx @param {Refresh} refresh */
export const notices = (ctx, refresh) => [readOnly(ctx), waiting(ctx, refresh)];

/** That nothing can be written here, and where that is set. @param {Ctx} ctx */
function readOnly({ state }) {
  if (!state.config.read_only) return nothing;
  const setting = document.getElementById("served") ? "CONSOLE=read" : "read_only in config.json";
  return html`<p class="hint calm"><span>This console only reads (<code>${setting}</code>).</span></p>`;
}

/** That the page is old, or that it rests. @param {Ctx} ctx @param {Refresh} refresh */
function waiting({ state, reload }, refresh) {
  if (state.error && transient(state.error) && state.data !== undefined) {
    const next = refresh.next === undefined ? "" : `, trying again in ${duration(Math.max(1, (refresh.next - Date.now()) / 1000))}`;
    // The count of the seconds is not announced.
    return html`<div class="hint warn"><span aria-hidden="true">▲</span><span class="grow"><span role="status"><b>${heading(state.error)}</b> ${sentence(state.error)}</span> <span class="nowrap">Read ${ago(state.loadedAt ?? Date.now())}${next}.</span></span>
      <button type="button" class="btn small" @click=${() => reload()}>Now</button></div>`;
  }
  if (refresh.mode === "idle") {
    return html`<div class="hint calm" role="status"><span aria-hidden="true">❚❚</span><span class="grow">No input for 15 minutes, so the page has stopped reading. It shows what it read ${ago(state.loadedAt ?? Date.now())}.</span>
      <button type="button" class="btn small" @click=${() => refresh.active()}>Go on</button></div>`;
  }
  return nothing;
}
