/** Two ways to use a page: with the mouse, and with the keyboard alone. */

/** @typedef {import("playwright-core").Locator} Locator */
/** @typedef {{name: string, press(target: Locator): Promise<void>, type(target: Locator, text: string): Promise<void>}} Input */

/** @type {Input} */
export const byMouse = {
  name: "by mouse",
  press: (target) => target.click(),
  type: (target, text) => target.fill(text),
};

/** @type {Input} */
export const byKeyboard = {
  name: "by keyboard",
  async press(target) {
    await tabTo(target);
    await target.page().keyboard.press("Enter");
  },
  async type(target, text) {
    await tabTo(target);
    await target.page().keyboard.press("Control+A");
    await target.page().keyboard.type(text);
  },
};

/** Presses the tab key until the target has the focus; fails if it never gets it. @param {Locator} target */
export async function tabTo(target) {
  // A control that is disabled while an answer is read cannot have the focus.
  await (await target.elementHandle())?.waitForElementState("enabled");
  for (let presses = 0; presses < 200; presses += 1) {
    if (await target.evaluate((element) => element === document.activeElement)) return;
    await target.page().keyboard.press("Tab");
  }
  throw new Error(`the tab key does not reach ${target}`);
}
