//! The console's files, as a server sends them. The pages themselves are tested in a browser: `scripts/console-test.sh`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use foldlog::http::{Auth, with_console};
use reqwest::{Client, Method, Response};

use crate::sql::file::walk;
use crate::support::app::{App, send};

async fn serve() -> App {
    App::with_layers(Auth::None, with_console).await
}

/// The files that `local` has to serve, by the path below `/-/`: those of `console/`, except its tests and types.
fn files() -> BTreeSet<String> {
    let mut paths: Vec<PathBuf> = Vec::new();
    walk(Path::new("console"), &mut paths);
    let names = paths
        .iter()
        .map(|path| path.strip_prefix("console").unwrap().to_str().unwrap());
    names
        .filter(|name| !name.starts_with("test/") && !name.ends_with(".d.ts"))
        .map(ToOwned::to_owned)
        .collect()
}

async fn get(app: &App, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Client::new().get(format!("{}{path}", app.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

// Fails when a file of the folder is not part of the program, has another content, or lacks one of the headers that keep foreign
// content out of the page.
#[tokio::test]
async fn the_console_serves_every_file_of_its_folder_with_its_type_and_policy() {
    let app = serve().await;
    for name in files() {
        let response = get(&app, &format!("/-/{name}"), &[]).await;
        assert_eq!(response.status(), 200, "{name}");
        let wanted = match name.rsplit('.').next().unwrap() {
            "css" => "text/css; charset=utf-8",
            "html" => "text/html; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "json" => "application/json",
            "svg" => "image/svg+xml",
            _ => "text/plain; charset=utf-8",
        };
        assert_eq!(header(&response, "content-type"), wanted, "{name}");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(header(&response, "referrer-policy"), "no-referrer");
        let policy = header(&response, "content-security-policy");
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types lit-html",
        ] {
            assert!(
                policy.split("; ").any(|given| given == directive),
                "{policy}"
            );
        }
        let served = response.bytes().await.unwrap();
        let stored = std::fs::read(Path::new("console").join(&name)).unwrap();
        assert_eq!(served, stored, "{name}");
    }
}

// Fails when a browser has to load an unchanged file again, or keeps an old one after a new build.
#[tokio::test]
async fn a_file_of_the_console_is_revalidated_by_its_etag() {
    let app = serve().await;
    let path = "/-/vendor/lit-html.js";
    let first = get(&app, path, &[]).await;
    assert_eq!(header(&first, "cache-control"), "no-cache");
    let tag = header(&first, "etag").to_owned();
    assert!(tag.len() > 2, "{tag}");
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}")] {
        let again = get(&app, path, &[("if-none-match", &known)]).await;
        assert_eq!(
            (again.status().as_u16(), header(&again, "etag")),
            (304, &*tag)
        );
    }
    let other = get(&app, path, &[("if-none-match", "\"other\"")]).await;
    assert_eq!(other.status(), 200);
    let license = get(&app, "/-/vendor/lit-html.LICENSE", &[]).await;
    assert_ne!(header(&license, "etag"), tag);
}

// Fails when a program that asks the API for `/` or for an unknown file gets a page instead of a problem, or when the console hides
// a route of the API.
#[tokio::test]
async fn clients_of_the_api_get_problems_and_rows_beside_the_console() {
    let app = serve().await;
    for accept in ["*/*", "application/json", "application/json, */*;q=0.5"] {
        let request = app.request(Method::GET, "/").header("accept", accept);
        send(request).await.problem(404, "no-such-route");
    }
    let unknown = app.request(Method::GET, "/-/nothing.js");
    send(unknown).await.problem(404, "no-such-route");
    for path in ["/-/..%2fCargo.toml", "/-/%ff"] {
        let other = app.request(Method::GET, path);
        send(other).await.problem(404, "no-such-route");
    }
    let varies = get(&app, "/", &[]).await;
    assert_eq!(header(&varies, "vary"), "accept");
    let sent = app.request(Method::POST, "/").json(&0);
    send(sent).await.problem(404, "no-such-route");
    assert_eq!(app.read("/users").await.status, 200);
    assert_eq!(app.read("/health").await.status, 200);
}

// Fails when the policy that the program sends differs from that of the deployment on AWS, or of the guide for other servers.
#[tokio::test]
async fn other_servers_of_the_console_are_told_the_same_policy() {
    let app = serve().await;
    let response = get(&app, "/-/app.js", &[]).await;
    let policy = header(&response, "content-security-policy");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for path in ["template.yaml", "docs/CONSOLE.md"] {
        let text = std::fs::read_to_string(path).unwrap();
        let text = words(&text.replace(" ${ConsoleConnect};", ";"));
        assert!(text.contains(policy), "{path} has another policy");
    }
}

// Fails when a browser that asks for `/` gets no page, or one that a shared cache would send to programs.
#[tokio::test]
async fn browsers_get_the_console_at_the_root() {
    let app = serve().await;
    for accept in [
        "text/html",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ] {
        let response = get(&app, "/", &[("accept", accept)]).await;
        assert_eq!(response.status(), 200);
        assert_eq!(
            header(&response, "content-type"),
            "text/html; charset=utf-8"
        );
        assert_eq!(header(&response, "vary"), "accept");
        assert!(!header(&response, "x-request-id").is_empty());
        let page = response.text().await.unwrap();
        assert!(page.contains("src=\"-/app.js\""), "{page}");
    }
}
