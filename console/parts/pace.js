/**
 * How many events a second each projection folds, from two readings of the server: what was appended between them, minus the growth of
 * the backlog. The server counts no folds, because that would cost each of them a write.
 *
 * @import {Panel} from "../types.js"
 */
import { number } from "./text.js";

/**
 * @typedef {{at: number, newest: string | null, position: number, domain: string | undefined, lag: Record<string, number | null>, since: number | undefined, appended: number | undefined, folded: Record<string, (number | null)[]>}} Pace
 *   `domain`: the only one whose events were read, if not all were; `since`: the seconds between the two readings; `appended`: the rate
 *   between them, if need be by positions, which have gaps; `folded`: the last rates of each projection, null where it could not be told
 */

/** What the figure means. */
export const FOLDED = "events appended between two refreshes, minus the growth of the backlog; an event of a parked aggregate counts";

/** How many of the newest events are read. */
export const NEWEST = 100;
/** How many rates are kept for the line. */
const KEPT = 24;
/** The server counts no more events that wait than this. */
const COUNTED = 10_000;

/**
 * @param {Pace | null | undefined} before @param {Panel<any>} status @param {Panel<any> | undefined} feed the newest events
 * @param {Set<string>} domains a projection that is called like none of them folds events of a domain that is not known here
 * @param {string} [domain] the only one whose events are in the feed: then positions, which are of the whole log, do not count them
 * @returns {Pace | null}
 */
export function pace(before, status, feed, domains, domain) {
  if (!feed?.value || !status.value || feed.error || status.error) return before ?? null;
  const events = feed.value.result;
  /** @type {Record<string, number | null>} */
  const lag = Object.fromEntries(Object.entries(status.value.projections).map(([name, at]) => [name, at.lag_events < COUNTED ? at.lag_events : null]));
  const at = Date.now();
  const newest = events[0]?.id ?? null;
  const now = { at, newest, position: events[0]?.position ?? 0, domain, lag };
  // Another token reads other domains.
  if (!before || before.domain !== domain) return { ...now, since: undefined, appended: undefined, folded: {} };
  const since = (at - before.at) / 1000;
  // A reload after a write says nothing about a rate.
  if (since < 2) return before;
  const folded = Object.fromEntries(Object.keys(lag).map((name) => {
    const [was, is] = [before.lag[name], lag[name]];
    const added = appended(events, before, now.position, name);
    const rate = was == null || is == null || added === null || !domains.has(name) || (domain !== undefined && domain !== name) ? null : Math.max(0, added - (is - was)) / since;
    return [name, [...(before.folded[name] ?? []), rate].slice(-KEPT)];
  }));
  const all = appended(events, before, now.position);
  return { ...now, since, appended: all === null ? undefined : Math.max(0, all) / since, folded };
}

/**
 * How many events are new, all or those of a domain. If the newest events do not reach back to the last reading: by positions, and the
 * domain's share in the newest; null if the feed has one domain only, of which positions say nothing.
 * @param {any[]} events @param {Pace} before @param {number} position @param {string} [domain]
 */
function appended(events, before, position, domain) {
  const known = before.newest === null && events.length < NEWEST ? events.length : events.findIndex((at) => at.id === before.newest);
  const fresh = known >= 0 ? events.slice(0, known) : events;
  const own = domain === undefined ? fresh.length : fresh.filter((at) => at.domain === domain).length;
  if (known >= 0) return own;
  return before.domain !== undefined || fresh.length === 0 ? null : ((position - before.position) * own) / fresh.length;
}

/** @param {number | null} rate */
export const rate = (rate) => number(rate === null ? null : rate >= 10 ? Math.round(rate) : Math.round(rate * 10) / 10);
