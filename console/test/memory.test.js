/**
 * A tab that is left open on the feed, with 50 events a second if `MINUTES` says for how long; the figures of docs/CONSOLE.md are of
 * `MINUTES=60 scripts/console-test.sh memory`. Otherwise the events follow each other as fast as the page shows them.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openConsole, started } from "./support/browser.js";
import { createUsers, event } from "./support/data.js";
import { call } from "./support/server.js";

const MINUTES = Number(process.env["MINUTES"] ?? 0);
const PER_SECOND = 50;
const SAMPLES = 20;
/** Of each sample without `MINUTES`. */
const BURST = 75;

const { server, browser } = await started();

// Fails when the page keeps more and more rows, nodes or listeners the longer it is open.
test("a tab that stays open on the feed has a bounded number of nodes", async () => {
  const ids = await createUsers(server.url, 600);
  const { page, close } = await openConsole(browser, `${server.url}/#/events`);
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  const metrics = async () => {
    await session.send("HeapProfiler.collectGarbage");
    const { metrics: all } = await session.send("Performance.getMetrics");
    const of = (/** @type {string} */ name) => all.find((at) => at.name === name)?.value ?? 0;
    return { heap: of("JSHeapUsedSize") / 2 ** 20, nodes: of("Nodes"), listeners: of("JSEventListeners"), rows: await page.locator(".feed > li").count() };
  };
  let written = 0;
  const append = async (/** @type {number} */ count) => {
    if (count <= 0) return;
    await call(`${server.url}/users`, Array.from({ length: count }, (_, index) =>
      event(/** @type {string} */ (ids[(written + index) % ids.length]), "emailChanged", { email: `mail${written + index}@example.org` })));
    written += count;
  };
  const begun = Date.now();
  const appendUntil = async (/** @type {number} */ end) => {
    while (Date.now() < end) {
      await append(Math.min(250, Math.floor(((Date.now() - begun) / 1000) * PER_SECOND) - written));
      // As a person who looks at the page now and then: the page rests otherwise.
      await page.keyboard.press("Shift");
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  };
  /** @type {Awaited<ReturnType<typeof metrics>>[]} */
  const samples = [];
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    if (MINUTES > 0) await appendUntil(begun + ((sample + 1) / SAMPLES) * MINUTES * 60_000);
    else {
      await append(BURST);
      await page.keyboard.press("Shift");
      await page.locator(".feed").getByText(`mail${written - 1}@example.org`, { exact: true }).waitFor();
    }
    samples.push(await metrics());
  }
  for (const [index, { heap, nodes, listeners, rows }] of samples.entries()) {
    console.log(`${MINUTES > 0 ? `${(((index + 1) / SAMPLES) * MINUTES).toFixed(2)} min` : `sample ${index + 1}`}: ${heap.toFixed(1)} MiB, ${nodes} nodes, ${listeners} listeners, ${rows} rows`);
  }
  console.log(`${written} events written`);
  const full = samples.filter((at) => at.rows === 500);
  assert.ok(full.length >= 2, "the page was never full");
  const [first, last] = [/** @type {(typeof full)[0]} */ (full[0]), /** @type {(typeof full)[0]} */ (full.at(-1))];
  assert.ok(last.nodes <= first.nodes * 1.5 && last.listeners <= first.listeners * 1.5, JSON.stringify([first, last]));
  await close();
});
