//! A client cannot tell a function behind a gateway from a server on a socket.

use axum::Router;
use foldlog::Foldlog;
use foldlog::domains;
use foldlog::http::{self, AppState, Auth, Operations};
use foldlog::view::Inline;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::function::{COMMAND, Function, QUERY};
use super::wire::{GATEWAYS, Gateway, Heard, Request};
use crate::support::TestDb;
use crate::support::app::ORIGIN;
use crate::support::events::append;
use crate::support::json::{created, renamed};

/// The router on a socket, over the domains that the functions serve; where it listens.
pub async fn served(db: &TestDb, router: fn(AppState) -> Router) -> String {
    let foldlog = Foldlog::new(db.pool().clone(), domains::ALL, Inline::new()).unwrap();
    let state = AppState {
        foldlog,
        cors_origins: [ORIGIN.to_owned()].into(),
        auth: Auth::None,
        operations: Operations::None,
    };
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(socket, router(state)).await.unwrap() });
    address
}

/// Compares the answers to a request, through every gateway that can express it.
pub async fn assert_all_alike(request: &Request, address: &str, function: &Function) -> Heard {
    let expected = request.over_a_socket(address).await;
    for gateway in GATEWAYS
        .into_iter()
        .filter(|gateway| request.fits(*gateway))
    {
        let answer = function.invoke(&request.event(gateway)).await;
        let heard = Heard::through(gateway, &answer);
        assert_eq!(heard, expected, "{gateway:?}: {request:?}");
    }
    expected
}

fn reads(user: Uuid) -> Vec<(u64, Request)> {
    let get = |path: &str| Request::new("GET", path);
    let one = || get(&format!("/users/{user}"));
    vec![
        (200, get("/users")),
        (200, get("/users").asking("limit=1")),
        (200, get("/users").asking("username=a%26b%3D+%2B%25%C3%A4")),
        (200, get("/users").asking("username=nobody&limit=3")),
        (200, get("/users").with_header("origin", ORIGIN)),
        (400, get("/users").asking("limit=1&limit=2")),
        (400, get("/users").asking("limit=0")),
        (400, get("/users").asking("after=x%26y")),
        (400, get("/users").asking("nothing")),
        (200, get("/health")),
        (200, one()),
        (200, one().with_header("if-none-match", "\"1\"")),
        (304, one().with_header("if-none-match", "\"7\", W/\"2\"")),
        (
            304,
            one()
                .with_header("if-none-match", "\"2\"")
                .with_header("if-none-match", "\"7\""),
        ),
        (200, one().asking("consistency=strong&min_version=2")),
        (404, get(&format!("/users/{}", Uuid::nil()))),
        (400, get("/users/%C3%A4%20b")),
        (400, get("/users/..")),
        (400, get("/users/.%2E")),
        (404, get("/nobody")),
        (404, get("/prod/users/x/y")),
        (404, get("/")),
        (404, get("//users")),
        (405, Request::new("DELETE", "/users")),
        (200, Request::new("HEAD", "/users")),
        (
            200,
            Request::new("OPTIONS", "/users")
                .with_header("origin", ORIGIN)
                .with_header("access-control-request-method", "POST"),
        ),
    ]
}

fn appends(stored: &Value) -> Vec<(u64, Request)> {
    let post = |path: &str| Request::new("POST", path);
    let json = |path: &str| post(path).with_header("content-type", "application/json");
    let mut other = stored.clone();
    other["payload"]["username"] = json!("someone else");
    let refused = created(
        stored["aggregate_id"].as_str().unwrap().parse().unwrap(),
        "ada",
    );
    vec![
        (200, json("/users").sending(stored.to_string())),
        (200, json("/events").sending(json!([stored]).to_string())),
        (
            200,
            json("/users")
                .with_header("if-none-match", "*")
                .sending(stored.to_string()),
        ),
        (409, json("/users").sending(other.to_string())),
        (409, json("/users").sending(refused.to_string())),
        (
            412,
            json("/users")
                .with_header("if-match", "\"9\"")
                .sending(refused.to_string()),
        ),
        (
            412,
            json("/users")
                .with_header("if-match", "\"8\"")
                .with_header("if-match", "\"9\"")
                .sending(refused.to_string()),
        ),
        (
            400,
            json("/users").asking("dry=1").sending(refused.to_string()),
        ),
        (400, json("/users").sending("{")),
        (400, json("/users")),
        (400, json("/users").sending(*b"{\"id\": \"\xff\xfe\"}")),
        (413, json("/users").sending(vec![b' '; 1024 * 1024 + 1])),
        (415, post("/users").sending(stored.to_string())),
        (
            415,
            post("/users")
                .with_header("content-type", "text/plain")
                .sending("ä"),
        ),
        (404, json("/nobody").sending(stored.to_string())),
        (405, Request::new("GET", "/users")),
    ]
}

/// Fails when a stage, a base64 body, a value that came twice, an escaped character or a type of answer is read or written
/// another way by one of the gateways.
#[tokio::test]
async fn responses_are_equal_on_a_socket_and_through_every_gateway() {
    let db = TestDb::new().await;
    let (user, origins) = (Uuid::now_v7(), [("CORS_ORIGINS", ORIGIN)]);
    let name = "a&b= +%ä";
    append(&db.foldlog, &[crate::support::created(user, "ada")]).await;
    append(&db.foldlog, &[crate::support::renamed(user, name)]).await;
    append(
        &db.foldlog,
        &[crate::support::created(Uuid::now_v7(), "bob \"b\"")],
    )
    .await;
    db.catch_up("users").await;

    let address = served(&db, http::query_router).await;
    let query = Function::start(&db.options, QUERY, &origins).await;
    for (status, request) in reads(user) {
        let heard = assert_all_alike(&request, &address, &query).await;
        assert_eq!(heard.status, status, "{request:?} {heard:?}");
        if request.query.starts_with("username=a") {
            assert!(heard.body.contains(&user.to_string()), "{heard:?}");
        }
    }
    query.end().await;

    let address = served(&db, http::command_router).await;
    let command = Function::start(&db.options, COMMAND, &origins).await;
    let event = created(Uuid::now_v7(), "eve ä");
    let first = Request::new("POST", "/users").with_header("content-type", "application/json");
    first
        .sending(event.to_string())
        .over_a_socket(&address)
        .await;
    for (status, request) in appends(&event) {
        let heard = assert_all_alike(&request, &address, &command).await;
        assert_eq!(heard.status, status, "{request:?} {heard:?}");
    }
    // What is stored for the first time has a position of its own, and is alike in all else.
    let mut answers = Vec::new();
    for gateway in GATEWAYS {
        let event = renamed(user, &format!("{gateway:?}"));
        let request =
            Request::new("POST", "/users").with_header("content-type", "application/json");
        let answer = command
            .invoke(&request.sending(event.to_string()).event(gateway))
            .await;
        let heard = Heard::through(gateway, &answer);
        let body: Value = serde_json::from_str(&heard.body).unwrap();
        let tag = format!("\"{}\"", body["version"]);
        assert!(
            heard.headers.contains(&("etag".to_owned(), tag)),
            "{heard:?}"
        );
        answers.push((heard.status, body["version"].as_i64().unwrap()));
    }
    let expected: Vec<_> = (3..)
        .take(GATEWAYS.len())
        .map(|version| (201, version))
        .collect();
    assert_eq!(answers, expected);
    command.end().await;
}

/// Fails when a function does not find what its gateway's authorizer has verified, takes a header for it, or serves who has
/// no token.
#[tokio::test]
async fn a_function_accepts_claims_verified_by_its_gateway() {
    let db = TestDb::new().await;
    let env = [
        ("AUTH", "jwt"),
        ("JWT_ISSUER", "https://issuer.example.org/"),
        ("JWT_AUDIENCE", "foldlog"),
    ];
    let command = Function::start(&db.options, COMMAND, &env).await;
    // As the gateways send them: all of it text.
    let claims = |scope: &str| {
        json!({"iss": "https://issuer.example.org/", "aud": "foldlog", "exp": "1700000000",
               "sub": "ada", "scope": scope})
    };
    let request = || {
        let event = created(Uuid::now_v7(), "ada");
        let request =
            Request::new("POST", "/users").with_header("content-type", "application/json");
        request.sending(event.to_string())
    };
    let mut stored = 0;
    for gateway in [
        Gateway::RestApi,
        Gateway::HttpApi,
        Gateway::HttpApiWithStage,
    ] {
        for (scope, status) in [("users:read users:write", 201), ("users:read", 403)] {
            let mut event = request().event(gateway);
            event["requestContext"]["authorizer"] = match gateway {
                Gateway::RestApi => json!({"claims": claims(scope)}),
                _ => json!({"jwt": {"claims": claims(scope), "scopes": null}}),
            };
            let heard = Heard::through(gateway, &command.invoke(&event).await);
            assert_eq!(heard.status, status, "{gateway:?}: {heard:?}");
            stored += i64::from(status == 201);
        }
    }
    for gateway in GATEWAYS {
        let word = json!({"authorizer": {"jwt": {"claims": claims("users:write")}}}).to_string();
        let request = request().with_header("x-amzn-request-context", word);
        let heard = Heard::through(gateway, &command.invoke(&request.event(gateway)).await);
        assert_eq!(heard.status, 401, "{gateway:?}: {heard:?}");
    }
    let signed = "select count(*) from events where metadata ->> 'actor' = 'ada'";
    assert_eq!(db.count(signed).await, stored);
    command.end().await;
}

/// The pages of a list, by their numbers of rows; checks that they contain each of `rows` rows once, and that no answer exceeds
/// `max_bytes`.
async fn pages(function: &Function, gateway: Gateway, max_bytes: usize) -> Vec<usize> {
    let (mut names, mut pages, mut query) = (Vec::new(), Vec::new(), "limit=1000".to_owned());
    loop {
        let request = Request::new("GET", "/users").asking(query.leak());
        let answer = function.invoke(&request.event(gateway)).await;
        assert!(answer.to_string().len() <= max_bytes, "{gateway:?}");
        let body: Value = serde_json::from_str(&Heard::through(gateway, &answer).body).unwrap();
        let rows = body["result"].as_array().unwrap();
        pages.push(rows.len());
        assert!(pages.len() <= 9, "{pages:?}");
        names.extend(
            rows.iter()
                .map(|row| row["username"].as_str().unwrap().to_owned()),
        );
        match body["next"].as_str() {
            Some(next) => query = format!("limit=1000&after={next}"),
            None => break,
        }
    }
    names.sort();
    let expected: Vec<_> = (1..=9).map(|n| format!("user {n}")).collect();
    assert_eq!(names, expected);
    pages
}

/// Fails when a page of large rows is larger than what Lambda or the gateway passes on, leaves a row out, or does not end; or
/// when a row that is too large by itself reaches the client as a 502 of the gateway.
#[tokio::test]
async fn a_page_of_large_rows_stays_below_the_response_limit_of_its_gateway() {
    let db = TestDb::new().await;
    // Each quote is two bytes in JSON, and four in a string of JSON within JSON.
    let fill = |quotes: u32| {
        format!(
            "truncate users; insert into users (id, version, username, email) \
             select gen_random_uuid(), 1, 'user ' || n, repeat('\"', {quotes}) from generate_series(1, 9) n"
        )
    };
    let function = Function::start(&db.options, QUERY, &[]).await;
    db.run(&fill(400_000)).await;
    for gateway in [Gateway::RestApi, Gateway::HttpApi, Gateway::FunctionUrl] {
        assert_eq!(pages(&function, gateway, 6_291_556).await, [3, 3, 3]);
    }
    let balancers = [Gateway::LoadBalancer, Gateway::LoadBalancerMultiValue];
    let id: Uuid = sqlx::query_scalar("select id from users limit 1")
        .fetch_one(&mut db.connect().await)
        .await
        .unwrap();
    for gateway in balancers {
        for path in ["/users".to_owned(), format!("/users/{id}")] {
            let answer = function
                .invoke(&Request::new("GET", path).event(gateway))
                .await;
            let heard = Heard::through(gateway, &answer);
            assert_eq!(heard.status, 406, "{heard:?}");
            assert!(
                heard
                    .body
                    .contains("urn:foldlog:problem:response-too-large")
            );
            assert!(
                heard
                    .headers
                    .contains(&("x-request-id".to_owned(), "a-test".to_owned()))
            );
        }
    }
    db.run(&fill(100_000)).await;
    for gateway in balancers {
        assert_eq!(pages(&function, gateway, 1_000_000).await, [2, 2, 2, 2, 1]);
    }
    function.end().await;
}

/// Fails when the answer to the largest append is larger than what a load balancer passes on.
#[tokio::test]
async fn the_response_to_the_largest_append_fits_behind_every_gateway() {
    let db = TestDb::new().await;
    let function = Function::start(&db.options, COMMAND, &[]).await;
    for gateway in [Gateway::LoadBalancer, Gateway::HttpApi] {
        let events: Vec<Value> = (0..1000)
            .map(|n| created(Uuid::now_v7(), &format!("user {n}")))
            .collect();
        let request =
            Request::new("POST", "/users").with_header("content-type", "application/json");
        let request = request.sending(json!(events).to_string());
        let answer = function.invoke(&request.event(gateway)).await;
        assert_eq!(answer["statusCode"], 201, "{answer}");
        assert!(answer.to_string().len() <= 1_000_000);
    }
    function.end().await;
}
