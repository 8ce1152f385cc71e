//! Reads environment variables and collects what is wrong with them, so that one error names them all.

use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

/// Returns the value of a variable.
type Lookup<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// Environment variables, and the problems found in them so far.
pub struct Environment<'a> {
    lookup: Box<Lookup<'a>>,
    problems: Vec<String>,
}

/// Environment variables with missing or invalid values: one sentence each, which says what to set instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid configuration: {}", .0.join("; "))]
pub struct ConfigError(Vec<String>);

impl Environment<'_> {
    /// The environment of this process.
    #[must_use]
    pub fn from_process() -> Self {
        Self {
            lookup: Box::new(|name| std::env::var_os(name)),
            problems: Vec::new(),
        }
    }
}

impl<'a> Environment<'a> {
    /// Variables from any source. A blank value counts as unset.
    #[must_use]
    pub fn new(lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self {
            lookup: Box::new(move |name| lookup(name).map(OsString::from)),
            problems: Vec::new(),
        }
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&mut self, name: &str) -> Option<String> {
        // Taken for unset, an unreadable AUTH would open the API.
        let value = (self.lookup)(name)?.into_string();
        if value.is_err() {
            self.reject(format!("{name} must be UTF-8"));
        }
        value.ok().filter(|value| !value.trim().is_empty())
    }

    /// The items of a comma-separated variable.
    pub fn list<C: FromIterator<String>>(&mut self, name: &str) -> C {
        let value = self.get(name).unwrap_or_default();
        let items = value.split(',').map(str::trim);
        items
            .filter(|item| !item.is_empty())
            .map(ToOwned::to_owned)
            .collect()
    }

    /// A parsed variable that `is_valid`; `expected` completes the sentence "`NAME` must be …".
    pub fn parse<T: FromStr>(
        &mut self,
        name: &str,
        expected: &str,
        is_valid: impl Fn(&T) -> bool,
    ) -> Option<T> {
        let text = self.get(name)?;
        let value = text.trim().parse().ok().filter(is_valid);
        if value.is_none() {
            self.reject(format!("{name} must be {expected}{}", not(&text)));
        }
        value
    }

    /// One of several words, each with its meaning.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.get(name)?;
        let choice = choices.iter().find(|(word, _)| *word == text.trim());
        if choice.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            self.reject(format!(
                "{name} must be {}{}",
                words.join(" or "),
                not(&text)
            ));
        }
        choice.map(|(_, value)| *value)
    }

    /// Adds a problem: a sentence that names the variable and says what to set instead.
    pub fn reject(&mut self, problem: impl Into<String>) {
        let problem = problem.into();
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// `value`, if no variable was rejected.
    ///
    /// # Errors
    ///
    /// All problems found so far.
    pub fn finish<T>(self, value: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() {
            Ok(value)
        } else {
            Err(ConfigError(self.problems))
        }
    }
}

/// The end of a sentence that rejects a value. A URL may contain a password, also in a variable that has none.
pub(super) fn not(text: &str) -> String {
    if text.contains("://") && text.contains('@') {
        String::new()
    } else {
        format!(", not `{text}`")
    }
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may hold passwords.
        f.debug_struct("Environment")
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}
