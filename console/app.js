/**
 * The console: routes, one state object, and the loop that loads and draws.
 *
 * `#/…` → `page.load(ctx)` → `state.data` → `page.view(ctx)`. There is no other store. A page is a module in `pages/` that exports
 * `page`, with the interface `Page` of `types.d.ts`:
 *
 * - `load(ctx, signal)` reads everything that the page shows, and returns it. It runs when the address changes and at each refresh.
 *   `ctx.data` is what the last call returned: keep loaded pages of a list from it. Use `panels` (parts/api.js) if one failing
 *   request must not blank the others. A problem that `load` throws is shown by the core: over greyed data if waiting may help
 *   (503), else as a page of its own.
 * - `view(ctx)` draws `ctx.data`. It begins with `pageHead` (parts/table.js), whose `h1` gets the focus when the page changes.
 * - `ctx.ui` is what the page remembers between draws (an open menu); `ctx.set({…})` changes it and draws. What another person
 *   should see by a link belongs into the address: `ctx.go(withQuery(ctx.route.hash, {type: "Created"}))`.
 * - A write opens a dialog: `ctx.open({title, view, closed})` with `footer` and `requestShown` of parts/dialog.js. While a dialog is
 *   open, nothing is refreshed. After the write, `ctx.close()` and `await ctx.reload()`, so that the page shows what the server has.
 * - `ctx.can("users:write")` hides what the token may not do, and everything that writes when `read_only` is set;
 *   `ctx.has("operate")` is for reading. `ctx.api` sends the token, and signs in again after a 401.
 *
 * `pages/signin.js` also exports `dialog` (a `Dialog`), which the core opens over the page after a 401; it calls
 * `ctx.signedIn(token, keep)`. Texts of rows and payloads only ever become text nodes.
 *
 * @import {Ctx, Page, Route, State} from "./types.js"
 */
import { html, nothing, render } from "./vendor/lit-html.js";
import { connect, problemOf, transient } from "./parts/api.js";
import { dialogElement } from "./parts/dialog.js";
import { listen } from "./parts/keys.js";
import { closeMenus } from "./parts/menu.js";
import { notices } from "./parts/notices.js";
import { heading, notice, sentence } from "./parts/problem.js";
import { refresher } from "./parts/refresh.js";
import { parse } from "./parts/routes.js";
import { read } from "./parts/schema.js";
import * as session from "./parts/session.js";
import { bar, keysOf, side } from "./parts/shell.js";
import * as status from "./parts/status.js";
import { pageHead } from "./parts/table.js";

/** @type {Record<string, () => Promise<{page: Page}>>} */
const PAGES = {
  overview: () => import("./pages/overview.js"),
  list: () => import("./pages/list.js"),
  row: () => import("./pages/row.js"),
  feed: () => import("./pages/feed.js"),
  projections: () => import("./pages/projections.js"),
  health: () => import("./pages/health.js"),
  signin: () => import("./pages/signin.js"),
};

const base = new URL("..", import.meta.url);
/**
 * What foldlog puts into the page: its settings, and the API's document. Other servers have `config.json`, and the API is asked.
 * @type {{config?: State["config"], document?: any}}
 */
const served = JSON.parse(document.getElementById("served")?.textContent ?? "{}");
/** @type {State} */
const state = {
  config: {}, schema: { domains: [], secured: false, hash: undefined, version: undefined },
  route: parse(location.hash), data: undefined, error: null, loading: true, loadedAt: undefined,
  ui: {}, dialog: null, said: "", parked: undefined, status: undefined,
};
/** @type {Page | null} */
let page = null;
let reading = new AbortController();
/** @type {{ask: Promise<void>, done(): void, dialog: import("./types.js").Dialog, token: string | null} | null} */
let signing = null;
/** @type {HTMLElement | null} */
let opener = null;
let [moved, started] = [false, false];
/** The user has closed the sign-in without one; nothing is read again until the next page or sign-in. */
let declined = false;
let api = connect(base.href, signIn);

/** @type {Ctx} */
const ctx = {
  state,
  get route() { return state.route; },
  get schema() { return state.schema; },
  get api() { return api; },
  get data() { return state.data; },
  get ui() { return state.ui; },
  get domain() { return state.schema.domains.find((at) => at.name === state.route.domain); },
  go(hash, { replace = false } = {}) {
    if (hash === location.hash) void load();
    else if (replace) {
      history.replaceState(null, "", hash);
      void navigate();
    } else location.hash = hash;
  },
  set(changes) {
    Object.assign(state.ui, changes);
    draw();
  },
  draw,
  reload: load,
  say(text) {
    state.said = text;
    draw();
    clearTimeout(silence);
    silence = setTimeout(() => { state.said = ""; draw(); }, 4000);
  },
  open(dialog) {
    opener = /** @type {HTMLElement} */ (document.activeElement);
    state.dialog = dialog;
    draw();
    element("dialog")?.showModal();
  },
  close() { element("dialog")?.close(); },
  get resting() { return document.hidden || refresh.mode === "idle"; },
  can: (...scopes) => ctx.has(...scopes) && !(state.config.read_only && scopes.some((scope) => !scope.endsWith(":read"))),
  get readable() { return state.schema.domains.map(({ name }) => name).filter((name) => ctx.has(`${name}:read`)); },
  get readsAll() { return ctx.readable.length === state.schema.domains.length; },
  has: (...scopes) => !state.schema.secured || scopes.every((scope) => session.claims()?.scopes.has(scope)),
  signedIn(token, keep) {
    declined = false;
    session.set(token, keep);
    if (signing) element("signin")?.close();
    else void load();
  },
  signOut() {
    session.set(null);
    state.data = undefined;
    draw();
    void load();
  },
};
/** @type {ReturnType<typeof setTimeout> | undefined} */
let silence;

const refresh = refresher({
  run: () => (state.dialog ? refresh.done(false) : void load()),
  changed: draw,
  // A display on a wall gets no input.
  rests: () => !("wall" in state.route.query),
  // A page that shows only why it was refused is read again when the user asks for it.
  wanted: () => !declined && Boolean(page) && (state.data !== undefined || !state.error || transient(state.error)) && (typeof page?.live === "function" ? page.live(ctx) : page?.live !== false),
  every: () => page?.every ?? 5000,
});

/** Opens the sign-in over the page; resolves when there is a token, or when the user has closed it. */
function signIn() {
  signing ??= (() => {
    let done = () => {};
    const ask = /** @type {Promise<void>} */ (new Promise((resolve) => { done = resolve; }));
    const current = { ask, done, dialog: /** @type {any} */ (null), token: session.current() };
    void import("./pages/signin.js").then(({ dialog }) => {
      current.dialog = dialog;
      draw();
      element("signin")?.showModal();
    }, () => { signing = null; done(); });
    return current;
  })();
  return signing.ask;
}

async function navigate() {
  const before = state.route;
  state.route = parse(location.hash);
  if (state.route.key !== before.key || !page) {
    refresh.stop();
    reading.abort();
    declined = false;
    page?.leave?.(ctx);
    Object.assign(state, { data: undefined, error: null, ui: {}, loadedAt: undefined });
    moved = page !== null;
    // A user who begins to type while the page loads keeps the focus.
    if (moved && document.activeElement instanceof HTMLElement) document.activeElement.blur();
    ctx.close();
    page = null;
    const { key, page: name } = state.route;
    try {
      const module = await PAGES[name]?.();
      if (state.route.key !== key) return; // The user has gone on meanwhile.
      page = module?.page ?? null;
    } catch (error) {
      state.error = error;
      draw();
    }
  }
  if (state.route.query["after"] !== before.query["after"]) scrollTo(0, 0);
  await load();
}

async function load() {
  refresh.stop();
  reading.abort();
  const mine = (reading = new AbortController());
  if (!page) return;
  state.loading = true;
  draw();
  try {
    const data = await page.load(ctx, mine.signal);
    if (mine.signal.aborted) return;
    Object.assign(state, { data, error: null, loadedAt: Date.now() });
    void status.keep(ctx, mine.signal);
  } catch (error) {
    if (mine.signal.aborted) return;
    state.error = error;
  }
  state.loading = false;
  draw();
  refresh.done(state.error !== null && transient(state.error));
}

/** @param {string} id @returns {HTMLDialogElement | null} */
const element = (id) => /** @type {HTMLDialogElement | null} */ (document.getElementById(id));

function draw() {
  const title = page?.title(ctx) ?? "foldlog";
  document.title = title === "foldlog" ? title : `${title} · foldlog`;
  const wall = "wall" in state.route.query;
  document.body.classList.toggle("wall", wall);
  render(html`<a class="skip" href="#main" @click=${(/** @type {Event} */ event) => { event.preventDefault(); element("main")?.focus(); }}>Skip to the content</a>
    ${wall ? nothing : side(ctx)}
    <main id="main" tabindex="-1">${wall ? nothing : bar(ctx, title, page?.crumbs?.(ctx) ?? [])}${status.workerLine(ctx)}${notices(ctx, refresh)}${content(title)}</main>
    ${dialogElement(ctx, state.dialog, "dialog", closed)}${dialogElement(ctx, signing?.dialog ?? null, "signin", signedIn)}
    <div class="status" role="status">${state.said}</div>`, document.body);
  if (moved && (state.data !== undefined || state.error)) {
    moved = false;
    if (document.activeElement === document.body) document.querySelector("h1")?.focus();
  }
}

/** @param {string} title */
function content(title) {
  if (state.data === undefined && state.error) return failed();
  if (state.data === undefined) return html`${pageHead({ title })}<div class="wait" role="status">Reading…</div>`;
  if (state.error && !transient(state.error)) return html`${notice(ctx, state.error)}${shown()}`;
  return html`<div class=${state.error ? "stale" : "fresh"}>${shown()}</div>`;
}

/** A page that cannot be drawn must not leave the console blank. */
function shown() {
  try {
    return page?.view(ctx);
  } catch (error) {
    return html`${pageHead({ title: "This page could not be drawn" })}${notice(ctx, error)}`;
  }
}

function failed() {
  const problem = problemOf(state.error);
  const again = html`<button type="button" class="btn" @click=${() => (page ? load() : started ? navigate() : start())}>Try again</button>`;
  return html`${pageHead({ title: heading(state.error), sub: problem ? html`<span>${problem.status}</span>` : nothing })}
    ${notice(ctx, state.error, again, nothing)}`;
}

function closed() {
  const dialog = state.dialog;
  state.dialog = null;
  dialog?.closed?.();
  draw();
  (opener?.isConnected ? opener : document.querySelector("h1"))?.focus();
  opener = null;
}

function signedIn() {
  const current = signing;
  signing = null;
  declined = session.current() === current?.token;
  current?.dialog?.closed?.();
  draw();
  current?.done();
}

/** The issuer has sent the browser back. */
async function arrive() {
  try {
    const token = await (await import("./parts/oidc.js")).arrive(state.config);
    if (token) session.set(token);
  } catch (error) {
    ctx.say(`The sign-in has failed: ${sentence(error)}`);
  }
}

async function start() {
  state.error = null;
  // The page's module is fetched meanwhile; an error is met by `navigate`.
  PAGES[state.route.page]?.().catch(() => {});
  state.config = served.config ?? await fetch(new URL("config.json", import.meta.url)).then((at) => (at.ok ? at.json() : {}), () => ({}));
  api = connect(state.config.api ? new URL(state.config.api, base).href : base.href, signIn);
  draw();
  try {
    state.schema = read(served.document ?? await api.get("/openapi.json"));
  } catch (error) {
    state.error = error;
    return draw();
  }
  if (state.config.issuer && new URLSearchParams(location.search).has("state")) await arrive();
  started = true;
  listen(() => keysOf(ctx, page), (key) => key.run(ctx));
  closeMenus();
  addEventListener("hashchange", () => void navigate());
  // "Trying again in 3 s" counts; everything else is drawn when something happens.
  setInterval(() => { if (state.error && !document.hidden) draw(); }, 1000);
  await navigate();
}

void start();
