/**
 * What this deployment serves, read from its OpenAPI document: domains, columns, filters, event types with their fields, scopes.
 * This is the only module that knows how the document names things.
 *
 * @import {Domain, EventType, Field, Schema} from "../types.js"
 */

/** Parameters of a list that are no columns. */
const LIST_PARAMETERS = new Set(["limit", "after", "consistency", "as_of"]);

/** @param {any} document @returns {Schema} */
export function read(document) {
  const schemas = document.components?.schemas ?? {};
  const names = Object.keys(schemas).filter((key) => /^[^.]+\.row$/.test(key)).map((key) => key.slice(0, -4));
  return {
    domains: names.map((name) => domain(document, name)),
    secured: Boolean(document.components?.securitySchemes),
    hash: document["x-foldlog"]?.hash,
    version: document.info?.version,
    document,
  };
}

/** @param {any} document @param {string} name @returns {Domain} */
function domain(document, name) {
  const schemas = document.components.schemas;
  const row = schemas[`${name}.row`];
  const columns = fields(document, row);
  const list = document.paths[`/${name}`]?.get;
  const filters = (list?.parameters ?? []).map((/** @type {any} */ at) => resolve(document, at))
    .filter((/** @type {any} */ at) => at.in === "query" && !LIST_PARAMETERS.has(at.name))
    .map((/** @type {any} */ at) => at.name);
  const events = (schemas[`${name}.event`]?.oneOf ?? []).map((/** @type {any} */ at) => eventType(document, at));
  return { name, description: row?.description, columns, filters, events, title: titleColumn(row, columns) };
}

/** @param {any} document @param {any} reference @returns {EventType} */
function eventType(document, reference) {
  const schema = resolve(document, reference);
  const type = schema.properties.type_id;
  return {
    name: schema["x-foldlog"]?.event ?? schema.title,
    type_id: type.const ?? type.enum[0],
    description: schema.description,
    fields: fields(document, resolve(document, schema.properties.payload)),
    example: schema.examples?.[0],
  };
}

/** The properties in their declared order: that of `required`, then the others. @param {any} document @param {any} schema @returns {Field[]} */
function fields(document, schema) {
  const required = new Set(schema?.required ?? []);
  const all = Object.keys(schema?.properties ?? {});
  const sorted = all.every((name, index) => index === 0 || (all[index - 1] ?? "") <= name);
  const names = sorted ? [...new Set([...required, ...all])].filter((name) => all.includes(name)) : all;
  return names.map((name) => field(document, name, schema.properties[name], required.has(name)));
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
    secret: Boolean(raw.writeOnly || outer.writeOnly || main.writeOnly || main.format === "password"),
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

/** The column that names a row to people, if there is one. @param {any} row @param {Field[]} columns */
function titleColumn(row, columns) {
  const declared = row?.["x-foldlog"]?.title;
  if (declared) return declared;
  const texts = columns.filter((at) => at.type === "string" && at.name !== "id" && !at.format);
  return texts.find((at) => /^(title|name|label|subject)$|name$/.test(at.name))?.name;
}

/**
 * The scopes that an operation requires, such as `POST /users`.
 * @param {Schema} schema @param {string} method @param {string} path
 * @returns {string[]}
 */
export function scopesOf(schema, method, path) {
  const security = schema.document.paths[path]?.[method.toLowerCase()]?.security ?? [];
  return security.flatMap((/** @type {any} */ at) => Object.values(at).flat());
}
