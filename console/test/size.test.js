/** How much a browser has to load, and that the files can be read in one sitting. */
import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { openConsole, startBrowser } from "./support/browser.js";
import { plantUsers } from "./support/data.js";
import { call, startServer, until } from "./support/server.js";

const MAX_BYTES = 150 * 1024;
/** What the first page may load. */
const MAX_FIRST_BYTES = 60 * 1024;
const MAX_LINES = 300;
const ROWS = 100_000;

const folder = new URL("../", import.meta.url);

/** @type {import("./support/server.js").Server} */
let server;
/** @type {Awaited<ReturnType<typeof startBrowser>>} */
let chromium;

before(async () => {
  [server, chromium] = await Promise.all([startServer(), startBrowser()]);
});
after(async () => {
  await chromium?.stop();
  await server?.stop();
});

/** The files that are served. */
async function files() {
  const all = await readdir(folder, { recursive: true, withFileTypes: true });
  const names = all.filter((at) => at.isFile()).map((at) => relative(fileURLToPath(folder), join(at.parentPath, at.name)));
  return names.filter((name) => !name.startsWith("test/") && !name.endsWith(".d.ts") && !name.endsWith("LICENSE"));
}

/** @param {URL} file the size as a server sends it that compresses each file by itself */
const compressed = async (file) => gzipSync(await readFile(file), { level: 9 }).length;

// Fails when the files together are larger than the limit of the design.
test("all files together have at most 150 kB, compressed", async () => {
  const sizes = await Promise.all([...(await files()).map((name) => new URL(name, folder)), new URL("../client/runtime.js", folder)].map(compressed));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  console.log(`console: ${sizes.length} files, ${(total / 1024).toFixed(1)} kB compressed`);
  assert.ok(total <= MAX_BYTES, `${total} bytes`);
});

// Fails when a file is too long to be read in one sitting, or has a style that the policy forbids.
test("a file has at most 300 lines, and no inline style or script", async () => {
  for (const name of await files()) {
    const text = await readFile(new URL(name, folder), "utf8");
    if (name.endsWith(".js") && !name.startsWith("vendor/")) assert.ok(text.split("\n").length <= MAX_LINES + 1, `${name} is too long`);
    assert.ok(!/ style="| onclick=|unsafeHTML|innerHTML/.test(text) || name.startsWith("vendor/"), name);
  }
});

// Fails when a module of the core is only found by its importer, so that the browser waits for one level of imports after another.
test("the page names every module of the core", async () => {
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

// Fails when the first page loads more than its budget, or waits for more steps than page, files, settings and document, data. The times
// are only printed.
test("the first page is complete after few steps, with 100 000 rows", async () => {
  await plantUsers(server, ROWS);
  await until("the view is current", async () => (await call(`${server.url}/projections/users`)).lag_events === 0);
  /** @type {number[]} */
  const times = [];
  for (let round = 0; round < 6; round += 1) {
    const { page, requests, close } = await openConsole(chromium.browser, `${server.url}/`);
    const [names, ms] = await page.evaluate(() => {
      const entries = /** @type {PerformanceResourceTiming[]} */ (performance.getEntriesByType("resource"));
      return [entries.map((at) => new URL(at.name).pathname), Math.max(...entries.map((at) => at.responseEnd))];
    });
    times.push(/** @type {number} */ (ms));
    await close();
    if (round > 0) continue;
    const own = [...new Set(/** @type {string[]} */ (names).filter((name) => name.startsWith("/-/")).map((name) => name.slice(3)))].filter((name) => name !== "config.json");
    const sizes = await Promise.all(["index.html", ...own].map((name) => compressed(name === "runtime.js" ? new URL("../client/runtime.js", folder) : new URL(name, folder))));
    const total = sizes.reduce((sum, size) => sum + size, 0);
    console.log(`first page with ${ROWS} rows: ${sizes.length} files of ${(total / 1024).toFixed(1)} kB compressed, ${requests.length} requests with the API's`);
    assert.ok(total <= MAX_FIRST_BYTES, `${total} bytes`);
  }
  times.sort((a, b) => a - b);
  console.log(`complete after ${Math.round(/** @type {number} */ (times[0]))} to ${Math.round(/** @type {number} */ (times.at(-1)))} ms, median ${Math.round(/** @type {number} */ (times[3]))} ms`);
});
