/** What is around every page: navigation, the bar at the top, the notices, the dialogs and the status line. */
import { html, nothing } from "../vendor/lit-html.js";
import { problemOf } from "./api.js";
import { moveRow } from "./keys.js";
import { choose, dark, prefs } from "./prefs.js";
import { sentence } from "./problem.js";
import { to } from "./routes.js";
import { claims } from "./session.js";
import { duration, zone } from "./time.js";
import { number, short } from "./text.js";

/** @import {Ctx} from "../types.js" */

const PAGES = [["#/", "overview", "Overview", "g o"], ["#/events", "feed", "Feed", "g f"], ["#/projections", "projections", "Projections", "g p"], ["#/health", "health", "Health", "g h"]];

const logo = html`<svg viewBox="0 0 24 24" fill="none" stroke-width="2.2" stroke-linejoin="round" stroke-linecap="round" aria-hidden="true"><path d="M3 5h18L3 12h18L3 19h18"></path></svg>`;

/** @param {Ctx} ctx */
export function side(ctx) {
  const { route, schema, state } = ctx;
  return html`<div class="side">
    <a class="brand" href="#/" aria-label="foldlog, overview">${logo}<span>foldlog</span></a>
    <nav aria-label="Console"><ul>${PAGES.map(([href, page, name]) => html`<li><a href=${href} aria-current=${route.page === page ? "page" : nothing}>${name}${page === "projections" && state.parked
      ? html`<span class="bad">${number(state.parked)} parked</span>` : nothing}</a></li>`)}</ul></nav>
    <nav aria-label="Domains"><h2>Domains</h2><ul>${schema.domains.map(({ name }) => html`<li><a href=${to(name)} aria-current=${route.domain === name ? "page" : nothing}><bdi>${name}</bdi></a></li>`)}</ul></nav>
    ${who(ctx)}</div>`;
}

/** @param {Ctx} ctx */
function who(ctx) {
  if (!ctx.schema.secured) {
    return html`<div class="who"><b>No sign-in</b>${openAccess(ctx)}</div>`;
  }
  const known = claims();
  if (!known) return html`<div class="who"><b>Not signed in</b><a href="#/sign-in">Sign in</a></div>`;
  const left = known.expires === undefined ? null : (known.expires - Date.now()) / 1000;
  return html`<div class="who"><b>${known.sub ?? "signed in"}</b><span class="dim">${may(ctx)}</span>
    <span class=${left !== null && left < 300 ? "warnText" : "dim"}>${left === null ? nothing : left > 0 ? `token ends in ${duration(left)}` : "the token has expired"} · <a href="#/sign-in">change</a></span></div>`;
}

/** Who may use a server without a sign-in: a warning, unless only this machine can reach it. @param {Ctx} ctx */
export function openAccess(ctx) {
  const loopback = /^(localhost|127\.[\d.]+|\[::1\])$/.test(new URL(ctx.api.baseUrl).hostname);
  return html`<span class=${loopback ? "dim" : "warnText"}>${loopback ? nothing : "▲ "}anyone who reaches this server may read and write</span>`;
}

/** What the token may do, in words. @param {Ctx} ctx */
export function may(ctx) {
  const scopes = claims()?.scopes ?? new Set();
  const domains = ctx.schema.domains.map((at) => at.name);
  const some = (/** @type {string} */ verb) => domains.filter((name) => scopes.has(`${name}:${verb}`));
  const list = (/** @type {string} */ verb) => (some(verb).length === domains.length ? "" : ` ${some(verb).join(", ")}`);
  const parts = ["read", "write"].filter((verb) => some(verb).length > 0).map((verb) => verb + list(verb));
  if (scopes.has("operate")) parts.push("operate");
  return parts.length === 0 ? "may do nothing here" : `may ${parts.join(", ")}`;
}

/** @param {Ctx} ctx @param {string} title @param {{text: string, href: string}[]} crumbs */
export function bar(ctx, title, crumbs) {
  return html`<div class="bar"><nav class="crumb" aria-label="Where you are">${crumbs.map(({ text, href }) => html`<a href=${href}><bdi>${text}</bdi></a><span class="dim" aria-hidden="true">/</span>`)}<span>${ctx.route.id ? html`<span class="m">${short(ctx.route.id)}</span>` : title}</span></nav><span class="grow"></span>
    <form class="find" role="search" @submit=${(/** @type {Event} */ event) => find(ctx, event)}>
      <input id="find" name="find" list="places" autocomplete="off" spellcheck="false" aria-label="Go to an id, a domain or a page" placeholder="Go to id, domain, page …"><kbd aria-hidden="true">/</kbd></form>
    <datalist id="places">${[...PAGES.map((at) => at[2]), ...ctx.schema.domains.map((at) => at.name)].map((name) => html`<option value=${name}></option>`)}</datalist>
    <div class="seg" role="group" aria-label="Times">${/** @type {const} */ (["UTC", "local"]).map((name) => html`<button type="button" aria-pressed=${prefs.zone === name} title=${name === "local" ? "the time of this computer" : "coordinated universal time"} @click=${() => { choose({ zone: name }); ctx.draw(); }}>${name}</button>`)}</div>
    <button type="button" class="btn small" aria-label=${dark() ? "Use light colours" : "Use dark colours"} @click=${() => { choose({ theme: dark() ? "light" : "dark" }); ctx.draw(); }}>◐</button></div>`;
}

/** Goes to what was typed: a page, a domain, or the aggregate of an id in whichever domain has it. @param {Ctx} ctx @param {Event} event */
async function find(ctx, event) {
  event.preventDefault();
  const form = /** @type {HTMLFormElement} */ (event.target);
  const input = /** @type {HTMLInputElement} */ (form.elements.namedItem("find"));
  const text = input.value.trim();
  if (!text) return;
  const page = PAGES.find((at) => (at[2] ?? "").toLowerCase() === text.toLowerCase());
  const { hash } = location;
  let href;
  try {
    href = page?.[0] ?? (ctx.schema.domains.some((at) => at.name === text) ? to(text) : await ofId(ctx, text));
  } catch (error) {
    return ctx.say(`The id could not be looked up: ${sentence(error)}`);
  }
  // The user may have gone to another page meanwhile.
  if (location.hash !== hash) return;
  if (!href) {
    ctx.say(/^[0-9a-f-]{32,36}(@\d+)?$/i.test(text) ? "No domain has an aggregate with this id" : `Nothing is called “${text.slice(0, 40)}”`);
    return;
  }
  input.value = "";
  ctx.go(href);
}

/** @param {Ctx} ctx @param {string} text */
async function ofId(ctx, text) {
  const [, id, version] = /^([0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12})(?:@(\d+))?$/i.exec(text) ?? [];
  if (!id) return null;
  const found = await Promise.all(ctx.readable.map((name) => ctx.api.get(`/${name}/${id}/events`, { limit: 1 }).then(() => name, (error) => {
    if (problemOf(error)?.name === "not-found") return null;
    throw error;
  })));
  const domain = found.find(Boolean);
  return domain ? to(domain, id, version ? Number(version) : undefined) : null;
}

/** The keys of this page. @param {import("../types.js").Key[]} keys @returns {import("../types.js").Dialog} */
const keysDialog = (keys) => ({
  title: "Keys",
  view: (ctx) => html`<section><dl class="keys">${keys.map((at) => html`<dt>${at.key.split(", ").map((one, index) => html`${index > 0 ? " or " : nothing}${one.split(" ").map((part) => html`<kbd>${NAMES[part] ?? part}</kbd> `)}`)}</dt><dd>${at.label}</dd>`)}</dl></section>
    <section><label class="check"><input type="checkbox" .checked=${prefs.keys} @change=${(/** @type {Event} */ event) => choose({ keys: /** @type {HTMLInputElement} */ (event.target).checked })}> Single keys work on this page</label></section>
    <footer><span class="dim">Times are ${zone()}</span><span class="grow"></span><button type="button" class="btn" @click=${() => ctx.close()}>Close</button></footer>`,
});

/** @type {Record<string, string>} */
const NAMES = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

/** The keys of the console and of its page. @param {Ctx} ctx @param {import("../types.js").Page | null} page @returns {import("../types.js").Key[]} */
export const keysOf = (ctx, page) => [
  { key: "/", label: "go to an id, a domain or a page", run: () => document.getElementById("find")?.focus() },
  { key: "g o", label: "overview", run: () => ctx.go("#/") },
  { key: "g f", label: "feed", run: () => ctx.go("#/events") },
  { key: "g p", label: "projections", run: () => ctx.go("#/projections") },
  { key: "g h", label: "health", run: () => ctx.go("#/health") },
  { key: "j, ArrowDown", label: "next row", run: () => moveRow(1) },
  { key: "k, ArrowUp", label: "previous row", run: () => moveRow(-1) },
  ...(page?.keys ?? []),
  { key: "?", label: "this list", run: () => ctx.open(keysDialog(keysOf(ctx, page))) },
];
