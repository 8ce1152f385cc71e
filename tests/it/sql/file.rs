//! The SQL files of the project and what their headers say.

use std::fs;
use std::path::{Path, PathBuf};

/// One statement. `{table}` in its text stands for the table of a view.
#[derive(Debug)]
pub struct SqlFile {
    /// As `projection/sql/claim.sql`.
    pub name: String,
    /// The lines of the header without their dashes.
    pub header: Vec<String>,
    /// What is behind the header.
    pub body: String,
}

/// What kind of line of a header it is.
pub enum Line<'a> {
    /// A sentence, or a part of one.
    Prose(&'a str),
    /// `$n type name`: the number and the type.
    Bind(u32, &'a str),
    /// `returns …`.
    Returns,
    /// `role: …`.
    Role(&'a str),
    /// `uses: …`: names of indexes.
    Uses(Vec<&'a str>),
}

impl SqlFile {
    /// Every one in `src`, but the views' definitions, which are DDL.
    pub fn all() -> Vec<Self> {
        let mut paths = Vec::new();
        walk(Path::new("src"), &mut paths);
        paths.retain(|path| path.extension().is_some_and(|e| e == "sql"));
        paths.retain(|path| !path.starts_with("src/domains"));
        let files: Vec<Self> = paths.iter().map(|path| Self::read(path)).collect();
        assert!(files.len() > 20, "where have the statements gone?");
        files
    }

    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let is_header = |line: &&str| line.starts_with("--");
        let header = text.lines().take_while(is_header);
        let body: Vec<&str> = text.lines().skip_while(is_header).collect();
        Self {
            name: path.strip_prefix("src").unwrap().display().to_string(),
            header: header
                .map(|line| line.trim_start_matches("--").trim().to_owned())
                .collect(),
            body: body.join("\n"),
        }
    }

    /// The header, told apart.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.header.iter().map(|line| {
            if let Some(rest) = line.strip_prefix('$') {
                let mut words = rest.split(' ');
                let number = words.next().and_then(|n| n.parse().ok());
                let (Some(number), Some(kind), Some(_)) = (number, words.next(), words.next())
                else {
                    panic!("{}: a bind is `$n type name`, not `{line}`", self.name);
                };
                Line::Bind(number, kind)
            } else if line.starts_with("returns ") {
                Line::Returns
            } else if let Some(role) = line.strip_prefix("role: ") {
                Line::Role(role)
            } else if let Some(uses) = line.strip_prefix("uses: ") {
                Line::Uses(uses.split(' ').collect())
            } else {
                Line::Prose(line)
            }
        })
    }

    /// The types of the binds, in their order.
    pub fn types(&self) -> Vec<&str> {
        self.lines()
            .filter_map(|line| match line {
                Line::Bind(_, kind) => Some(kind),
                _ => None,
            })
            .collect()
    }

    /// Who runs it.
    pub fn role(&self) -> &str {
        let roles = self.lines().find_map(|line| match line {
            Line::Role(role) => Some(role),
            _ => None,
        });
        roles.unwrap_or_else(|| panic!("{} has no line `-- role: …`", self.name))
    }

    /// The indexes without which it would be slow.
    pub fn uses(&self) -> Vec<&str> {
        self.lines()
            .filter_map(|line| match line {
                Line::Uses(uses) => Some(uses),
                _ => None,
            })
            .flatten()
            .collect()
    }
}

/// Lists every file below a folder, but not what cargo builds in the `target` of a crate there.
pub fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.ends_with("target") {
            walk(&path, into);
        } else if path.is_file() {
            into.push(path);
        }
    }
}
