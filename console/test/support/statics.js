/** A static server as S3 is one: the console's files below a path, and nothing else. */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";

/** @type {Record<string, string>} */
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".json": "application/json", ".svg": "image/svg+xml" };

/**
 * Serves a folder below a path. @param {URL} folder @param {string} path such as `/ops/` @param {() => string} policy
 */
export async function serveFolder(folder, path, policy) {
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
