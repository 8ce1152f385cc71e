/** Runs every test of this folder against a `local` with a new Postgres. LOCAL is the program's path. */
import { spawn } from "node:child_process";
import { chmod, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = await mkdtemp(join(tmpdir(), "foldlog-client-"));
// The account that Postgres runs as needs access.
await chmod(folder, 0o755);
const local = spawn(/** @type {string} */ (process.env["LOCAL"]), [], {
  env: { ...process.env, DATABASE_URL: "", APP_SERVER_PORT: ":0", LOCAL_DATA_DIR: join(folder, "data"), RUST_LOG: "warn" },
  stdio: ["ignore", "pipe", "inherit"],
});
const url = await new Promise((resolve, reject) => {
  let said = "";
  local.stdout.on("data", (text) => {
    said += text;
    const found = /^foldlog listens on (\S+)$/m.exec(said);
    if (found) resolve(found[1]);
  });
  local.on("exit", (code) => reject(new Error(`local ended with ${code}`)));
});
local.removeAllListeners("exit");

const files = (await readdir(import.meta.dirname)).filter((name) => name.endsWith(".test.js"));
const tests = spawn(process.execPath, ["--test", "--test-reporter=spec", "--test-concurrency=1", ...files], {
  cwd: import.meta.dirname,
  env: { ...process.env, FOLDLOG: url, DATA: join(folder, "data") },
  stdio: "inherit",
});
process.exitCode = await new Promise((resolve) => tests.once("exit", (code) => resolve(code ?? 1)));
const ended = new Promise((resolve) => local.once("exit", resolve));
local.kill("SIGTERM");
await ended;
await rm(folder, { recursive: true, force: true });
