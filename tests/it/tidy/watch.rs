//! `cargo lambda watch` sends a request to the function that the gateway would send it to.

use std::path::Path;

use super::read;

/// A row of the table in `src/http/routes/mod.rs`.
#[derive(Debug)]
pub struct Route {
    pub path: String,
    pub method: &'static str,
    pub function: &'static str,
    pub is_public: bool,
}

/// The table of routes, read from the source.
pub fn routes() -> Vec<Route> {
    let code = read(Path::new("src/http/routes/mod.rs"));
    let (_, table) = code.split_once("const ROUTES: ").unwrap();
    let table = table.split("\n];").next().unwrap();
    let blocks = table.split("Route {").skip(1);
    blocks
        .map(|block| Route {
            path: block.split('"').nth(1).unwrap().to_owned(),
            method: if block.contains("Method::Get,") {
                "GET"
            } else {
                "POST"
            },
            function: if block.contains("Side::Query,") {
                "query"
            } else {
                "command"
            },
            is_public: block.contains("Access::Public,"),
        })
        .collect()
}

/// The rows of the router in `Cargo.toml`: path, and which function has which method.
fn rows() -> Vec<(String, String)> {
    let manifest = read(Path::new("Cargo.toml"));
    let (_, section) = manifest
        .split_once("[workspace.metadata.lambda.watch.router]\n")
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
fn the_cargo_lambda_watch_router_has_every_route() {
    let (routes, rows) = (routes(), rows());
    assert!(routes.len() >= 5 && rows.len() >= 4, "{routes:?} {rows:?}");
    for route in routes {
        let (path, method, function) = (route.path, route.method, route.function);
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
