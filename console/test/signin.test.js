/** Sign-in: over the page after a 401, with a token that stays in memory, and with what the token may do. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { go, openConsole, review, settled, started } from "./support/browser.js";
import { event, inFeed } from "./support/data.js";
import { call } from "./support/server.js";
import { makeIssuer } from "./support/tokens.js";

const ALL = "users:read users:write operate";
/** Not the one of the examples in the document, which is part of the page. */
const PASSWORD = "tortoise under a purple lamp";
const ID = "0199ef10-0000-7000-8000-000000000001";

/** @param {string} token */
const bearer = (token) => ({ authorization: `Bearer ${token}` });
const issuer = await makeIssuer();
const { server, browser } = await started({ env: { ...issuer.env, RUST_LOG: "trace,sqlx::query=off" } });
await call(`${server.url}/users`, event(ID, "created", { username: "ada", email: "ada@example.org", password: PASSWORD }, {}), bearer(issuer.token(ALL)));

const open = (hash = "#/events") => openConsole(browser, `${server.url}/${hash}`);

/** @param {import("playwright-core").Page} page @param {string} token */
async function signIn(page, token) {
  const dialog = page.getByRole("dialog", { name: "Sign in to go on" });
  await dialog.getByLabel("Token").fill(token);
  await dialog.getByRole("button", { name: "Sign in" }).click();
  await dialog.waitFor({ state: "hidden" });
}

// Fails when a 401 loses the page, when the sign-in does not continue it, or when the token is stored without being asked for.
test("a 401 opens the sign-in over the page, and the page goes on afterwards", async () => {
  const token = issuer.token(ALL);
  const { page, requests, close } = await open();
  await page.getByRole("dialog", { name: "Sign in to go on" }).waitFor();
  await signIn(page, token);
  await page.locator(".feed > li").first().waitFor();
  assert.equal(await page.evaluate(() => location.hash), "#/events");
  await page.getByText("grace@example.org").first().waitFor();
  assert.deepEqual(await page.evaluate(() => [sessionStorage.length, Object.values(localStorage).join()]).then(([count, kept]) => [count, String(kept).includes("eyJ")]), [0, false]);
  assert.ok(requests.every((url) => !url.includes(token.slice(0, 20))), "a token in an address");

  await page.reload();
  await page.getByRole("dialog", { name: "Sign in to go on" }).waitFor();
  await page.getByRole("dialog").getByRole("checkbox").check();
  await signIn(page, token);
  await page.reload();
  await page.locator(".feed > li").first().waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 1);
  await close();
});

// Fails when a token that may only read is offered an action, or when the server does not refuse a request that the page would hide.
test("a token that may only read gets no button that cannot work, and a forged request a 403", async () => {
  const token = issuer.token("users:read");
  const { page, close } = await open("#/sign-in");
  await page.getByLabel("Token").fill(`Bearer ${token}`);
  const rights = page.locator(".rights");
  assert.match((await rights.innerText()).replace(/\s+/g, " "), /users ✓ yes – no operate projections – no/);
  await page.locator("form.pad").getByRole("button", { name: "Sign in" }).click();
  const forbidden = /append|revert|reproject|verify|repair|retry|skip|go live|cancel it|catch up|restore|delete/i;
  for (const hash of ["#/", "#/events", "#/users", `#/users/${ID}`, `#/users/${ID}/explain`, "#/projections", "#/health"]) {
    await go(page, hash);
    const labels = await page.locator("main button:visible").allInnerTexts();
    assert.deepEqual(labels.filter((label) => forbidden.test(label)), [], hash);
    assert.equal(await page.locator(".hint.bad").count(), 0, hash);
  }
  for (const [path, body] of /** @type {[string, unknown][]} */ ([
    ["/users", event(ID, "emailChanged", { email: "forged@example.org" }, {})],
    [`/users/${ID}/revert`, { id: "0199ef10-0000-7000-8000-0000000000ff", to_version: 1 }],
    ["/projections", { verify: "users" }],
  ])) {
    await assert.rejects(call(`${server.url}${path}`, body, bearer(token)), { status: 403 }, path);
  }
  await close();
});

/** Adds two domains to the API's document, which is part of the page. @param {import("playwright-core").Page} page */
async function plantDomains(page) {
  await page.route(`${server.url}/`, async (route) => {
    const response = await route.fetch();
    const body = await response.text();
    const changed = body.replace(/(<script[^>]* id="served"[^>]*>)(.*?)(<\/script>)/s, (_, begin, json, end) => {
      const served = JSON.parse(json);
      const row = served.document.components.schemas["users.row"];
      for (const name of ["bills", "orders"]) served.document.components.schemas[`${name}.row`] = { ...row, "x-foldlog": { ...row["x-foldlog"], domain: name } };
      return begin + JSON.stringify(served).replaceAll("<", "\\u003c") + end;
    });
    assert.notEqual(changed, body);
    await route.fulfill({ response, body: changed });
  });
}

// Fails when the feed of a token that reads two of three domains calls the events of one of them all, or cannot show the others.
test("a token that reads some domains gets the feed of each", async () => {
  const { page, requests, close } = await open("#/sign-in");
  await plantDomains(page);
  await page.route("**/events?*domain=orders*", (route) => route.fulfill({ json: { result: [], newest: "here", next: null, waiting: null } }));
  await page.reload();
  await page.getByLabel("Token").fill(issuer.token("users:read orders:read"));
  await page.locator("form.pad").getByRole("button", { name: "Sign in" }).click();
  await go(page, "#/events");
  await page.getByText("events of users, the newest first").waitFor();
  await page.getByText("The token does not read every domain").waitFor();
  await page.locator(".feed > li").first().waitFor();
  assert.deepEqual(await page.getByLabel("Only events of a domain").locator("option").allInnerTexts(), ["+ domain", "orders"]);
  await page.getByLabel("Only events of a domain").selectOption("orders");
  await page.getByText("events of orders, the newest first").waitFor();
  await page.getByText("No event matches").waitFor();
  assert.equal(await page.getByText("every event of the log").count(), 0);
  assert.ok(requests.filter((url) => url.includes("/events?")).every((url) => /domain=(users|orders)/.test(url)));
  await close();
});

// Fails when the overview of a token that reads one domain of several counts the events of all, or sums only its view and says all.
test("a token that reads one domain gets the rates of that domain", async () => {
  const { page, close } = await openConsole(browser, `${server.url}/#/sign-in`, { clock: true });
  await plantDomains(page);
  await page.route("**/health", async (route) => {
    const response = await route.fetch();
    const health = await response.json();
    await route.fulfill({ response, json: { ...health, projections: { ...health.projections, bills: health.projections.users } } });
  });
  await page.reload();
  await page.getByLabel("Token").fill(issuer.token("users:read"));
  await page.locator("form.pad").getByRole("button", { name: "Sign in" }).click();
  await go(page, "#/");
  const tile = (/** @type {string} */ label) => page.locator(".tile").filter({ hasText: label });
  await tile("folded a second").getByText("known after the next refresh").waitFor();
  await page.clock.runFor(6000);
  await tile("folded a second").getByText(/^in users, in the last /).waitFor();

  // More than the page reads: how many of the positions between two readings are of this domain cannot be told.
  const burst = Array.from({ length: 150 }, (_, n) => event(randomUUID(), "created", { username: `user${n}`, email: `user${n}@example.org` }, {}));
  await call(`${server.url}/users`, burst, bearer(issuer.token(ALL)));
  await inFeed(server.url, burst.at(-1)?.id ?? "", bearer(issuer.token(ALL)));
  await page.clock.runFor(6000);
  await tile("appended a second to users").getByText(/^by the newest 100 events/).waitFor();
  assert.match(await tile("appended a second").locator(".huge").innerText(), /^≥/);
  await tile("folded a second").getByText("too many events to tell").waitFor();
  await close();
});

// Fails when the sign-in cannot be closed without one, when the page then goes on asking, or does not offer to try again.
test("the sign-in can be put off with \"Not now\"", async () => {
  const { page, requests, quiet, close } = await openConsole(browser, `${server.url}/#/events`, { clock: true });
  const dialog = page.getByRole("dialog", { name: "Sign in to go on" });
  await dialog.getByLabel("Token").fill(issuer.token(ALL));
  await dialog.getByRole("button", { name: "Not now" }).click();
  await dialog.waitFor({ state: "hidden" });
  await page.getByRole("heading", { name: "The request is not authenticated" }).waitFor();
  assert.equal(await page.evaluate(() => location.hash), "#/events");
  await quiet();
  const before = requests.length;
  await page.clock.runFor(60_000);
  assert.deepEqual(requests.slice(before), [], "requests without a token");
  await page.getByRole("button", { name: "Try again" }).click();
  assert.equal(await dialog.getByLabel("Token").inputValue(), "", "a token that was not used is forgotten");
  await signIn(page, issuer.token(ALL));
  await page.locator(".feed > li").first().waitFor();
  await close();
});

// Fails when the page does not say that a token has expired, or when the server's refusal of it does not ask for another one.
test("an expired token is shown as expired and asked for again", async () => {
  const { page, close } = await open("#/sign-in");
  await page.getByLabel("Token").fill(issuer.token(ALL, { seconds: -600 }));
  await page.getByText(/it ended .* ago/).waitFor();
  await page.locator("form.pad").getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("dialog", { name: "Sign in to go on" }).waitFor();
  await signIn(page, issuer.token(ALL));
  await settled(page);
  await go(page, "#/sign-in");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("Not signed in").first().waitFor();
  await close();
});

// Fails when a password, a token or a payload gets into an address, the storage, the browser's log or the server's log.
test("no secret, token or payload gets into addresses, storage or logs", async () => {
  const token = issuer.token(ALL);
  const { page, requests, close } = await open("#/events");
  /** @type {string[]} */
  const logged = [];
  page.on("console", (message) => logged.push(message.text()));
  await signIn(page, token);
  for (const hash of ["#/", "#/events", "#/users", `#/users/${ID}`, `#/users/${ID}/explain`, "#/projections", "#/health", "#/sign-in"]) {
    await go(page, hash);
    assert.ok(!(await page.content()).includes(PASSWORD), `the password is in ${hash}`);
  }
  await page.goBack();
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, location.href, history.state]));
  const signature = /** @type {string} */ (token.split(".")[2]);
  const log = await readFile(`${server.folder}/log`, "utf8");
  for (const [where, text] of Object.entries({ addresses: requests.join("\n"), storage: kept, "browser's log": logged.join("\n"), "server's log": log })) {
    for (const secret of [PASSWORD, "$argon2id$", token, signature]) assert.ok(!text.includes(secret), `the ${where} has a secret`);
    assert.ok(!text.includes("ada@example.org"), `the ${where} has a payload`);
  }
  await close();
});

// Fails when the sign-in cannot be used by everyone or does not fit.
test("the sign-in is accessible and fits, light, dark and on a phone", async () => {
  const url = `${server.url}/#/sign-in`;
  await review(browser, url, "sign-in", { prepare: (page) => page.getByLabel("Token").fill(issuer.token("users:read operate")) });
  await review(browser, `${server.url}/#/events`, "sign-in-dialog", {
    prepare: (page) => page.getByRole("dialog").waitFor(),
  });
});
