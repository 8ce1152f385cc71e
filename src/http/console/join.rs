//! Joins the modules of the console into one script, so that a browser loads one file instead of one for each module. Each module
//! becomes a function that returns what the module exports; a module comes after those that it imports. Comments and indentation are
//! left out, as `code` describes.
//!
//! This reads lines. It accepts these imports and exports, and reports all others:
//!
//! - `import { a, b as c } from "./x.js";` and `import * as x from "./x.js";`, each on one line,
//! - `import("./x.js")` of a text,
//! - `export const`, `export function`, `export async function` and `export class`, and a last `export{a as b};` of a minified file.

use std::collections::BTreeMap;

use super::code::{self, Line};

/// A module that cannot be joined.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{module}: {reason}")]
pub(super) struct JoinError {
    module: String,
    reason: String,
}

impl JoinError {
    fn new(module: &str, reason: String) -> Self {
        Self {
            module: module.to_owned(),
            reason,
        }
    }
}

/// The modules to join, by their path, and what has been written of them.
struct Join<'a> {
    modules: &'a BTreeMap<&'a str, &'a str>,
    /// Modules that stay files of their own, which the script loads when it needs them.
    apart: &'a [&'a str],
    /// The exports of the modules that are written.
    exports: BTreeMap<String, Vec<String>>,
    /// The modules whose imports are being written.
    path: Vec<String>,
    script: String,
}

/// The script of the module `entry`, with all that it imports.
pub(super) fn join(
    modules: &BTreeMap<&str, &str>,
    entry: &str,
    apart: &[&str],
) -> Result<String, JoinError> {
    let mut join = Join {
        modules,
        apart,
        exports: BTreeMap::new(),
        path: Vec::new(),
        script: String::new(),
    };
    join.add(entry)?;
    Ok(join.script)
}

impl Join<'_> {
    /// Writes a module after those that it imports, unless it is written.
    fn add(&mut self, name: &str) -> Result<(), JoinError> {
        if self.exports.contains_key(name) {
            return Ok(());
        }
        let bad = |reason: String| JoinError::new(name, reason);
        let text = self.modules.get(name);
        let text = *text.ok_or_else(|| bad("there is no such module".to_owned()))?;
        if self.path.iter().any(|above| above == name) {
            let path = self.path.join(" → ");
            return Err(bad(format!("it imports itself: {path} → {name}")));
        }
        self.path.push(name.to_owned());
        let (mut body, mut exports) = (String::new(), Vec::new());
        for Line {
            text: line,
            is_code,
        } in code::lines(text).map_err(bad)?
        {
            if line.contains("import.meta") && name.contains('/') {
                return Err(bad(format!(
                    "`import.meta` is the script in a joined module: {line}"
                )));
            }
            if !is_code {
                body.push_str(&self.dynamic_imports(name, &line)?);
            } else if let Some(import) = line.strip_prefix("import ") {
                body.push_str(&self.import(name, import)?);
            } else {
                let line = exported(&line, &mut exports).map_err(bad)?;
                body.push_str(&self.dynamic_imports(name, &line)?);
            }
            body.push('\n');
        }
        self.path.pop();
        let returned: Vec<String> = exports
            .iter()
            .map(|(out, of)| {
                if out == of {
                    out.clone()
                } else {
                    format!("{out}: {of}")
                }
            })
            .collect();
        let (variable, returned) = (variable(name), returned.join(", "));
        for part in [
            "const ",
            &variable,
            " = (() => {\n",
            &body,
            "return { ",
            &returned,
            " };\n})();\n",
        ] {
            self.script.push_str(part);
        }
        let exports = exports.into_iter().map(|(out, _)| out).collect();
        self.exports.insert(name.to_owned(), exports);
        Ok(())
    }

    /// What takes the place of an import: `import` is the line after that word.
    fn import(&mut self, from: &str, import: &str) -> Result<String, JoinError> {
        let bad = |reason: String| JoinError::new(from, reason);
        let unknown = || {
            bad(format!(
                "write the import on one line, as `import {{ a, b }} from \"./x.js\";`: import {import}"
            ))
        };
        let (names, module) = import
            .strip_suffix("\";")
            .and_then(|import| import.split_once(" from \""))
            .ok_or_else(unknown)?;
        let module = resolve(from, module).ok_or_else(unknown)?;
        if self.apart.contains(&&*module) {
            return Err(bad(format!(
                "{module} is loaded only when it is needed: use `import(\"…\")`"
            )));
        }
        self.add(&module)?;
        if let Some(all) = names.strip_prefix("* as ") {
            return Ok(format!("const {all} = {};", variable(&module)));
        }
        let names = names
            .strip_prefix("{ ")
            .and_then(|names| names.strip_suffix(" }"))
            .ok_or_else(unknown)?;
        for name in names.split(", ") {
            let name = name.split(" as ").next().unwrap_or(name);
            if !self.exports[&module].iter().any(|export| export == name) {
                return Err(bad(format!("{module} does not export {name}")));
            }
        }
        let names = names.replace(" as ", ": ");
        Ok(format!("const {{ {names} }} = {};", variable(&module)))
    }

    /// A line whose `import("…")` are promises of modules that are part of the script, or name files from the script's folder.
    fn dynamic_imports(&mut self, from: &str, line: &str) -> Result<String, JoinError> {
        let mut parts = line.split("import(");
        let mut written = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (module, rest) = part
                .strip_prefix('"')
                .and_then(|part| part.split_once("\")"))
                .and_then(|(module, rest)| Some((resolve(from, module)?, rest)))
                .ok_or_else(|| {
                    JoinError::new(from, format!("name the module as a text: {line}"))
                })?;
            let promise = if self.apart.contains(&&*module) {
                format!("import(\"./{module}\")")
            } else {
                self.add(&module)?;
                format!("Promise.resolve({})", variable(&module))
            };
            written = written + &promise + rest;
        }
        Ok(written)
    }
}

/// A line without `export`. What it exports is added to `exports`: the name outside, and the one in the module.
fn exported(line: &str, exports: &mut Vec<(String, String)>) -> Result<String, String> {
    if let Some((before, list)) = line.rsplit_once("export{") {
        let list = list
            .strip_suffix("};")
            .ok_or("`export{…};` has to be last")?;
        for export in list.split(',') {
            let (of, out) = export.split_once(" as ").unwrap_or((export, export));
            exports.push((out.to_owned(), of.to_owned()));
        }
        return Ok(before.to_owned());
    }
    let Some(declaration) = line.strip_prefix("export ") else {
        return Ok(line.to_owned());
    };
    let name = ["const ", "function ", "async function ", "class "]
        .iter()
        .find_map(|word| declaration.strip_prefix(word))
        .and_then(|rest| rest.split([' ', '(']).next())
        .filter(|name| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
    let name = name.ok_or_else(|| {
        format!("export a const, a function or a class where it is declared: {line}")
    })?;
    exports.push((name.to_owned(), name.to_owned()));
    Ok(declaration.to_owned())
}

/// The path of the module that `from` calls `module`.
fn resolve(from: &str, module: &str) -> Option<String> {
    let folder = from.rsplit_once('/').map(|(folder, _)| folder);
    match (
        module.strip_prefix("../"),
        module.strip_prefix("./"),
        folder,
    ) {
        (Some(path), _, Some(_)) | (_, Some(path), None) => Some(path.to_owned()),
        (_, Some(path), Some(folder)) => Some(format!("{folder}/{path}")),
        _ => None,
    }
}

/// The variable of a module.
pub(super) fn variable(module: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name = module.strip_suffix(".js").unwrap_or(module);
    format!("${}", name.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(modules: &[(&str, &str)]) -> Result<String, String> {
        let modules = modules.iter().copied().collect();
        join(&modules, "app.js", &["parts/late.js"]).map_err(|error| error.to_string())
    }

    // Fails when a module comes before one that it imports, when an import or export is lost, or when a comment is sent.
    #[test]
    fn modules_become_functions_in_the_order_of_their_imports() {
        let script = joined(&[
            (
                "app.js",
                "/** The core. */\nimport { a, b as c } from \"./parts/x.js\";\nimport * as y from \"./parts/y.js\";\nconst next = () => import(\"./parts/z.js\");\nconst late = () => import(\"./parts/late.js\");\n// Starts.\nc(a, y, next, /** @type {any} */ (late), \"http://x\");",
            ),
            (
                "parts/x.js",
                "import { y } from \"./y.js\";\n/**\n * Two lines.\n */ export const a = 1;\nexport async function b() {}",
            ),
            (
                "parts/y.js",
                "const t=1;export{t as y};\n//# sourceMappingURL=y.js.map",
            ),
            ("parts/z.js", "\nexport class Z { t = `\nexport x // y`; }"),
            ("parts/late.js", "import { never } from \"elsewhere\";"),
        ]);
        let wanted = "const $parts_y = (() => {\nconst t=1;\nreturn { y: t };\n})();\n\
             const $parts_x = (() => {\nconst { y } = $parts_y;\nconst a = 1;\nasync function b() {}\nreturn { a, b };\n})();\n\
             const $parts_z = (() => {\nclass Z { t = `\nexport x // y`; }\nreturn { Z };\n})();\n\
             const $app = (() => {\nconst { a, b: c } = $parts_x;\nconst y = $parts_y;\nconst next = () => Promise.resolve($parts_z);\nconst late = () => import(\"./parts/late.js\");\nc(a, y, next, (late), \"http://x\");\nreturn {  };\n})();\n";
        assert_eq!(script.as_deref(), Ok(wanted));
    }

    // Fails when a form that the joined script would run differently, or not at all, is joined.
    #[test]
    fn every_other_form_is_reported_with_its_module() {
        let of_app = |line: &str| {
            joined(&[
                ("app.js", line),
                ("x.js", "export const a = 1;"),
                ("parts/late.js", ""),
            ])
        };
        for (line, wanted) in [
            ("export let a = 1;", "export a const"),
            ("export default 1;", "export a const"),
            ("export * from \"./x.js\";", "export a const"),
            ("export { a };", "export a const"),
            ("export const { a } = {};", "export a const"),
            ("import \"./x.js\";", "on one line"),
            ("import {", "on one line"),
            ("import x from \"./x.js\";", "on one line"),
            ("import { a } from \"x\";", "on one line"),
            ("import { b } from \"./x.js\";", "x.js does not export b"),
            (
                "import { a } from \"./y.js\";",
                "y.js: there is no such module",
            ),
            (
                "import { a } from \"./parts/late.js\";",
                "only when it is needed",
            ),
            ("const x = import(name);", "name the module as a text"),
            ("const x = `", "a template does not end"),
        ] {
            let error = of_app(line).unwrap_err();
            assert!(error.contains(wanted), "{line}: {error}");
        }
        let cycle = joined(&[
            ("app.js", "import { a } from \"./parts/a.js\";"),
            (
                "parts/a.js",
                "import { b } from \"./b.js\";\nexport const a = 1;",
            ),
            (
                "parts/b.js",
                "const later = () => import(\"./a.js\");\nexport const b = 1;",
            ),
        ]);
        assert_eq!(
            cycle.unwrap_err(),
            "parts/a.js: it imports itself: app.js → parts/a.js → parts/b.js → parts/a.js"
        );
        let meta = joined(&[
            ("app.js", "import { a } from \"./parts/a.js\";"),
            ("parts/a.js", "export const a = import.meta.url;"),
        ]);
        assert!(
            meta.unwrap_err()
                .starts_with("parts/a.js: `import.meta` is the script")
        );
    }
}
