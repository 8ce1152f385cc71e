/** What the user has chosen for this browser. Nothing about data, rows or tokens is stored here. */

/** @typedef {{theme: "auto" | "light" | "dark", zone: "UTC" | "local", keys: boolean}} Prefs */

const KEY = "foldlog.prefs";

/** @type {Prefs} */
export const prefs = { theme: "auto", zone: "UTC", keys: true, ...stored() };
apply();

/** @param {Partial<Prefs>} changes */
export function choose(changes) {
  Object.assign(prefs, changes);
  apply();
  try {
    localStorage.setItem(KEY, JSON.stringify(prefs));
  } catch {
    // A browser that forbids storage forgets the choice with the tab.
  }
}

/** Whether the page is dark now. */
export const dark = () =>
  prefs.theme === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : prefs.theme === "dark";

function apply() {
  if (prefs.theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = prefs.theme;
}

/** @returns {Partial<Prefs>} */
function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}");
  } catch {
    return {};
  }
}
