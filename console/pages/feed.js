/**
 * The feed: the newest events of all domains, first the newest. New ones are added while the page is open; while it is paused,
 * scrolled or under the mouse they are only counted, so that no row moves under the reader.
 *
 * @import {Ctx, Page} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { sentence } from "../parts/problem.js";
import { to, withQuery } from "../parts/routes.js";
import { pageHead, pill, sheet } from "../parts/table.js";
import { actor, copy, json, number, plural, shown, short, words } from "../parts/text.js";
import { duration, stamp, zone } from "../parts/time.js";

/**
 * @typedef {{id: string, type_id: number, type: string | null, domain: string, aggregate_id: string, version: number,
 *   position: number, payload: Record<string, unknown> | null, metadata: Record<string, unknown>, created_at: string}} FeedEvent
 * @typedef {{
 *   selection: string, events: FeedEvent[], held: FeedEvent[], overflow: boolean, newest: string | null, older: string | null,
 *   waiting: {since: string, events: number} | null, looked: number,
 * }} Feed `held`: new ones that are not shown yet; `older`: where to read on, null at the first event
 */

/** Rows that the page keeps: a tab that is open for days must not grow. */
const MAX_ROWS = 500;
const FIRST_ROWS = 50;
/** What one reading takes at most. If more events are new, the page begins again at the newest. */
const MAX_NEW = 500;
/** How far one look back goes for events of an actor or an aggregate, which the server does not select. */
const LOOK_BACK = 1000;

/** @type {Page} */
export const page = {
  title: () => "Feed",
  every: 2000,
  keys: [{ key: "p", label: "pause the feed", run: (ctx) => toggle(ctx) }],
  async load(ctx, signal) {
    const before = /** @type {Feed | undefined} */ (ctx.data);
    const { selection, query } = select(ctx);
    if (!before || before.selection !== selection || !before.newest) return begin(ctx, selection, query, signal);
    const read = await ctx.api.get("/events", { ...query, after: before.newest, limit: MAX_NEW }, { signal });
    const fresh = /** @type {FeedEvent[]} */ (read.result).toReversed();
    if (fresh.length === MAX_NEW) {
      if (!isHeld(ctx)) return begin(ctx, selection, query, signal);
      return { ...before, overflow: true, newest: read.next, waiting: read.waiting };
    }
    const matching = fresh.filter((event) => matches(ctx, event));
    const held = before.overflow ? [] : [...matching, ...before.held];
    const feed = { ...before, newest: read.next, waiting: read.waiting, held, looked: before.looked + fresh.length };
    if (held.length > MAX_ROWS) return { ...feed, held: [], overflow: true };
    return isHeld(ctx) ? feed : show(feed);
  },
  view: (ctx) => view(ctx, /** @type {Feed} */ (ctx.data)),
};

/** The parameters of the server, and the text that says which events are asked for. @param {Ctx} ctx */
function select(ctx) {
  const { type, actor: who, id } = ctx.route.query;
  const domain = chosenDomain(ctx);
  return { selection: JSON.stringify([domain, type, who, id]), query: { domain, type } };
}

/** The domain whose events are shown; undefined: those of all. The feed of all domains needs the scope of each. @param {Ctx} ctx */
const chosenDomain = (ctx) => ctx.route.query["domain"] ?? (ctx.readsAll ? undefined : ctx.readable[0]);

/** Whether an event is of the actor and the aggregate asked for, which the server does not select. @param {Ctx} ctx @param {FeedEvent} event */
function matches({ route: { query } }, event) {
  return (!query["actor"] || event.metadata?.["actor"] === query["actor"]) && (!query["id"] || event.aggregate_id === query["id"]);
}

/** @param {Ctx} ctx */
const selectsHere = ({ route: { query } }) => Boolean(query["actor"] || query["id"]);

/** @param {Ctx} ctx @param {string} selection @param {Record<string, unknown>} query @param {AbortSignal} signal @returns {Promise<Feed>} */
async function begin(ctx, selection, query, signal) {
  const read = await ctx.api.get("/events", { ...query, order: "desc", limit: selectsHere(ctx) ? LOOK_BACK : FIRST_ROWS }, { signal });
  return {
    selection, held: [], overflow: false, newest: read.newest, older: read.next, waiting: read.waiting, looked: read.result.length,
    events: read.result.filter((/** @type {FeedEvent} */ event) => matches(ctx, event)),
  };
}

/** Adds the new events to the rows. @param {Feed} feed @returns {Feed} */
function show(feed) {
  const all = [...feed.held, ...feed.events];
  // Where the rows that are cut off begin is not known to the server, so the page cannot read on from there.
  return { ...feed, events: all.slice(0, MAX_ROWS), held: [], older: all.length > MAX_ROWS ? null : feed.older };
}

/** @param {Ctx} ctx */
function isHeld(ctx) {
  return Boolean(ctx.ui["paused"] || ctx.ui["open"] || document.querySelector(".feed:hover, .feed:focus-within")) || scrollY > 120;
}

/** @param {Ctx} ctx */
function toggle(ctx) {
  ctx.set({ paused: !ctx.ui["paused"] });
  if (!ctx.ui["paused"]) showNew(ctx);
}

/** @param {Ctx} ctx */
function showNew(ctx) {
  const feed = /** @type {Feed} */ (ctx.data);
  scrollTo({ top: 0 });
  if (feed.overflow) {
    restart(ctx);
    return;
  }
  Object.assign(feed, show(feed));
  ctx.draw();
}

/** Reads the newest events again. @param {Ctx} ctx */
function restart(ctx) {
  Object.assign(ctx.data, { newest: null });
  void ctx.reload();
}

/** @param {Ctx} ctx */
async function readOlder(ctx) {
  const { older, selection } = /** @type {Feed} */ (ctx.data);
  const { ui } = ctx;
  ctx.set({ reading: true });
  try {
    const limit = selectsHere(ctx) ? LOOK_BACK : 100;
    const read = await ctx.api.get("/events", { ...select(ctx).query, before: older, limit });
    // A refresh may have replaced the data meanwhile; the rows before these are the same.
    const now = /** @type {Feed | undefined} */ (ctx.data);
    if (!now || now.selection !== selection || now.older !== older) return;
    const found = read.result.filter((/** @type {FeedEvent} */ event) => matches(ctx, event));
    Object.assign(now, { events: [...now.events, ...found], older: read.next, looked: now.looked + read.result.length });
  } catch (error) {
    if (ctx.ui === ui) ctx.say(`Older events could not be read: ${sentence(error)}`);
  } finally {
    ui["reading"] = false;
    ctx.draw();
  }
}

/** @param {Ctx} ctx @param {Feed} feed */
function view(ctx, feed) {
  const paused = Boolean(ctx.ui["paused"]);
  const domain = chosenDomain(ctx);
  const sub = html`<span>${paused ? pill("warn", "paused") : pill("ok", "live")}</span><span>${domain ? html`events of <bdi>${domain}</bdi>` : "every event of the log"}, the newest first</span><span>times are ${zone()}</span>`;
  const actions = html`<button type="button" class="btn" aria-pressed=${paused} @click=${() => toggle(ctx)}>${paused ? "Go on" : "Pause"} <kbd aria-hidden="true">p</kbd></button>`;
  return html`${pageHead({ title: "Feed", sub, actions })}
    ${ctx.readsAll ? nothing : html`<p class="hint calm"><span aria-hidden="true">■</span><span>The token does not read every domain, so the feed shows those that it reads one at a time.</span></p>`}
    ${chips(ctx)}
    <div class="news" role="status">${feed.overflow || feed.held.length > 0 ? html`<button type="button" class="btn go" @click=${() => showNew(ctx)}>↑ ${feed.overflow ? `more than ${number(MAX_NEW)}` : number(feed.held.length)} new</button>` : nothing}</div>
    ${sheet({ label: "Events" }, html`${waits(feed)}${rows(ctx, feed)}`)}`;
}

/** Which events are shown. Everything is in the address. @param {Ctx} ctx */
function chips(ctx) {
  const { query, hash } = ctx.route;
  const set = (/** @type {string} */ name, /** @type {string | null} */ value) => ctx.go(withQuery(hash || "#/events", { [name]: value }), { replace: true });
  const domain = chosenDomain(ctx);
  const domains = ctx.readable.filter((name) => name !== domain);
  const types = ctx.schema.domains.filter((at) => !domain || at.name === domain).flatMap((at) => at.events.map((type) => type.name));
  const chosen = (query["type"] ?? "").split(",").filter(Boolean);
  const chip = (/** @type {string} */ name, /** @type {string} */ text, /** @type {string | null} */ value = null) =>
    html`<button type="button" class="chip" @click=${() => set(name, value)} aria-label=${`Show not only ${name} ${text}`}><span class="dim">${name}</span> ${words(text)} <span aria-hidden="true">×</span></button>`;
  const choice = (/** @type {string} */ name, /** @type {string[]} */ values, /** @type {(value: string) => void} */ run) => values.length === 0 ? nothing
    : html`<select class="in" aria-label=${`Only events of a ${name}`} .value=${""} @change=${(/** @type {Event} */ event) => { const at = /** @type {HTMLSelectElement} */ (event.target); const { value } = at; at.value = ""; if (value) run(value); }}>
      <option value="">+ ${name}</option>${values.map((value) => html`<option value=${value}>${value}</option>`)}</select>`;
  const typed = (/** @type {string} */ name, /** @type {string} */ label) => query[name] ? chip(name, name === "id" ? short(query[name]) : query[name])
    : html`<form class="inline" @submit=${(/** @type {Event} */ event) => { event.preventDefault(); const input = /** @type {HTMLInputElement} */ (/** @type {HTMLFormElement} */ (event.target).elements.namedItem("value")); const value = input.value.trim(); input.value = ""; if (value) set(name, name === "id" ? value.toLowerCase() : value); }}>
      <input class="in" name="value" size=${name === "id" ? 12 : 9} autocomplete="off" spellcheck="false" placeholder=${`+ ${name}`} aria-label=${label}></form>`;
  return html`<div class="chips" role="group" aria-label="Which events">
    ${domain ? (ctx.readsAll ? chip("domain", domain) : html`<span class="chip"><span class="dim">domain</span> <bdi>${domain}</bdi></span>`) : nothing}
    ${(domain ? !ctx.readsAll : domains.length > 1) ? choice("domain", domains, (value) => ctx.go(withQuery(hash || "#/events", { domain: value, type: null }), { replace: true })) : nothing}
    ${chosen.map((type) => chip("type", type, chosen.filter((at) => at !== type).join(",") || null))}
    ${choice("type", types.filter((type) => !chosen.includes(type)), (value) => set("type", [...chosen, value].join(",")))}
    ${typed("actor", "Only events of this actor")}${typed("id", "Only events of the aggregate with this id")}
    ${Object.keys(query).length > 0 ? html`<a href="#/events">clear</a>` : nothing}</div>`;
}

/** Why the feed does not show the newest events yet. @param {Feed} feed */
function waits({ waiting }) {
  if (!waiting) return nothing;
  const seconds = Math.max(0, (Date.now() - new Date(waiting.since).getTime()) / 1000);
  return html`<div class="hint warn"><span aria-hidden="true">▲</span><span class="grow"><b>A transaction has been open for ${duration(seconds)}; ${plural(waiting.events, "newer event")} ${waiting.events === 1 ? "waits" : "wait"} for it.</b>
    It may still commit an earlier event, and the feed shows no event before those that precede it.</span></div>`;
}

/** @param {Ctx} ctx @param {Feed} feed */
function rows(ctx, feed) {
  if (feed.events.length === 0) return empty(ctx, feed);
  return html`<ol class="feed" aria-label="Events, the newest first">${feed.events.map((event, index) => row(ctx, event, feed.events[index - 1]))}</ol>
    <p class="under dim">${end(ctx, feed)}</p>`;
}

/** @param {Ctx} ctx @param {FeedEvent} event @param {FeedEvent | undefined} above the day stands only where it changes */
function row(ctx, event, above) {
  const key = `${event.id}/${event.aggregate_id}`;
  const open = ctx.ui["open"] === key;
  const at = new Date(event.created_at);
  const millis = String(at.getUTCMilliseconds()).padStart(3, "0");
  const day = stamp(at, "day");
  const isNewDay = !above || stamp(above.created_at, "day") !== day;
  const fields = Object.entries(event.payload ?? {}).filter(([name]) => name !== "id");
  return html`<li data-row tabindex="-1" data-id=${event.id}>
    <time class="m" datetime=${event.created_at} title=${`${stamp(at, "second")} ${zone()} · ${event.created_at}`}>${isNewDay ? html`<span class="day">${day} </span>` : nothing}${stamp(at, "clock")}<span class="dim">.${millis}</span></time>
    <a class="type" href=${to(event.domain, event.aggregate_id, event.version)}>${event.type ?? `type ${event.type_id}`}</a>
    <span class="of"><a class="m" href=${to(event.domain, event.aggregate_id)} title=${event.aggregate_id}><span class="dim">${event.domain}</span> ${short(event.aggregate_id)}</a> <span class="dim m">v${event.version}</span></span>
    <span class="by">${actor(event.metadata?.["actor"])}</span>
    <span class="what">${event.payload === null ? html`<span class="null">${event.type === null ? "this build does not know the event" : "the payload is not what its type says"}</span>` : fields.slice(0, 4).map(([name, value]) => html`<span class="pair"><span class="dim">${name}</span> ${shown(value)}</span>`)}</span>
    <button type="button" class="btn small raw" aria-expanded=${open} aria-label=${`The whole event, ${event.type ?? event.type_id}, version ${event.version}`} @click=${() => ctx.set({ open: open ? null : key })}>{…}</button>
    ${open ? html`<div class="whole"><pre tabindex="0" role="region" aria-label="The event as JSON">${json(event)}</pre>${copy(ctx, json(event), "the event")}</div>` : nothing}</li>`;
}

/** @param {Ctx} ctx @param {Feed} feed */
function end(ctx, feed) {
  const count = plural(feed.events.length, "event");
  const looked = selectsHere(ctx) ? ` among the ${number(feed.looked)} that the page has looked at` : "";
  if (feed.older) {
    return html`${count}${looked}. <button type="button" class="btn small" ?disabled=${Boolean(ctx.ui["reading"])} @click=${() => readOlder(ctx)}>${ctx.ui["reading"] ? "Reading…" : selectsHere(ctx) ? `Look at ${number(LOOK_BACK)} more` : "Older events"}</button>`;
  }
  if (feed.events.length >= MAX_ROWS) return html`The newest ${number(MAX_ROWS)} events are kept here. <button type="button" class="btn small" @click=${() => restart(ctx)}>Begin again at the newest</button>`;
  return html`${count}${looked}, down to the first event of the log.`;
}

/** @param {Ctx} ctx @param {Feed} feed */
function empty(ctx, feed) {
  if (Object.keys(ctx.route.query).length === 0 && !feed.older) return html`<div class="empty"><p>No events yet. The first one appears here by itself.</p></div>`;
  return html`<div class="empty"><p>No event matches${selectsHere(ctx) ? html` among the ${number(feed.looked)} that the page has looked at` : nothing}.</p>
    <p>${feed.older ? html`<button type="button" class="btn" ?disabled=${Boolean(ctx.ui["reading"])} @click=${() => readOlder(ctx)}>Look further back</button> ` : nothing}<a class="btn" href="#/events">Clear the filter</a></p></div>`;
}
