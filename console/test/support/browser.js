/** Debian's Chromium with the console in it, and what a page must never do: violate its policy, or write to the console log. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after } from "node:test";
import { chromium } from "playwright-core";
import { startServer, until } from "./server.js";

const AXE = readFileSync(/** @type {string} */ (process.env["AXE"]), "utf8");
const WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"];

export const LAPTOP = { width: 1280, height: 860 };
export const PHONE = { width: 390, height: 844 };
/** For a machine that is busy with other work. No test waits for this long to see that something does not happen. */
const PATIENCE = 120_000;

/** @typedef {import("playwright-core").Page} Page */

/**
 * Starts a server and the browser for the tests of a file, which are stopped after the last one.
 * @param {Parameters<typeof startServer>[0]} [options]
 */
export async function started(options) {
  const [server, browser] = await Promise.all([
    startServer(options), chromium.launch({ executablePath: /** @type {string} */ (process.env["CHROMIUM"]), args: ["--no-sandbox"] }),
  ]);
  after(async () => {
    await browser.close();
    await server.stop();
  });
  return { server, browser };
}

/**
 * Opens the console, and waits until the page shows what it has read.
 * @param {import("playwright-core").Browser} browser @param {string} url with or without a `#/…`
 * @param {{theme?: "light" | "dark", size?: {width: number, height: number}, init?: () => void, clock?: boolean}} [options]
 *   `clock`: the time of the page stands still unless the test moves it, so that no refresh begins by itself
 */
export async function openConsole(browser, url, { theme = "light", size = LAPTOP, init, clock = false } = {}) {
  const context = await browser.newContext({ viewport: size, colorScheme: theme, reducedMotion: "reduce" });
  context.setDefaultTimeout(PATIENCE);
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const page = await context.newPage();
  /** @type {string[]} */
  const complaints = [];
  /** @type {string[]} */
  const requests = [];
  /** @type {Set<import("playwright-core").Request>} */
  const pending = new Set();
  // A response that is a problem is logged by the browser itself; the page shows it.
  page.on("console", (message) => {
    if (!message.text().startsWith("Failed to load resource")) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => { requests.push(request.url()); pending.add(request); });
  page.on("requestfinished", (request) => pending.delete(request));
  page.on("requestfailed", (request) => pending.delete(request));
  if (clock) {
    const now = Date.now();
    // An installed clock goes on until it is stopped, which has to be later than it is.
    await page.clock.install({ time: now - 60_000 });
    await page.clock.pauseAt(now);
  }
  if (init) await page.addInitScript(init);
  await page.goto(url);
  await settled(page);
  return {
    page,
    requests,
    /** Waits until every request is answered, and the page has read the answers without sending another one. */
    async quiet() {
      await until("the page waits for no answer", async () => {
        if (pending.size > 0) return false;
        const sent = requests.length;
        await page.evaluate(nextTask);
        return pending.size === 0 && requests.length === sent;
      });
    },
    /** Closes the page; fails if it has complained about anything. */
    async close() {
      await context.close();
      assert.deepEqual(complaints, [], "what the page wrote to the console");
    },
  };
}

/** Waits until a page shows data or a problem, or asks for a token. @param {Page} page */
export async function settled(page) {
  await page.waitForFunction(() => document.querySelector("dialog[open]") !== null || (document.querySelector("main h1") !== null && document.querySelector("main .wait") === null));
}

/** Goes to an address of the console as a link does. @param {Page} page @param {string} hash */
export async function go(page, hash) {
  await page.evaluate((to) => /** @type {Promise<void>} */ (new Promise((resolve) => {
    // The page's own listener, which takes the old data away, runs before this one.
    const from = location.hash;
    addEventListener("hashchange", () => resolve(), { once: true });
    location.hash = to;
    if (location.hash === from) resolve();
  })), hash);
  await settled(page);
}

/** Runs in the page: ends after the tasks that wait now, whatever its clock says. */
const nextTask = () => /** @type {Promise<void>} */ (new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => resolve();
  port2.postMessage(null);
}));

/** Fails if axe finds anything that breaks WCAG 2.0 to 2.2, A and AA. @param {Page} page @param {string} what */
export async function assertAccessible(page, what) {
  await page.evaluate(AXE);
  const violations = await page.evaluate(async (tags) => {
    const result = await /** @type {any} */ (globalThis).axe.run(document, { runOnly: { type: "tag", values: tags } });
    return result.violations.map((/** @type {any} */ at) => `${at.id}: ${at.nodes.map((/** @type {any} */ node) => node.html).slice(0, 3).join(" ")}`);
  }, WCAG);
  assert.deepEqual(violations, [], what);
}

/** Fails if the page scrolls sideways. @param {Page} page @param {string} what */
export async function assertNoSidewaysScroll(page, what) {
  const [width, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(/** @type {number} */ (width) <= /** @type {number} */ (shown), `${what} is ${width} px wide in ${shown}`);
}

/** @param {Page} page @param {string} name */
export async function screenshot(page, name) {
  await page.screenshot({ path: join(/** @type {string} */ (process.env["SCREENSHOTS"]), `${name}.png`), animations: "disabled" });
}

/**
 * Looks at a page as a reviewer does: light, dark and on a phone. Each is kept as a screenshot, and must be accessible and fit.
 * @param {import("playwright-core").Browser} browser @param {string} url @param {string} name
 * @param {{init?: () => void, prepare?: (page: Page) => Promise<unknown>}} [options] `prepare` opens what belongs to the view
 */
export async function review(browser, url, name, { init, prepare } = {}) {
  for (const [suffix, options] of Object.entries({
    light: { theme: /** @type {const} */ ("light") },
    dark: { theme: /** @type {const} */ ("dark") },
    phone: { size: PHONE },
  })) {
    const { page, close } = await openConsole(browser, url, { ...options, ...(init && { init }) });
    await prepare?.(page);
    await assertAccessible(page, `${name}, ${suffix}`);
    await assertNoSidewaysScroll(page, `${name}, ${suffix}`);
    await screenshot(page, `${name}-${suffix}`);
    await close();
  }
}
