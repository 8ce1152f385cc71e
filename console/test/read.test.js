/** A console that only reads: `CONSOLE=read` of `local`, and `read_only` in the config.json of another server. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { go, openConsole, review } from "./support/browser.js";
import { createUsers, event, plantUnfoldable } from "./support/data.js";
import { call, until } from "./support/server.js";
import { startedElsewhere } from "./support/statics.js";

/** Every control of the console that sends something else than a GET. */
const WRITES = /^(Append|Revert|Verify|Repair|Reproject|Retry|Skip|Catch up|Go live|Cancel it|Compare them|Continue to fill)/;

const { server, browser, pages, config } = await startedElsewhere({ env: { CONSOLE: "read" } });
await writeFile(config, JSON.stringify({ ...JSON.parse(await readFile(config, "utf8")), read_only: true }));
const ids = await createUsers(server.url, 3);
await call(`${server.url}/users`, event(/** @type {string} */ (ids[0]), "emailChanged", { email: "new@example.org" }));
// So that there is something to retry and to skip, something to repair, and a new generation that waits.
await plantUnfoldable(server, /** @type {string} */ (ids[1]));
await server.sql("update users set email = 'wrong@example.org' where id = $1", [ids[2]]);
await call(`${server.url}/projections`, {});
await until("the user is parked", async () => (await call(`${server.url}/projections/users`)).parked === 1);
await call(`${server.url}/projections`, { verify: "users" });

// Fails when a page offers what the server would refuse, or hides what it may show.
test("no page of a console that reads has a control that writes", async () => {
  for (const [url, setting] of [[`${server.url}/`, "CONSOLE=read"], [pages.url, "read_only in config.json"]]) {
    const { page, close } = await openConsole(browser, `${url}#/`);
    for (const [hash, text] of Object.entries({
      "#/": "verified", "#/users": "ada", "#/users?username=unknown": "unknown", [`#/users/${ids[0]}@1`]: "Created",
      [`#/users/${ids[1]}/explain`]: "parked", "#/events": "Created", "#/projections": "parked", "#/projections/users": "wrong@example.org",
      "#/health": "/health",
    })) {
      await go(page, hash);
      await page.locator("main").getByText(text).locator("visible=true").first().waitFor();
      await page.getByText(`This console only reads (${setting}).`).waitFor();
      const names = await page.locator("button, [role=button], summary").allInnerTexts();
      const labels = await page.locator("[aria-label]").evaluateAll((all) => all.filter((at) => at.tagName === "BUTTON").map((at) => at.getAttribute("aria-label") ?? ""));
      assert.deepEqual([...names, ...labels].filter((name) => WRITES.test(name.trim())), [], hash);
    }
    await go(page, `#/users/${ids[0]}@1`);
    await page.keyboard.press("r");
    assert.equal(await page.locator("dialog[open]").count(), 0);
    await close();
  }
});

// Fails when a page of the server can write by a request of its own, or when its programs cannot.
test("the server refuses what a page of a console that reads sends", async () => {
  const { page, close } = await openConsole(browser, `${server.url}/#/`);
  const forged = await page.evaluate(async (body) => {
    const response = await fetch("/users", { method: "POST", headers: { "content-type": "application/json" }, body });
    return { status: response.status, problem: await response.json() };
  }, JSON.stringify(event(/** @type {string} */ (ids[0]), "emailChanged", { email: "forged@example.org" })));
  assert.equal(forged.status, 403);
  assert.equal(forged.problem.type, "urn:foldlog:problem:read-only");
  assert.ok(!(await call(`${server.url}/events?order=desc&limit=10`)).result.some((/** @type {any} */ at) => at.payload?.email === "forged@example.org"));
  await close();
});

// Fails when the line that says so is not accessible, or does not fit.
test("a console that reads is accessible and fits", async () => {
  await review(browser, `${server.url}/#/users/${ids[0]}`, "read-only");
});
