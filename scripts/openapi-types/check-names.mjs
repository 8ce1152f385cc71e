// Checks that generated code has one type for each schema of a document. A generator drops a type, or adds a number to its name, where
// the names of two schemas become one, and does not say so.
//
// node check-names.mjs DOCUMENT GENERATED…
import { readFileSync } from "node:fs";

const [document, ...generated] = process.argv.slice(2);
const { schemas } = JSON.parse(readFileSync(document, "utf8")).components;

/** @param {string} name */
const pascalCase = (name) => name.replace(/(?:^|[._-])(\w)/g, (_, letter) => letter.toUpperCase());

const problems = [];
/** The schemas, by the names that generated code has for them. @type {Map<string, string>} */
const wanted = new Map();
for (const schema of Object.keys(schemas)) {
    const name = pascalCase(schema);
    if (wanted.has(name)) problems.push(`${document}: ${wanted.get(name)} and ${schema} are both called ${name}`);
    wanted.set(name, schema);
}
for (const path of generated) {
    const found = new Map();
    for (const [, name] of readFileSync(path, "utf8").matchAll(/^export (?:type|interface) (\w+)/gm)) {
        found.set(name, (found.get(name) ?? 0) + 1);
    }
    for (const name of wanted.keys()) {
        if (found.get(name) !== 1) problems.push(`${path}: ${found.get(name) ?? 0} types are called ${name}`);
    }
    for (const name of found.keys()) {
        const numbered = /^(.*\D)\d$/.exec(name);
        if (numbered && wanted.has(numbered[1])) problems.push(`${path}: ${name} is a second ${numbered[1]}`);
        // hey-api makes a second type of each schema that has properties for requests only.
        if (name.endsWith("Writable")) problems.push(`${path}: ${name} is a second type for requests`);
    }
}
for (const problem of problems) console.error(problem);
process.exit(problems.length === 0 ? 0 : 1);
