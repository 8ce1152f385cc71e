/**
 * Sign-in at an issuer: authorization code with PKCE (RFC 7636). The issuer sends the browser back with a code, which only this tab can
 * exchange for a token. While the browser is at the issuer, the tab keeps the verifier of the code, and no token.
 *
 * @import {State} from "../types.js"
 */
import * as oauth from "../vendor/oauth4webapi.js";

const KEY = "foldlog.signin";

/** @typedef {State["config"]} Config */

/** Where the issuer sends the browser back to: the page without what it shows. */
const redirect = () => `${location.origin}${location.pathname}`;

/** An issuer in development may be on this machine, without TLS. @param {URL} issuer @returns {oauth.Options} */
const options = (issuer) => (issuer.protocol === "http:" && /^(localhost|127\.0\.0\.1)$/.test(issuer.hostname) ? { [oauth.allowInsecureRequests]: true } : {});

/** @param {URL} issuer */
const discover = async (issuer) => oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, options(issuer)));

/** Sends the browser to the issuer. @param {Config} config */
export async function leave({ issuer = "", client_id = "", scope = "openid", audience }) {
  const server = await discover(new URL(issuer));
  if (!server.authorization_endpoint) throw new Error("The issuer has no authorization endpoint.");
  const [verifier, state] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState()];
  sessionStorage.setItem(KEY, JSON.stringify({ verifier, state, hash: location.hash }));
  const url = new URL(server.authorization_endpoint);
  for (const [name, value] of Object.entries({
    response_type: "code", client_id, redirect_uri: redirect(), scope, state, audience,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
  })) if (value) url.searchParams.set(name, value);
  location.assign(url);
}

/**
 * Exchanges the code that the issuer has sent for a token, and shows again what was shown before.
 * @param {Config} config @returns {Promise<string | null>} null if the address is not an answer of the issuer
 */
export async function arrive({ issuer = "", client_id = "" }) {
  const answer = new URL(location.href);
  const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  if (!kept || !answer.searchParams.has("state")) return null;
  sessionStorage.removeItem(KEY);
  // Also out of the browser's history, before anything else happens.
  history.replaceState(null, "", `${location.pathname}${kept.hash}`);
  const at = new URL(issuer);
  const [server, client] = [await discover(at), { client_id }];
  const parameters = oauth.validateAuthResponse(server, client, answer, kept.state);
  const response = await oauth.authorizationCodeGrantRequest(server, client, oauth.None(), parameters, redirect(), kept.verifier, options(at));
  return (await oauth.processAuthorizationCodeResponse(server, client, response)).access_token;
}
