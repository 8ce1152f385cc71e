/** How much a browser has to load, and that the files can be read in one sitting. */
import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { openConsole, startBrowser } from "./support/browser.js";
import { plantUsers } from "./support/data.js";
import { call, startServer, until } from "./support/server.js";

const MAX_BYTES = 60 * 1024;
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
  const names = all.filter((at) => at.isFile()).map((at) => `${at.parentPath ?? at.path}/${at.name}`.split("/console/").pop() ?? "");
  return names.filter((name) => !name.startsWith("test/") && !name.endsWith(".d.ts") && !name.endsWith("LICENSE"));
}

// Fails when the files together are larger than the budget, each compressed by itself as a server does.
test("all files together have at most 60 kB, compressed", async () => {
  const sizes = await Promise.all((await files()).map(async (name) => gzipSync(await readFile(new URL(name, folder)), { level: 9 }).length));
  const runtime = gzipSync(await readFile(new URL("../client/runtime.js", folder)), { level: 9 }).length;
  const total = sizes.reduce((sum, size) => sum + size, runtime);
  console.log(`console: ${sizes.length + 1} files, ${(total / 1024).toFixed(1)} kB compressed`);
  assert.ok(total <= MAX_BYTES, `${total} bytes`);
});

// Fails when a file is too long to be read in one sitting, or has a style that the policy forbids.
test("a file has at most 300 lines, and no inline style or script", async () => {
  for (const name of await files()) {
    const text = await readFile(new URL(name, folder), "utf8");
    if (name.endsWith(".js")) assert.ok(text.split("\n").length <= MAX_LINES + 1, `${name} is too long`);
    assert.ok(!/ style="| onclick=|unsafeHTML|innerHTML/.test(text) || name.startsWith("vendor/"), name);
  }
});

// Fails when the first page needs many requests in a row, with as many rows as a real log has. The times are only printed.
test("the first page is complete after few steps, with 100 000 rows", async () => {
  await plantUsers(server, ROWS);
  await until("the view is current", async () => (await call(`${server.url}/projections/users`)).lag_events === 0);
  const { page, close } = await openConsole(chromium.browser, `${server.url}/`);
  await close();
  const again = await openConsole(chromium.browser, `${server.url}/`);
  const [files, data, ms] = await again.page.evaluate(() => {
    const entries = /** @type {PerformanceResourceTiming[]} */ (performance.getEntriesByType("resource"));
    const isFile = (/** @type {PerformanceEntry} */ at) => at.name.includes("/-/");
    return [entries.filter(isFile).length + 1, entries.filter((at) => !isFile(at)).length, Math.max(...entries.map((at) => at.responseEnd))];
  });
  console.log(`first page with ${ROWS} rows: ${files} files, ${data} requests to the API, complete after ${Math.round(/** @type {number} */ (ms))} ms`);
  await again.close();
  assert.ok(page.isClosed());
});
