/** What the tests share: the server, and a `fetch` that fails as a network does. */
import { foldlog, newId, users } from "../index.js";

/** The address of a `local` with a database that these tests may fill. */
export const baseUrl = process.env["FOLDLOG"] ?? "http://127.0.0.1:7755";

export const api = foldlog({ baseUrl });

/** A payload of a user that no other test has. @param {string} id @param {string} [username] */
export const ada = (id, username = "ada") => ({ id, username, email: `${id}@example.org` });

/** A new user, as another client would append it. @param {string} [username] */
export async function append(username) {
  const id = newId();
  await api.users.append(users.created(id, ada(id, username)), { expected: 0 });
  return id;
}

/**
 * A `fetch` that asks `before` what to do with each request, the first being 1: `before` may return a response, throw, or let the
 * request pass. `after` is called with each response.
 * @param {(n: number, request: { url: string, init: RequestInit }) => Response | void | Promise<Response | void>} before
 * @param {(n: number, response: Response) => void} [after]
 */
export function intercepted(before, after = () => {}) {
  /** @type {{ url: string, init: RequestInit }[]} */
  const requests = [];
  /** @type {typeof fetch} */
  const send = async (url, init) => {
    const request = { url: String(url), init: init ?? {} };
    const n = requests.push(request);
    const answer = (await before(n, request)) ?? (await fetch(url, init));
    after(n, answer);
    return answer;
  };
  return { send, requests };
}

/** A problem, as the API answers it. @param {string} name @param {number} status @param {Record<string, string>} [headers] */
export const problem = (name, status, headers = {}) =>
  new Response(JSON.stringify({ type: `urn:foldlog:problem:${name}`, title: name, status, detail: name }), {
    status,
    headers: { "Content-Type": "application/problem+json", ...headers },
  });

/** All of an iterator. @template T @param {AsyncIterable<T>} iterator */
export async function collect(iterator) {
  const all = [];
  for await (const one of iterator) all.push(one);
  return all;
}

/** @param {Promise<unknown>} promise @returns {Promise<unknown>} what it rejects with */
export const rejection = (promise) => promise.then(() => undefined, (error) => error);
