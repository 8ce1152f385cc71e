//! JSON pointers (RFC 6901) to fields of an event.

use std::fmt::Write as _;

/// Appends a part to a pointer, with `~` and `/` escaped.
pub(crate) fn push_part(pointer: &mut String, part: &str) {
    pointer.push('/');
    pointer.push_str(&part.replace('~', "~0").replace('/', "~1"));
}

/// Appends the index of an array's item to a pointer.
pub(crate) fn push_index(pointer: &mut String, index: usize) {
    // Writing to a string does not fail.
    let _ = write!(pointer, "/{index}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a name with a slash or a tilde points to another field.
    #[test]
    fn names_are_escaped() {
        let mut pointer = String::new();
        push_part(&mut pointer, "a/b");
        push_index(&mut pointer, 3);
        push_part(&mut pointer, "m~n");
        assert_eq!(pointer, "/a~1b/3/m~0n");
        let json = serde_json::json!({"a/b": [0, 0, 0, {"m~n": 7}]});
        assert_eq!(json.pointer(&pointer), Some(&serde_json::json!(7)));
    }
}
