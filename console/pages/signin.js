/**
 * Sign-in: a token is pasted, and shows what it may do. As a page, and as a dialog that the core opens over any page after a 401.
 *
 * @import {Ctx, Dialog, Page} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { sentence } from "../parts/problem.js";
import { claims } from "../parts/session.js";
import { pageHead, sheet } from "../parts/table.js";
import { onValue } from "../parts/text.js";
import { duration, when } from "../parts/time.js";

/** What was typed; it is forgotten when the form is closed or sent. */
const typed = { token: "", keep: false };

/** @type {Page} */
export const page = {
  title: () => "Sign in",
  live: false,
  load: async () => ({}),
  view: (ctx) => html`${pageHead({ title: "Sign in", sub: ctx.schema.secured ? nothing : html`<span>This server accepts every request; no token is needed.</span>` })}
    ${current(ctx)}
    ${issuer(ctx)}
    ${sheet({ label: "Sign in" }, html`<form class="pad" @submit=${(/** @type {Event} */ event) => submit(ctx, event, () => ctx.go("#/"))}>${form(ctx, "page")}
      <div class="acts2 left"><button class="btn go" ?disabled=${!claims(clean())}>Sign in</button></div></form>`)}`,
  leave: forget,
};

/** @type {Dialog} */
export const dialog = {
  title: "Sign in to go on",
  view: (ctx) => html`<form @submit=${(/** @type {Event} */ event) => submit(ctx, event, () => {})}>
    <section><p>The server wants a token, or the one that it got is not valid any more. Afterwards the page goes on where it was.</p></section>
    ${issuer(ctx)}<section>${form(ctx, "dialog")}</section>
    <footer><span class="grow"></span><button type="button" class="btn" @click=${() => /** @type {HTMLDialogElement} */ (document.getElementById("signin")).close()}>Not now</button><button class="btn go" ?disabled=${!claims(clean())}>Sign in</button></footer></form>`,
  closed: forget,
};

function forget() {
  Object.assign(typed, { token: "", keep: false });
}

/** A token is often copied with the name of its scheme. */
const clean = () => typed.token.trim().replace(/^bearer\s+/i, "");

/** @param {Ctx} ctx @param {Event} event @param {() => void} then */
function submit(ctx, event, then) {
  event.preventDefault();
  const [token, keep] = [clean(), typed.keep];
  if (!claims(token)) return;
  forget();
  ctx.signedIn(token, keep);
  then();
}

/** @param {Ctx} ctx @param {string} place */
function form(ctx, place) {
  const found = typed.token ? claims(clean()) : null;
  return html`<div class="fields"><label class="field">Token<textarea id=${`token-${place}`} name="token" rows="6" autocomplete="off" spellcheck="false" placeholder="eyJ…" .value=${typed.token}
      @input=${onValue((token) => { typed.token = token; ctx.draw(); })}></textarea></label>
    ${typed.token && !found ? html`<p class="warnText" role="status">▲ This is not a JSON web token.</p>` : nothing}
    ${found ? rights(ctx, found) : nothing}
    <label class="check"><input type="checkbox" .checked=${typed.keep} @change=${(/** @type {Event} */ event) => { typed.keep = /** @type {HTMLInputElement} */ (event.target).checked; }}> <span>Keep it until this tab is closed, also when the page is loaded again. Otherwise it is only in the memory of the page.</span></label></div>`;
}

/** The button that goes to the issuer, if config.json names one. @param {Ctx} ctx */
function issuer(ctx) {
  const { config } = ctx.state;
  if (!config.issuer || !config.client_id) return nothing;
  const go = async () => {
    try {
      await (await import("../parts/oidc.js")).leave(config);
    } catch (error) {
      ctx.say(`The issuer cannot be reached: ${sentence(error)}`);
    }
  };
  return html`<section class="issuer"><button type="button" class="btn go" @click=${go}>Sign in at ${URL.canParse(config.issuer) ? new URL(config.issuer).host : config.issuer}</button> <span class="dim">or paste a token:</span></section>`;
}

/** Who is signed in now. @param {Ctx} ctx */
function current(ctx) {
  const known = claims();
  if (!known) return nothing;
  const actions = html`<button type="button" class="btn small" @click=${() => ctx.signOut()}>Sign out</button>`;
  return sheet({ title: html`Signed in as <bdi>${known.sub ?? "an unnamed subject"}</bdi>`, label: "Signed in", actions }, html`<div class="pad">${rights(ctx, known)}</div>`);
}

/** What a token may do, by its own scopes. The server decides. @param {Ctx} ctx @param {NonNullable<ReturnType<typeof claims>>} token */
function rights(ctx, token) {
  const left = token.expires === undefined ? null : (token.expires - Date.now()) / 1000;
  const has = (/** @type {string} */ scope) => token.scopes.has(scope);
  const mark = (/** @type {boolean} */ yes) => yes ? html`<span class="yes">✓ yes</span>` : html`<span class="dim">– no</span>`;
  return html`<dl class="pairs"><dt>Subject</dt><dd><bdi>${token.sub ?? "–"}</bdi></dd><dt>Issuer</dt><dd><bdi>${token.iss ?? "–"}</bdi></dd>
      <dt>Ends</dt><dd>${left === null ? "never" : left <= 0 ? html`<span class="warnText">▲ it ended ${when(new Date(/** @type {number} */ (token.expires)).toISOString(), "ago")}</span>` : html`in ${duration(left)}`}</dd></dl>
    <table class="rights"><caption class="vh">What the token may do</caption><thead><tr><th scope="col">domain</th><th scope="col">read</th><th scope="col">write</th></tr></thead>
      <tbody>${ctx.schema.domains.map(({ name }) => html`<tr><th scope="row"><bdi>${name}</bdi></th><td>${mark(has(`${name}:read`))}</td><td>${mark(has(`${name}:write`))}</td></tr>`)}
      <tr><th scope="row">operate projections</th><td colspan="2">${mark(has("operate"))}</td></tr></tbody></table>`;
}
