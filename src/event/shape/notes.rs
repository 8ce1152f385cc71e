//! What was learnt of a type so far, and what there is to offer it.

use std::collections::BTreeMap;

/// The steps of a path; a key is `/` and its name.
pub(super) const ITEM: &str = "[]";
pub(super) const KEY: &str = "{}";
pub(super) const INSIDE: &str = "?";

/// The path of a key.
pub(super) fn key(path: &str, name: &str) -> String {
    format!("{path}/{name}")
}

/// Whether a path leads through no list and no map.
pub(super) fn only_keys(path: &str) -> bool {
    !path.contains(ITEM) && !path.contains(KEY)
}

/// Texts to offer, and the format that a type has which takes the text but none before it. The first one is a good name
/// and a good address.
pub(super) const TEXTS: &[(&str, Option<&str>)] = &[
    ("ada@example.org", None),
    (super::SAMPLE_UUID, Some("uuid")),
    ("2026-01-02T03:04:05Z", Some("date-time")),
    ("2026-01-02", Some("date")),
    ("https://example.org/", Some("uri")),
    ("127.0.0.1", None),
    ("a", None),
    ("1", None),
    ("", None),
];

pub(super) const INTEGERS: &[u8] = &[1, 0, 2];

/// What a type asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    /// What cannot be told, and the word that it reads, if that is known; else it is tried with null.
    Any(Option<&'static str>),
    Bool,
    Integer {
        least: i64,
        greatest: u64,
    },
    Number,
    Text,
    Choice(&'static [&'static str]),
    List,
    Map,
    Object(&'static [&'static str]),
    Nullable,
    Hidden,
}

/// What was learnt so far.
#[derive(Default)]
pub(super) struct Notes {
    asked: BTreeMap<String, Asked>,
    /// How many samples were refused there.
    refused: BTreeMap<String, usize>,
    /// The variants without content that enums have.
    words: BTreeMap<String, Vec<&'static str>>,
    /// Where the newest sample was offered, and how many more there are.
    offered: Option<(String, usize)>,
}

impl Notes {
    pub(super) fn at(&self, path: &str) -> Option<Asked> {
        self.asked.get(path).copied()
    }

    pub(super) fn note(&mut self, path: &str, asked: Asked) {
        self.asked.insert(path.to_owned(), asked);
    }

    /// A variant without content.
    pub(super) fn word(&mut self, path: String, word: &'static str) {
        self.words.entry(path).or_default().push(word);
    }

    /// All variants without content.
    pub(super) fn words(&self, path: &str) -> Option<&[&'static str]> {
        self.words.get(path).map(Vec::as_slice)
    }

    pub(super) fn text(&self, path: &str) -> (&'static str, Option<&'static str>) {
        TEXTS[self.refused(path).min(TEXTS.len() - 1)]
    }

    pub(super) fn integer(&self, path: &str) -> u8 {
        INTEGERS[self.refused(path).min(INTEGERS.len() - 1)]
    }

    pub(super) fn refused(&self, path: &str) -> usize {
        self.refused.get(path).copied().unwrap_or_default()
    }

    pub(super) fn offer(&mut self, path: &str, samples: usize) {
        let left = samples - 1 - self.refused(path).min(samples - 1);
        self.offered = Some((path.to_owned(), left));
    }

    /// Runs it until what is offered is read, or there is nothing more to offer.
    pub(super) fn until_read(&mut self, mut run: impl FnMut(&mut Self) -> bool) {
        loop {
            self.offered = None;
            if run(self) {
                return;
            }
            match self.offered.take() {
                // The run ended at the newest sample, so that is what was refused.
                Some((path, left)) if left > 0 => *self.refused.entry(path).or_default() += 1,
                _ => return,
            }
        }
    }
}
