/** The keyboard. Single keys do nothing while the user types, and can be turned off (WCAG 2.1.4). */
import { prefs } from "./prefs.js";

/** @import {Key} from "../types.js" */

/**
 * @param {() => Key[]} keys the keys of this moment; `g o` is a key after a key
 * @param {(key: Key) => unknown} run false: the browser does what it does without the console
 */
export function listen(keys, run) {
  let prefix = "";
  let since = 0;
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (!prefs.keys || document.querySelector("dialog[open]")) return;
    const name = prefix && Date.now() - since < 1500 ? `${prefix} ${event.key}` : event.key;
    prefix = "";
    // A slider moves, and a box that scrolls does.
    if (event.target instanceof HTMLElement && event.target.matches("input[type=range], pre, .scroll") && /^(Arrow|Home|End)/.test(event.key)) return;
    const all = keys();
    const found = all.find((at) => at.key.split(", ").includes(name));
    if (found) {
      if (run(found) !== false) event.preventDefault();
    } else if (all.some((at) => at.key.startsWith(`${event.key} `))) {
      prefix = event.key;
      since = Date.now();
    }
  });
}

/** @param {EventTarget | null} target */
function typing(target) {
  return target instanceof HTMLElement && target.matches("input:not([type=checkbox],[type=radio],[type=range]), select, textarea, [contenteditable]");
}

/** Moves the focus among the rows of a page; false if it has none, so that the arrow keys scroll it. @param {number} step */
export function moveRow(step) {
  const rows = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("main [data-row]")]);
  const at = rows.findIndex((row) => row === document.activeElement || row.contains(document.activeElement));
  rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + step))]?.focus();
  return rows.length > 0;
}
