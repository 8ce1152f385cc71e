/** Every page with an empty log, with one event, with 100 000, and with values that were made to break it. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { assertNoSidewaysScroll, go, openConsole, PHONE, review, started } from "./support/browser.js";
import { createUsers, event, plantUsers } from "./support/data.js";
import { call, until } from "./support/server.js";

const MANY = 100_000;

const { server, browser } = await started();

/** The pages, by the name of their screenshots. @param {string} [id] an aggregate @returns {Record<string, string>} */
const pages = (id) => ({
  overview: "#/", list: "#/users", feed: "#/events", projections: "#/projections", health: "#/health",
  ...(id && { row: `#/users/${id}`, "row-past": `#/users/${id}@1`, explain: `#/users/${id}/explain` }),
});
const current = () => until("the view is current", async () => (await call(`${server.url}/projections/users`)).lag_events === 0);

// Fails when a page of a new installation is blank, complains, or does not say what to do.
test("every page works before the first event", async () => {
  for (const [name, hash] of Object.entries(pages())) await review(browser, `${server.url}/${hash}`, `${name}-empty`);
});

// Fails when a page cannot show the first event.
test("every page works with one event", async () => {
  const [id] = await createUsers(server.url, 1);
  await current();
  const { page, close } = await openConsole(browser, `${server.url}/#/`);
  for (const hash of Object.values(pages(id))) {
    await go(page, hash);
    assert.equal(await page.getByText("This page could not be drawn").count(), 0, hash);
    assert.equal(await page.locator(".hint.bad").count(), 0, hash);
  }
  await close();
});

// Fails when a value of a row is taken for markup, moves the layout, or stops a page.
test("values are shown as text, whatever they are", async () => {
  const id = randomUUID();
  const values = ["<img src=x onerror=alert(1)>", "\u202Eright to left \u05D0\u05D1", "👩‍🚀 emoji", "${7*7}{{7*7}}", "a".repeat(100)];
  await call(`${server.url}/users`, event(id, "created", { username: values[0], email: "hostile@example.org" }, { actor: "<script>alert(1)</script>" }));
  for (const username of values.slice(1)) await call(`${server.url}/users`, event(id, "usernameChanged", { username }, { actor: username }));
  // Longer than the domain allows, as an event of an earlier build may be.
  await server.sql("insert into events (id, aggregate_id, version, type_id, payload) values ($1, $2, 6, 1002, $3)", [randomUUID(), id, { username: "m".repeat(1_000_000) }]);
  await call(`${server.url}/projections`, {});
  await current();
  await assert.rejects(call(`${server.url}/users`, event(id, "usernameChanged", { username: "nul\u0000" })), { status: 422 });
  for (const size of [PHONE, { width: 640, height: 430 }]) {
    const { page, close } = await openConsole(browser, `${server.url}/#/`, { size });
    page.on("dialog", () => assert.fail("a script of a value has run"));
    for (const hash of Object.values(pages())) {
      await go(page, hash);
      assert.equal(await page.locator("main img").count(), 0, hash);
      assert.equal(await page.getByText("This page could not be drawn").count(), 0, hash);
      await assertNoSidewaysScroll(page, `${hash} at ${size.width} px`);
    }
    await go(page, "#/events");
    await page.locator(".feed").getByText("<img src=x onerror=alert(1)>").first().waitFor();
    await close();
  }
});

// Fails when a page needs more time or room with many events, or cannot be used by everyone then.
test("every page works with 100 000 events", async () => {
  await plantUsers(server, MANY);
  await current();
  const [id] = await createUsers(server.url, 12);
  for (const [index, name] of ["grace", "ada", "crm-import"].entries()) {
    await call(`${server.url}/users`, [
      event(/** @type {string} */ (id), "emailChanged", { email: `ada${index}@example.org` }, { actor: name }),
      event(/** @type {string} */ (id), "usernameChanged", { username: ["ada", "ada.l", "lovelace"][index] }, { actor: name }),
    ]);
  }
  await current();
  for (const [name, hash] of Object.entries(pages())) await review(browser, `${server.url}/${hash}`, name);
  const { page, close } = await openConsole(browser, `${server.url}/#/`);
  for (const hash of Object.values(pages(id))) {
    await go(page, hash);
    assert.equal(await page.getByText("This page could not be drawn").count(), 0, hash);
  }
  await close();
});
