// The part of the client that is the same for every API. What each export promises is written in runtime.d.ts.

export class ProblemError extends Error {
  /** @param {import("./runtime.d.ts").AnyProblem} problem @param {string | null} requestId */
  constructor(problem, requestId) {
    super(problem.detail);
    this.name = "ProblemError";
    this.problem = problem;
    this.requestId = requestId;
  }
}

/** @param {unknown} error @param {string} name @returns {error is ProblemError} */
export const is = (error, name) => error instanceof ProblemError && error.problem.name === name;

let last = 0;
let count = 0;

/** @type {typeof import("./runtime.d.ts").newId} */
export const newId = (now = Date.now()) => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  // A new millisecond starts at a random number below 2048, so at least 2048 ids fit before the time has to run ahead.
  if (now > last) [last, count] = [now, ((bytes[6] & 7) << 8) | bytes[7]];
  else if (++count > 4095) [last, count] = [last + 1, 0];
  const time = last.toString(16).padStart(12, "0");
  bytes[8] = 0x80 | (bytes[8] & 63);
  const rest = [...bytes.subarray(8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const counted = (0x7000 | count).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-${counted}-${rest.slice(0, 4)}-${rest.slice(4)}`;
};

/** @type {(ms: number, signal?: AbortSignal) => Promise<void>} */
const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const abort = () => (clearTimeout(timer), reject(signal?.reason));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", abort), resolve()), ms);
    signal?.addEventListener("abort", abort, { once: true });
  });

/** @type {(value: unknown) => string} */
const text = (value) => (value instanceof Date ? value.toISOString() : String(value));

/** @type {(response: Response, body: any) => ProblemError} */
const problemOf = ({ status, statusText, headers }, body) => {
  const name = String(body?.type).split("urn:foldlog:problem:")[1];
  const detail = `The response has status ${status} and is not foldlog's.`;
  const problem = name ? { ...body, name } : { name: "foreign", status, title: statusText, detail };
  return new ProblemError(problem, headers.get("X-Request-Id"));
};

/** @type {typeof import("./runtime.d.ts").transport} */
export const transport = ({ baseUrl, token, fetch: send = fetch, tries = 5, timeout = 30_000 }) => ({
  async request(method, path, { query = {}, body, headers, signal, tries: most = tries } = {}) {
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, text(value));
    const url = baseUrl.replace(/\/+$/, "") + path + (search.size ? `?${search}` : "");
    const sent = body === undefined ? undefined : JSON.stringify(body);
    /** @type {string | undefined} */
    let rejected;
    for (let n = 1; ; n++) {
      signal?.throwIfAborted();
      const bearer = await token?.(rejected);
      const stop = new AbortController();
      const abort = () => stop.abort(signal?.reason);
      signal?.addEventListener("abort", abort);
      const timer = setTimeout(() => stop.abort(new DOMException("no response in time", "TimeoutError")), timeout);
      let wait = 100 * 2 ** n * (0.5 + Math.random());
      try {
        const response = await send(url, {
          method,
          signal: stop.signal,
          headers: {
            ...(sent !== undefined && { "Content-Type": "application/json" }),
            ...(bearer && { Authorization: `Bearer ${bearer}` }),
            ...headers,
          },
          ...(sent !== undefined && { body: sent }),
        });
        const received = await response.text();
        const { status } = response;
        if (response.ok || status === 304)
          return { status, headers: response.headers, body: received ? JSON.parse(received) : undefined };
        if (status === 401 && bearer && rejected === undefined) {
          rejected = bearer;
          n--;
          continue;
        }
        let parsed;
        try {
          parsed = JSON.parse(received);
        } catch {}
        const error = problemOf(response, parsed);
        if (status < 502 || status > 504 || n >= most) throw error;
        const seconds = parseFloat(response.headers.get("Retry-After") ?? "");
        if (seconds >= 0) wait += 1000 * Math.min(seconds, 60);
      } catch (error) {
        if (error instanceof ProblemError || signal?.aborted || n >= most) throw error;
      } finally {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      }
      await pause(wait, signal);
    }
  },
});
