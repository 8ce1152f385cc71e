//! What a program reads in a problem: the pointer to the field that is wrong, and the rule that was broken.

use foldlog::http::document;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::App;
use crate::support::conforms::{DOCUMENT, resolve};
use crate::support::db::DOMAINS;
use crate::support::json::{created, deposited, event, opened, renamed};

// Fails when a 422 points to another field than the one that is wrong, or, in an array, to the field of another event.
#[tokio::test]
async fn a_422_points_to_the_field_of_the_body() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let with = |type_id: i32, payload: Value| event(user, type_id, payload);
    let mut nul = renamed(user, "ada");
    nul["metadata"] = json!({"reason": "a\u{0}b"});
    let cases = [
        (with(1003, json!({"email": "nowhere"})), "/payload/email"),
        (with(1002, json!({"username": 7})), "/payload/username"),
        (with(1002, json!({})), "/payload/username"),
        (
            with(1002, json!({"username": "ada", "a/b~c": 1})),
            "/payload/a~1b~0c",
        ),
        (with(1002, json!([])), "/payload"),
        (with(1002, json!({"username": "a\u{0}b"})), "/payload"),
        (
            with(
                1000,
                json!({"id": Uuid::nil(), "username": "a", "email": "a@b.c"}),
            ),
            "/payload/id",
        ),
        (with(1999, json!({})), "/type_id"),
        (with(2000, json!({"owner": "ada"})), "/type_id"),
        (nul, "/metadata"),
    ];
    for (event, pointer) in cases {
        let answer = app.append("/users", &event).await;
        answer.problem(422, "unprocessable");
        assert_eq!(
            (&answer.body["pointer"], &answer.body["index"]),
            (&json!(pointer), &json!(0)),
            "{event}"
        );
        let answer = app
            .append("/users", &json!([created(Uuid::now_v7(), "eve"), event]))
            .await;
        answer.problem(422, "unprocessable");
        let pointer = format!("/1{pointer}");
        assert_eq!(
            (&answer.body["pointer"], &answer.body["index"]),
            (&json!(pointer), &json!(1)),
            "{event}"
        );
    }
    assert_eq!(app.stored().await, 0);
}

// Fails when a 422 by a rule of the domain does not name the rule.
#[tokio::test]
async fn a_422_names_the_rule_of_the_domain() {
    let app = App::new().await;
    let answer = app.append("/users", &created(Uuid::now_v7(), " ")).await;
    answer.problem(422, "unprocessable");
    assert_eq!(answer.body["rule"], "username");
}

// Fails when a 409 does not name the rule, or names one that the OpenAPI document of the domain does not have.
#[tokio::test]
async fn a_409_names_the_rule_as_the_openapi_document_does() {
    let app = App::with_db(TestDb::with_inline(&["users"]).await).await;
    let (user, other, account) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(
        app.append("/users", &created(user, "ada")).await.status,
        201
    );
    let opened_account = app.append("/accounts", &opened(account, "ada")).await;
    assert_eq!(opened_account.status, 201);
    let taken = json!({"id": other, "username": "eve", "email": format!("{user}@example.org")});
    let cases = [
        ("users", created(user, "again"), "already_exists"),
        ("users", renamed(other, "eve"), "does_not_exist"),
        ("users", event(other, 1000, taken), "users_email_key"),
        (
            "users",
            renamed(account, "ada"),
            "aggregate_of_another_domain",
        ),
        ("accounts", opened(account, "eve"), "already_open"),
        ("accounts", deposited(Uuid::now_v7(), 1), "not_open"),
    ];
    for (domain, event, rule) in cases {
        let names = &DOCUMENT["components"]["schemas"][format!("{domain}.rule")]["enum"];
        assert!(names.as_array().unwrap().contains(&json!(rule)), "{names}");
        for path in [format!("/{domain}"), "/events".to_owned()] {
            let answer = app.append(&path, &event).await;
            answer.problem(409, "rule-broken");
            assert_eq!(answer.body["rule"], rule, "{event}");
        }
    }
}

// Fails when an operation of a domain documents a broken rule without the domain's own rules.
#[test]
fn each_domain_documents_its_own_rules() {
    let document = document(&DOMAINS, true);
    for domain in ["users", "accounts"] {
        let operation = &document["paths"][format!("/{domain}")]["post"];
        let text = resolve(&document, &operation["responses"]["409"]).to_string();
        assert!(text.contains(&format!("{domain}.broken_rule")), "{text}");
    }
}

// Fails when the response to an append or to its replay has another time than the log.
#[tokio::test]
async fn the_response_to_an_append_has_the_time_of_the_log() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let (one, more) = (
        created(user, "ada"),
        json!([renamed(user, "b"), renamed(user, "c")]),
    );
    for _ in 0..2 {
        let single = app.append("/users", &one).await;
        let array = app.append("/users", &more).await;
        let answered = [
            &single.body["created_at"],
            &array.body["events"][0]["created_at"],
            &array.body["events"][1]["created_at"],
        ];
        for (at, answered) in answered.into_iter().enumerate() {
            let at = at + 1;
            let answered = answered.as_str().unwrap();
            assert!(answered.ends_with('Z'), "{answered}");
            let same = format!(
                "select count(*) from events where version = {at} and created_at = '{answered}'"
            );
            assert_eq!(app.db.count(&same).await, 1, "{answered}");
        }
    }
}
