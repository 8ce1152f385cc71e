/**
 * What this deployment serves, read from its OpenAPI document: domains, columns, filters, event types with their fields.
 * This is the only module that knows how the document names things.
 *
 * @import {Domain, EventType, Field, Schema} from "../types.js"
 */

/** Parameters of a list that are no columns. */
const LIST_PARAMETERS = new Set(["limit", "after", "consistency", "as_of"]);

/** @param {any} document @returns {Schema} */
export function read(document) {
  const all = Object.values(document.components?.schemas ?? {});
  const rows = all.filter((/** @type {any} */ at) => at["x-foldlog"]?.kind === "row");
  return {
    domains: rows.map((row) => domain(document, all, row)),
    secured: Boolean(document.components?.securitySchemes),
    hash: document["x-foldlog"]?.hash,
    version: document.info?.version,
  };
}

/** @param {any} document @param {any[]} all @param {any} row @returns {Domain} */
function domain(document, all, row) {
  const { domain: name, hidden = [], title } = row["x-foldlog"];
  const list = document.paths[`/${name}`]?.get;
  const filters = (list?.parameters ?? []).map((/** @type {any} */ at) => resolve(document, at))
    .filter((/** @type {any} */ at) => at.in === "query" && !LIST_PARAMETERS.has(at.name))
    .map((/** @type {any} */ at) => at.name);
  const events = all.find((at) => at["x-foldlog"]?.kind === "events" && at["x-foldlog"].domain === name)?.oneOf ?? [];
  return {
    name, description: row.description, columns: fields(document, row), hidden, filters, title,
    events: events.map((/** @type {any} */ at) => eventType(document, at)),
  };
}

/** @param {any} document @param {any} reference @returns {EventType} */
function eventType(document, reference) {
  const schema = resolve(document, reference);
  return {
    name: schema["x-foldlog"].event,
    type_id: schema.properties.type_id.const,
    description: schema.description,
    fields: fields(document, resolve(document, schema.properties.payload)),
    example: schema.examples?.[0],
  };
}

/** The properties, in the order in which the domain declares them. @param {any} document @param {any} schema @returns {Field[]} */
function fields(document, schema) {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, property]) => field(document, name, property, required.has(name)));
}

/** @param {any} document @param {string} name @param {any} raw @param {boolean} required @returns {Field} */
function field(document, name, raw, required) {
  const outer = resolve(document, raw);
  const branches = (outer.oneOf ?? outer.anyOf ?? []).map((/** @type {any} */ at) => resolve(document, at));
  const main = branches.length === 0 ? outer
    : branches.filter((/** @type {any} */ at) => at.type !== "null").length === 1
      ? branches.find((/** @type {any} */ at) => at.type !== "null") : outer;
  const types = [main.type].flat().filter((type) => type && type !== "null");
  return {
    name,
    type: types.length === 1 ? types[0] : undefined,
    format: main.format,
    choices: main.enum?.filter((/** @type {unknown} */ at) => at !== null),
    required,
    nullable: [outer.type, main.type].flat().includes("null") || branches.some((/** @type {any} */ at) => at.type === "null"),
    secret: [raw, outer, main].some((at) => at["x-foldlog"]?.secret),
    description: raw.description ?? outer.description ?? main.description,
    schema: main,
  };
}

/** @param {any} document @param {any} node @returns {any} */
export function resolve(document, node) {
  if (!node?.$ref) return node ?? {};
  const target = node.$ref.replace(/^#\//, "").split("/")
    .reduce((/** @type {any} */ at, /** @type {string} */ part) => at?.[part.replaceAll("~1", "/").replaceAll("~0", "~")], document);
  return { ...resolve(document, target), ...without(node) };
}

/** @param {any} node */
function without(node) {
  const { $ref: _, ...rest } = node;
  return rest;
}
