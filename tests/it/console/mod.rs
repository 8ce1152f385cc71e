//! The console's files, as a server sends them. The pages themselves are tested in a browser: `scripts/console-test.sh`.

mod page;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use foldlog::config::{Config, ConsoleConfig, Environment};
use foldlog::http::{Auth, with_base_path, with_console};
use reqwest::{Client, Method, Response, redirect};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::sql::file::walk;
use crate::support::app::{App, send};

async fn serve() -> App {
    serve_with(&[]).await
}

/// A server with these variables of the environment.
async fn serve_with(variables: &[(&str, &str)]) -> App {
    let console = settings(variables);
    App::with_layers(Auth::None, |api| with_console(api, &console)).await
}

fn settings(variables: &[(&str, &str)]) -> ConsoleConfig {
    let mut env = Environment::new(|name| {
        let found = variables.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| (*value).to_owned())
    });
    let config = Config::read(&mut env);
    env.finish(config).unwrap().console
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
    for accept in [
        "*/*",
        "application/json",
        "application/json, */*;q=0.5",
        "text/html;q=0, */*",
        "text/html; q=0.000",
        "application/json, text/html;q=0.9",
        "application/problem+json, text/html;Q=0.1",
    ] {
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

// Fails when a browser that asks for `/` gets no page, or one that a shared cache would send to programs, or one that has to ask for
// more than its script before it asks for data.
#[tokio::test]
async fn browsers_get_the_console_at_the_root() {
    let app = serve().await;
    for accept in [
        "text/html",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "Text/HTML;charset=utf-8;q=0.1",
        "text/html, application/json;q=0.5",
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
        assert_eq!(page.matches("=\"-/").count(), 1, "{page}");
        assert!(page.contains("src=\"-/console.js\""), "{page}");
        let served = served(&page);
        assert_eq!(served["config"], json!({"read_only": false}));
        assert_eq!(served["document"], app.read("/openapi.json").await.body);
    }
}

/// What the page has instead of asking for it.
fn served(page: &str) -> Value {
    let (_, data) = page.split_once("id=\"served\">").unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    serde_json::from_str(data).unwrap()
}

// Fails when the script is not the console's modules, has their comments, or cannot be revalidated.
#[tokio::test]
async fn the_script_joins_the_modules_without_their_comments() {
    let app = serve().await;
    let response = get(&app, "/-/console.js", &[]).await;
    assert_eq!(
        header(&response, "content-type"),
        "text/javascript; charset=utf-8"
    );
    let tag = header(&response, "etag").to_owned();
    let script = response.text().await.unwrap();
    for name in files().iter().filter(|name| name.starts_with("pages/")) {
        let text = std::fs::read_to_string(Path::new("console").join(name)).unwrap();
        let name = name.strip_suffix(".js").unwrap().replace('/', "_");
        assert!(script.contains(&format!("const ${name} = ")), "{name}");
        let first = text.lines().find(|line| line.starts_with("/**")).unwrap();
        assert!(first.len() < 4 || !script.contains(first), "{first}");
    }
    assert!(script.contains("import(\"./parts/oidc.js\")"));
    assert!(!script.contains("\nimport ") && !script.contains("\nexport "));
    let again = get(&app, "/-/console.js", &[("if-none-match", &tag)]).await;
    assert_eq!(again.status(), 304);
}

fn created() -> Value {
    let id = Uuid::now_v7();
    json!([{"id": Uuid::now_v7(), "aggregate_id": id, "type_id": 1000,
        "payload": {"id": id, "username": id, "email": format!("{id}@example.org")}}])
}

// Fails when a page of a console that only reads can write, or when a program cannot.
#[tokio::test]
async fn a_console_that_reads_is_refused_what_it_would_write() {
    let app = serve_with(&[("CONSOLE", "read")]).await;
    let page = get(&app, "/", &[("accept", "text/html")]).await;
    assert_eq!(
        served(&page.text().await.unwrap())["config"],
        json!({"read_only": true})
    );
    let own = app.url.as_str();
    for (name, value) in [
        ("origin", own),
        ("origin", &own.to_uppercase()),
        ("sec-fetch-site", "same-origin"),
    ] {
        for (method, path) in [
            (Method::POST, "/users"),
            (Method::POST, "/projections"),
            (Method::DELETE, "/users"),
        ] {
            let sent = app
                .request(method, path)
                .header(name, value)
                .json(&created());
            let refused = sent.send().await.unwrap();
            assert_eq!(refused.status(), 403);
            assert!(!header(&refused, "x-request-id").is_empty());
            let problem: Value = refused.json().await.unwrap();
            assert_eq!(problem["type"], "urn:foldlog:problem:read-only");
            assert!(problem["detail"].as_str().unwrap().contains("CONSOLE=read"));
        }
        let read = app.request(Method::GET, "/users").header(name, value);
        assert_eq!(send(read).await.status, 200);
    }
    assert_eq!(app.read("/users").await.body["result"], json!([]));
    for (name, value) in [
        ("accept", "*/*"),
        ("origin", "https://app.example.org"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let sent = app.request(Method::POST, "/users").header(name, value);
        assert_eq!(send(sent.json(&created())).await.status, 201);
    }
}

// Fails when a server without a console sends a page.
#[tokio::test]
async fn a_server_without_a_console_answers_as_the_api_does() {
    let app = serve_with(&[("CONSOLE", "off")]).await;
    for path in ["/", "/-/console.js"] {
        let request = app.request(Method::GET, path).header("accept", "text/html");
        send(request).await.problem(404, "no-such-route");
    }
    assert_eq!(app.read("/users").await.status, 200);
}

// Fails when the page does not learn its issuer, or when its policy forbids to call it, or allows more.
#[tokio::test]
async fn the_issuer_of_the_settings_is_in_the_page_and_in_its_policy() {
    let app = serve_with(&[
        ("CONSOLE_ISSUER", "https://login.example.org/tenant"),
        ("CONSOLE_CLIENT_ID", "console"),
        ("CONSOLE_AUDIENCE", "foldlog"),
        ("CONSOLE_CONNECT", "https://token.example.org"),
    ])
    .await;
    for path in ["/", "/-/parts/oidc.js"] {
        let response = get(&app, path, &[("accept", "text/html")]).await;
        let policy = header(&response, "content-security-policy").to_owned();
        let wanted = "connect-src 'self' https://login.example.org https://token.example.org";
        assert!(policy.split("; ").any(|given| given == wanted), "{policy}");
        if path == "/" {
            let wanted = json!({"read_only": false, "issuer": "https://login.example.org/tenant", "client_id": "console",
                "audience": "foldlog"});
            assert_eq!(served(&response.text().await.unwrap())["config"], wanted);
        }
    }
}

// Fails when a browser takes the folder above the console for its address, so that its script is not found.
#[tokio::test]
async fn a_base_path_without_a_slash_leads_browsers_to_the_one_with_it() {
    let app = App::with_layers(Auth::None, |api| {
        with_base_path(with_console(api, &ConsoleConfig::default()), Some("/v1"))
    })
    .await;
    let client = Client::builder().redirect(redirect::Policy::none());
    let client = client.build().unwrap();
    for (path, wanted) in [
        ("/v1", "/v1/"),
        ("/v1?code=1&state=2", "/v1/?code=1&state=2"),
    ] {
        let request = client.get(format!("{}{path}", app.url));
        let response = request.header("accept", "text/html").send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), header(&response, "location")),
            (308, wanted)
        );
        assert_eq!(header(&response, "vary"), "accept");
    }
    for path in ["/v1/", "/"] {
        let response = get(&app, path, &[("accept", "text/html")]).await;
        assert_eq!(response.status(), 200, "{path}");
    }
    assert_eq!(get(&app, "/v1/-/console.js", &[]).await.status(), 200);
    let program = app.request(Method::GET, "/v1");
    send(program).await.problem(404, "no-such-route");
}
