/**
 * What the server says about itself: `GET /health`, the state of the projections, the feed's oldest open transaction, the document.
 *
 * @import {Ctx, Page, Panel} from "../types.js"
 */
import { html, nothing } from "../vendor/lit-html.js";
import { panels } from "../parts/api.js";
import { panel } from "../parts/problem.js";
import { openAccess } from "../parts/shell.js";
import { note, projectionColumns, workerColumn } from "../parts/status.js";
import { pageHead, pill, readAt, sheet, table } from "../parts/table.js";
import { copy, json, plural, short } from "../parts/text.js";
import { duration, when } from "../parts/time.js";
import { databaseSheets, findings } from "../parts/database.js";

/** @typedef {{health: Panel<any>, projections: Panel<any>, feed: Panel<any>}} Data */

/** @type {Page} */
export const page = {
  title: () => "Health",
  async load(ctx, signal) {
    const data = await panels({
      health: ctx.api.get("/health", {}, { signal }),
      projections: ctx.has("operate") ? ctx.api.get("/projections", {}, { signal }) : Promise.resolve(null),
      // It says whether a transaction holds the feed up.
      feed: ctx.readsAll ? ctx.api.get("/events", { order: "desc", limit: 1 }, { signal }) : Promise.resolve(null),
    }, ctx.data);
    note(ctx, data.health.value?.projections);
    return data;
  },
  view: (ctx) => view(ctx, /** @type {Data} */ (ctx.data)),
};

/** @param {Ctx} ctx @param {Data} data */
function view(ctx, data) {
  const health = data.health.value;
  const database = data.projections.value?.database;
  const found = database ? findings(database) : 0;
  const sub = html`${health ? pill(health.status === "up" ? "ok" : "warn", health.status === "up" ? "up" : "degraded") : pill("bad", "not known")}
    ${found > 0 ? pill("warn", `${plural(found, "thing")} to look at in the database`) : nothing}${readAt(ctx)}`;
  return html`${pageHead({ title: "Health", sub })}
    <div class="halves"><div>${panel(ctx, data.health, (value) => sheet({ title: "The server" }, facts(ctx, value, data.feed.value)))}
      ${panel(ctx, data.health, (value) => sheet({ title: "Projections" }, projections(value)))}
      ${panel(ctx, data.projections, (value) => (value?.database ? databaseSheets(value.database)
        : value ? html`<p class="hint calm">This API does not report its database: it is older than the console.</p>` : nothing))}
      ${ctx.has("operate") ? nothing : html`<p class="hint calm">Roles, migrations, open transactions and settings are shown to a token with the scope <code>operate</code>.</p>`}</div>
    <div>${panel(ctx, data.health, (value) => raw(ctx, "GET /health", value))}
      ${panel(ctx, data.projections, (value) => value ? raw(ctx, "GET /projections", value) : nothing)}</div></div>`;
}

/** @param {Ctx} ctx @param {any} health @param {any} feed */
function facts(ctx, health, feed) {
  const { schema } = ctx;
  /** @type {[string, unknown][]} */
  const lines = [
    ["Database", health.database === "up" ? pill("ok", "up") : pill("bad", health.database)],
    ["The feed", feed === null || feed === undefined ? html`<span class="dim">needs the scopes to read all domains</span>`
      : feed.waiting ? html`<span class="warnText">▲ a transaction has been open for ${duration(Math.max(0, (Date.now() - new Date(feed.waiting.since).getTime()) / 1000))}; ${plural(feed.waiting.events, "event")} of the feed ${feed.waiting.events === 1 ? "waits" : "wait"} for it</span>` : "waits for no open transaction"],
    ["Sign-in", schema.secured ? "with a token" : html`none: ${openAccess(ctx)}`],
    ["Domains", html`<bdi>${schema.domains.map((at) => at.name).join(", ")}</bdi>`],
    ["Version", schema.version ?? "not known"],
    ["API document", schema.hash ? html`<code title=${schema.hash}>${short(schema.hash)}</code> ${copy(ctx, schema.hash, "the hash")}` : html`<a href=${`${ctx.api.baseUrl}openapi.json`}>openapi.json</a>`],
    ["API", html`<code>${ctx.api.baseUrl}</code>`],
  ];
  return html`<dl class="pairs">${lines.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}

/** @param {any} health */
const projections = (health) => table({ label: "Projections", rows: Object.entries(health.projections), columns: [...projectionColumns, workerColumn] });

/** @param {Ctx} ctx @param {string} title @param {unknown} value */
function raw(ctx, title, value) {
  const text = json(value);
  return sheet({ title: html`<code>${title}</code>`, label: title, actions: copy(ctx, text, `the answer of ${title}`) },
    html`<pre class="bare" tabindex="0" role="region" aria-label=${`The answer of ${title}`}>${text}</pre>`);
}
