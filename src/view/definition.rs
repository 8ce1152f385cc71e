//! Compares view definitions by what they say, not by how they are spelled: another line ending, indentation, comment or
//! letter case of a keyword does not define another view.

use std::iter::Peekable;
use std::str::CharIndices;

/// Whether two texts of DDL consist of the same tokens.
#[cfg(test)]
fn is_same(one: &str, other: &str) -> bool {
    hash(one) == hash(other)
}

/// Identifies a text of DDL by its tokens. The database stores it, so it is the same in all builds.
pub(super) fn hash(ddl: &str) -> String {
    let mut hash = Fnv1a::default();
    for token in Tokens::new(ddl) {
        hash.write(token.as_bytes());
        // No token contains it, so two tokens are never mistaken for one.
        hash.write(&[0]);
    }
    hash.finish()
}

/// The hash function FNV-1a with 128 bits, which needs no crate and never changes. It is not meant for hostile input: the texts are
/// part of the program.
#[derive(Debug)]
pub(crate) struct Fnv1a(u128);

impl Default for Fnv1a {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Fnv1a {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u128::from(*byte);
            self.0 = self
                .0
                .wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }

    pub(crate) fn finish(&self) -> String {
        format!("{:032x}", self.0)
    }
}

/// The tokens of a text of SQL, without comments and white space. Unquoted words are in lower case.
struct Tokens<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            rest: text.char_indices().peekable(),
        }
    }

    /// The offset of the next character.
    fn offset(&mut self) -> usize {
        self.rest.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    fn remaining(&mut self) -> &'a str {
        let offset = self.offset();
        &self.text[offset..]
    }

    /// Moves past the next `bytes` bytes, which end at a character's end.
    fn skip(&mut self, bytes: usize) {
        let end = self.offset() + bytes;
        while self.rest.peek().is_some_and(|(at, _)| *at < end) {
            self.rest.next();
        }
    }

    fn skip_blank(&mut self) {
        loop {
            let text = self.remaining();
            let bytes = if text.starts_with("--") {
                text.find(['\n', '\r']).unwrap_or(text.len())
            } else if text.starts_with("/*") {
                block_comment_len(text)
            } else {
                text.len() - text.trim_start().len()
            };
            if bytes == 0 {
                return;
            }
            self.skip(bytes);
        }
    }
}

impl Iterator for Tokens<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.skip_blank();
        let text = self.remaining();
        let first = text.chars().next()?;
        let word = text.find(|c: char| !is_word(c)).unwrap_or(text.len());
        let (token, bytes) = match first {
            // A prefix belongs to the constant behind it: e'…' has escapes, and u&'…' and b'…' are other values than '…'.
            '\'' => plain(text, quoted_len(text, '\'', false)),
            '"' => plain(text, quoted_len(text, '"', false)),
            '$' => match dollar_quoted_len(text) {
                Some(bytes) => plain(text, bytes),
                None => plain(text, 1),
            },
            _ if word > 0 && text[word..].starts_with('\'') => {
                let escapes = text[..word].eq_ignore_ascii_case("e");
                let bytes = word + quoted_len(&text[word..], '\'', escapes);
                plain(text, bytes)
            }
            _ if word > 0 => (text[..word].to_lowercase(), word),
            _ => plain(text, first.len_utf8()),
        };
        self.skip(bytes);
        Some(token)
    }
}

fn plain(text: &str, bytes: usize) -> (String, usize) {
    // A checkout may change line endings, also those within a constant.
    (text[..bytes].replace("\r\n", "\n"), bytes)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a constant or a quoted name with its quotes. A doubled quote is part of it.
fn quoted_len(text: &str, quote: char, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// The length of `$tag$…$tag$`; `None` when the text does not begin like that.
fn dollar_quoted_len(text: &str) -> Option<usize> {
    let tag = 1 + text[1..].find('$')?;
    if !text[1..tag].chars().all(is_word) {
        return None;
    }
    let delimiter = &text[..=tag];
    let body = &text[delimiter.len()..];
    Some(match body.find(delimiter) {
        Some(end) => delimiter.len() + end + delimiter.len(),
        None => text.len(),
    })
}

/// The length of a comment in `/* */`. Such comments nest.
fn block_comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DDL: &str = "create table t (\n    id uuid not null, -- the aggregate\n    name text default 'A -- b',\n    constraint t_pkey primary key (id)\n);\n";

    /// Fails when a spelling that means the same is another definition.
    #[test]
    fn spelling_does_not_change_a_view_definition() {
        for same in [
            DDL.replace('\n', "\r\n"),
            DDL.replace("the aggregate", "the aggregate's id; it's \"quoted\""),
            DDL.replace(" -- the aggregate", ""),
            DDL.replace("-- the aggregate", "/* the /* nested */ aggregate */"),
            DDL.replace("create table", "CREATE  TABLE")
                .replace("uuid", "UUID"),
            DDL.replace("    ", "\t").replace("(id)", "( id )"),
            format!("\u{feff}-- a head\n{DDL}").replace('\u{feff}', ""),
        ] {
            assert!(is_same(DDL, &same), "{same}");
        }
    }

    /// Fails when a definition that means something else is taken for the same.
    #[test]
    fn a_change_of_meaning_changes_a_view_definition() {
        for other in [
            DDL.replace("uuid", "text"),
            DDL.replace("'A -- b'", "'a -- b'"),
            DDL.replace("'A -- b'", "'A -- c'"),
            DDL.replace("'A -- b'", "'A  -- b'"),
            DDL.replace("'A -- b'", "e'A -- b'"),
            DDL.replace("name text", "\"Name\" text"),
            DDL.replace("not null", "notnull"),
            DDL.replace("(id)", "(id, name)"),
            format!("{DDL}create index t_name_idx on t (name);"),
            format!("{DDL}select $$a$$;").replace("$$a$$", "$x$b$x$"),
        ] {
            assert!(!is_same(DDL, &other), "{other}");
        }
        let body = |text: &str| {
            format!("{DDL}create function f() returns int language sql as $f${text}$f$;")
        };
        assert!(!is_same(&body("select 1"), &body("select 2")));
        assert!(is_same(&body("select\n1"), &body("select\r\n1")));
        assert!(!is_same(&body("select 'x'"), &body("select 'X'")));
        assert!(is_same(
            "select e'it\\'s -- x' -- y",
            "select e'it\\'s -- x'"
        ));
    }
}
