/** How much a browser has to load, and that the files can be read in one sitting. */
import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { openConsole, started } from "./support/browser.js";
import { plantUsers } from "./support/data.js";
import { call, until } from "./support/server.js";

/** The goal of the design is 60 kB. */
const MOST = 61_000;
const LIMIT = 150_000;
const MAX_REQUESTS = 4;
const MAX_LINES = 300;
const ROWS = 100_000;
const ROUNDS = 15;

const folder = new URL("../", import.meta.url);

const { server, browser } = await started();

/** The files of the console. */
async function files() {
  const all = await readdir(folder, { recursive: true, withFileTypes: true });
  const names = all.filter((at) => at.isFile()).map((at) => relative(fileURLToPath(folder), join(at.parentPath, at.name)));
  return names.filter((name) => !name.startsWith("test/") && !name.endsWith(".d.ts") && !name.endsWith("LICENSE"));
}

/** @param {string} path the compressed size of what the server sends */
async function compressed(path) {
  const response = await fetch(`${server.url}${path}`, { headers: { accept: "text/html" } });
  assert.equal(response.status, 200, path);
  return gzipSync(Buffer.from(await response.arrayBuffer()), { level: 9 }).length;
}

// Fails when the script contains what is only for readers, or when all together is larger than the limit of the design.
test("the page and its script have at most 61 kB, compressed", async () => {
  const [page, script, ...signIn] = await Promise.all(["/", "/-/console.js", "/-/parts/oidc.js", "/-/vendor/oauth4webapi.js"].map(compressed));
  const document = gzipSync(await (await fetch(`${server.url}/openapi.json`)).text(), { level: 9 }).length;
  // The document belongs to the API: other clients read it, too.
  const first = Number(page) - document + Number(script);
  const all = signIn.reduce((sum, size) => sum + size, first);
  console.log(`console: ${kilobytes(first)} compressed, beside ${kilobytes(document)} of the API's document; ${kilobytes(all)} with the sign-in at an issuer`);
  assert.ok(first <= MOST, `${first} bytes`);
  assert.ok(all <= LIMIT, `${all} bytes`);
});

/** @param {number} bytes */
const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;

// Fails when a file is too long to be read in one sitting, or has a style that the policy forbids.
test("a file has at most 300 lines, and no inline style or script", async () => {
  for (const name of await files()) {
    const text = await readFile(new URL(name, folder), "utf8");
    if (name.endsWith(".js") && !name.startsWith("vendor/")) assert.ok(text.split("\n").length <= MAX_LINES + 1, `${name} is too long`);
    assert.ok(!/ style="| onclick=|unsafeHTML|innerHTML/.test(text) || name.startsWith("vendor/"), name);
  }
});

// Fails when a module of the core is only found by its importer, so that the browser waits for one level of imports after another where
// another server sends the modules.
test("the page of other servers names every module of the core", async () => {
  const found = new Set(["app.js"]);
  for (const name of found) {
    const text = await readFile(name === "runtime.js" ? new URL("../client/runtime.js", folder) : new URL(name, folder), "utf8");
    for (const [, to] of text.matchAll(/^(?:import|export)[^"]*?from "(\.[^"]+)";/gm)) found.add(new URL(to ?? "", `http://x/${name}`).pathname.slice(1));
  }
  found.delete("app.js");
  const page = await readFile(new URL("index.html", folder), "utf8");
  const named = [...page.matchAll(/modulepreload" href="-\/([^"]+)"/g)].map((at) => at[1]);
  assert.deepEqual(named.sort(), [...found].sort());
});

/** Notes when the page has drawn what it has read. */
function noteCompletion() {
  const observer = new MutationObserver(() => {
    if (!document.querySelector("main h1") || document.querySelector("main .wait")) return;
    observer.disconnect();
    performance.mark("complete");
  });
  observer.observe(document, { childList: true, subtree: true });
}

/** What the browser has waited for, in milliseconds from the start of the navigation. */
function timeline() {
  const entries = /** @type {PerformanceResourceTiming[]} */ ([...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]);
  const complete = /** @type {PerformanceEntry} */ (performance.getEntriesByName("complete")[0]).startTime;
  // A refresh may have begun since.
  const before = entries.filter((at) => at.startTime <= complete && !at.name.startsWith("data:"));
  const steps = before.map((at) => `${new URL(at.name).pathname} ${Math.round(at.requestStart)}–${Math.round(at.responseEnd)}`);
  return { steps, complete };
}

// Fails when the first page takes more requests than its page, its script, and what it shows. The times are only printed.
test("the first page is complete after four requests, with 100 000 rows", async () => {
  await plantUsers(server, ROWS);
  await until("the view is current", async () => (await call(`${server.url}/projections/users`)).lag_events === 0);
  /** @type {number[]} */
  const times = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const { page, close } = await openConsole(browser, `${server.url}/`, { init: noteCompletion });
    const { steps, complete } = await page.evaluate(timeline);
    times.push(complete);
    await close();
    if (round === 0) console.log(`first page with ${ROWS} rows, ${steps.length} requests: ${steps.join(", ")}`);
    assert.ok(steps.length <= MAX_REQUESTS, steps.join(" "));
  }
  times.sort((a, b) => a - b);
  const at = (/** @type {number} */ index) => Math.round(/** @type {number} */ (times.at(index)));
  console.log(`complete after ${at(0)} to ${at(-1)} ms, median ${at(Math.floor(ROUNDS / 2))} ms`);
});
