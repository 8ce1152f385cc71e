/**
 * Writes a module that compiles only if every type of a package and the type that openapi-typescript makes of the same schema are
 * assignable to each other.
 *
 *     node compare.js PACKAGE     reads openapi.json and index.d.ts of the package; writes compare.ts and openapi.explicit.json
 *
 * openapi-typescript reads openapi.explicit.json: it takes an object without properties for one that cannot have any, although the
 * default of JSON Schema is that it can. There the default is written out.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const folder = /** @type {string} */ (process.argv[2]);
const document = JSON.parse(await readFile(join(folder, "openapi.json"), "utf8"));
const declarations = await readFile(join(folder, "index.d.ts"), "utf8");

/** The name under which the package exports a domain. @param {string} domain */
const exported = (domain) => new RegExp(`^  ${domain}: DomainClient<\\$\\.(\\w+)\\.`, "m").exec(declarations)?.[1] ?? domain;

/** @param {string} name */
const pascal = (name) => name.replaceAll(/(?:^|[^\p{L}\p{N}]+)(.)/gu, (_, first) => first.toUpperCase());

const pairs = Object.keys(document.components.schemas).map((key) => {
  const parts = key.split(".");
  const name = pascal(/** @type {string} */ (parts.pop()));
  const path = parts.length ? [exported(/** @type {string} */ (parts.shift())), ...parts, name] : [name];
  return [`components["schemas"]["${key}"]`, `$.${path.join(".")}`];
});
const domains = Object.entries(document.components.schemas).flatMap(([, schema]) => {
  const { kind, domain } = schema["x-foldlog"] ?? {};
  return kind === "events" ? [domain] : [];
});
for (const domain of domains) {
  const filter = `$.${exported(domain)}.Filter`;
  const query = `NonNullable<paths["/${domain}"]["get"]["parameters"]["query"]>`;
  pairs.push([`Pick<${query}, keyof ${filter}>`, filter], [`Exclude<keyof ${query}, keyof ${filter}>`, '"limit" | "after" | "consistency" | "as_of"']);
}
const operate = 'paths["/projections"]["post"]';
pairs.push(
  [`NonNullable<${operate}["requestBody"]>["content"]["application/json"]`, "$.Verb"],
  [`${operate}["responses"][200]["content"]["application/json"]`, "$.VerbDone"],
  [`${operate}["responses"][202]["content"]["application/json"]`, "$.VerbHandedOver"],
  ['paths["/projections/{name}/differences"]["get"]["responses"][200]["content"]["application/json"]', "$.Differences"],
);
/** @param {unknown} schema */
const explicit = (schema) => {
  if (typeof schema !== "object" || schema === null) return;
  const { type, properties, additionalProperties, maxProperties } = /** @type {Record<string, unknown>} */ (schema);
  if ([type].flat().includes("object") && !properties && additionalProperties === undefined)
    Object.assign(schema, { additionalProperties: maxProperties !== 0 });
  Object.values(schema).forEach(explicit);
};
explicit(document);
await writeFile(join(folder, "openapi.explicit.json"), JSON.stringify(document));
const lines = pairs.map(([theirs, ours], n) => `export const same${n}: Same<${theirs}, ${ours}> = true;\n`);
await writeFile(
  join(folder, "compare.ts"),
  `import type { components, paths } from "./openapi.gen.js";
import type * as $ from "./index.js";
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : "ours is not assignable to theirs") : "theirs is not assignable to ours";
${lines.join("")}`,
);
console.log(`${pairs.length} types to compare in ${folder}`);
