/** Times. The server sends RFC 3339 in UTC; the page shows UTC or local time, and the exact value in the title. */
import { html, nothing } from "../vendor/lit-html.js";
import { prefs } from "./prefs.js";

/** @param {number} number */
const two = (number) => String(number).padStart(2, "0");

/**
 * `2026-11-23 02:00:14` in the chosen zone.
 * @param {string | number | Date} time @param {"minute" | "second" | "day" | "clock"} [precision]
 */
export function stamp(time, precision = "minute") {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return String(time);
  const utc = prefs.zone === "UTC";
  const day = utc
    ? `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`
    : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const minute = utc ? `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}` : `${two(at.getHours())}:${two(at.getMinutes())}`;
  const second = two(utc ? at.getUTCSeconds() : at.getSeconds());
  if (precision === "day") return day;
  if (precision === "clock") return `${minute}:${second}`;
  return precision === "second" ? `${day} ${minute}:${second}` : `${day} ${minute}`;
}

/** `23 Nov`, for the labels of a timeline. @param {string} time */
export const dayOfYear = (time) =>
  new Date(time).toLocaleDateString("en-GB", { day: "numeric", month: "short", ...(prefs.zone === "UTC" && { timeZone: "UTC" }) });

/** The zone's name for texts: UTC, or the local offset. */
export function zone() {
  if (prefs.zone === "UTC") return "UTC";
  const minutes = -new Date().getTimezoneOffset();
  const offset = Math.abs(minutes);
  return `${minutes < 0 ? "−" : "+"}${two(Math.floor(offset / 60))}:${two(offset % 60)}`;
}

/** @type {[number, string, number][]} below so many seconds, in this unit of so many seconds */
const UNITS = [[90, "s", 1], [5400, "min", 60], [129_600, "h", 3600], [1_209_600, "day", 86_400], [5_184_000, "week", 604_800], [47_304_000, "month", 2_629_800]];

/** `38 min`, `2 days`. @param {number} seconds */
export function duration(seconds) {
  if (seconds > 0 && seconds < 10) return `${seconds.toFixed(seconds < 1 ? 1 : 0)} s`;
  const [, unit, size] = UNITS.find(([below]) => seconds < below) ?? [0, "year", 31_557_600];
  const count = Math.max(0, Math.round(seconds / size));
  return unit.length < 4 && unit !== "day" ? `${count} ${unit}` : `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/** Whether a time has come. @param {string} time */
export const isDue = (time) => Date.parse(time) <= Date.now();

/** `2 days ago`, `in 4 min`, `now`. @param {string | number | Date} time */
export function ago(time) {
  const seconds = (Date.now() - new Date(time).getTime()) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  return seconds < 0 ? `in ${duration(-seconds)}` : `${duration(Math.round(seconds))} ago`;
}

/**
 * `2026-11-23 02:00 · 2 days ago`, with the exact time in the title.
 * @param {string | null | undefined} time @param {"both" | "ago" | "stamp" | "clock" | "second"} [form]
 */
export function when(time, form = "both") {
  if (!time) return nothing;
  const text = form === "ago" ? ago(time)
    : form === "clock" || form === "second" ? stamp(time, form)
    : form === "stamp" ? stamp(time) : `${stamp(time)} · ${ago(time)}`;
  return html`<time datetime=${time} title=${`${stamp(time, "second")} ${zone()} · ${time}`}>${text}</time>`;
}

/**
 * What a person typed as a time, as RFC 3339: `2026-11-18`, `2026-11-18 09:00`, with or without a zone. Without one, the chosen zone.
 * @param {string} text @returns {string | null} null if it is none
 */
export function fromInput(text) {
  const match = /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d)(:\d\d(?:\.\d+)?)?)?\s*(Z|UTC|[+−-]\d\d:\d\d)?$/i.exec(text.trim());
  if (!match) return null;
  const [, day = "", minute = "00:00", second = ":00", at = ""] = match;
  const suffix = /^(z|utc)$/i.test(at) || (!at && prefs.zone === "UTC") ? "Z" : at.replace("−", "-");
  const time = new Date(`${day}T${minute}${second}${suffix}`);
  return Number.isNaN(time.getTime()) ? null : time.toISOString();
}
