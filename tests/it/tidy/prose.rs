//! The language of comments, documents and messages: words that make a reader stop and translate, counted.

use std::fmt;
use std::path::Path;

use super::{files, read, sources};

/// How many listed words per 1,000 words of comments and documents are accepted. The limit is not zero, because a listed word can
/// be part of a plain sentence.
const PER_THOUSAND_LIMIT: f64 = 0.3;

/// Indefinite persons, inverted negations, and idioms that hide who does what. `BE` stands for is, are, was and were.
const LISTED: &[&str] = &[
    "whoever",
    "whomever",
    "nobody",
    "somebody",
    "anybody",
    "everybody",
    "one's",
    "of ours",
    "BE at it",
    "BE no",
    "mend",
    "mends",
    "mended",
    "mending",
    "as it is",
    "in so many words",
    "of its own accord",
    "is there to",
    "come by",
    "that it lacks",
    "is had",
    "be had",
    "so to speak",
];

/// After `BE no` these words make a comparison, which is not listed.
const COMPARISONS: &[&str] = &["longer", "more", "other"];

/// Fails when comments and documents have more than 0.3 of the listed words per 1,000 words. (At commit a2aef02, before the
/// language was revised, it failed with 6.9.)
#[test]
fn comments_and_documents_are_in_plain_english() {
    let (mut words, mut hits) = (0, Vec::new());
    for path in sources() {
        let text = prose(&path, &read(&path));
        words += text
            .split_whitespace()
            .filter(|word| has_letter(word))
            .count();
        hits.extend(find_listed(&text).map(|hit| format!("{}:{hit}", path.display())));
    }
    assert!(
        words > 30_000,
        "only {words} words found: are the comments still recognized?"
    );
    #[expect(
        clippy::cast_precision_loss,
        reason = "a few hundred and a few ten thousand"
    )]
    let rate = 1000.0 * hits.len() as f64 / words as f64;
    assert!(
        rate <= PER_THOUSAND_LIMIT,
        "{rate:.2} listed words per 1,000; at most {PER_THOUSAND_LIMIT} are accepted. Name the subject and say who does \
         what:\n{}",
        hits.join("\n")
    );
}

/// Fails when a name or a message in the product's code has one of the listed words. Clients and operators read messages
/// without the code beside them, so the limit is zero. Only "there is" may precede "no".
#[test]
fn names_and_messages_are_in_plain_english() {
    let mut hits = Vec::new();
    for path in ["bin", "src", "crates"]
        .iter()
        .flat_map(|folder| files(folder, "rs"))
    {
        let code = code_lines(&read(&path));
        let listed = find_listed(&code).filter(|hit| !hit.is_there);
        hits.extend(listed.map(|hit| format!("{}:{hit}", path.display())));
    }
    assert!(hits.is_empty(), "rename or rewrite:\n{}", hits.join("\n"));
}

/// Fails when the count itself is wrong: a phrase that spans two lines of a comment, a comparison, a word inside a longer
/// one, and the end of a sentence between two words of a phrase.
#[test]
fn listed_words_are_found_in_comments() {
    let found = |path: &str, text: &str| {
        let text = prose(Path::new(path), text);
        find_listed(&text)
            .map(|hit| hit.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found(
            "a.rs",
            "let nobody = 1; // Nobody’s\n/// that is\n/// no id\n"
        ),
        ["2: is no"]
    );
    assert_eq!(
        found(
            "a.rs",
            "//! It is no longer than that. What it is. No comment.\n"
        ),
        [""; 0]
    );
    assert_eq!(
        found("a.sql", "select 'nobody' -- for whoever asks"),
        ["1: whoever"]
    );
    assert_eq!(
        found("a.sh", "echo nobody # one's own, 'mended'"),
        ["1: one's", "1: mended"]
    );
    assert_eq!(
        found("a.md", "| a table | of\nours | amended |\n\nas\n\nit is"),
        ["1: of ours"]
    );
}

/// A listed word or phrase, and the line on which it begins.
struct Hit {
    line: usize,
    phrase: String,
    /// The phrase follows "there"; in a short message that is a plain sentence.
    is_there: bool,
}

impl fmt::Display for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.phrase)
    }
}

/// The comments of a file, or all of a document, line by line; other lines are empty, so that line numbers stay right.
fn prose(path: &Path, text: &str) -> String {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    let name = path
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or_default();
    let comment = |line: &str| match (extension, name) {
        ("md", _) => line.to_owned(),
        ("rs", _) => after_marker(line, "//", true)
            .trim_start_matches(['/', '!'])
            .to_owned(),
        ("sql", _) => after_marker(line, "--", false).to_owned(),
        ("sh" | "py" | "toml" | "yaml" | "yml" | "http", _)
        | (_, ".env.example" | "Makefile" | "run") => after_marker(line, "#", true).to_owned(),
        _ => String::new(),
    };
    text.lines().map(comment).collect::<Vec<_>>().join("\n")
}

/// What follows the first marker; with `after_space`, the first one at the start of the line or after white space.
fn after_marker<'a>(line: &'a str, marker: &str, after_space: bool) -> &'a str {
    let starts_comment =
        |at: &usize| !after_space || line[..*at].is_empty() || line[..*at].ends_with([' ', '\t']);
    let at = line
        .match_indices(marker)
        .map(|(at, _)| at)
        .find(starts_comment);
    at.map_or("", |at| &line[at + marker.len()..])
}

/// The code of a file without its comments; line numbers stay right.
fn code_lines(text: &str) -> String {
    let code = |line: &str| {
        let comment = after_marker(line, "//", true);
        let marker = if comment.is_empty() { 0 } else { "//".len() };
        line[..line.len() - comment.len() - marker].to_owned()
    };
    text.lines().map(code).collect::<Vec<_>>().join("\n")
}

/// Every listed phrase whose words follow each other with only one line break or spaces between them.
fn find_listed(text: &str) -> impl Iterator<Item = Hit> {
    // In quotes it is the name of a Unix user.
    let text = &text.replace("\"nobody\"", "").replace("`nobody`", "");
    let words = split_words(text);
    let mut hits = Vec::new();
    for at in 0..words.len() {
        let next = |offset: usize| {
            words
                .get(at + offset)
                .filter(|word| offset == 0 || word.joined)
        };
        for listed in LISTED {
            let parts: Vec<&str> = listed.split(' ').collect();
            let is_here = parts
                .iter()
                .enumerate()
                .all(|(offset, part)| next(offset).is_some_and(|word| is_word(part, &word.text)));
            let compares = *listed == "BE no"
                && next(2).is_some_and(|word| COMPARISONS.contains(&&*word.text));
            if is_here && !compares {
                let phrase = words[at..at + parts.len()].iter().map(|word| &*word.text);
                hits.push(Hit {
                    line: words[at].line,
                    phrase: phrase.collect::<Vec<_>>().join(" "),
                    is_there: at > 0 && words[at - 1].text == "there",
                });
                break;
            }
        }
    }
    hits.into_iter()
}

/// Whether a part of a listed phrase stands for this word.
fn is_word(part: &str, word: &str) -> bool {
    part == word || (part == "BE" && ["is", "are", "was", "were"].contains(&word))
}

/// A word in lower case.
struct Word {
    text: String,
    line: usize,
    /// It follows the word before with nothing but spaces or one line break between them.
    joined: bool,
}

fn split_words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '\'' | '’');
    let (mut line, mut gap) = (1, String::from("."));
    let mut rest = text;
    while !rest.is_empty() {
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if length == 0 {
            let length = rest.find(is_part).unwrap_or(rest.len());
            gap.push_str(&rest[..length]);
            line += rest[..length].matches('\n').count();
            rest = &rest[length..];
            continue;
        }
        let word = rest[..length].replace('’', "'").to_lowercase();
        let quoted = word.trim_matches('\'');
        let joined = gap.trim().is_empty() && gap.matches('\n').count() <= 1;
        words.push(Word {
            text: quoted.to_owned(),
            line,
            joined,
        });
        gap.clear();
        rest = &rest[length..];
    }
    words
}

fn has_letter(word: &str) -> bool {
    word.contains(|c: char| c.is_ascii_alphabetic())
}
