/** The same files from another server: another origin, another path, an API elsewhere. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { go, openConsole } from "./support/browser.js";
import { createUsers, event, inFeed } from "./support/data.js";
import { call } from "./support/server.js";
import { startedElsewhere } from "./support/statics.js";

const { server, browser, pages, config } = await startedElsewhere({ path: "/ops/console/", base: "/v1" });
const ids = await createUsers(server.url, 5);

// Fails when a page needs its own server: an absolute path, a request without CORS, or a setting that config.json does not have.
test("every page works from another origin and path, and writes to the API that config.json names", async () => {
  const { page, requests, close } = await openConsole(browser, `${pages.url}#/`);
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
  const { page, requests, close } = await openConsole(browser, `${pages.url}#/`);
  for (const hash of ["#/users", `#/users/${ids[0]}`, "#/events", "#/projections", "#/health", "#/sign-in"]) await go(page, hash);
  const own = requests.filter((url) => url.startsWith(pages.origin));
  for (const url of own) assert.equal((await fetch(url)).status, 200, url);
  assert.equal((await fetch(`${pages.url}-/test/static.test.js`)).status, 404);
  assert.match(await readFile(config, "utf8"), /\/v1\/"/);
  await close();
});

// Fails when a tab in the background goes on reading and so keeps a database awake.
test("a hidden tab sends no request, nor does one without input for 15 minutes", async () => {
  for (const idle of [false, true]) {
    const { page, requests, quiet, close } = await openConsole(browser, `${pages.url}#/events`, { clock: true });
    await page.locator(".feed > li").first().waitFor();
    await page.clock.runFor(3000);
    // A request under way would run into its timeout when the clock moves on.
    await quiet();
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
