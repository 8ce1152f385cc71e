/**
 * Addresses of the console. Everything that a page shows is in the address, so that a link shows the same to others.
 *
 * `#/`, `#/?wall`, `#/events` (the feed), `#/projections`, `#/projections/{name}`, `#/health`, `#/sign-in`,
 * `#/{domain}`, `#/{domain}/{id}`, `#/{domain}/{id}@7`, `#/{domain}/{id}/explain`; each with a query.
 * No domain may be called events, projections or health, and a name with a hyphen is no domain.
 *
 * @import {Route} from "../types.js"
 */

/** @type {Record<string, string>} first segment → page */
const PAGES = { "": "overview", events: "feed", projections: "projections", health: "health", "sign-in": "signin" };

/** @param {string} hash @returns {Route} */
export function parse(hash) {
  const [path = "", search = ""] = splitOnce(hash.replace(/^#\/?/, ""), "?");
  const query = Object.fromEntries(new URLSearchParams(search));
  const [first = "", rest = "", part] = path.split("/").map(decode);
  const page = Object.hasOwn(PAGES, first) ? PAGES[first] : undefined;
  if (page) return { page, name: rest || undefined, query, key: `${page}/${rest}`, hash };
  if (!rest) return { page: "list", domain: first, query, key: `list/${first}`, hash };
  const [id = "", version] = splitOnce(rest, "@");
  return {
    page: "row", domain: first, id, version: version && /^\d+$/.test(version) ? Number(version) : undefined,
    part: part || undefined, query, key: `row/${first}/${id}`, hash,
  };
}

/**
 * The address of a list, or of one aggregate.
 * @param {string} domain @param {string} [id] @param {number} [version]
 */
export const to = (domain, id, version) =>
  `#/${encodeURIComponent(domain)}${id ? `/${encodeURIComponent(id)}` : ""}${version === undefined ? "" : `@${version}`}`;

/**
 * An address with other parameters; `undefined`, `null` and "" remove one.
 * @param {string} hash @param {Record<string, string | number | null | undefined>} changes
 */
export function withQuery(hash, changes) {
  const [path = "", search = ""] = splitOnce(hash || "#/", "?");
  const query = new URLSearchParams(search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined || value === null || value === "") query.delete(name);
    else query.set(name, String(value));
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** @param {string} text @param {string} at @returns {string[]} */
function splitOnce(text, at) {
  const index = text.indexOf(at);
  return index < 0 ? [text] : [text.slice(0, index), text.slice(index + at.length)];
}

/** @param {string} text a malformed escape is shown unchanged */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
