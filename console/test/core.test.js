/** What is around every page: navigation, keys, focus, refresh, and what happens when the server is away. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, assertNoSidewaysScroll, go, openConsole, started } from "./support/browser.js";
import { createUsers } from "./support/data.js";
import { until } from "./support/server.js";

/** @import {Page} from "playwright-core" */

const { server, browser } = await started();
const ids = await createUsers(server.url, 12);

/** @param {string} hash @param {Parameters<typeof openConsole>[2]} [options] */
const open = (hash, options) => openConsole(browser, `${server.url}/${hash}`, options);
/** @param {Page} page */
const focused = (page) => page.evaluate(() => document.activeElement?.textContent?.trim() ?? "");

// Fails when a page cannot be reached by its keys, when the focus does not move to its heading, or when a key acts while typing.
test("every page is reached by keys, and the focus moves to its heading", async () => {
  // The second of two keys counts for 1.5 s only.
  const { page, close } = await open("#/", { clock: true });
  for (const [keys, heading] of [["gf", "Feed"], ["gp", "Projections"], ["gh", "Health"], ["go", "Overview"]]) {
    for (const key of keys ?? "") await page.keyboard.press(key);
    await page.getByRole("heading", { level: 1, name: heading ?? "" }).waitFor();
    await page.waitForFunction((wanted) => document.activeElement?.textContent === wanted, heading);
  }
  await page.keyboard.press("/");
  await page.keyboard.type("gf?");
  assert.equal(await page.getByRole("combobox", { name: /Go to/ }).inputValue(), "gf?");
  assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), "Overview");
  await close();
});

// Fails when the rows of a list cannot be walked and opened by keys.
test("rows are walked with j and k, and opened with Enter", async () => {
  const { page, close } = await open("#/users");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("k");
  const id = await page.evaluate(() => document.activeElement?.getAttribute("title"));
  assert.equal(id, [...ids].sort()[1]);
  await page.keyboard.press("Enter");
  await page.waitForURL(new RegExp(`#/users/${id}$`));
  await close();
});

// Fails when an id, a domain or a page cannot be gone to from everywhere, or an unknown one does nothing without a word.
test("the field at the top goes to ids, versions, domains and pages", async () => {
  const { page, close } = await open("#/health");
  const find = page.getByRole("combobox", { name: /Go to/ });
  const id = ids[3] ?? "";
  for (const [text, url] of [[id, `#/users/${id}`], [`${id}@1`, `#/users/${id}@1`], ["users", "#/users"], ["feed", "#/events"]]) {
    await find.fill(text ?? "");
    await find.press("Enter");
    await page.waitForURL(`**/${url}`);
  }
  await find.fill("00000000-0000-4000-8000-000000000000");
  await find.press("Enter");
  await page.getByRole("status").getByText("No domain has an aggregate with this id").waitFor();
  const broken = { status: 500, contentType: "application/problem+json", body: JSON.stringify({ type: "urn:foldlog:problem:internal", title: "foldlog failed", status: 500, detail: "the error is logged" }) };
  await page.route("**/users/*/events?*", (route) => route.fulfill(broken));
  await find.press("Enter");
  await page.getByRole("status").getByText("The id could not be looked up: the error is logged").waitFor();
  await close();
});

// Fails when the console takes the arrow keys from a box that scrolls, or from a page that has no rows.
test("the arrow keys scroll where no rows are walked", async () => {
  const { page, close } = await open("#/health", { size: { width: 1280, height: 400 } });
  await page.keyboard.press("ArrowDown");
  await page.waitForFunction(() => scrollY > 0);
  const box = page.getByRole("region", { name: "The answer of GET /projections" });
  await box.focus();
  await page.keyboard.press("End");
  await page.waitForFunction(() => (document.activeElement?.scrollTop ?? 0) > 0);
  await close();
});

// Fails when a display on a wall, which gets no input, stops after 15 minutes.
test("a display on a wall goes on without input", async () => {
  const { page, requests, quiet, close } = await open("#/?wall", { clock: true });
  await quiet();
  await page.clock.fastForward(16 * 60_000);
  await quiet();
  const before = requests.length;
  await page.clock.runFor(60_000);
  await quiet();
  assert.ok(requests.length > before);
  assert.equal(await page.getByText("No input for 15 minutes").count(), 0);
  await close();
});

// Fails when the list of keys lacks one, single keys cannot be turned off, or the focus is lost when a dialog closes.
test("single keys can be turned off, and a closed dialog gives the focus back", async () => {
  const { page, close } = await open(`#/users/${ids[0]}`);
  const button = page.getByRole("button", { name: "Append an event…" });
  await button.focus();
  await page.keyboard.press("?");
  const dialog = page.getByRole("dialog");
  for (const label of ["overview", "previous version", "revert to this version"]) await dialog.getByText(label).waitFor();
  await assertAccessible(page, "the list of keys");
  await dialog.getByLabel("Single keys work on this page").uncheck();
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => !document.querySelector("dialog[open]"));
  assert.equal(await focused(page), "Append an event…");
  await page.keyboard.press("?");
  assert.equal(await page.locator("dialog[open]").count(), 0);
  await page.reload();
  await button.waitFor();
  await page.keyboard.press("?");
  assert.equal(await page.locator("dialog[open]").count(), 0, "the choice survives a reload");
  await close();
});

// Fails when the theme or the zone is lost on reload, or a time is shown in another zone than the page says.
test("colours and the zone of times are chosen and kept", async () => {
  const { page, close } = await open(`#/users/${ids[0]}`);
  await page.getByRole("button", { name: "Use dark colours" }).click();
  await page.getByRole("button", { name: "local" }).click();
  await page.reload();
  await page.getByRole("button", { name: "Use light colours" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "local" }).getAttribute("aria-pressed"), "true");
  assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), "dark");
  await page.getByRole("button", { name: "UTC" }).click();
  const time = page.locator("main time").first();
  const exact = String(await time.getAttribute("datetime"));
  assert.equal((await time.innerText()).slice(0, 16), exact.slice(0, 16).replace("T", " "));
  await close();
});

// Fails when a server that is away blanks the page, when the page does not say how old it is, or when it does not recover.
test("a server that is away leaves the old page, which says how old it is, and recovers", async () => {
  const { page, quiet, close } = await open("#/users", { clock: true });
  await page.getByText(`${ids.length} rows in all`).waitFor();
  const away = { status: 503, contentType: "application/problem+json", headers: { "Retry-After": "0" }, body: JSON.stringify({ type: "urn:foldlog:problem:unavailable", title: "Postgres is unavailable", status: 503, detail: "try again" }) };
  await page.route("**/users?*", (route) => route.fulfill(away));
  await page.clock.runFor(5000);
  await until("the tries of the page are used up", async () => {
    await page.clock.runFor(500);
    await quiet();
    return page.getByText("trying again in").isVisible();
  });
  await page.getByText("Postgres is unavailable").waitFor();
  await page.getByText(/Read .* ago/).waitFor();
  await page.getByText(`${ids.length} rows in all`).waitFor();
  await page.unroute("**/users?*");
  await page.getByRole("button", { name: "Now", exact: true }).first().click();
  await page.waitForFunction(() => !document.body.innerText.includes("Postgres is unavailable"));
  await close();
});

// Fails when one request that fails takes the other panels of a page with it.
test("one broken panel leaves the others", async () => {
  const { page, close } = await open("#/health");
  const broken = { status: 500, contentType: "application/problem+json", headers: { "X-Request-Id": "request-7" }, body: JSON.stringify({ type: "urn:foldlog:problem:internal", title: "foldlog failed", status: 500, detail: "the error is logged" }) };
  await page.route("**/events?*", (route) => route.fulfill(broken));
  await go(page, "#/");
  await page.getByText("foldlog failed").waitFor();
  await page.getByText("request-7").waitFor();
  await page.getByText("caught up").first().waitFor();
  await close();
});

// Fails when a page goes on asking what was refused, or cannot be asked for again.
test("a page that is refused asks again only when told to", async () => {
  const { page, requests, quiet, close } = await open("#/users/not-an-id", { clock: true });
  await page.getByRole("heading", { name: "The request is malformed" }).waitFor();
  await quiet();
  const before = requests.length;
  await page.clock.runFor(60_000);
  await quiet();
  assert.deepEqual(requests.slice(before), []);
  await page.getByRole("button", { name: "Try again" }).click();
  await quiet();
  assert.ok(requests.length > before);
  await close();
});

// Fails when a page is wider than the window at twice the size (WCAG 1.4.10), or the navigation is lost there.
test("every page fits at 200 percent", async () => {
  const { page, close } = await open("#/", { size: { width: 640, height: 430 } });
  for (const hash of ["#/", "#/users", `#/users/${ids[0]}`, `#/users/${ids[0]}/explain`, "#/events", "#/projections", "#/health"]) {
    await go(page, hash);
    await assertNoSidewaysScroll(page, hash);
    await page.getByRole("link", { name: "Projections" }).first().waitFor();
  }
  await close();
});

// Fails when a program that asks for the page gets no navigation landmark, heading or language, or the title does not name the page.
test("each page has a title, one heading and landmarks", async () => {
  const { page, close } = await open("#/");
  for (const [hash, title] of [["#/", "Overview · foldlog"], ["#/users", "users · foldlog"], [`#/users/${[...ids][0]}`, "ada · foldlog"], ["#/health", "Health · foldlog"]]) {
    await go(page, hash ?? "");
    await page.waitForFunction((wanted) => document.title === wanted, title);
    assert.equal(await page.locator("h1").count(), 1);
    assert.equal(await page.locator("main").count(), 1);
  }
  await close();
});
