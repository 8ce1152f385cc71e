/**
 * A `local` with a Postgres of its own, as a user starts it, and SQL on that Postgres to plant what the console has to find.
 */
import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";

const GREETING = /^foldlog listens on (\S+)$/m;

/**
 * Starts a server.
 * @param {{env?: Record<string, string>, data?: string}} [options] `data`: the folder of an earlier server, to continue with it
 */
export async function startServer({ env = {}, data } = {}) {
  const folder = data ?? (await mkdtemp(join(tmpdir(), "foldlog-console-")));
  // The account that Postgres runs as needs access.
  await chmod(folder, 0o755);
  const place = join(folder, "data");
  const child = spawn(/** @type {string} */ (process.env["LOCAL"]), [], {
    env: { ...process.env, DATABASE_URL: "", APP_SERVER_PORT: ":0", LOCAL_DATA_DIR: place, RUST_LOG: "info,sqlx=warn", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  // If a test file cannot be loaded, none of its hooks runs.
  const end = () => child.kill("SIGTERM");
  process.once("exit", end);
  const log = join(folder, "log");
  child.stderr.pipe(createWriteStream(log, { flags: "a" }));
  const url = await new Promise((resolve, reject) => {
    let said = "";
    child.stdout.on("data", (text) => {
      said += text;
      const found = GREETING.exec(said);
      if (found) resolve(found[1]);
    });
    child.on("exit", async (code) => reject(new Error(`local ended with ${code}: ${await readFile(log, "utf8").catch(() => "")}`)));
  });
  const pool = await connect(place);
  return {
    /** Without a slash at its end. @type {string} */
    url,
    folder,
    /** What the server has logged so far. */
    log: () => readFile(log, "utf8"),
    /** @param {string} text @param {unknown[]} [values] @returns {Promise<any[]>} */
    sql: async (text, values = []) => (await pool.query(text, values)).rows,
    pool,
    /** Stops the process; its data stays for another one unless `remove`. */
    async stop({ remove = true } = {}) {
      await pool.end();
      child.removeAllListeners("exit");
      const ended = new Promise((resolve) => child.once("exit", resolve));
      end();
      await ended;
      process.off("exit", end);
      if (remove) await rm(folder, { recursive: true, force: true });
    },
  };
}

/** @typedef {Awaited<ReturnType<typeof startServer>>} Server */

/** @param {string} place the data folder */
async function connect(place) {
  const pool = new pg.Pool({
    host: join(place, "socket"),
    user: "foldlog",
    database: "foldlog",
    password: (await readFile(join(place, "password"), "utf8")).trim(),
    max: 4,
  });
  // Postgres may stop before a connection that the pool has ended is closed. A query that fails rejects its promise all the same.
  pool.on("connect", (client) => client.on("error", () => {}));
  return pool;
}

/**
 * Sends a request as another client than the console does.
 * @param {string} url @param {unknown} [body] @param {Record<string, string>} [headers] @returns {Promise<any>}
 */
export async function call(url, body, headers = {}) {
  const response = await fetch(url, body === undefined ? { headers } : {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(`${response.status} ${JSON.stringify(answer)}`), { status: response.status, answer });
  return answer;
}

/**
 * Waits until a condition holds, for two minutes at most.
 * @template T @param {string} what @param {() => Promise<T>} condition @returns {Promise<NonNullable<T>>}
 */
export async function until(what, condition) {
  for (const end = Date.now() + 120_000; ; ) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`it never became true that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
