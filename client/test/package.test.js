/** The package as users install it: from a tarball, in node, in a bundle, and in a browser without a build step. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { baseUrl } from "./support.js";

const run = promisify(execFile);
const source = resolve(import.meta.dirname, "..");
const use = 'import { newId, users } from "foldlog-client";\nconst id = newId();\nconsole.log(users.deleted(id).aggregate_id === id);\n';
let folder = "";

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "foldlog-package-"));
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", folder, source], { cwd: folder });
  await writeFile(join(folder, "package.json"), '{"name": "user", "private": true, "type": "module"}');
  await run("npm", ["install", "--no-audit", "--no-fund", "--offline", join(folder, JSON.parse(stdout)[0].filename)], { cwd: folder });
});
after(() => rm(folder, { recursive: true, force: true }));

// Fails when the package needs another one, or has files in it that only tests use.
test("the package has its five files and no dependency", async () => {
  const manifest = JSON.parse(await readFile(join(folder, "node_modules/foldlog-client/package.json"), "utf8"));
  assert.deepEqual([manifest.dependencies, manifest.peerDependencies], [undefined, undefined]);
  const { stdout } = await run("npm", ["pack", "--dry-run", "--json", source], { cwd: folder });
  const files = JSON.parse(stdout)[0].files.map((/** @type {{ path: string }} */ file) => file.path);
  assert.deepEqual(files.sort(), ["index.d.ts", "index.js", "package.json", "runtime.d.ts", "runtime.js"]);
});

// Fails when node cannot import the installed package.
test("node imports the installed package", async () => {
  await writeFile(join(folder, "use.js"), use);
  assert.equal((await run(process.execPath, ["use.js"], { cwd: folder })).stdout, "true\n");
});

// Fails when a bundler cannot resolve the package, or cannot leave out what is not used.
test("esbuild bundles it, and leaves out what is not used", async () => {
  await writeFile(join(folder, "use.js"), use);
  const esbuild = join(/** @type {string} */ (process.env["TOOLS"]), "node_modules/.bin/esbuild");
  await run(esbuild, ["use.js", "--bundle", "--minify", "--format=esm", "--outfile=bundle.js"], { cwd: folder });
  assert.equal((await run(process.execPath, ["bundle.js"], { cwd: folder })).stdout, "true\n");
  assert.doesNotMatch(await readFile(join(folder, "bundle.js"), "utf8"), /fetch|If-Match/);
});

// Fails when the files need a build step in a browser.
test("a browser runs it as it is", { skip: process.env["CHROMIUM"] ? false : "Chromium is missing" }, async () => {
  const page = `<!doctype html><title>foldlog</title><script type="module">
    import { foldlog, newId, users } from "/index.js";
    const api = foldlog({ baseUrl: "" });
    const id = newId();
    await api.users.append(users.created(id, { id, username: "ada", email: id + "@example.org" }), { expected: 0 });
    await fetch("/done", { method: "POST", body: "version " + (await api.users.get(id)).version });
  </script>`;
  /** @type {Record<string, [string, () => Promise<string>]>} */
  const files = {
    "/": ["text/html", async () => page],
    "/index.js": ["text/javascript", () => readFile(join(source, "index.js"), "utf8")],
    "/runtime.js": ["text/javascript", () => readFile(join(source, "runtime.js"), "utf8")],
  };
  let done = (/** @type {string} */ _result) => {};
  const result = /** @type {Promise<string>} */ (new Promise((resolve) => (done = resolve)));
  // The API has the origin of the page, as behind one address.
  const server = createServer(async (request, response) => {
    const file = files[request.url ?? ""];
    if (file) return response.writeHead(200, { "Content-Type": file[0] }).end(await file[1]());
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    if (request.url === "/done") {
      response.writeHead(204).end();
      return done(Buffer.concat(chunks).toString());
    }
    const headers = new Headers();
    for (const name of ["content-type", "if-none-match"]) if (request.headers[name]) headers.set(name, String(request.headers[name]));
    const body = chunks.length ? { body: Buffer.concat(chunks) } : {};
    const answer = await fetch(baseUrl + request.url, { method: request.method ?? "GET", headers, ...body });
    response.writeHead(answer.status, { "Content-Type": answer.headers.get("content-type") ?? "" }).end(await answer.text());
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", () => listening(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  const chromium = /** @type {string} */ (process.env["CHROMIUM"]);
  // With a port for a debugger it stays open.
  const options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", `--user-data-dir=${join(folder, "chromium")}`];
  const browser = spawn(chromium, [...options, `http://127.0.0.1:${port}/`], { stdio: "ignore" });
  const ended = new Promise((resolve) => browser.once("exit", resolve));
  try {
    assert.equal(await Promise.race([result, ended.then(() => "the browser has ended")]), "version 1");
  } finally {
    browser.kill();
    await ended;
    server.closeAllConnections();
    server.close();
  }
});
