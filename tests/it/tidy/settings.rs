//! Environment variables: `.env.example`, the README and `compose.yaml` must agree with the code.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use foldlog::config::{Config, DatabaseLogin, Environment};

use super::{files, read};

/// Fails when the code reads an undocumented variable, or a documented one is never read.
#[test]
fn every_environment_variable_is_documented() {
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

/// Fails when a default in `.env.example` differs from the code's.
#[test]
fn env_example_contains_the_defaults() {
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
    assert_eq!(
        set.append.state_cache_bytes,
        default.append.state_cache_bytes
    );
    assert_eq!(set.projection.inline, default.projection.inline);
    assert_eq!(set.projection.after_append, default.projection.after_append);
    assert_eq!(set.http.cors_origins, default.http.cors_origins);
    assert_eq!(set.http.auth, default.http.auth);
    assert_eq!(set.console, default.console);
    let Some(DatabaseLogin::Url(url)) = set.database.login else {
        panic!("it names a database")
    };
    assert!(
        example.contains(&format!("\nDATABASE_URL={}\n", url.expose())),
        "DATABASE_URL is the only variable that is not commented out"
    );
    let on = example
        .lines()
        .filter(|line| variable(line).is_some() && !line.starts_with('#'));
    assert_eq!(on.count(), 1);
}

/// Fails when `compose.yaml` serves another database than `.env.example` names, or when its image is not pinned.
#[test]
fn compose_serves_the_database_of_env_example() {
    let (compose, example) = (
        read(Path::new("compose.yaml")),
        read(Path::new(".env.example")),
    );
    let setting = |name: &str| {
        let line = compose
            .lines()
            .find_map(|line| line.trim().strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("compose.yaml does not set {name}"))
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
        "listen on port 5434 of the loopback interface only"
    );
    let image = setting("image");
    let tag = image.strip_prefix("postgres:").unwrap();
    assert!(
        tag.starts_with("18.") && tag.len() > 3,
        "pin the image to a minor version, not {image}"
    );
    assert!(compose.contains("healthcheck:") && compose.contains("pg_isready"));
    // Since version 18 the image keeps its data in a folder per major version below this one.
    assert!(
        compose.contains("data:/var/lib/postgresql\n"),
        "mount a volume at the image's data folder"
    );
}

/// Fails when Docker rejects the file. On a machine without Docker only the test above checks it.
#[test]
fn docker_accepts_the_compose_file() {
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

/// The variable that a line of `.env.example` sets, or would set if it were not commented out.
fn variable(line: &str) -> Option<String> {
    let (name, _) = line.trim_start_matches('#').split_once('=')?;
    is_variable(name).then(|| name.to_owned())
}

pub(super) fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// Every variable that the code looks up, and `RUST_LOG`, which the logging crate reads.
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
    // Every Unix session sets the first four. The last one is for tests, and described in CONTRIBUTING.md.
    for given in ["HOME", "PATH", "USER", "XDG_DATA_HOME", "TEST_DATABASE_URL"] {
        names.remove(given);
    }
    names
}
