/**
 * The dialog that brings an aggregate back to an earlier version: what changes and who had set it, what else would be lost, what
 * cannot be brought back, why, and the request. It begins with a dry run. If another client appends meanwhile, it says what, and
 * asks again.
 *
 * @import {Ctx, Domain} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { newId } from "../runtime.js";
import { problemOf } from "./api.js";
import { inOrder } from "./diff.js";
import { footer, requestShown } from "./dialog.js";
import { notice } from "./problem.js";
import { actor, number, onValue, plural, shown } from "./text.js";

/**
 * @param {Ctx} ctx @param {Domain} domain
 * @param {{id: string, to: number, newest: number, title: string, state: Record<string, unknown>}} target `state`: the fields at `to`
 * @param {() => void} done
 */
export function openRevert(ctx, domain, { id, to, newest, title, state }, done) {
  const path = `/${domain.name}/${encodeURIComponent(id)}`;
  const dialog = {
    requestId: newId(), base: newest, reason: "", except: /** @type {Set<string>} */ (new Set()), wrong: false, busy: true,
    dry: /** @type {any} */ (null), setters: /** @type {Record<string, any> | null} */ (null), error: /** @type {any} */ (null),
    // What another client has appended while the dialog was open.
    meanwhile: /** @type {any[]} */ ([]),
  };
  const body = () => ({ id: dialog.requestId, to_version: to, ...(dialog.reason && { metadata: { reason: dialog.reason } }), ...(dialog.except.size > 0 && { except: [...dialog.except] }) });
  const headers = () => ({ "If-Match": `"${dialog.base}"` });

  async function look() {
    Object.assign(dialog, { busy: true, error: null });
    ctx.draw();
    try {
      const [dry, blame] = await Promise.all([
        ctx.api.post(`${path}/revert`, body(), { headers: headers(), query: { dry_run: true } }),
        // An aggregate that has ended has no setters.
        ctx.api.get(`${path}/blame`, { version: dialog.base }).catch(() => null),
      ]);
      Object.assign(dialog, { dry, setters: blame?.fields ?? null });
    } catch (error) {
      await refused(error).catch((next) => { dialog.error = next; });
    }
    dialog.busy = false;
    ctx.draw();
  }

  async function send() {
    dialog.wrong = dialog.reason.trim() === "";
    if (dialog.wrong) {
      ctx.draw();
      document.getElementById("revert-reason")?.focus();
      return;
    }
    Object.assign(dialog, { busy: true, error: null });
    ctx.draw();
    try {
      const answer = await ctx.api.post(`${path}/revert`, body(), { headers: headers() });
      const isOpen = ctx.state.dialog === self;
      if (isOpen) ctx.close();
      ctx.say(answer.events.length > 0 ? `${plural(answer.events.length, "event")} appended; it is at version ${answer.version}` : "Nothing had to change");
      if (isOpen) done();
      return;
    } catch (error) {
      await refused(error).catch((next) => { dialog.error = next; });
    }
    dialog.busy = false;
    ctx.draw();
  }

  /** After a 412 the dialog shows the events since, and the next dry run starts from them. @param {any} error */
  async function refused(error) {
    const problem = problemOf(error);
    if (problem?.name !== "version-mismatch") {
      dialog.error = error;
      return;
    }
    const { result } = await ctx.api.get(`${path}/events`, { order: "desc", limit: 20 });
    dialog.meanwhile = result.filter((/** @type {any} */ at) => at.version > dialog.base);
    dialog.base = result[0]?.version ?? problem["version"];
    dialog.dry = await ctx.api.post(`${path}/revert`, body(), { headers: headers(), query: { dry_run: true } }).catch((/** @type {any} */ next) => {
      dialog.error = next;
      return null;
    });
    dialog.setters = (await ctx.api.get(`${path}/blame`, { version: dialog.base }).catch(() => null))?.fields ?? null;
  }

  /** @param {string} field @param {boolean} keep */
  function leave(field, keep) {
    if (keep) dialog.except.add(field);
    else dialog.except.delete(field);
    void look();
  }

  const self = {
    title: `Revert ${title} to version ${to}`,
    busy: () => dialog.busy,
    view() {
      const result = dialog.dry?.aggregates[0];
      const count = result ? result.version - dialog.base : 0;
      return html`<section><p class="lead">${result && count > 0 ? `Nothing is erased. ${plural(count, "event is", "events are")} appended, and the row becomes version ${number(result.version)}.` : result ? "No event could bring it nearer to that state." : dialog.busy ? "Looking at what would change…" : nothing}</p></section>
        ${dialog.meanwhile.length > 0 ? meanwhile() : nothing}
        ${dialog.error ? html`<section>${notice(ctx, dialog.error)}</section>` : nothing}
        ${result ? html`<section><h3>${changesTitle(result)}</h3>${changed(result)}</section>${others(result)}${kept()}` : nothing}
        <section><label class="field" for="revert-reason"><span>Why? <span class="why">stored with the events, as <code>metadata.reason</code></span></span>
          <input id="revert-reason" autocomplete="off" aria-invalid=${dialog.wrong ? "true" : nothing} aria-describedby=${dialog.wrong ? "revert-reason-wrong" : nothing} .value=${dialog.reason} @input=${onValue((reason) => { Object.assign(dialog, { reason, wrong: false }); ctx.draw(); })}>
          ${dialog.wrong ? html`<span class="wrong badText" id="revert-reason-wrong">Say why: others will read it in the history.</span>` : nothing}</label></section>
        <section>${requestShown(ctx, { path: `${path}/revert`, headers: headers(), body: body() })}</section>
        ${footer(ctx, { note: `Only if it still is at version ${dialog.base}`, label: count > 0 ? `Append ${plural(count, "event")}` : "Append", disabled: count === 0, busy: dialog.busy, run: () => void send() })}`;
    },
  };
  ctx.open(self);
  void look();

  /** @param {any} result */
  function changesTitle(result) {
    const fields = Object.keys(result.changes).length;
    return fields === 0 ? "Nothing would change" : `${plural(fields, "field")} would change`;
  }

  /** Every field that differs, with a box to leave it out. @param {any} result */
  function changed(result) {
    const order = domain.columns.map((at) => at.name);
    const left = [...dialog.except].map((name) => /** @type {[string, any]} */ ([name, null]));
    const entries = inOrder([...Object.entries(result.changes), ...left], order);
    if (entries.length === 0) return nothing;
    return html`<div class="frame" tabindex="0" role="region" aria-label="Fields that change, scrolls"><table><thead><tr><th scope="col"><span class="vh">change it</span></th><th scope="col">field</th><th scope="col">now, v${dialog.base}</th><th scope="col">then, v${to}</th><th scope="col">last set by</th></tr></thead><tbody>
      ${entries.map(([name, change]) => {
        const setter = dialog.setters?.[name];
        return html`<tr><td><input type="checkbox" aria-label=${`Change ${name}`} .checked=${Boolean(change)} ?disabled=${dialog.busy} @change=${(/** @type {Event} */ event) => leave(name, !(/** @type {HTMLInputElement} */ (event.target).checked))}></td><td class="m">${name}</td>
        ${change ? html`<td class="m">${change[0] === null ? shown(null) : html`<del>${shown(change[0])}</del>`}</td><td class="m">${change[1] === null ? shown(null) : html`<ins>${shown(change[1])}</ins>`}</td>` : html`<td class="m">${shown(setter?.value)}</td><td class="dim">stays; it was ${shown(state[name])}</td>`}
        <td class="dim">${setter ? html`${actor(setter.actor)}, v${setter.version}` : "–"}</td></tr>`;
      })}</tbody></table></div>`;
  }

  /** A field that another person has set than the rest would be lost, too. @param {any} result */
  function others(result) {
    const names = Object.keys(result.changes);
    const by = (/** @type {string} */ name) => JSON.stringify(dialog.setters?.[name]?.actor ?? null);
    const counts = names.reduce((map, name) => map.set(by(name), (map.get(by(name)) ?? 0) + 1), /** @type {Map<string, number>} */ (new Map()));
    const most = [...counts].sort(([, a], [, b]) => b - a)[0];
    if (!most || !dialog.setters || names.length < 2 || most[1] === 1) return nothing;
    const odd = names.filter((name) => by(name) !== most[0]);
    return odd.map((name) => html`<section><p class="hint"><span aria-hidden="true">▲</span><span><b>${name}</b> was last set by ${actor(dialog.setters?.[name]?.actor)}, not by ${actor(JSON.parse(most[0]))} as most others. It would be lost, too. <button type="button" class="link" ?disabled=${dialog.busy} @click=${() => leave(name, true)}>Leave it out</button></span></p></section>`);
  }

  /** What no event can bring back. */
  function kept() {
    const fields = (dialog.dry.not_restored ?? []).filter((/** @type {string} */ name) => !dialog.except.has(name));
    return fields.length === 0 ? nothing : html`<section><p class="hint calm"><span class="lock" aria-hidden="true"></span><span>${fields.map((/** @type {string} */ name, /** @type {number} */ index) => html`${index > 0 ? ", " : nothing}<b>${name}</b>`)} ${fields.length === 1 ? "stays" : "stay"} different from version ${to}: no event can bring ${fields.length === 1 ? "it" : "them"} back.</span></p></section>`;
  }

  function meanwhile() {
    return html`<section><div class="hint" role="alert"><span aria-hidden="true">◆</span><div><b>It has changed while this dialog was open.</b> Nothing was stored. Look at it again, from version ${dialog.base}:
      <ul>${dialog.meanwhile.map((at) => html`<li>v${at.version} ${at.type ?? "unknown"} by ${actor(at.metadata?.actor)}${Object.keys(at.changes ?? {}).length > 0 ? html`: ${Object.keys(at.changes).join(", ")}` : nothing}</li>`)}</ul></div></div></section>`;
  }
}
