//! The files of `console/`, which are part of the program, so that a host needs no folder beside its binary.

use serde_json::Value;

use super::join::{JoinError, join};

const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
pub(super) const HTML: &str = "text/html; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The name of the script below `/-/`.
pub(super) const SCRIPT: &str = "console.js";

/// Names what is part of the script and has a licence.
const NOTICE: &str =
    "// With lit-html, Copyright 2017 Google LLC, BSD-3-Clause: vendor/lit-html.LICENSE";

/// A file of the console.
pub(super) struct File {
    /// The path below `/-/`.
    pub(super) name: &'static str,
    pub(super) content_type: &'static str,
    pub(super) text: &'static str,
}

/// Includes files of `console/`.
macro_rules! files {
    ($($name:literal: $content_type:ident,)+) => {
        &[$(File {
            name: $name,
            content_type: $content_type,
            text: include_str!(concat!("../../../console/", $name)),
        }),+]
    };
}

/// What is served unchanged below `/-/`. `tests/it/console/mod.rs` compares this list with the folder.
const FILES: &[File] = files![
    "app.js": JS,
    "console.css": CSS,
    "icon.svg": SVG,
    "index.html": HTML,
    "pages/feed.js": JS,
    "pages/health.js": JS,
    "pages/list.js": JS,
    "pages/overview.js": JS,
    "pages/parked.js": JS,
    "pages/projections.js": JS,
    "pages/reproject.js": JS,
    "pages/row.js": JS,
    "pages/signin.js": JS,
    "pages/verbs.js": JS,
    "pages/verify.js": JS,
    "parts/api.js": JS,
    "parts/append.js": JS,
    "parts/as_of.js": JS,
    "parts/database.js": JS,
    "parts/dialog.js": JS,
    "parts/diff.js": JS,
    "parts/explain.js": JS,
    "parts/form.js": JS,
    "parts/history.js": JS,
    "parts/keys.js": JS,
    "parts/menu.js": JS,
    "parts/notices.js": JS,
    "parts/oidc.js": JS,
    "parts/pace.js": JS,
    "parts/prefs.js": JS,
    "parts/problem.js": JS,
    "parts/refresh.js": JS,
    "parts/revert.js": JS,
    "parts/routes.js": JS,
    "parts/schema.js": JS,
    "parts/session.js": JS,
    "parts/shell.js": JS,
    "parts/state.js": JS,
    "parts/status.js": JS,
    "parts/table.js": JS,
    "parts/text.js": JS,
    "parts/time.js": JS,
    "parts/timeline.js": JS,
    "vendor/lit-html.LICENSE": TEXT,
    "vendor/lit-html.js": JS,
    "vendor/oauth4webapi.LICENSE": TEXT,
    "vendor/oauth4webapi.js": JS,
];

/// The requests of the page: the same file as in the package of the client.
const RUNTIME: File = File {
    name: "runtime.js",
    content_type: JS,
    text: include_str!("../../../client/runtime.js"),
};

/// What only a sign-in at an issuer needs stays out of the script.
const APART: &[&str] = &["parts/oidc.js", "vendor/oauth4webapi.js"];

/// The files that are served below `/-/` as they are stored.
pub(super) fn all() -> impl Iterator<Item = &'static File> {
    FILES.iter().chain([&RUNTIME])
}

/// The script of the page: all modules, except those that only a sign-in at an issuer needs, and the styles, because nothing is
/// drawn before the script runs.
pub(super) fn script() -> Result<String, JoinError> {
    let modules = all().map(|file| (file.name, file.text)).collect();
    let modules = join(&modules, "app.js", APART)?;
    let styles = Value::from(compact(text("console.css")));
    Ok(format!(
        "{NOTICE}\nconst $styles = new CSSStyleSheet();\n$styles.replaceSync({styles});\ndocument.adoptedStyleSheets = [$styles];\n{modules}"
    ))
}

/// `index.html` with the script instead of the modules, and with what the page would have to ask for next: `served` is a JSON
/// object with the settings and the API's document.
pub(super) fn page(served: &str) -> String {
    let icon = text("icon.svg").replace('#', "%23").replace('"', "'");
    // An end tag in a text of the document must not end the element.
    let served = served.replace('<', "\\u003c");
    let lines = text("index.html").lines().filter_map(|line| {
        if line.contains("rel=\"modulepreload\"") || line.contains("rel=\"stylesheet\"") {
            None
        } else if line.contains("rel=\"icon\"") {
            Some(format!(
                "<link rel=\"icon\" href=\"data:image/svg+xml,{}\">",
                icon.trim_end()
            ))
        } else if line.starts_with("<script") {
            Some(format!(
                "<script type=\"application/json\" id=\"served\">{served}</script>\n\
                 <script type=\"module\" src=\"-/{SCRIPT}\"></script>"
            ))
        } else {
            Some(line.to_owned())
        }
    });
    lines.map(|line| line + "\n").collect()
}

/// Styles without comments, and without the white space around signs that needs none. No text in them has such a sign.
fn compact(styles: &str) -> String {
    let mut parts = styles.split("/*");
    let first = parts.next().unwrap_or_default().to_owned();
    let styles = parts.fold(first, |styles, part| {
        styles + part.split_once("*/").map_or("", |(_, rest)| rest)
    });
    let words: Vec<&str> = styles.split_whitespace().collect();
    let signs = [
        (" {", "{"),
        ("{ ", "{"),
        (": ", ":"),
        ("; ", ";"),
        (", ", ","),
        (" }", "}"),
        ("} ", "}"),
        (";}", "}"),
    ];
    signs.iter().fold(words.join(" "), |styles, (from, to)| {
        styles.replace(from, to)
    })
}

fn text(name: &str) -> &'static str {
    all()
        .find(|file| file.name == name)
        .map_or("", |file| file.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Fails when a module has a form that cannot be joined.
    #[test]
    fn the_modules_of_the_console_can_be_joined() {
        let script = script().unwrap_or_else(|error| panic!("{error}"));
        for file in all().filter(|file| file.content_type == JS && !APART.contains(&file.name)) {
            let scope = super::super::join::variable(file.name);
            assert!(
                script.contains(&format!("const {scope} = ")),
                "the script lacks {}",
                file.name
            );
        }
    }

    // Fails when styles mean something else without their comments and white space.
    #[test]
    fn styles_keep_their_meaning() {
        let styles = "/* A */\na :hover, b {\n  font: 1px/2 c, d; width: calc(1px + 2px);\n}\n@media (e: f) { g:h { i: j } } /* k */ l { }";
        assert_eq!(
            compact(styles),
            "a :hover,b{font:1px/2 c,d;width:calc(1px + 2px)}@media (e:f){g:h{i:j}}l{}"
        );
    }

    // Fails when the served page still loads what the script contains, or when a text of the document ends the element that it is in.
    #[test]
    fn the_page_names_only_its_script() {
        let page = page(r#"{"document":"</script><script>"}"#);
        let loaded: Vec<_> = page
            .match_indices("=\"-/")
            .map(|(at, _)| &page[at + 2..])
            .collect();
        assert!(
            loaded.len() == 1 && loaded[0].starts_with("-/console.js"),
            "{page}"
        );
        assert!(
            page.contains(r#"{"document":"\u003c/script>\u003cscript>"}"#),
            "{page}"
        );
        assert!(page.contains("data:image/svg+xml,<svg xmlns='"), "{page}");
    }
}
