/** An issuer of tokens: its keys in a file, and tokens with the scopes that a test wants. */
import { generateKeyPairSync, sign } from "node:crypto";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ISSUER = "https://issuer.example.org/";
const AUDIENCE = "foldlog";

/** Makes an issuer, and the environment in which a server trusts it. */
export async function makeIssuer() {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const folder = await mkdtemp(join(tmpdir(), "foldlog-issuer-"));
  const keys = join(folder, "jwks.json");
  await writeFile(keys, JSON.stringify({ keys: [{ ...publicKey.export({ format: "jwk" }), kid: "test", alg: "ES256", use: "sig" }] }));
  const part = (/** @type {unknown} */ value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return {
    env: { AUTH: "jwt", JWT_JWKS: keys, JWT_ISSUER: ISSUER, JWT_AUDIENCE: AUDIENCE },
    /** @param {string} scope @param {{sub?: string, seconds?: number}} [claims] `seconds`: until it ends */
    token(scope, { sub = "grace@example.org", seconds = 3600 } = {}) {
      const text = `${part({ alg: "ES256", kid: "test", typ: "JWT" })}.${part({
        iss: ISSUER, aud: AUDIENCE, sub, scope, exp: Math.floor(Date.now() / 1000) + seconds,
      })}`;
      return `${text}.${sign("sha256", Buffer.from(text), { key: privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
    },
  };
}
