/** One aggregate: its versions, what happened, who set what, and what brings it back. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { go, openConsole, review, started } from "./support/browser.js";
import { event, plantUnfoldable } from "./support/data.js";
import { byKeyboard, byMouse } from "./support/input.js";
import { call, until } from "./support/server.js";

/** @import {Page} from "playwright-core" */

const { server, browser } = await started();

/** @param {string} id @param {keyof typeof import("./support/data.js").TYPES} type @param {Record<string, unknown>} payload @param {string} [actor] */
const append = (id, type, payload, actor = "ada.l") => call(`${server.url}/users`, event(id, type, payload, { actor }));

/** A user with seven versions, of which a program wrote the last two. */
async function lovelace() {
  const id = randomUUID();
  await append(id, "created", { username: "Ada Lovelace", email: `${id}@lovelace.example` }, "sign-up");
  await append(id, "passwordChanged", { password: "a secret of Ada" });
  await append(id, "usernameChanged", { username: "Ada King" });
  await append(id, "emailChanged", { email: `king.${id}@lovelace.example` }, "grace");
  await append(id, "usernameChanged", { username: "Countess of Lovelace" });
  await append(id, "usernameChanged", { username: "A KING" }, "crm-import");
  await append(id, "emailChanged", { email: `wrong.${id}@lovelace.exampel` }, "crm-import");
  return id;
}

/** @param {string} hash @param {Parameters<typeof openConsole>[2]} [options] */
const open = (hash, options) => openConsole(browser, `${server.url}/${hash}`, options);
/** The value of a field in the panel of the state. @param {Page} page @param {string} field */
const field = (page, field) => page.locator(".state tbody tr").filter({ has: page.locator("td:first-child", { hasText: new RegExp(`^${field}$`) }) });

// Fails when a version shows another state than that of its event, when the address does not name it, or when a screen reader
// does not hear which event it is.
test("the timeline goes through the versions by slider, keys, links and address", async () => {
  const id = await lovelace();
  const { page, close } = await open(`#/users/${id}@3`);
  const slider = page.getByRole("slider", { name: "Version" });
  await field(page, "username").getByText("Ada King").waitFor();
  assert.match(String(await slider.getAttribute("aria-valuetext")), /^version 3 of 7, .* UTC, UsernameChanged by ada\.l$/);
  await slider.focus();
  await page.keyboard.press("ArrowRight");
  await field(page, "email").getByText("king.").waitFor();
  assert.match(page.url(), /@4$/);
  await page.locator("h1").focus();
  await page.keyboard.press("ArrowLeft");
  await page.waitForURL(/@3$/);
  await page.keyboard.press("Home");
  await field(page, "username").getByText("Ada Lovelace").waitFor();
  await page.keyboard.press("End");
  await field(page, "username").getByText("A KING").waitFor();
  assert.doesNotMatch(page.url(), /@/, "now has no version");
  await page.getByRole("link", { name: "Show version 5" }).click();
  await field(page, "username").getByText("Countess of Lovelace").waitFor();
  assert.equal(await page.locator(".tl li[aria-current]").innerText().then((text) => text.slice(0, 1)), "5");
  await close();
});

// Fails when a link to a version is not copied, or shows something else to the person who opens it.
test("the copied link shows the same version", async () => {
  const id = await lovelace();
  const { page, close } = await open(`#/users/${id}@3`);
  await page.getByRole("button", { name: "Copy the link to v3" }).or(page.getByRole("button", { name: "Copy link to v3" })).click();
  await page.getByRole("status").getByText("Copied").waitFor();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  await page.goto(link);
  await field(page, "username").getByText("Ada King").waitFor();
  await close();
});

// Fails when a field does not name the person and the event that set it, or when the comparison with now lacks a change.
test("each field names who set it, and is compared with now", async () => {
  const id = await lovelace();
  const { page, close } = await open(`#/users/${id}@5`);
  await field(page, "username").getByText("ada.l, v5").waitFor();
  await field(page, "email").getByText("grace, v4").waitFor();
  await field(page, "password_hash").getByText("a secret").waitFor();
  await page.getByText("2 of 2 fields are different now").waitFor();
  await page.keyboard.press("c");
  await field(page, "username").getByText("A KING").waitFor();
  assert.equal(await field(page, "username").locator("del").innerText(), "Countess of Lovelace");
  await close();
});

// Fails when a time shows another state than the API has for it, or the time before the first event is an error.
test("a time shows the state of then, and before the first event that there was none", async () => {
  const id = await lovelace();
  const { result } = await call(`${server.url}/users/${id}/events?order=asc`);
  const { page, close } = await open(`#/users/${id}?as_of=${encodeURIComponent(result[2].created_at)}`);
  await field(page, "username").getByText("Ada King").waitFor();
  await page.getByText("Version 3 of 7").waitFor();
  await page.getByLabel("as of").fill("1999-12-31 23:59");
  await page.keyboard.press("Enter");
  await page.getByText("It did not exist yet.").waitFor();
  await page.getByLabel("as of").fill("yesterday");
  await page.keyboard.press("Enter");
  await page.getByText("Write a time as 2026-11-18").waitFor();
  await close();
});

// Fails when the history shows an event without what it changed, or a filter keeps others, or is lost on reload.
test("the history says what each event changed, and is filtered by field and by person", async () => {
  const id = await lovelace();
  const { page, close } = await open(`#/users/${id}`);
  const items = page.locator(".tl > li");
  assert.equal(await items.count(), 7);
  assert.match((await items.nth(1).innerText()).replace(/\s+/g, " "), /UsernameChanged crm-import .*username Countess of Lovelace ?→ ?A KING/);
  await items.nth(5).getByText("a secret, so it is not shown").waitFor();
  await page.getByLabel("field", { exact: true }).selectOption("email");
  await page.waitForFunction(() => document.querySelectorAll(".tl > li").length === 3);
  await page.getByLabel("by", { exact: true }).selectOption("crm-import");
  await page.waitForFunction(() => document.querySelectorAll(".tl > li").length === 1);
  await page.reload();
  await page.waitForFunction(() => document.querySelectorAll(".tl > li").length === 1);
  await items.first().getByRole("button", { name: "Version 7 as recorded" }).click();
  await page.getByLabel("The event as recorded").getByText('"actor": "crm-import"').waitFor();
  await close();
});

// Fails when a long history is loaded at once, or its older events cannot be reached.
test("a history of 350 events is read in pages down to the first", async () => {
  const id = randomUUID();
  await append(id, "created", { username: "many", email: `${id}@example.org` });
  await call(`${server.url}/users`, Array.from({ length: 349 }, (_, n) => event(id, "usernameChanged", { username: `name ${n}` })));
  const { page, close } = await open(`#/users/${id}@12`);
  await field(page, "username").getByText("name 10").waitFor();
  const items = page.locator(".tl > li");
  assert.equal(await items.count(), 100);
  for (const count of [200, 300, 350]) {
    await page.getByRole("button", { name: "Show older events" }).click();
    await page.waitForFunction((wanted) => document.querySelectorAll(".tl > li").length === wanted, count);
  }
  assert.equal(await page.getByRole("button", { name: "Show older events" }).count(), 0);
  await close();
});

// Fails when a write of another client does not appear by itself within six seconds.
test("a write of another client appears by itself", async () => {
  const id = await lovelace();
  const { page, close } = await open(`#/users/${id}`, { clock: true });
  await page.getByText("Version 7 of 7").waitFor();
  await append(id, "usernameChanged", { username: "Ada again" }, "linus");
  await page.clock.runFor(6000);
  await page.getByText("Version 8 of 8").waitFor();
  await page.locator("h1").getByText("Ada again").waitFor();
  await close();
});

for (const input of [byMouse, byKeyboard]) {
  // Fails when a revert cannot be done with this input, stores something else than it showed, ignores a write of another client in
  // between, or does not say what that was.
  test(`a bad change is reverted ${input.name}, also with a conflict in between`, async () => {
    const id = await lovelace();
    const { page, close } = await open(`#/users/${id}@5`);
    await field(page, "username").getByText("Countess of Lovelace").waitFor();
    await input.press(page.getByRole("button", { name: "Revert to v5…" }));
    const dialog = page.getByRole("dialog");
    await dialog.getByText("2 events are appended, and the row becomes version 9").waitFor();
    await input.press(dialog.getByRole("button", { name: "Append 2 events" }));
    await dialog.getByText("Say why").waitFor();
    await input.type(dialog.getByLabel("Why?"), "The CRM import cut her title");
    await append(id, "emailChanged", { email: `hers.${id}@lovelace.example` }, "linus");
    await input.press(dialog.getByRole("button", { name: "Append 2 events" }));
    await dialog.getByText("It has changed while this dialog was open.").waitFor();
    await dialog.getByText("v8 EmailChanged by linus: email").waitFor();
    await dialog.getByText("Only if it still is at version 8").waitFor();
    assert.equal((await call(`${server.url}/users/${id}?consistency=strong`)).version, 8, "nothing was stored");
    await input.press(dialog.getByRole("button", { name: "Append 2 events" }));
    await page.getByText("Version 10 of 10").waitFor();
    const row = await call(`${server.url}/users/${id}?consistency=strong`);
    assert.deepEqual([row.username, row.email], ["Countess of Lovelace", `king.${id}@lovelace.example`]);
    const { result } = await call(`${server.url}/users/${id}/events?order=desc&limit=1`);
    assert.equal(result[0].metadata.reason, "The CRM import cut her title");
    await page.getByText("revert to v5").first().waitFor();
    await close();
  });
}

// Fails when a field that is left out is reverted all the same, or the dialog does not warn that another person set it.
test("a revert leaves out the fields that another person has set since", async () => {
  const id = randomUUID();
  await append(id, "created", { username: "Grace", email: `${id}@navy.example` });
  await append(id, "usernameChanged", { username: "GRACE" }, "crm-import");
  await append(id, "emailChanged", { email: `hopper.${id}@navy.example` }, "grace");
  const { page, close } = await open(`#/users/${id}@1`);
  await page.getByRole("button", { name: "Revert to v1…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("crm-import, v2").waitFor();
  await dialog.getByText("grace, v3").waitFor();
  await dialog.getByLabel("Change email").uncheck();
  await dialog.getByText("1 event is appended").waitFor();
  await dialog.getByLabel("Why?").fill("only the name was wrong");
  await dialog.getByText("The request").click();
  assert.match(await dialog.locator("pre").innerText(), /"except": \[\s*"email"/);
  await dialog.getByRole("button", { name: "Append 1 event" }).click();
  await page.getByText("Version 4 of 4").waitFor();
  const row = await call(`${server.url}/users/${id}?consistency=strong`);
  assert.deepEqual([row.username, row.email], ["Grace", `hopper.${id}@navy.example`]);
  await close();
});

// Fails when a deleted aggregate looks as if it had never been, or cannot be brought back.
test("a deleted aggregate shows its last state and who ended it, and is brought back", async () => {
  const id = await lovelace();
  await append(id, "deleted", {}, "grace");
  const { page, close } = await open(`#/users/${id}`);
  await page.getByText("Ended by grace at v8").waitFor();
  await field(page, "username").getByText("A KING").waitFor();
  await page.getByRole("button", { name: "Revert to v7…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Why?").fill("deleted by mistake");
  await dialog.getByRole("button", { name: "Append 1 event" }).click();
  await page.getByText("Version 9 of 9").waitFor();
  assert.equal((await call(`${server.url}/users/${id}?consistency=strong`)).username, "A KING");
  await close();
});

// Fails when an id or a version that does not exist shows an empty page, or an error without a way on.
test("an unknown id, version or domain says so and leads on", async () => {
  const id = await lovelace();
  const { page, close } = await open(`#/users/${randomUUID()}`);
  await page.getByRole("heading", { name: "There is no such aggregate" }).waitFor();
  await go(page, `#/users/${id}@99`);
  await page.getByText("There is no version 99.").waitFor();
  await page.getByRole("link", { name: "Show it now" }).click();
  await field(page, "username").getByText("A KING").waitFor();
  await go(page, "#/users/not-an-id");
  await page.getByRole("heading", { name: "The request is malformed" }).waitFor();
  await go(page, "#/nothing");
  await page.getByRole("heading", { name: "There is no such domain" }).waitFor();
  await close();
});

// Fails when an append stores something before the result was shown, shows a problem away from its field, shows a secret, or
// ignores that another client was faster.
test("an event is appended after a dry run, with problems beside their fields", async () => {
  const id = await lovelace();
  const { page, close } = await open(`#/users/${id}`);
  await page.getByRole("button", { name: "Append an event…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("event", { exact: true }).selectOption("EmailChanged");
  await dialog.getByLabel("email", { exact: true }).fill("no address");
  await dialog.getByRole("button", { name: "Look at the result" }).click();
  await dialog.locator("#field-email-wrong").getByText("must look like").waitFor();
  await dialog.getByLabel("email", { exact: true }).fill("a\u0000b@example.org");
  await dialog.getByRole("button", { name: "Look at the result" }).click();
  await dialog.locator("#field-email-wrong, [role=alert]").first().waitFor();
  await dialog.getByLabel("event", { exact: true }).selectOption("PasswordChanged");
  await dialog.getByLabel("password").fill("hunter2 hunter2");
  await dialog.getByText("The request").click();
  assert.doesNotMatch(await dialog.locator("pre").innerText(), /hunter2/);
  await dialog.getByLabel("event", { exact: true }).selectOption("EmailChanged");
  await dialog.getByLabel("email", { exact: true }).fill(`next.${id}@example.org`);
  await dialog.getByRole("button", { name: "Look at the result" }).click();
  await dialog.locator("ins").getByText(`next.${id}@example.org`).waitFor();
  assert.equal((await call(`${server.url}/users/${id}?consistency=strong`)).version, 7, "a dry run stores nothing");
  await append(id, "usernameChanged", { username: "faster" }, "linus");
  await dialog.getByRole("button", { name: "Append 1 event" }).click();
  await dialog.getByRole("alert").getByText("is at version 8").waitFor();
  await dialog.getByRole("button", { name: "Look at the result" }).click();
  await dialog.getByRole("button", { name: "Append 1 event" }).click();
  await page.getByText("Version 9 of 9").waitFor();
  assert.equal((await call(`${server.url}/users/${id}?consistency=strong`)).email, `next.${id}@example.org`);
  await close();
});

// Fails when a row that is parked looks current, or the page does not say which event is the reason.
test("a parked row is explained and retried", async () => {
  const id = await lovelace();
  const planted = await plantUnfoldable(server, id);
  await call(`${server.url}/projections`, {}).catch(() => null);
  await until("the user is parked", async () => (await call(`${server.url}/users/${id}/explain`)).state === "parked");
  const { page, close } = await open(`#/users/${id}/explain`);
  await page.getByText("parked: an event cannot be folded").first().waitFor();
  await page.getByText("after 1 try").or(page.getByText(/after \d+ tries/)).first().waitFor();
  await review(browser, `${server.url}/#/users/${id}/explain`, "explain-parked");
  const posted = page.waitForResponse((response) => response.request().method() === "POST");
  await page.getByRole("button", { name: "Retry…" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Retry", exact: true }).click();
  const answer = await posted;
  assert.deepEqual([answer.status(), answer.request().postDataJSON()], [200, { retry: "users", aggregate_id: id }]);
  await page.getByText("It has failed again, and stays parked").waitFor();
  await go(page, `#/users/${id}`);
  await page.getByText("This event cannot be folded.").waitFor();
  await call(`${server.url}/projections`, { skip: { domain: "users", event_id: planted, reason: "planted by a test" } });
  await close();
});

// Fails when one of these views is not accessible, scrolls sideways on a phone, or violates the content security policy.
test("an aggregate is accessible and fits, light, dark and on a phone", async () => {
  const id = await lovelace();
  const gone = await lovelace();
  await append(gone, "deleted", {}, "grace");
  const at = (/** @type {string} */ hash) => `${server.url}/${hash}`;
  await review(browser, at(`#/users/${id}@5`), "aggregate");
  await review(browser, at(`#/users/${id}@5`), "aggregate-compare", { prepare: (page) => page.getByRole("button", { name: "compare with now" }).click() });
  await review(browser, at(`#/users/${gone}`), "aggregate-deleted");
  await review(browser, at(`#/users/${id}/explain`), "explain");
  await review(browser, at(`#/users/${id}@5`), "revert", {
    async prepare(page) {
      await page.getByRole("button", { name: "Revert to v5…" }).click();
      await page.getByRole("dialog").getByText("2 events are appended").waitFor();
      await page.getByRole("dialog").getByText("The request").click();
      const cut = await page.locator(".frame").evaluate((box) => box.scrollWidth > box.clientWidth);
      assert.ok(!cut || (page.viewportSize()?.width ?? 0) < 760, "the fields are cut off");
    },
  });
  await review(browser, at(`#/users/${id}`), "append", {
    async prepare(page) {
      await page.getByRole("button", { name: "Append an event…" }).click();
      await page.getByRole("dialog").getByLabel("event", { exact: true }).selectOption("EmailChanged");
      await page.getByRole("dialog").getByLabel("email", { exact: true }).fill("no address");
      await page.getByRole("dialog").getByRole("button", { name: "Look at the result" }).click();
      await page.getByRole("dialog").locator("#field-email-wrong").waitFor();
    },
  });
});
