/**
 * Requests to the API. Every one goes through here: with the token, with retries, and with a sign-in over the page after a 401.
 *
 * @import {Api, Panel, RequestOptions} from "../types.js"
 */
import { transport } from "../runtime.js";
import * as session from "./session.js";

/**
 * @param {string} baseUrl
 * @param {() => Promise<void>} signIn resolves when there is a new token
 * @returns {Api}
 */
export function connect(baseUrl, signIn) {
  const send = transport({ baseUrl, token: () => session.current() ?? undefined, tries: 3 });
  /** @param {string} method @param {string} path @param {RequestOptions} [options] */
  async function request(method, path, options = {}) {
    const query = Object.fromEntries(Object.entries(options.query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== ""));
    for (let again = false; ; again = true) {
      try {
        return (await send.request(method, path, { ...options, query: /** @type {any} */ (query) })).body;
      } catch (error) {
        if (again || problemOf(error)?.name !== "unauthorized") throw error;
        await signIn();
      }
    }
  }
  return {
    baseUrl,
    get: (path, query, options) => request("GET", path, { query, ...options }),
    post: (path, body, options) => request("POST", path, { body, ...options }),
  };
}

/**
 * The problem of an error, with its short name; null if it is another error, such as a lost connection.
 * @param {any} error
 * @returns {{name: string, title: string, status: number, detail: string, requestId?: string, [member: string]: any} | null}
 */
export function problemOf(error) {
  return error?.problem ? { ...error.problem, requestId: error.requestId ?? undefined } : null;
}

/** Whether waiting may help: the server is away or busy. @param {unknown} error */
export function transient(error) {
  const problem = problemOf(error);
  return problem ? problem.status >= 500 : error instanceof TypeError || (error instanceof Error && error.name === "TimeoutError");
}

/**
 * Loads the panels of a page independently: one that fails shows its problem and keeps what it had, the others go on.
 * If all fail, the page fails.
 *
 * @template {Record<string, Promise<any>>} P
 * @param {P} loads
 * @param {any} [previous] what the last call returned
 * @returns {Promise<{[N in keyof P]: Panel<Awaited<P[N]>>}>}
 */
export async function panels(loads, previous) {
  const names = Object.keys(loads);
  const results = await Promise.allSettled(Object.values(loads));
  if (results.every((at) => at.status === "rejected")) throw /** @type {PromiseRejectedResult} */ (results[0]).reason;
  return /** @type {any} */ (Object.fromEntries(names.map((name, index) => {
    const result = /** @type {PromiseSettledResult<any>} */ (results[index]);
    return [name, result.status === "fulfilled" ? { value: result.value } : { value: previous?.[name]?.value, error: result.reason }];
  })));
}
