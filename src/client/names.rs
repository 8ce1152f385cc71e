//! Names in JavaScript and TypeScript.

/// Words that a module cannot export under their own name, or that it exports itself.
const RESERVED: &[&str] = &[
    // The module's own exports. A module that exports `then` is taken for a promise by `await import(…)`.
    "foldlog",
    "is",
    "queries",
    "then",
    // Reserved in JavaScript modules.
    "arguments",
    "await",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "debugger",
    "default",
    "delete",
    "do",
    "else",
    "enum",
    "eval",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "if",
    "implements",
    "import",
    "in",
    "instanceof",
    "interface",
    "let",
    "new",
    "null",
    "package",
    "private",
    "protected",
    "public",
    "return",
    "static",
    "super",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "undefined",
    "var",
    "void",
    "while",
    "with",
    "yield",
    // Types of TypeScript, which no namespace may be called.
    "any",
    "bigint",
    "boolean",
    "never",
    "number",
    "object",
    "string",
    "symbol",
    "unknown",
];

/// The name under which the module exports what belongs to a domain: the domain's, or `new_` for `new`. Different domains get
/// different names: `new_` becomes `new__`.
pub(super) fn export(domain: &str) -> String {
    if RESERVED.contains(&domain.trim_end_matches('_')) {
        format!("{domain}_")
    } else {
        domain.to_owned()
    }
}

/// The name of the function that creates an event of this type: `emailChanged` for `EmailChanged`.
pub(super) fn constructor(event: &str) -> String {
    let mut letters = event.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

/// A type's name: `DryRun` for `dry_run`.
pub(super) fn type_name(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_alphanumeric());
    let words = words.map(|word| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| {
            first.to_uppercase().chain(letters).collect()
        })
    });
    let name: String = words.collect();
    if name.starts_with(|letter: char| letter.is_numeric()) {
        format!("_{name}")
    } else {
        name
    }
}

/// The path of a schema's type within the module: `users.event.Created` for the schema of that name, `users.DryRun` for
/// `users.dry_run`.
pub(super) fn path(schema: &str) -> (Vec<String>, String) {
    let mut parts: Vec<&str> = schema.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    (parts.into_iter().map(export).collect(), type_name(last))
}

/// A property as it is written in an object or an interface.
pub(super) fn property(name: &str) -> String {
    let is_word = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$');
    if is_word && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) {
        name.to_owned()
    } else {
        serde_json::Value::from(name).to_string()
    }
}
