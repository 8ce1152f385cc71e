/** The part of foldlog's client that is the same for every API. It needs `fetch`, `crypto` and `AbortController`, and nothing else. */

/** A value of a query string. A `Date` is sent in RFC 3339; `undefined` is left out. */
export type QueryValue = string | number | boolean | Date | undefined;

export interface TransportOptions {
  /** Where the API is, such as `https://api.example.org` or `/api`; `""` is the origin of the page. */
  baseUrl: string;
  /**
   * The token for a request; none is sent for `undefined` and `""`. After a 401 it is called once more, with the token that was
   * rejected, so that a cache knows that it has to fetch a new one.
   */
  token?: (rejected?: string) => string | undefined | Promise<string | undefined>;
  /** Instead of the global `fetch`. */
  fetch?: typeof globalThis.fetch;
  /** How often a request is sent at most: 5. 1 turns retries off. */
  tries?: number;
  /** How many milliseconds each of these may take: 30 000. A reader that follows the feed asks the server to wait for less. */
  timeout?: number;
}

export interface RequestOptions {
  query?: Record<string, QueryValue>;
  /** Sent as JSON. It is serialized once, so every try sends the same bytes. */
  body?: any;
  headers?: Record<string, string>;
  /** Ends the request and every wait between two tries. */
  signal?: AbortSignal | undefined;
  /** Instead of `TransportOptions.tries`. */
  tries?: number;
}

export interface Answer<T> {
  status: number;
  headers: Headers;
  body: T;
}

export interface Transport {
  /**
   * Sends a request until there is a response. A lost connection, a timeout, and 502, 503 and 504 are tried again: after
   * `Retry-After` (60 s at most), or else after a time that doubles, with jitter. That is safe because reads change nothing and
   * events have ids. No other status is tried again, except that a 401 asks for another token once.
   *
   * @throws {ProblemError} if the response is an error
   * @throws the reason of `signal` after an abort; the error of `fetch` if the last try has no response
   */
  request<T = any>(method: string, path: string, options?: RequestOptions): Promise<Answer<T>>;
}

export function transport(options: TransportOptions): Transport;

/** A problem (RFC 9457). `name` is the last part of `type`; `foreign` is an error that a gateway or proxy has answered. */
export interface AnyProblem {
  name: string;
  type?: string;
  title?: string;
  status: number;
  /** For people: says what to do. */
  detail: string;
}

/** Every error that the API answers is one. Errors of the network and aborts are not: they are those of `fetch`. */
export class ProblemError<P extends AnyProblem = AnyProblem> extends Error {
  constructor(problem: P, requestId: string | null);
  readonly problem: P;
  /** `X-Request-Id` of the response: foldlog's logs have it. Null across origins that do not expose it. */
  readonly requestId: string | null;
}

/** Whether an error is the problem of this name. */
export function is<N extends string>(error: unknown, name: N): error is ProblemError<AnyProblem & { name: N }>;

/**
 * An id for an event or an aggregate: a UUID, version 7 (RFC 9562). Ids sort in the order in which one process made them, also
 * within a millisecond and after the clock was set back.
 */
export function newId(now?: number): string;

/** For generated code: the function that creates events of a type. */
export function event(typeId: number): (aggregateId: string, payload?: any, metadata?: any) => any;

/** For generated code: the client of these domains. `hash` is that of the document from which it was generated. */
export function connect(domains: readonly string[], hash: string, options: TransportOptions): any;

/** See `queries` of the generated module, which has the types. */
export function queries(api: any): any;
