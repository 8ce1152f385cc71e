/**
 * The token, which is kept in memory, and in `sessionStorage` only if the user has asked for it. It is never part of an address.
 * The server decides what a token may do; the page only hides what would be refused.
 *
 * @import {Claims} from "../types.js"
 */

const KEY = "foldlog.token";

/** @type {string | null} */
let token = kept();

/** The token of the next request. */
export const current = () => token;

/** @param {string | null} value @param {boolean} [keep] until the tab is closed, also over a reload */
export function set(value, keep = false) {
  token = value;
  try {
    if (value && keep) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Without storage the token lasts until the page is reloaded.
  }
}

/**
 * What a token says about itself; the signature is the server's business.
 * @param {string | null} [from]
 * @returns {Claims | null} null if there is no token, or it is no JWT
 */
export function claims(from = token) {
  try {
    const part = (from ?? "").split(".")[1];
    if (!part) return null;
    const bytes = Uint8Array.from(atob(part.replaceAll("-", "+").replaceAll("_", "/")), (at) => at.charCodeAt(0));
    const body = JSON.parse(new TextDecoder().decode(bytes));
    const scopes = [body.scope, body.scp].flat().filter((at) => typeof at === "string").flatMap((at) => at.split(" "));
    return { sub: body.sub, iss: body.iss, expires: typeof body.exp === "number" ? body.exp * 1000 : undefined, scopes: new Set(scopes) };
  } catch {
    return null;
  }
}

/** @returns {string | null} */
function kept() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}
