/**
 * What happened to one aggregate: its events, the newest first, each with the fields that it changed.
 *
 * @import {Ctx, Domain} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { changeList } from "./diff.js";
import { to, withQuery } from "./routes.js";
import { actor, copy, json, number, onValue, secret, visible, words } from "./text.js";
import { when } from "./time.js";

/**
 * @param {Ctx} ctx @param {Domain} domain
 * @param {{events: any[], next: string | null, at: number, more(): void, reading: boolean}} history
 */
export function historyList(ctx, domain, { events, next, at, more, reading }) {
  const { field, by } = filtersOf(ctx);
  return html`<section aria-label="History"><div class="cap"><h2>What happened</h2><span class="grow"></span>${filters(ctx, domain, events)}</div>
    ${events.length === 0 && !next ? html`<div class="empty"><b>No event ${field ? `changed ${field}` : "matches"}${by ? ` by ${by}` : ""}.</b><a class="btn small" href=${withQuery(ctx.route.hash, { "-field": null, "-by": null })}>Show all events</a></div>` : nothing}
    <ol class="tl">${events.map((event) => entry(ctx, domain, event, at))}</ol>
    ${next ? html`<button type="button" class="btn small" ?disabled=${reading} @click=${more}>${reading ? "Reading…" : field || by ? "Look at older events" : "Show older events"}</button>` : nothing}</section>`;
}

/** The filters of the history, which are in the address. @param {Ctx} ctx */
export const filtersOf = (ctx) => ({ field: ctx.route.query["-field"], by: ctx.route.query["-by"] });

/** @param {Ctx} ctx @param {Domain} domain @param {any[]} events */
function filters(ctx, domain, events) {
  const { field, by } = filtersOf(ctx);
  const known = new Set(events.map((at) => at.metadata?.actor).filter((at) => typeof at === "string" && at));
  for (const name of ctx.ui["actors"] ?? []) known.add(name);
  if (by) known.add(by);
  ctx.ui["actors"] = known;
  const choose = (/** @type {string} */ name) => onValue((value) => ctx.go(withQuery(ctx.route.hash, { [name]: value }), { replace: true }));
  return html`<label class="dim">field <select class="in" aria-label="field" @change=${choose("-field")}><option value="" .selected=${!field}>any</option>${domain.columns.filter(({ name }) => name !== "id" && name !== "version").map(({ name }) => html`<option value=${name} .selected=${field === name}>${name}</option>`)}</select></label>
    <label class="dim">by <select class="in" aria-label="by" @change=${choose("-by")}><option value="" .selected=${!by}>anyone</option>${[...known].map((name) => html`<option value=${name} .selected=${by === name}>${visible(name)}</option>`)}</select></label>`;
}

/** @param {Ctx} ctx @param {Domain} domain @param {any} event @param {number} at */
function entry(ctx, domain, event, at) {
  const { version } = event;
  const href = withQuery(`${to(domain.name, ctx.route.id ?? "", version)}`, Object.fromEntries(Object.entries(ctx.route.query).filter(([name]) => name.startsWith("-"))));
  const here = version === at;
  return html`<li class=${`${here ? "here" : version > at ? "after" : ""}${version === 1 ? " first" : ""}`} aria-current=${here ? "true" : nothing}>
    <a class="v" href=${href} aria-label=${`Show version ${version}`}>${version}</a>
    <div class="ev"><div class="what"><a class="plain" data-row href=${href}>${event.type ?? html`type ${event.type_id}`}</a><span class="by">${actor(event.metadata?.actor)}${tag(event)}</span>${when(event.created_at)}${rawButton(ctx, event)}</div>
      ${changeList(event.changes, domain.columns.map((one) => one.name))}${secrets(domain, event)}${trouble(event)}
      ${typeof event.metadata?.reason === "string" ? html`<p class="fine dim">“${words(event.metadata.reason, 1024)}”</p>` : nothing}
      ${raw(ctx, event)}</div></li>`;
}

/** @param {any} event */
const tag = (event) => (event.metadata?.revert ? html`<span class="tag">revert to v${number(event.metadata.revert.to_version)}</span>` : nothing);

/** The secrets that an event of this type has set: the log has only their hashes. @param {Domain} domain @param {any} event */
function secrets(domain, event) {
  const fields = domain.events.find((at) => at.type_id === event.type_id)?.fields.filter((at) => at.secret && at.required) ?? [];
  return fields.length === 0 ? nothing : html`<dl class="ch">${fields.map(({ name }) => html`<dt>${name}</dt><dd>${secret("set; a secret, so it is not shown")}</dd>`)}</dl>`;
}

/** Why an event has no known changes. @param {any} event */
function trouble(event) {
  if (!event.error) return event.type === null ? html`<p class="fine warnText">◆ This build does not know this event.</p>` : nothing;
  const texts = /** @type {Record<string, string>} */ ({ unfoldable: "This event cannot be folded.", follows_unfoldable: "An earlier event cannot be folded, so what this one changes is not known.", skipped: "An operator has skipped this event: it has no effect." });
  return html`<p class="fine warnText">◆ ${texts[event.error] ?? event.error}</p>`;
}

/** The event as the log has it, on demand. @param {Ctx} ctx @param {any} event */
function raw(ctx, event) {
  if (!ctx.ui[`raw-${event.version}`]) return nothing;
  const { id, type_id, position, created_at, payload, metadata } = event;
  const text = json({ id, type_id, position, created_at, payload, metadata });
  return html`<div class="more"><pre tabindex="0" role="region" aria-label="The event as recorded">${text}</pre>${copy(ctx, text, "the event")}</div>`;
}

/** @param {Ctx} ctx @param {any} event */
function rawButton(ctx, event) {
  const open = Boolean(ctx.ui[`raw-${event.version}`]);
  return html`<button type="button" class="raw" aria-expanded=${String(open)} aria-label=${`Version ${event.version} as recorded`} title="as recorded" @click=${() => ctx.set({ [`raw-${event.version}`]: !open })}>{…}</button>`;
}
