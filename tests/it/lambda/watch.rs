//! `cargo lambda watch` sends a request to the function that the gateway would send it to.

use std::path::Path;

use crate::tidy::read;

/// The routes of the code: path, method, function.
fn routes() -> Vec<(String, &'static str, &'static str)> {
    let code = read(Path::new("src/http/mod.rs"));
    let mut routes = Vec::new();
    for (list, function) in [("COMMANDS", "command"), ("QUERIES", "query")] {
        let (_, rows) = code.split_once(&format!("const {list}: ")).unwrap();
        let rows = rows.split("];").next().unwrap();
        for row in rows.lines().filter(|row| row.contains("HttpMethod::")) {
            let path = row.split('"').nth(1).unwrap().to_owned();
            let method = if row.contains("::Get,") {
                "GET"
            } else {
                "POST"
            };
            routes.push((path, method, function));
        }
    }
    routes
}

/// The rows of the router in `Cargo.toml`: path, and which function has which method.
fn rows() -> Vec<(String, String)> {
    let manifest = read(Path::new("Cargo.toml"));
    let (_, section) = manifest
        .split_once("[package.metadata.lambda.watch.router]\n")
        .unwrap();
    let rows = section.lines().take_while(|line| line.starts_with('"'));
    let rows = rows.map(|row| row.split_once(" = ").unwrap());
    rows.map(|(path, to)| (path.trim_matches('"').to_owned(), to.to_owned()))
        .collect()
}

/// Whether a row is about a path; `{name}` is about any part.
fn is_about(row: &str, path: &str) -> bool {
    let (row, path): (Vec<_>, Vec<_>) = (row.split('/').collect(), path.split('/').collect());
    let parts = row.iter().zip(&path);
    row.len() == path.len()
        && parts
            .into_iter()
            .all(|(row, path)| row == path || row.starts_with('{'))
}

/// Fails when a route is added that `cargo lambda watch` does not serve, or serves by another function.
#[test]
fn the_watched_router_knows_every_route() {
    let (routes, rows) = (routes(), rows());
    assert!(routes.len() >= 5 && rows.len() >= 4, "{routes:?} {rows:?}");
    for (path, method, function) in routes {
        // A fixed path comes before a pattern.
        let exact = rows.iter().find(|(row, _)| *row == path);
        let row = exact.or_else(|| rows.iter().find(|(row, _)| is_about(row, &path)));
        let expected = format!("{{ function = \"{function}\", method = \"{method}\" }}");
        let serves = row.is_some_and(|(_, to)| to.contains(&expected));
        assert!(
            serves,
            "{method} {path}: no row of the router in Cargo.toml says {expected}"
        );
    }
}
