export class ProblemError extends Error {
  constructor(problem, requestId) {
    super(problem.detail);
    this.name = "ProblemError";
    this.problem = problem;
    this.requestId = requestId;
  }
}

export const is = (error, name) => error instanceof ProblemError && error.problem.name === name;

let last = 0n;

export const newId = (now = Date.now()) => {
  const [random] = crypto.getRandomValues(new BigUint64Array(1));
  const next = (BigInt(now) << 12n) | (random & 0x7ffn);
  last = next > last ? next : last + 1n;
  const id = ((last >> 12n) << 80n) | ((0x7000n | (last & 0xfffn)) << 64n) | (1n << 63n) | (random >> 2n);
  return id.toString(16).padStart(32, "0").replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
};

const within = async (ms, signal, work) => {
  signal?.throwIfAborted();
  const stop = new AbortController();
  const abort = () => stop.abort(signal?.reason ?? new DOMException("timeout", "TimeoutError"));
  const timer = setTimeout(abort, ms);
  signal?.addEventListener("abort", abort);
  try {
    return await work(stop.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
};

const pause = (ms, signal) => within(ms, signal, (signal) => new Promise((resolve) => signal.addEventListener("abort", resolve)));

/** @type {typeof import("./runtime.d.ts").transport} */
export const transport = ({ baseUrl, token, fetch: send = fetch, tries = 5, timeout = 30_000 }) => ({
  async request(method, path, { query = {}, body: sent, headers: more, signal, tries: most = tries } = {}) {
    const search = new URLSearchParams(JSON.parse(JSON.stringify(query)));
    const url = `${baseUrl.replace(/\/+$/, "")}${path}?${search}`.replace(/\?$/, "");
    const text = sent && JSON.stringify(sent);
    let rejected;
    for (let n = 1; ; ) {
      signal?.throwIfAborted();
      const bearer = await token?.(rejected);
      let wait = (50 + 100 * Math.random()) * 2 ** n;
      try {
        const [response, body] = await within(timeout, signal, async (signal) => {
          const response = await send(url, {
            method, signal, body: text,
            headers: { ...(text && { "Content-Type": "application/json" }), ...(bearer && { Authorization: `Bearer ${bearer}` }), ...more },
          });
          return [response, await (response.ok ? response.json() : response.json().catch(() => {}))];
        });
        const { ok, status, headers } = response;
        if (ok) return { status, headers, body };
        if (status === 401 && bearer && !rejected) {
          rejected = bearer;
          continue;
        }
        if (status < 502 || status > 504 || n >= most) {
          const name = `${body?.type}`.split("urn:foldlog:problem:")[1] ?? "foreign";
          throw new ProblemError({ status, detail: `HTTP ${status}`, ...body, name }, headers.get("X-Request-Id"));
        }
        wait += 1000 * Math.min(Number(headers.get("Retry-After")) || 0, 60);
      } catch (error) {
        if (error instanceof ProblemError || n >= most) throw error;
      }
      await pause(wait, signal);
      n++;
    }
  },
});

export const event = (type_id) => (aggregate_id, payload = {}, metadata) =>
  ({ id: newId(), aggregate_id, type_id, payload, metadata });

const paged = (name, page, pageName = `${name}Page`) => ({
  [pageName]: page,
  [name]: async function* (of, options) {
    for (let after = options?.after ?? of?.after; after !== null; ) {
      const { result, next } = await page(of, { ...options, after });
      yield* result;
      after = next;
    }
  },
});

export const connect = (domains, hash, options) => {
  const { request } = transport(options);
  const written = new Map();

  const get = async (path, { signal, strong, asOf, ...query } = /** @type {any} */ ({}), filter) =>
    (await request("GET", path, { signal, query: { ...filter, ...query, as_of: asOf, consistency: strong ? "strong" : undefined } })).body;

  const post = async (path, body, { expected, dryRun, ...options } = /** @type {any} */ ({})) => {
    const match = expected === "exists" ? "*" : `"${[expected].flat().join('","')}"`;
    const headers = expected === 0 ? { "If-None-Match": "*" } : expected && { "If-Match": match };
    const answer = (await request("POST", path, { ...options, query: { dry_run: dryRun }, body, headers })).body;
    for (const { aggregate_id: id, version } of answer.events ?? []) {
      if (written.get(id) > version) continue;
      written.delete(id);
      written.set(id, version);
      if (written.size > 10_000) written.delete(written.keys().next().value);
    }
    return answer;
  };

  const append = (path) => async (events, options) => {
    const answer = await post(path, [events].flat(), options);
    return !answer.events ? answer : Array.isArray(events) ? answer.events : answer.events[0];
  };

  const below = (path, part = "") => (id, options) => get(`${path}/${encodeURIComponent(id)}${part}`, options);

  const domain = (name) => {
    const path = `/${name}`;
    return {
      append: append(path),
      revert: (id, { to, eventId = newId(), except, metadata, ...options }) =>
        post(`${path}/${encodeURIComponent(id)}/revert`, { id: eventId, to_version: to, except, metadata }, options),
      get: (id, { minVersion = written.get(id), ...options } = /** @type {any} */ ({})) =>
        below(path)(id, options.strong || options.version || options.asOf ? options : { ...options, min_version: minVersion }),
      ...paged("list", (filter, options) => get(path, options, filter), "page"),
      ...paged("history", below(path, "/events")),
      diff: below(path, "/diff"),
      blame: below(path, "/blame"),
      explain: below(path, "/explain"),
    };
  };

  const feedPage = ({ types, ...options } = /** @type {any} */ ({})) => get("/events", { ...options, type: types?.join() });
  const wait = Math.floor(Math.min(20, options.timeout / 1500 || 20));
  const feed = ({ newestFirst, follow = true, before, after, ...options } = /** @type {any} */ ({})) => {
    const read = async function* () {
      while (reader.cursor !== null) {
        const from = reader.cursor;
        const query = newestFirst ? { order: "desc", before: from } : { after: from, wait: follow ? wait : 0 };
        const { result, next } = await feedPage({ ...options, ...query });
        const event = result.pop();
        yield* result;
        reader.cursor = next;
        if (event) yield event;
        else if (next === from && follow) await pause(200, options.signal);
        else if (next === from) return;
      }
    };
    const reader = Object.assign(read(), { cursor: newestFirst ? before : after });
    return reader;
  };

  return {
    ...Object.fromEntries(domains.map((name) => [name, domain(name)])),
    events: { activity: (options) => get("/events/activity", options), append: append("/events"), feed, feedPage },
    projections: {
      all: (options) => get("/projections", options),
      get: below("/projections"),
      operate: (verb, options) => post("/projections", verb, { tries: (verb.skip || verb.reproject || verb.aggregate_id) && 1, ...options }),
      ...paged("parked", below("/projections", "/parked")),
      ...paged("skipped", below("/projections", "/skipped")),
      ...paged("differences", below("/projections", "/differences")),
    },
    health: (options) => get("/health", options),
    isCurrent: async (options) => (await get("/openapi.json", options))["x-foldlog"]?.hash === hash,
  };
};

const query = ([name, { get, page }]) => [
  name,
  {
    row: (id, options) => ({ queryKey: [name, id, options], queryFn: ({ signal }) => get(id, { ...options, signal }) }),
    list: (filter, options) => ({
      queryKey: [name, "list", filter, options],
      initialPageParam: undefined,
      queryFn: ({ pageParam: after, signal }) => page({ ...filter, after }, { ...options, signal }),
      getNextPageParam: ({ next }) => next ?? undefined,
    }),
  },
];

export const queries = (api) => Object.fromEntries(Object.entries(api).map(query));
