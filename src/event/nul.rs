//! U+0000, which Postgres cannot store in a text.

/// Whether a JSON text contains the escape of U+0000.
pub(crate) fn has_nul(json: &str) -> bool {
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let escape = &rest[at + 1..];
        if escape.starts_with("u0000") {
            return true;
        }
        // The character behind a backslash is part of the escape, so a second backslash does not begin another one.
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    // Fails when an escaped backslash before `u0000` is taken for U+0000, or U+0000 after one is missed.
    #[test]
    fn a_nul_is_found_by_its_escape_only() {
        for (json, found) in [
            (r#"{"a":"\u0000"}"#, true),
            (r#"{"a\u0000":1}"#, true),
            (r#"{"a":"\\\u0000"}"#, true),
            (r#"{"a":"\\u0000"}"#, false),
            (r#"{"a":"\u0001"}"#, false),
            (r#""\é\""#, false),
            ("", false),
        ] {
            assert_eq!(has_nul(json), found, "{json}");
        }
    }
}
