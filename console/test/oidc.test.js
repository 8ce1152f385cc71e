/** Sign-in at an issuer that config.json or the environment of `local` names: authorization code with PKCE. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, test } from "node:test";
import { openConsole, review, settled } from "./support/browser.js";
import { event } from "./support/data.js";
import { call, startServer } from "./support/server.js";
import { startedElsewhere } from "./support/statics.js";
import { makeIssuer } from "./support/tokens.js";

const CLIENT = "console";
const ID = "0199ef10-0000-7000-8000-000000000001";

/** An issuer that knows one client, gives tokens at another origin than its own, and checks the verifier of each code as RFC 7636 says. @param {() => string} token */
async function serveIssuer(token) {
  /** @type {Map<string, {challenge: string, redirect: string}>} */
  const codes = new Map();
  let tokens = "";
  const answer = async (/** @type {import("node:http").IncomingMessage} */ request, /** @type {import("node:http").ServerResponse} */ response) => {
    const url = new URL(request.url ?? "/", `http://${request.headers.host}`);
    const send = (/** @type {number} */ status, /** @type {unknown} */ body) => {
      response.writeHead(status, { "content-type": "application/json", "access-control-allow-origin": "*" });
      response.end(JSON.stringify(body));
    };
    if (url.pathname === "/.well-known/openid-configuration") {
      return send(200, { issuer: url.origin, authorization_endpoint: `${url.origin}/authorize`, token_endpoint: `${tokens}/token`, jwks_uri: `${url.origin}/keys`, response_types_supported: ["code"], subject_types_supported: ["public"], id_token_signing_alg_values_supported: ["ES256"] });
    }
    if (url.pathname === "/authorize") {
      const { client_id, redirect_uri = "", state = "", code_challenge = "", code_challenge_method, response_type } = Object.fromEntries(url.searchParams);
      assert.deepEqual([client_id, code_challenge_method, response_type], [CLIENT, "S256", "code"]);
      const code = `code-${codes.size}`;
      codes.set(code, { challenge: code_challenge, redirect: redirect_uri });
      response.writeHead(302, { location: `${redirect_uri}?${new URLSearchParams({ code, state })}` });
      return response.end();
    }
    if (url.pathname === "/token") {
      let body = "";
      for await (const part of request) body += part;
      const sent = Object.fromEntries(new URLSearchParams(body));
      const known = codes.get(sent["code"] ?? "");
      codes.delete(sent["code"] ?? "");
      const proof = createHash("sha256").update(sent["code_verifier"] ?? "").digest("base64url");
      if (!known || known.challenge !== proof || known.redirect !== sent["redirect_uri"]) return send(400, { error: "invalid_grant" });
      return send(200, { access_token: token(), token_type: "Bearer", expires_in: 3600 });
    }
    return send(404, {});
  };
  const servers = [createServer(answer), createServer(answer)];
  const [url = "", other = ""] = await Promise.all(servers.map(async (http) => {
    await /** @type {Promise<void>} */ (new Promise((resolve) => http.listen(0, "127.0.0.1", resolve)));
    return `http://127.0.0.1:${/** @type {import("node:net").AddressInfo} */ (http.address()).port}`;
  }));
  tokens = other;
  return { url, tokens, stop: () => servers.forEach((http) => http.close()) };
}

const keys = await makeIssuer();
const issuer = await serveIssuer(() => keys.token("users:read users:write operate"));
const { server, browser, pages, config } = await startedElsewhere({ path: "/console/", env: keys.env, called: [issuer.url, issuer.tokens] });
await writeFile(config, JSON.stringify({ api: `${server.url}/`, issuer: issuer.url, client_id: CLIENT }));
/** It serves its own console. */
const local = await startServer({ env: { ...keys.env, CONSOLE_ISSUER: issuer.url, CONSOLE_CLIENT_ID: CLIENT, CONSOLE_SCOPE: "openid users:read", CONSOLE_CONNECT: issuer.tokens } });
after(async () => {
  await local.stop();
  issuer.stop();
});
for (const { url } of [server, local]) await call(`${url}/users`, event(ID, "created", { username: "ada", email: "ada@example.org" }, {}), { authorization: `Bearer ${keys.token("users:write")}` });

// Fails when the way to the issuer and back loses the page, leaves the code in the address, or stores the token.
test("a sign-in at the issuer comes back to the same page, with a token in memory only", async () => {
  for (const [url, scope] of [[pages.url, "openid"], [`${local.url}/`, "openid users:read"]]) {
    const { page, requests, close } = await openConsole(browser, `${url}#/users/${ID}`);
    await page.getByRole("dialog").getByRole("button", { name: /^Sign in at 127/ }).click();
    await page.waitForURL(`${url}#/users/${ID}`);
    await page.getByText("grace@example.org").first().waitFor();
    await settled(page);
    await page.locator("main").getByText("Created").locator("visible=true").first().waitFor();
    assert.deepEqual(await page.evaluate(() => [Object.keys(sessionStorage).length, JSON.stringify({ ...localStorage }).includes("eyJ"), location.search]), [0, false, ""]);
    assert.ok(requests.every((at) => !at.includes("eyJ")), "a token in an address");
    const asked = requests.filter((at) => at.startsWith(`${issuer.url}/authorize`)).map((at) => new URL(at).searchParams.get("scope"));
    assert.deepEqual(asked, [scope]);
    assert.ok(requests.some((at) => at === `${issuer.tokens}/token`), "the token is at another origin");
    await close();
  }
});

// Fails when an answer that the page has not asked for is exchanged for a token, or when its failure leaves a blank page.
test("an answer of the issuer that was not asked for is refused", async () => {
  const { page, requests, close } = await openConsole(browser, `${pages.url}?code=stolen&state=other#/events`);
  await page.getByRole("dialog", { name: "Sign in to go on" }).waitFor();
  assert.ok(requests.every((url) => !url.startsWith(issuer.url)), "the code was sent to the issuer");
  await close();

  const again = await openConsole(browser, `${pages.url}#/events`);
  await again.page.evaluate(() => sessionStorage.setItem("foldlog.signin", JSON.stringify({ verifier: "x", state: "mine", hash: "#/events" })));
  await again.page.goto(`${pages.url}?code=stolen&state=other#/events`);
  await again.page.getByText("The sign-in has failed").waitFor();
  await again.page.getByRole("dialog", { name: "Sign in to go on" }).waitFor();
  await again.close();
});

// Fails when the sign-in with an issuer cannot be used by everyone or does not fit.
test("the sign-in at an issuer is accessible and fits", async () => {
  await review(browser, `${pages.url}#/sign-in`, "sign-in-issuer");
});
