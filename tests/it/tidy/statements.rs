//! SQL files: one statement each, with a header that says what it does, its binds, what it returns, and which role runs it.

use std::collections::BTreeSet;
use std::path::Path;

use super::{files, read};
use crate::sql::file::{Line, SqlFile};

const ROLES: [&str; 5] = [
    "foldlog_command",
    "foldlog_command_inline",
    "foldlog_query",
    "foldlog_projection",
    "owner",
];

/// Fails when a header lacks its sentence or its role, or when its binds are not those of the statement. (`tests/it/sql` checks
/// on a real Postgres that the types are right and the role has the privileges.)
#[test]
fn every_sql_file_has_a_header() {
    for file in SqlFile::all() {
        let name = &file.name;
        let (mut prose, mut binds, mut roles) = (String::new(), Vec::new(), 0);
        for line in file.lines() {
            match line {
                Line::Prose(text) => {
                    assert!(
                        binds.is_empty() && roles == 0,
                        "{name}: sentences come first: {text}"
                    );
                    prose.push_str(text);
                }
                Line::Bind(number, _) => binds.push(number),
                Line::Role(role) => {
                    roles += 1;
                    assert!(ROLES.contains(&role), "{name}: there is no role {role}");
                }
                Line::Returns | Line::Uses(_) => {}
            }
        }
        assert!(
            prose.starts_with(|c: char| c.is_uppercase()),
            "{name}: begin with a sentence"
        );
        assert!(prose.contains(['.', ':']), "{name}: begin with a sentence");
        assert_eq!(roles, 1, "{name}: say who runs it, once: -- role: …");
        let used: BTreeSet<u32> = parameters(&file.body);
        assert_eq!(
            binds,
            used.into_iter().collect::<Vec<_>>(),
            "{name}: the header's binds"
        );
    }
}

/// Fails when Rust reads rows but the header has no line `returns`, or the other way round.
#[test]
fn sql_headers_say_whether_rows_are_returned() {
    let code: Vec<(std::path::PathBuf, String)> = files("src", "rs")
        .into_iter()
        .map(|p| (p.clone(), read(&p)))
        .collect();
    for file in &SqlFile::all() {
        let path = Path::new("src").join(&file.name);
        let includes = |(from, text): &(std::path::PathBuf, String)| {
            let folder = from.parent().unwrap();
            let below = path
                .strip_prefix(folder)
                .map(|name| name.display().to_string());
            let beside = path.strip_prefix(folder.parent().unwrap());
            let relative = below.or_else(|_| beside.map(|name| format!("../{}", name.display())));
            let at = text.find(&format!("include_str!(\"{}\")", relative.ok()?))?;
            let (fetch, execute) = (text[at..].find(".fetch"), text[at..].find(".execute("));
            Some(fetch.unwrap_or(usize::MAX) < execute.unwrap_or(usize::MAX))
        };
        let read = code.iter().find_map(includes);
        let read = read.unwrap_or_else(|| panic!("{}: nothing runs it", file.name));
        let says = file.lines().any(|line| matches!(line, Line::Returns));
        assert_eq!(
            says, read,
            "{}: a line `-- returns …` where rows are read, and only there",
            file.name
        );
    }
}

/// Fails when the two statements that append groups differ in how they insert: one of them would break the rules of versions or of
/// transaction ids.
#[test]
fn groups_are_appended_by_the_same_insert_with_and_without_an_inline_fold() {
    let insert = |name: &str| -> Vec<String> {
        let text = read(&Path::new("src").join(name));
        let lines = text.lines().map(str::trim);
        let insert = lines.skip_while(|line| !line.starts_with("insert into"));
        let insert = insert.take_while(|line| *line != "on conflict do nothing");
        insert.map(str::to_owned).collect()
    };
    let appended = insert("store/group/sql/append_group.sql");
    assert!(appended.len() > 20);
    assert_eq!(
        appended,
        insert("projection/inline/sql/append_and_read.sql")
    );
    // This one checks more than the others, so the text of its insert differs.
    let known = read(Path::new("src/projection/inline/sql/append_known.sql"));
    let known: Vec<&str> = known.lines().map(str::trim).collect();
    let conditions = appended
        .iter()
        .skip_while(|line| !line.starts_with("left join lateral"));
    for line in conditions {
        assert!(known.contains(&line.as_str()), "append_known.sql: {line}");
    }
}

/// Fails when a file has a second statement, keywords in upper case, or a `select *`, whose result changes with every new column.
#[test]
fn sql_statements_are_lower_case_and_list_their_columns() {
    let keywords = [
        "SELECT", "FROM", "WHERE", "INSERT", "INTO", "UPDATE", "DELETE", "JOIN", "ORDER", "LIMIT",
        "VALUES",
    ];
    for file in SqlFile::all() {
        let (name, body) = (&file.name, &file.body);
        assert!(
            !body.contains(';'),
            "{name}: one statement a file, without a semicolon"
        );
        assert!(!body.contains("select *"), "{name}: name the columns");
        let upper = body.split_whitespace().find(|word| keywords.contains(word));
        assert!(
            upper.is_none(),
            "{name}: keywords are in lower case: {upper:?}"
        );
    }
}

/// Fails when a migration cannot be reverted or does not say what it adds and why.
#[test]
fn every_up_migration_has_a_down_migration() {
    let ups: Vec<_> = files("migrations", "sql");
    assert!(ups.len() >= 12);
    for path in ups {
        let name = path.file_name().unwrap().to_str().unwrap();
        let other = match name.strip_suffix(".up.sql") {
            Some(stem) => {
                assert!(
                    read(&path).starts_with("-- "),
                    "{name}: say what it adds, and why"
                );
                format!("{stem}.down.sql")
            }
            None => name.replace(".down.sql", ".up.sql"),
        };
        assert!(
            path.with_file_name(&other).is_file(),
            "{name} has no {other}"
        );
    }
}

/// The numbers of the parameters in a statement.
fn parameters(sql: &str) -> BTreeSet<u32> {
    let digits = |rest: &str| {
        rest.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    };
    sql.split('$')
        .skip(1)
        .filter_map(|rest| digits(rest).parse().ok())
        .collect()
}
