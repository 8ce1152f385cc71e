//! The environment, as the code reads it, as `.env.example` and the README list it, and as `compose.yaml` serves it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use foldlog::config::{Config, DatabaseLogin, Environment};

use super::{files, read};

/// Fails when a variable is read that nobody is told of, or told of that nobody reads.
#[test]
fn every_variable_is_documented() {
    let example = read(Path::new(".env.example"));
    let in_example: BTreeSet<String> = example.lines().filter_map(variable).collect();
    assert_eq!(in_example, in_code(), ".env.example against the code");
    let readme = read(Path::new("README.md"));
    let (_, environment) = readme.split_once("\n## Environment").unwrap();
    let environment = environment.split("\n## ").next().unwrap();
    let rows = environment
        .lines()
        .filter_map(|line| line.strip_prefix("| `"));
    let in_readme: BTreeSet<String> = rows
        .map(|row| row.split('`').next().unwrap().to_owned())
        .collect();
    assert_eq!(in_readme, in_code(), "README.md against the code");
}

/// Fails when a default in `.env.example` is another one than the code's.
#[test]
fn the_example_environment_holds_the_defaults() {
    let example = read(Path::new(".env.example"));
    let value = |name: &str| {
        let line = example
            .lines()
            .find(|line| variable(line).is_some_and(|v| v == name));
        line.and_then(|line| line.split_once('='))
            .map(|(_, value)| value.to_owned())
    };
    let (mut empty, mut example_env) = (Environment::new(|_| None), Environment::new(value));
    let (default, set) = (Config::read(&mut empty), Config::read(&mut example_env));
    empty.finish(()).unwrap();
    example_env.finish(()).unwrap();
    assert_eq!(set.http.listen, default.http.listen);
    assert_eq!(set.projection.batch_size, default.projection.batch_size);
    assert_eq!(set.projection.inline, default.projection.inline);
    assert_eq!(set.projection.after_append, default.projection.after_append);
    assert_eq!(set.http.cors_origins, default.http.cors_origins);
    assert_eq!(set.http.auth, default.http.auth);
    let Some(DatabaseLogin::Url(url)) = set.database.login else {
        panic!("it names a database")
    };
    assert!(
        example.contains(&format!("\nDATABASE_URL={}\n", url.expose())),
        "the only one that is switched on"
    );
    let on = example
        .lines()
        .filter(|line| variable(line).is_some() && !line.starts_with('#'));
    assert_eq!(on.count(), 1);
}

/// Fails when `compose.yaml` serves another database than `.env.example` names, or an image that may change by itself.
#[test]
fn compose_serves_the_database_of_the_example_environment() {
    let (compose, example) = (
        read(Path::new("compose.yaml")),
        read(Path::new(".env.example")),
    );
    let setting = |name: &str| {
        let line = compose
            .lines()
            .find_map(|line| line.trim().strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("compose.yaml says no {name}"))
            .to_owned()
    };
    let url = format!(
        "\nDATABASE_URL=postgres://{}:{}@127.0.0.1:5434/{}\n",
        setting("POSTGRES_USER"),
        setting("POSTGRES_PASSWORD"),
        setting("POSTGRES_DB")
    );
    assert!(example.contains(&url), "{url}");
    assert!(
        compose.contains("\"127.0.0.1:5434:5432\""),
        "open to this machine only, on port 5434"
    );
    let image = setting("image");
    let tag = image.strip_prefix("postgres:").unwrap();
    assert!(
        tag.starts_with("18.") && tag.len() > 3,
        "pin the image to a minor version, not {image}"
    );
    assert!(compose.contains("healthcheck:") && compose.contains("pg_isready"));
    // From 18 on the image keeps its data in a folder of its major version below this one.
    assert!(
        compose.contains("data:/var/lib/postgresql\n"),
        "a volume where the image's data is"
    );
}

/// Fails when Docker does not understand the file. Where there is no Docker the test above is all there is.
#[test]
fn compose_is_understood_by_docker() {
    let docker = |arguments: &[&str]| Command::new("docker").args(arguments).output();
    if !docker(&["compose", "version"]).is_ok_and(|output| output.status.success()) {
        return;
    }
    let config = docker(&["compose", "config", "--quiet"]).unwrap();
    assert!(
        config.status.success(),
        "{}",
        String::from_utf8_lossy(&config.stderr)
    );
}

/// The variable that a line of `.env.example` sets or would set.
fn variable(line: &str) -> Option<String> {
    let (name, _) = line.trim_start_matches('#').split_once('=')?;
    is_variable(name).then(|| name.to_owned())
}

pub(super) fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// Every name in upper case that the code looks up, and `RUST_LOG`, which the log reads by itself.
pub(super) fn in_code() -> BTreeSet<String> {
    let mut names = BTreeSet::from(["RUST_LOG".to_owned()]);
    for path in files("src", "rs") {
        let text = read(&path);
        let code = text.split("#[cfg(test)]").next().unwrap();
        for call in [
            "get(\"",
            "set(\"",
            "list(\"",
            "parse(\"",
            "choice(\"",
            "var(\"",
            "var_os(\"",
        ] {
            let found = code.split(call).skip(1);
            let found = found.map(|rest| rest.split('"').next().unwrap());
            names.extend(
                found
                    .filter(|name| is_variable(name))
                    .map(ToOwned::to_owned),
            );
        }
    }
    // What every Unix program is told by its surroundings is nothing to be set for us.
    for given in ["HOME", "PATH", "USER", "XDG_DATA_HOME"] {
        names.remove(given);
    }
    names
}
