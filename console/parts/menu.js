/** Menus below a button. A click elsewhere and Escape close them. */
import { html } from "../vendor/lit-html.js";

/** @param {unknown} label @param {unknown} content an element with the class `pop` @param {"left" | "right"} [side] the side of the button that it is aligned with */
export const menu = (label, content, side = "left") =>
  html`<details class=${`menu ${side}`}><summary class="btn small">${label}</summary>${content}</details>`;

/** Closes menus on behalf of every page. */
export function closeMenus() {
  const open = () => /** @type {NodeListOf<HTMLDetailsElement>} */ (document.querySelectorAll("details.menu[open]"));
  addEventListener("click", (event) => {
    for (const at of open()) if (!at.contains(/** @type {Node} */ (event.target))) at.open = false;
  });
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const at of open()) {
      at.open = false;
      at.querySelector("summary")?.focus();
    }
  });
}
