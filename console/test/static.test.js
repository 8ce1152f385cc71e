/** The same files from another server: another origin, another path, an API elsewhere. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { go, openConsole, startBrowser } from "./support/browser.js";
import { createUsers, event, inFeed } from "./support/data.js";
import { call, startServer } from "./support/server.js";
import { serveFolder } from "./support/statics.js";

const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' API; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types lit-html";

/** @type {string} */
let folder;
/** @type {Awaited<ReturnType<typeof serveFolder>>} */
let pages;
/** @type {import("./support/server.js").Server} */
let server;
/** @type {Awaited<ReturnType<typeof startBrowser>>} */
let chromium;
/** @type {string[]} */
let ids;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "foldlog-static-"));
  // The policy names the API, and the API allows the pages, so both addresses have to be known first.
  let policy = POLICY;
  pages = await serveFolder(pathToFileURL(`${folder}/`), "/ops/console/", () => policy);
  [server, chromium] = await Promise.all([startServer({ env: { CORS_ORIGINS: pages.origin, BASE_PATH: "/v1" } }), startBrowser()]);
  policy = POLICY.replace("API", server.url);
  await promisify(execFile)(/** @type {string} */ (process.env["CONSOLE_FILES"]), [folder, `${server.url}/v1`]);
  ids = await createUsers(server.url, 5);
});
after(async () => {
  await chromium?.stop();
  await server?.stop();
  pages?.stop();
  await rm(folder, { recursive: true, force: true });
});

// Fails when a page needs its own server: an absolute path, a request without CORS, or a setting that config.json does not have.
test("every page works from another origin and path, and writes to the API that config.json names", async () => {
  const { page, requests, close } = await openConsole(chromium.browser, `${pages.url}#/`);
  for (const [hash, text] of Object.entries({
    "#/": "users", "#/users": "ada", [`#/users/${ids[0]}`]: "Created", [`#/users/${ids[0]}/explain`]: "v1",
    "#/events": "Created", "#/projections": "caught up", "#/health": "/v1/",
  })) {
    await go(page, hash);
    await page.locator("main").getByText(text).locator("visible=true").first().waitFor();
  }
  const posted = page.waitForResponse((response) => response.request().method() === "POST");
  await go(page, "#/projections");
  await page.getByRole("button", { name: "Verify users" }).click();
  assert.equal((await posted).status(), 200);
  await page.getByText("Every row is what the events give.").waitFor();
  for (const url of requests) assert.ok(url.startsWith(`${pages.url}`) || url.startsWith(`${server.url}/v1/`) || url.startsWith("data:"), url);
  await close();
});

// Fails when the file list of the script lacks one that the page loads, or has a test.
test("the written files are those that the page loads", async () => {
  const { page, requests, close } = await openConsole(chromium.browser, `${pages.url}#/`);
  for (const hash of ["#/users", `#/users/${ids[0]}`, "#/events", "#/projections", "#/health", "#/sign-in"]) await go(page, hash);
  const own = requests.filter((url) => url.startsWith(pages.origin));
  for (const url of own) assert.equal((await fetch(url)).status, 200, url);
  assert.equal((await fetch(`${pages.url}-/test/static.test.js`)).status, 404);
  assert.match(await readFile(join(folder, "-", "config.json"), "utf8"), /\/v1\/"/);
  await close();
});

// Fails when a tab in the background goes on reading and so keeps a database awake.
test("a hidden tab sends no request, nor does one without input for 15 minutes", async () => {
  for (const idle of [false, true]) {
    const { page, requests, quiet, close } = await openConsole(chromium.browser, `${pages.url}#/events`, { clock: true });
    await page.locator(".feed > li").first().waitFor();
    await page.clock.runFor(3000);
    if (idle) {
      await page.clock.fastForward(16 * 60_000);
      await page.getByText("No input for 15 minutes").waitFor();
    } else {
      await page.evaluate(() => {
        Object.defineProperty(document, "hidden", { get: () => true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      });
    }
    // What had begun before is answered first.
    await quiet();
    const count = requests.length;
    await page.clock.runFor(5 * 60_000);
    const changed = event(/** @type {string} */ (ids[0]), "emailChanged", { email: `${idle}@example.org` });
    await call(`${server.url}/users`, changed);
    await inFeed(`${server.url}/v1`, changed.id);
    assert.equal(requests.length, count, "requests of a tab at rest");
    // Any input wakes the page.
    if (idle) await page.keyboard.press("Shift");
    else {
      await page.evaluate(() => {
        Object.defineProperty(document, "hidden", { get: () => false, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      });
    }
    await page.getByText(`${idle}@example.org`).first().waitFor();
    await close();
  }
});
