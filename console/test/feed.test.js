/** The feed: live, paused, filtered, and honest about what it cannot show yet. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { go, openConsole, review, started } from "./support/browser.js";
import { createUsers, event, inFeed } from "./support/data.js";
import { call, until } from "./support/server.js";

const { server, browser } = await started();
const ids = await createUsers(server.url, 24);

/** @param {Parameters<typeof openConsole>[2]} [options] */
const open = (options) => openConsole(browser, `${server.url}/#/events`, options);
/** @param {string} email @param {string} [actor] @returns {Promise<string>} the event's id */
async function change(email, actor = "ada") {
  const changed = event(/** @type {string} */ (ids[0]), "emailChanged", { email }, { actor });
  await call(`${server.url}/users`, changed);
  return changed.id;
}

// Fails when a write of another client does not appear by itself within six seconds, or appears below older events.
test("a write of another client appears on top by itself", async () => {
  const { page, close } = await open({ clock: true });
  await page.locator(".feed > li").first().waitFor();
  await inFeed(server.url, await change("live@example.org"));
  await page.clock.runFor(6000);
  await page.locator(".feed > li").first().filter({ hasText: "live@example.org" }).waitFor();
  await close();
});

// Fails when a row moves while the feed is paused, when new events are not counted, or when one is lost after the pause.
test("a paused feed counts new events and shows them on request", async () => {
  const { page, close } = await open();
  await page.getByRole("button", { name: "Pause" }).click();
  const first = await page.locator(".feed > li").first().getAttribute("data-id");
  for (const number of [1, 2, 3]) await change(`paused${number}@example.org`);
  const news = page.getByRole("button", { name: "3 new" });
  await news.waitFor();
  assert.equal(await page.locator(".feed > li").first().getAttribute("data-id"), first);
  await news.click();
  const shown = await page.locator(".feed > li .what").allInnerTexts();
  assert.deepEqual(shown.slice(0, 3).map((text) => text.replace(/\s+/g, " ")), [3, 2, 1].map((number) => `email paused${number}@example.org`));
  await page.keyboard.press("p");
  await page.getByText("live", { exact: true }).waitFor();
  await close();
});

// Fails when a filter is lost on reload, selects other events, or cannot be removed.
test("the filter is in the address and survives a reload", async () => {
  await change("by-linus@example.org", "linus");
  const { page, close } = await open();
  await page.getByLabel("Only events of a type").selectOption("EmailChanged");
  await page.getByLabel("Only events of this actor").fill("linus");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => location.hash.includes("type=EmailChanged") && location.hash.includes("actor=linus"));
  for (const again of [false, true]) {
    if (again) await page.reload();
    await page.locator(".feed > li").first().waitFor();
    await page.waitForFunction(() => document.querySelectorAll(".feed > li").length === 1);
    assert.match(await page.locator(".feed").innerText(), /by-linus@example.org/);
  }
  await page.getByRole("button", { name: "Show not only actor linus" }).click();
  await page.getByRole("button", { name: "Show not only type EmailChanged" }).click();
  await page.waitForFunction(() => document.querySelectorAll(".feed > li").length > 20);
  await go(page, `#/events?id=${ids[5]}`);
  await page.waitForFunction(() => document.querySelectorAll(".feed > li").length === 1);
  await close();
});

// Fails when the feed hides that newer events wait for an open transaction, or leaves one of them out when it ends.
test("an open transaction is named as the reason why events are missing", async () => {
  const { page, close } = await open();
  await page.locator(".feed > li").first().waitFor();
  const holder = await server.pool.connect();
  await holder.query("begin");
  await holder.query("insert into events (id, aggregate_id, version, type_id, payload) values ($1, $2, 1, 1000, $3)", [
    randomUUID(), randomUUID(), { id: randomUUID(), username: "held", email: "held@example.org" }]);
  await change("behind@example.org");
  await page.getByText(/A transaction has been open for .*1 newer event\s+waits for it/).waitFor();
  assert.equal(await page.getByText("behind@example.org").count(), 0);
  await review(browser, `${server.url}/#/events`, "feed-waiting");
  await holder.query("rollback");
  holder.release();
  await page.getByText("behind@example.org").first().waitFor();
  assert.equal(await page.getByText(/A transaction has been open/).count(), 0);
  await close();
});

// Fails when the page does not reach the first event of the log, or shows an event twice.
test("older events are read down to the first one", async () => {
  await createUsers(server.url, 120);
  const { page, close } = await open();
  const all = (await server.sql("select count(*)::int as count from events"))[0].count;
  await until("all events are shown", async () => {
    const older = page.getByRole("button", { name: "Older events" });
    if (await older.isVisible()) await older.click();
    return page.getByText("down to the first event of the log").isVisible();
  });
  // The newest ones may have waited for a transaction when the page began.
  await page.waitForFunction((wanted) => document.querySelectorAll(".feed > li").length >= wanted, all);
  const shown = await page.locator(".feed > li").evaluateAll((rows) => rows.map((row) => row.getAttribute("data-id")));
  assert.equal(shown.length, all);
  assert.equal(new Set(shown).size, all);
  await close();
});

// Fails when a tab that stays open keeps every event that it has seen.
test("the page keeps a bounded number of rows", async () => {
  const { page, close } = await open();
  await page.locator(".feed > li").first().waitFor();
  for (let round = 0; round < 4; round += 1) {
    // Fewer than make the page begin again at the newest.
    await createUsers(server.url, 300);
    const newest = (await server.sql("select id from events order by position desc limit 1"))[0].id;
    await page.locator(`.feed > li[data-id="${newest}"]`).waitFor();
  }
  assert.equal(await page.locator(".feed > li").count(), 500);
  await close();
});

// Fails when the page, or the JSON of an event in it, cannot be used by everyone or does not fit.
test("the feed is accessible and fits, light, dark and on a phone", async () => {
  await review(browser, `${server.url}/#/events`, "feed");
  await review(browser, `${server.url}/#/events?type=Created&actor=grace`, "feed-filtered");
  await review(browser, `${server.url}/#/events`, "feed-event", {
    prepare: async (page) => {
      await page.locator(".raw").first().click();
      await page.getByRole("region", { name: "The event as JSON" }).waitFor();
    },
  });
});
