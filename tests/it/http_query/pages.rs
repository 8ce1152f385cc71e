//! `GET /{domain}`: pages and filters.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::App;
use crate::support::json::{created, deleted, deposited, opened};

/// An app with `count` projected users, and their ids.
async fn with_users(count: usize) -> (App, BTreeSet<String>) {
    let app = App::new().await;
    let ids: Vec<Uuid> = (0..count).map(|_| Uuid::new_v4()).collect();
    let users: Vec<Value> = ids.iter().map(|id| created(*id, "ada")).collect();
    assert_eq!(app.append("/users", &json!(users)).await.status, 201);
    app.db.catch_up("users").await;
    (app, ids.iter().map(Uuid::to_string).collect())
}

fn ids(body: &Value) -> Vec<String> {
    let rows = body["result"].as_array().unwrap().iter();
    rows.map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

// Fails when a page omits, repeats or reorders a row, when the last page has a `next`, or when the default limit is not 100.
#[tokio::test]
async fn pages_contain_every_row_once_in_order() {
    let (app, all) = with_users(250).await;
    for (limit, sizes) in [
        ("", vec![100, 100, 50]),
        ("limit=125&", vec![125, 125]),
        ("limit=249&", vec![249, 1]),
        ("limit=1000&", vec![250]),
    ] {
        let (mut seen, mut pages, mut after) = (Vec::new(), Vec::new(), String::new());
        loop {
            let page = app.read(&format!("/users?{limit}{after}")).await;
            assert_eq!(page.status, 200);
            let rows = ids(&page.body);
            pages.push(rows.len());
            seen.extend(rows);
            match page.body["next"].as_str() {
                Some(next) => after = format!("after={next}"),
                None => break,
            }
        }
        assert_eq!(pages, sizes, "{limit}");
        assert_eq!(seen, all.iter().cloned().collect::<Vec<_>>());
    }
}

// Fails when the first page begins above the smallest possible id.
#[tokio::test]
async fn the_nil_uuid_is_a_valid_id() {
    let app = App::new().await;
    let users = json!([
        created(Uuid::nil(), "nobody"),
        created(Uuid::max(), "everybody")
    ]);
    assert_eq!(app.append("/users", &users).await.status, 201);
    app.db.catch_up("users").await;
    let first = app.read("/users?limit=1").await;
    assert_eq!(ids(&first.body), [Uuid::nil().to_string()]);
    let next = first.body["next"].as_str().unwrap();
    let second = app.read(&format!("/users?limit=1&after={next}")).await;
    assert_eq!(ids(&second.body), [Uuid::max().to_string()]);
    assert_eq!(second.body["next"], Value::Null);
}

// Fails when a deleted row shifts the following pages, or ends them.
#[tokio::test]
async fn rows_deleted_between_two_pages_do_not_shift_the_others() {
    let (app, all) = with_users(6).await;
    let all: Vec<String> = all.into_iter().collect();
    let first = app.read("/users?limit=2").await;
    for gone in [&all[1], &all[2]] {
        app.append("/users", &deleted(gone.parse().unwrap())).await;
    }
    app.db.catch_up("users").await;
    let next = first.body["next"].as_str().unwrap();
    let second = app.read(&format!("/users?limit=9&after={next}")).await;
    assert_eq!(ids(&second.body), all[3..]);
}

// Fails when a filter that is not UTF-8 is read as another text, and so finds rows that the client did not ask for.
#[tokio::test]
async fn a_query_that_does_not_decode_to_utf_8_returns_400() {
    let app = App::new().await;
    let id = Uuid::now_v7();
    app.append("/users", &created(id, "\u{fffd}%zz")).await;
    app.db.catch_up("users").await;
    let found = app.read("/users?username=%EF%BF%BD%25zz").await;
    assert_eq!(ids(&found.body), [id.to_string()]);
    for query in [
        "username=%ff%25zz",
        "username=%EF%BF%25zz",
        "username=%EF%BF%BD%zz",
        "username=%",
        "username=%e",
        "username=%+1",
        "%ff=1",
        "limit=5&after=%c3",
    ] {
        let answer = app.read(&format!("/users?{query}")).await;
        let detail = answer.problem(400, "malformed");
        assert!(
            detail.contains("percent-encoded UTF-8"),
            "{query}: {detail}"
        );
    }
}

// Fails when a number is accepted that is not made of digits alone.
#[tokio::test]
async fn a_number_with_a_sign_returns_400() {
    let app = App::new().await;
    let id = Uuid::now_v7();
    app.append("/users", &created(id, "ada")).await;
    for path in [
        "/users?limit=%2B1".to_owned(),
        "/events?limit=%2B1".to_owned(),
        "/events?wait=%2B0".to_owned(),
        "/events?wait=-0".to_owned(),
        "/events/activity?from=2026-01-01T00:00:00Z&intervals=%2B1".to_owned(),
        format!("/users/{id}?version=%2B1"),
        format!("/users/{id}?min_version=%2B1"),
        format!("/users/{id}/diff?from=-0"),
        format!("/users/{id}/diff?from=0&to=%2B1"),
        format!("/users/{id}/events?limit=%2B1"),
    ] {
        app.read(&path).await.problem(400, "malformed");
    }
}

// Fails when a filter is ignored, compares numbers as text, or matches other values.
#[tokio::test]
async fn filters_compare_public_columns_for_equality() {
    let app = App::new().await;
    let accounts: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
    let owners = ["ada", "bob", "ada", "Ada' or '1'='1"];
    let open: Vec<Value> = accounts
        .iter()
        .zip(owners)
        .map(|(id, owner)| opened(*id, owner))
        .collect();
    app.append("/accounts", &json!(open)).await;
    app.append("/accounts", &deposited(accounts[2], 500)).await;
    app.db.catch_up("accounts").await;
    for (filters, found) in [
        (&[("owner", "ada")][..], &[0, 2][..]),
        (&[("owner", "ada"), ("balance_cents", "500")], &[2]),
        (&[("balance_cents", "0500")], &[2]),
        (&[("balance_cents", "0"), ("limit", "2")], &[0, 1]),
        (&[("owner", "ad")], &[]),
        (&[("owner", "%")], &[]),
        (&[("owner", "")], &[]),
        (&[("owner", "Ada' or '1'='1")], &[3]),
    ] {
        let query = filters.iter().map(|(name, value)| {
            format!(
                "{name}={}",
                value
                    .replace('%', "%25")
                    .replace('\'', "%27")
                    .replace(' ', "+")
            )
        });
        let path = format!("/accounts?{}", query.collect::<Vec<_>>().join("&"));
        let page = app.read(&path).await;
        let expected: Vec<String> = found.iter().map(|at| accounts[*at].to_string()).collect();
        assert_eq!((page.status, ids(&page.body)), (200, expected), "{path}");
    }
}

// Fails when an unknown parameter is ignored, or when a value of the wrong type returns 500.
#[tokio::test]
async fn unknown_list_parameters_return_400_and_list_the_known_ones() {
    let app = App::new().await;
    app.append("/accounts", &opened(Uuid::now_v7(), "ada"))
        .await;
    app.db.catch_up("accounts").await;
    for (query, hint) in [
        ("colour=red", "can filter by: owner, balance_cents"),
        ("id=1", "can filter by"),
        ("Owner=ada", "can filter by"),
        ("owner%22%3B--=ada", "can filter by"),
        ("min_version=1", "can filter by"),
        (
            "balance_cents=abc",
            "type of its column; check balance_cents",
        ),
        ("balance_cents=", "type of its column"),
        ("balance_cents=1.5", "type of its column"),
        ("balance_cents=99999999999999999999", "type of its column"),
        ("owner=a%00b", "NUL"),
        ("owner=ada&owner=bob", "send it once"),
        ("limit=0", "1 to 1000"),
        ("limit=1001", "1 to 1000"),
        ("limit=-1", "1 to 1000"),
        ("limit=ten", "1 to 1000"),
        ("limit=", "1 to 1000"),
        ("limit=99999999999999999999", "1 to 1000"),
        ("after=", "`next` of a previous page"),
        ("after=!", "`next` of a previous page"),
        ("after=AAAA", "`next` of a previous page"),
        (
            "after=00000000-0000-0000-0000-000000000000",
            "`next` of a previous page",
        ),
    ] {
        let answer = app.read(&format!("/accounts?{query}")).await;
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains(hint), "{query}: {detail}");
    }
    let secret = app.read("/users?password_hash=x").await;
    let detail = secret.problem(400, "malformed");
    assert!(
        detail.ends_with("can filter by: username, email"),
        "{detail}"
    );
}

// Fails when an invalid filter value is detected only if the view has rows to compare it with.
#[tokio::test]
async fn an_invalid_filter_value_returns_400_even_if_the_view_is_empty() {
    let app = App::new().await;
    let answer = app.read("/accounts?balance_cents=abc").await;
    answer.problem(400, "malformed");
}
