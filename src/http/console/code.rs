//! The lines of a JavaScript module without comments, blank lines and indentation.
//!
//! Texts, templates and regular expressions are recognized, so that nothing in them is taken for a comment. Only templates of `html` and
//! `svg` lose their indentation, because a browser shows any white space in them as one space; every other template is a text, and
//! stays unchanged.

/// A line of a module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    /// Whether the line begins outside a template, so that it can be an import or an export.
    pub(super) is_code: bool,
}

/// Words that are not the end of a value, so that a slash after one begins a regular expression.
const OPERATORS: &[&str] = &[
    "await",
    "case",
    "delete",
    "do",
    "else",
    "in",
    "instanceof",
    "new",
    "of",
    "return",
    "throw",
    "typeof",
    "void",
    "yield",
];

/// What the reader is in.
enum Nesting {
    /// Code, with so many braces open in it.
    Code { braces: usize },
    Template {
        /// Whether its indentation is left out.
        is_markup: bool,
    },
}

struct Reader<'a> {
    rest: &'a str,
    /// From the outside to the inside.
    nesting: Vec<Nesting>,
    /// What was read without comments: it decides what a slash or a template is.
    before: String,
    line: String,
    is_code: bool,
    lines: Vec<Line>,
}

/// The lines of a module, or why it cannot be read.
pub(super) fn lines(text: &str) -> Result<Vec<Line>, String> {
    let mut reader = Reader {
        rest: text,
        nesting: vec![Nesting::Code { braces: 0 }],
        before: String::new(),
        line: String::new(),
        is_code: true,
        lines: Vec::new(),
    };
    while !reader.rest.is_empty() {
        match reader.nesting.last() {
            Some(Nesting::Template { .. }) => reader.template(),
            _ => reader.code()?,
        }
    }
    if reader.nesting.len() > 1 {
        return Err("a template does not end".to_owned());
    }
    reader.end_line();
    Ok(reader.lines)
}

impl Reader<'_> {
    /// Reads one token, or one character, of code.
    fn code(&mut self) -> Result<(), String> {
        let rest = self.rest;
        if let Some(comment) = rest.strip_prefix("//") {
            self.rest = comment.find('\n').map_or("", |end| &comment[end..]);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let (comment, after) = comment
                .split_once("*/")
                .ok_or_else(|| self.bad("a comment does not end"))?;
            // A space separates a comment from the code after it. A line break in it may end a statement.
            self.rest = after.strip_prefix(' ').unwrap_or(after);
            if comment.contains('\n') {
                self.end_line();
            }
        } else if rest.starts_with(['"', '\'']) {
            let quote = rest.chars().next().unwrap_or_default();
            self.take_text(|c, _| c == quote, "a text does not end on its line")?;
        } else if rest.starts_with('/') && self.begins_expression() {
            let ends = |c, in_class: bool| c == '/' && !in_class;
            self.take_text(ends, "a regular expression does not end on its line")?;
        } else if let Some(c) = rest.chars().next() {
            self.character(c);
        }
        Ok(())
    }

    /// Reads a character that begins neither a comment nor a text.
    fn character(&mut self, c: char) {
        if c == '\n' {
            self.rest = &self.rest[1..];
            return self.end_line();
        }
        if c.is_whitespace() && self.line.is_empty() {
            self.rest = &self.rest[c.len_utf8()..];
            return;
        }
        if c == '`' {
            let is_markup = ["html", "svg"].contains(&last_word(&self.before));
            self.nesting.push(Nesting::Template { is_markup });
        } else if let Some(Nesting::Code { braces }) = self.nesting.last_mut() {
            match c {
                '{' => *braces += 1,
                '}' if *braces > 0 => *braces -= 1,
                '}' if self.nesting.len() > 1 => {
                    self.nesting.pop();
                }
                _ => {}
            }
        }
        self.take(c.len_utf8());
    }

    /// Reads a character of a template, an escaped one, or the beginning of code in it.
    fn template(&mut self) {
        let is_markup = matches!(
            self.nesting.last(),
            Some(Nesting::Template { is_markup: true })
        );
        let mut chars = self.rest.chars();
        match chars.next() {
            Some('\n') => {
                self.rest = &self.rest[1..];
                self.end_template_line();
                if is_markup {
                    self.rest = self.rest.trim_start_matches([' ', '\t']);
                }
            }
            Some('\\') => self.take(1 + chars.next().map_or(0, char::len_utf8)),
            Some('`') => {
                self.nesting.pop();
                self.take(1);
            }
            Some('$') if self.rest.starts_with("${") => {
                self.nesting.push(Nesting::Code { braces: 0 });
                self.take(2);
            }
            c => self.take(c.map_or(0, char::len_utf8)),
        }
    }

    /// Takes a text or a regular expression: up to the character for which `ends` is true, which also learns whether it is between
    /// `[` and `]`.
    fn take_text(&mut self, ends: impl Fn(char, bool) -> bool, bad: &str) -> Result<(), String> {
        let (mut is_escaped, mut in_class) = (false, false);
        for (at, c) in self.rest.char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                _ if ends(c, in_class) => {
                    self.take(at + c.len_utf8());
                    return Ok(());
                }
                '[' => in_class = true,
                ']' => in_class = false,
                _ => {}
            }
        }
        Err(self.bad(bad))
    }

    /// Whether a slash begins a regular expression here: it divides only after a value.
    fn begins_expression(&self) -> bool {
        let before = self.before.trim_end();
        let ends_value = |c: char| is_of_word(c) || [')', ']', '}', '"', '\'', '`'].contains(&c);
        let is_value =
            before.ends_with(ends_value) || before.ends_with("++") || before.ends_with("--");
        !is_value || OPERATORS.contains(&last_word(before))
    }

    fn take(&mut self, bytes: usize) {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line.push_str(taken);
        self.before.push_str(taken);
        self.rest = rest;
    }

    /// Ends a line of code. Blank ones are left out.
    fn end_line(&mut self) {
        self.before.push('\n');
        let text = std::mem::take(&mut self.line);
        if !text.trim().is_empty() {
            let text = text.trim_end().to_owned();
            let is_code = self.is_code;
            self.lines.push(Line { text, is_code });
        }
        self.is_code = true;
    }

    /// Ends a line in a template.
    fn end_template_line(&mut self) {
        let text = std::mem::take(&mut self.line);
        let is_code = self.is_code;
        self.lines.push(Line { text, is_code });
        self.is_code = false;
    }

    fn bad(&self, reason: &str) -> String {
        let line = self.rest.lines().next().unwrap_or_default();
        format!("{reason}: {}{line}", self.line)
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The word at the end of a text.
fn last_word(text: &str) -> &str {
    let word = text.trim_end_matches(is_of_word);
    &text[word.len()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let lines = lines(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let lines: Vec<_> = lines.into_iter().map(|line| line.text).collect();
        lines.join("\n")
    }

    // Fails when a comment is sent, or when a text, a template or a regular expression loses what looks like one.
    #[test]
    fn only_comments_blank_lines_and_indentation_are_left_out() {
        for (text, wanted) in [
            ("/** a */ b /* c */ (d) // e\n\n  f;", "b (d)\nf;"),
            ("a\n/*\n b\n */ c", "a\nc"),
            (
                "\"// a\" + '/* b' + \"\\\" // c\"",
                "\"// a\" + '/* b' + \"\\\" // c\"",
            ),
            (
                "`\n  // a\n\n  /* b */ ${c /* d */}\n`;\n  e",
                "`\n  // a\n\n  /* b */ ${c }\n`;\ne",
            ),
            (
                "html`<a>\n  // b\n  ${c ? html`\n  d` : e}`",
                "html`<a>\n// b\n${c ? html`\nd` : e}`",
            ),
            ("`${{ a: `}` }}\n  b`", "`${{ a: `}` }}\n  b`"),
            ("`\\`\n  // a`", "`\\`\n  // a`"),
            ("x = /[/\"]`'/g; // a", "x = /[/\"]`'/g;"),
            ("return /\\/\"/.test(a) // b", "return /\\/\"/.test(a)"),
            (
                "a / b / c; (d) / 2; e++ / 2 // f",
                "a / b / c; (d) / 2; e++ / 2",
            ),
        ] {
            assert_eq!(read(text), wanted, "{text}");
        }
    }

    // Fails when a line of a template can be taken for an import.
    #[test]
    fn a_line_in_a_template_is_no_code() {
        let lines = lines("const a = `\nimport b\n`;\nimport c").unwrap_or_default();
        let are_code: Vec<_> = lines.iter().map(|line| line.is_code).collect();
        assert_eq!(are_code, [true, false, false, true]);
    }

    // Fails when a module is cut off where it cannot be read.
    #[test]
    fn what_does_not_end_is_reported() {
        for (text, wanted) in [
            ("/* a", "a comment does not end: /* a"),
            ("x = \"a\n", "a text does not end on its line: x = \"a"),
            (
                "x = /a\n",
                "a regular expression does not end on its line: x = /a",
            ),
            ("`a ${b", "a template does not end"),
        ] {
            assert_eq!(lines(text), Err(wanted.to_owned()), "{text}");
        }
    }
}
