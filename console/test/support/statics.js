/** A static server as S3 is one: the console's files below a path, and nothing else. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { after } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { started } from "./browser.js";

/** @type {Record<string, string>} */
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".json": "application/json", ".svg": "image/svg+xml" };

/** The policy that docs/CONSOLE.md asks for. @param {string[]} called the origins of the API and of the issuer */
export const policyOf = (...called) => `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ${called.join(" ")}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types lit-html`;

/**
 * Starts an API, the browser, and another server with the files of the console, which the API allows. All are stopped after the last test.
 * @param {{path?: string, base?: string, env?: Record<string, string>, called?: string[]}} [options] `path` of the console, `base` of the
 *   API, `called`: what the console may call besides the API
 */
export async function startedElsewhere({ path = "/", base = "", env = {}, called = [] } = {}) {
  const folder = await mkdtemp(join(tmpdir(), "foldlog-static-"));
  // The policy names the API, and the API allows the pages, so both addresses have to be known first.
  let policy = policyOf();
  const pages = await serveFolder(pathToFileURL(`${folder}/`), path, () => policy);
  const { server, browser } = await started({ env: { ...env, CORS_ORIGINS: pages.origin, ...(base && { BASE_PATH: base }) } });
  policy = policyOf(server.url, ...called);
  await promisify(execFile)(/** @type {string} */ (process.env["CONSOLE_FILES"]), [folder, `${server.url}${base}`]);
  after(async () => {
    pages.stop();
    await rm(folder, { recursive: true, force: true });
  });
  return { server, browser, pages, config: join(folder, "-", "config.json") };
}

/**
 * Serves a folder below a path. @param {URL} folder @param {string} path such as `/ops/` @param {() => string} policy
 */
async function serveFolder(folder, path, policy) {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const name = pathname === path ? "index.html" : pathname.startsWith(path) ? pathname.slice(path.length) : "";
    const file = await readFile(new URL(name, folder)).catch(() => null);
    response.writeHead(file ? 200 : 404, { "content-type": TYPES[extname(name)] ?? "text/plain", "content-security-policy": policy() });
    response.end(file ?? "");
  });
  await /** @type {Promise<void>} */ (new Promise((resolve) => server.listen(0, "127.0.0.1", resolve)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { origin: `http://127.0.0.1:${port}`, url: `http://127.0.0.1:${port}${path}`, stop: () => server.close() };
}
