/** The rows of a domain: now and as of a time, filtered, page by page, and whatever is in them. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { assertNoSidewaysScroll, go, openConsole, review, started } from "./support/browser.js";
import { createUsers, event, plantUsers } from "./support/data.js";
import { call, until } from "./support/server.js";

/** @import {Page} from "playwright-core" */

const { server, browser } = await started();

/** @param {string} hash @param {Parameters<typeof openConsole>[2]} [options] */
const open = (hash, options) => openConsole(browser, `${server.url}/${hash}`, options);
/** @param {Page} page */
const rows = (page) => page.locator("main tbody tr");
const current = () => until("the view is current", async () => (await call(`${server.url}/projections/users`)).lag_events === 0);

// Fails when an empty domain or an empty log is an error, or does not say what to do. This test is the first: the log is empty.
test("an empty log says how to begin, on the overview and on the list", async () => {
  const { page, close } = await open("#/");
  await page.getByText("No events yet.").waitFor();
  assert.match(await page.getByRole("region", { name: "Commands" }).innerText(), /^curl http.*\/users -H 'Content-Type: application\/json' -d '\{"id":/);
  await go(page, "#/users");
  await page.getByText("users has no rows yet.").waitFor();
  await close();
});

// Fails when the first event of a domain cannot be appended from the page, or a second click stores it twice.
test("the first event is appended from the list", async () => {
  const { page, close } = await open("#/users");
  await page.getByRole("button", { name: "Append an event…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("username", { exact: true }).fill("first");
  await dialog.getByLabel("email", { exact: true }).fill("first@example.org");
  await dialog.getByLabel("by", { exact: true }).fill("ada");
  await dialog.getByRole("button", { name: "Look at the result" }).click();
  await dialog.getByText("This begins a new aggregate").waitFor();
  await dialog.getByRole("button", { name: "Append 1 event" }).dblclick();
  await page.getByText("Version 1 of 1").waitFor();
  const { result } = await call(`${server.url}/events`);
  assert.equal(result.length, 1);
  assert.equal(result[0].metadata.actor, "ada");
  await go(page, "#/users");
  await rows(page).getByText("first@example.org").waitFor();
  await go(page, "#/");
  await page.locator("main").getByText("Created").first().waitFor();
  await close();
});

// Fails when the answer to a dry run is offered for storing after the form has changed.
test("a dry run that is overtaken by an edit does not count", async () => {
  const { page, close } = await open("#/users");
  /** @type {() => void} */
  let answer = () => {};
  const held = /** @type {Promise<void>} */ (new Promise((resolve) => { answer = resolve; }));
  await page.route("**/users?dry_run=true", async (route) => {
    const response = await route.fetch();
    await held;
    await route.fulfill({ response });
  }, { times: 1 });
  await page.getByRole("button", { name: "Append an event…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("username", { exact: true }).fill("before");
  await dialog.getByLabel("email", { exact: true }).fill("overtaken@example.org");
  const answered = page.waitForResponse(/dry_run=true/);
  await dialog.getByRole("button", { name: "Look at the result" }).click();
  await dialog.getByLabel("username", { exact: true }).fill("after");
  answer();
  await answered;
  const look = dialog.getByRole("button", { name: "Look at the result" });
  await look.and(page.locator(":enabled")).waitFor();
  assert.equal(await dialog.getByRole("button", { name: "Append 1 event" }).count(), 0, "nothing can be stored");
  assert.equal(await dialog.getByText("This begins a new aggregate").count(), 0, "the old result is not shown");
  await look.click();
  await dialog.getByText("This begins a new aggregate").waitFor();
  assert.match((await dialog.locator("section[role=status]").innerText()).replace(/\s+/g, " "), /after/);
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await close();
});

// Fails when a row of another client does not appear by itself within six seconds.
test("a row of another client appears by itself", async () => {
  const { page, close } = await open("#/users", { clock: true });
  await rows(page).first().waitFor();
  const id = randomUUID();
  await call(`${server.url}/users`, event(id, "created", { username: "other", email: "other@example.org" }));
  await current();
  await page.clock.runFor(6000);
  await rows(page).getByText("other@example.org").waitFor();
  await close();
});

// Fails when a filter is lost on reload, selects other rows, or cannot be removed, or when no match looks like an empty domain.
test("the filter by a column is in the address and survives a reload", async () => {
  await createUsers(server.url, 12);
  await current();
  const { page, close } = await open("#/users");
  await page.getByText("+ filter by a column").click();
  await page.getByRole("combobox", { name: "column" }).selectOption("username");
  await page.getByLabel("is exactly").fill("grace");
  await page.keyboard.press("Enter");
  await page.waitForURL(/username=grace/);
  for (const again of [false, true]) {
    if (again) await page.reload();
    await page.waitForFunction(() => document.querySelectorAll("main tbody tr").length === 1);
    await rows(page).getByText("grace@example.org").waitFor();
  }
  await go(page, "#/users?username=unknown");
  await page.getByText("No row has username = unknown.").waitFor();
  await page.getByRole("link", { name: "Clear the filters" }).click();
  await rows(page).nth(5).waitFor();
  await close();
});

// Fails when the rows of one filter or time are shown as those of the next one until its answer arrives, or after it has failed.
test("rows of the last question are greyed until the next one is answered", async () => {
  const [{ created_at: first }] = (await call(`${server.url}/events?limit=1`)).result;
  const { page, close } = await open("#/users", { clock: true });
  await rows(page).nth(5).waitFor();
  const sheet = page.getByRole("region", { name: "Rows of users", exact: true });
  const next = Object.entries({ "username=grace": 200, [`as_of=${encodeURIComponent(first)}`]: 200, "username=ada": 422 });
  for (const [question, status] of next) {
    /** @type {() => void} */
    let answer = () => {};
    const held = /** @type {Promise<void>} */ (new Promise((resolve) => { answer = resolve; }));
    await page.route(new RegExp(`/users\\?.*${question.split("=")[0]}=`), async (route) => {
      await held;
      await (status === 200 ? route.continue() : route.fulfill({ status, json: { type: "urn:foldlog:problem:unprocessable", title: "Unprocessable", status, detail: "refused by the test" } }));
    });
    await page.evaluate((to) => { location.hash = to; }, `#/users?${question}`);
    await page.locator("main section.stale[aria-busy=true]").waitFor();
    assert.ok(await page.getByRole("button", { name: "↓ JSON of this page" }).isDisabled());
    assert.equal(await page.getByText(/in all|On this page|is the same now/).count(), 0, "figures of the last question");
    answer();
    if (status === 200) await page.locator("main section.stale").waitFor({ state: "detached" });
    else await page.getByText("refused by the test").waitFor();
    await page.unrouteAll({ behavior: "wait" });
  }
  assert.equal(await sheet.getAttribute("aria-busy"), "false");
  assert.match(await sheet.getAttribute("class") ?? "", /stale/);
  await close();
});

// Fails when a hidden column is shown, the choice is lost on reload, or the file has other rows than the page.
test("columns are chosen in the address, and the page is downloaded as JSON", async () => {
  const { page, close } = await open("#/users");
  await page.getByText("columns ▾").click();
  await page.getByLabel("email").uncheck();
  await page.waitForFunction(() => ![...document.querySelectorAll("th")].some((at) => at.textContent === "email"));
  await page.reload();
  await rows(page).first().waitFor();
  assert.deepEqual(await page.locator("th").allInnerTexts(), ["id", "username", "version"]);
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "↓ JSON of this page" }).click();
  const path = await (await download).path();
  const { result } = await call(`${server.url}/users`);
  assert.deepEqual(JSON.parse(await readFile(path, "utf8")), result);
  await close();
});

// Fails when the list of a time has other rows than the API has for it, does not say what is different now, or shows it without
// saying that it is the past.
test("the list of a time says that it is the past, and what is different now", async () => {
  const [changed = "", gone = "", same = ""] = [randomUUID(), randomUUID(), randomUUID()];
  for (const id of [changed, gone, same]) await call(`${server.url}/users`, event(id, "created", { username: "then", email: `${id}@example.org` }));
  const then = (await call(`${server.url}/users/${same}/events`)).result[0].created_at;
  await call(`${server.url}/users`, event(changed, "usernameChanged", { username: "now" }));
  await call(`${server.url}/users`, event(gone, "deleted", {}));
  await current();
  const { page, close } = await open(`#/users?as_of=${encodeURIComponent(then)}`);
  await page.getByText("You are looking at the past").waitFor();
  await page.getByText("1 row is different now, 1 row is gone").waitFor();
  await page.getByRole("button", { name: "Show only these" }).click();
  await page.waitForFunction(() => document.querySelectorAll("main tbody tr").length === 2);
  const text = (await page.locator("main tbody").innerText()).replace(/\s+/g, " ");
  assert.match(text, /then now now/);
  assert.match(text, /gone now/);
  await page.getByRole("link", { name: "Now" }).click();
  await page.waitForFunction(() => !location.hash.includes("as_of"));
  const slider = page.getByRole("slider", { name: "As of" });
  await slider.focus();
  await page.keyboard.press("Home");
  await page.waitForURL(/as_of=/);
  await page.getByText("You are looking at the past").waitFor();
  await close();
});

// Fails when a value becomes markup, when a long or a foreign text breaks the page, when one of them runs a script, or when one can
// change the order in which the text after it is shown.
test("rows with markup, long and foreign texts are shown as text, and the page holds", async () => {
  const texts = ["<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "שלום עולם", "👩‍👩‍👧‍👦🏳️‍🌈", "x".repeat(100), "javascript:alert(1)", "${alert(1)}", "a\u202Eb\u2066c"];
  const ids = texts.map(() => randomUUID());
  await call(`${server.url}/users`, texts.map((username, index) => event(ids[index] ?? "", "created", { username, email: `${ids[index]}@example.org` }, { actor: username })));
  const huge = ids[0] ?? "";
  // Longer than an append takes: as an older build may have stored it.
  await server.sql(`insert into events (id, aggregate_id, version, type_id, payload) values (gen_random_uuid(), $1, 2, 1002, jsonb_build_object('username', repeat('W', 1000000)))`, [huge]);
  await call(`${server.url}/projections`, {});
  await current();
  const { page, close } = await open("#/users");
  page.on("dialog", () => assert.fail("a value ran as a script"));
  for (const text of texts.slice(1)) {
    await go(page, `#/users?username=${encodeURIComponent(text)}`);
    await rows(page).first().getByText(text.replace("\u202E", "\\u202e").replace("\u2066", "\\u2066"), { exact: true }).waitFor();
    await assertNoSidewaysScroll(page, text);
  }
  for (const hash of [`#/users/${huge}`, "#/users", "#/", "#/events", `#/users/${ids[2]}`, `#/users/${ids.at(-1)}`, `#/users/${huge}@1`]) {
    await go(page, hash);
    assert.equal(await page.locator("main img, main script").count(), 0);
    assert.doesNotMatch(await page.locator("main").innerText(), /[\u202a-\u202e\u2066-\u2069]/);
    await assertNoSidewaysScroll(page, hash);
    await page.setViewportSize({ width: 390, height: 844 });
    await assertNoSidewaysScroll(page, `${hash} on a phone`);
    await page.setViewportSize({ width: 1280, height: 860 });
  }
  await page.locator("main bdi").getByText("<img src=x onerror=alert(1)>").first().waitFor();
  await close();
});

// Fails when a wide row makes the page scroll sideways, or a column of it cannot be reached.
test("a row of 300 columns fits", async () => {
  const { page, close } = await open("#/", {});
  const names = Array.from({ length: 300 }, (_, n) => `column_${n}`);
  await page.route(`${server.url}/`, async (route) => {
    const response = await route.fetch();
    const columns = names.map((name) => `"${name}":{"type":"string"},`).join("");
    const body = await response.text();
    const changed = body.replace(/("users\.row":\{.*?"properties":\{)/, `$1${columns}`);
    assert.notEqual(changed, body);
    await route.fulfill({ response, body: changed });
  });
  await page.route("**/users?*", async (route) => {
    const response = await route.fetch();
    const body = await response.json();
    for (const row of body.result) for (const name of names) row[name] = `the value of ${name}`;
    await route.fulfill({ response, json: body });
  });
  await page.goto("about:blank");
  await page.goto(`${server.url}/#/users`);
  await rows(page).first().waitFor();
  await page.getByText("columns ▾").click();
  await page.getByLabel("column_299").check();
  await page.getByText("the value of column_299").first().waitFor();
  await page.keyboard.press("Escape");
  await assertNoSidewaysScroll(page, "300 columns");
  await go(page, `#/users?-columns=${names.join(",")}`);
  await page.getByText("the value of column_150").first().waitFor();
  await assertNoSidewaysScroll(page, "300 columns shown");
  await close();
});

// Fails when 100 000 rows make the list slow to read, by reading more than a page, or when its pages skip or repeat rows.
test("100 000 rows are read page by page", async () => {
  await plantUsers(server, 100_000);
  await current();
  const { page, requests, close } = await open("#/users", { clock: true });
  const before = requests.length;
  const first = await page.locator("[data-row]").first().getAttribute("title");
  await page.getByText("100 rows on this page").waitFor();
  const last = await page.locator("[data-row]").last().getAttribute("title");
  await page.getByRole("link", { name: "Next 100" }).click();
  await page.waitForFunction((known) => document.querySelector("[data-row]")?.getAttribute("title") !== known, first);
  assert.ok(String(await page.locator("[data-row]").first().getAttribute("title")) > String(last), "the next page begins after the last row");
  assert.ok(requests.length - before <= 3, requests.slice(before).join("\n"));
  await page.goBack();
  await page.waitForFunction((known) => document.querySelector("[data-row]")?.getAttribute("title") === known, first);
  await close();
});

// Fails when one of these views is not accessible, scrolls sideways on a phone, or violates the content security policy.
test("overview and list are accessible and fit, light, dark and on a phone", async () => {
  const at = (/** @type {string} */ hash) => `${server.url}/${hash}`;
  await review(browser, at("#/"), "overview");
  await review(browser, at("#/?wall"), "wall");
  await review(browser, at("#/users"), "list");
  await review(browser, at("#/users?username=unknown"), "list-empty");
  const { result } = await call(`${server.url}/events?limit=1`);
  await review(browser, at(`#/users?as_of=${encodeURIComponent(result[0].created_at)}`), "list-past");
});
