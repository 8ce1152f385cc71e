//! Tokens that must be rejected.

use reqwest::Method;
use serde_json::{Value, json};

use super::issuer::{
    AUDIENCE, ISSUER, Pair, base64, claims, message, now, pair, set, shared, token, trusting,
};
use super::{app, read};
use crate::support::app::{App, send};

/// Checks that each of these tokens is rejected, for its reason.
async fn assert_rejected(app: &App, tokens: &[(&str, String, &str)]) {
    for (what, token, reason) in tokens {
        let answer = read(app, "/users", token).await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        let detail = answer.problem(401, "unauthorized");
        assert!(detail.contains(reason), "{what}: {detail}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, "Bearer error=\"invalid_token\"", "{what}");
    }
}

fn header(algorithm: &str, key: &str) -> Value {
    json!({"alg": algorithm, "kid": key})
}

/// Fails when a token's header decides with which algorithm or key the token is verified.
#[expect(clippy::too_many_lines, reason = "a table")]
#[tokio::test]
async fn a_jwt_header_cannot_choose_its_algorithm_or_key() {
    let app = app().await;
    let (good, rsa, ed) = (claims("users:read"), pair("rsa"), pair("ed"));
    let foreign = Pair::ed25519();
    let unsigned = |algorithm: &str| format!("{}.", message(&header(algorithm, "ed"), &good));
    let jwk = rsa.jwk("rsa");
    let as_secret = |text: &Value| {
        shared(
            &header("HS256", "rsa"),
            &good,
            text.as_str().unwrap().as_bytes(),
        )
    };
    let mut with_key = header("EdDSA", "ed");
    with_key["jwk"] = foreign.jwk("ed");
    let mut with_url = header("EdDSA", "ed");
    with_url["jku"] = json!("http://127.0.0.1:9/jwks.json");
    with_url["x5u"] = with_url["jku"].clone();
    let mut critical = header("EdDSA", "ed");
    critical["crit"] = json!(["b64"]);
    critical["b64"] = json!(true);
    let mut nothing_critical = header("EdDSA", "ed");
    nothing_critical["crit"] = json!([]);
    let signed = ed.token(&header("EdDSA", "ed"), &good);
    let (head, signature) = signed.rsplit_once('.').unwrap();
    let other = message(&header("EdDSA", "ed"), &claims("users:read users:write"));
    let tokens = [
        ("alg none", unsigned("none"), "not a signed JWT"),
        ("alg None", unsigned("None"), "not a signed JWT"),
        (
            "no alg",
            ed.token(&json!({"kid": "ed"}), &good),
            "not a signed JWT",
        ),
        ("no signature", unsigned("EdDSA"), "signature"),
        (
            "the public key as a shared secret",
            as_secret(&jwk["n"]),
            "`alg`",
        ),
        (
            "the set as a shared secret",
            as_secret(&json!(set().to_string())),
            "`alg`",
        ),
        (
            "HS256 without a key's name",
            shared(&json!({"alg": "HS256"}), &good, b""),
            "`alg`",
        ),
        (
            "the name of another key",
            ed.token(&header("EdDSA", "rsa"), &good),
            "`alg`",
        ),
        (
            "ES384 of a P-256 key",
            pair("p256").token(&header("ES384", "p256"), &good),
            "`alg`",
        ),
        (
            "ES256 by the P-384 key",
            pair("p384").token(&header("ES256", "p256"), &good),
            "signature",
        ),
        (
            "RS512, said to be RS256",
            {
                let token = rsa.token(&header("RS512", "rsa"), &good);
                let signature = token.rsplit_once('.').unwrap().1.to_owned();
                format!("{}.{signature}", message(&header("RS256", "rsa"), &good))
            },
            "signature",
        ),
        (
            "a foreign key under a known name",
            foreign.token(&header("EdDSA", "ed"), &good),
            "signature",
        ),
        (
            "an unknown kid",
            foreign.token(&header("EdDSA", "new"), &good),
            "`kid`",
        ),
        (
            "its own key along with it",
            foreign.token(&with_key, &good),
            "signature",
        ),
        (
            "an address of its own keys",
            foreign.token(&with_url, &good),
            "signature",
        ),
        (
            "a critical extension",
            ed.token(&critical, &good),
            "not a signed JWT",
        ),
        (
            "an empty list of critical ones",
            ed.token(&nothing_critical, &good),
            "not a signed JWT",
        ),
        (
            "another body under a signature",
            format!("{other}.{signature}"),
            "signature",
        ),
        (
            "a signature cut short",
            format!("{head}.{}", &signature[..40]),
            "signature",
        ),
        ("four parts", format!("{signed}.x"), ""),
        ("two parts", head.to_owned(), "not a signed JWT"),
        (
            "no JSON",
            format!("{}.{}.{}", base64(b"x"), base64(b"y"), base64(b"z")),
            "not a signed JWT",
        ),
        ("nothing", String::new(), "not a signed JWT"),
        (
            "padding",
            format!("{head}.{signature}=="),
            "not a signed JWT",
        ),
    ];
    assert_rejected(&app, &tokens).await;
    assert_eq!(read(&app, "/users", &signed).await.status, 200);
    // Other members of the JWT header are ignored, even if the signature is valid.
    assert_eq!(
        read(&app, "/users", &ed.token(&with_url, &good))
            .await
            .status,
        200
    );
}

/// Fails when a claim that limits a token is not checked, or is optional.
#[tokio::test]
async fn a_jwt_is_verified_for_issuer_audience_and_time() {
    let app = app().await;
    let with = |name: &str, value: Value| {
        let mut claims = claims("users:read");
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims
                .as_object_mut()
                .unwrap()
                .insert(name.to_owned(), value),
        };
        pair("p256").token(&header("ES256", "p256"), &claims)
    };
    let tokens = [
        ("expired", with("exp", json!(now() - 60)), "expired"),
        ("no exp", with("exp", Value::Null), "required claim"),
        (
            "exp of text",
            with("exp", json!((now() + 600).to_string())),
            "required claim",
        ),
        ("negative exp", with("exp", json!(-1)), "required claim"),
        ("not yet", with("nbf", json!(now() + 300)), "not valid yet"),
        ("nbf of text", with("nbf", json!("now")), "required claim"),
        (
            "another issuer",
            with("iss", json!("https://issuer.example.org")),
            "`iss`",
        ),
        ("no issuer", with("iss", Value::Null), "required claim"),
        (
            "several issuers",
            with("iss", json!([ISSUER, "https://evil.example.org"])),
            "`iss`",
        ),
        ("another audience", with("aud", json!("foldlog")), "`aud`"),
        (
            "other audiences",
            with("aud", json!(["a", "foldlog-tests2"])),
            "`aud`",
        ),
        ("no audience", with("aud", Value::Null), "required claim"),
        ("an empty audience", with("aud", json!([])), "`aud`"),
        (
            "audience as a gateway writes it",
            with("aud", json!("[foldlog-tests x]")),
            "`aud`",
        ),
        ("no subject", with("sub", Value::Null), "required claim"),
        ("an empty subject", with("sub", json!("")), "`sub`"),
        (
            "a subject that is a number",
            with("sub", json!(7)),
            "required claim",
        ),
        ("a NUL in the subject", with("sub", json!("ada\0")), "`sub`"),
    ];
    assert_rejected(&app, &tokens).await;
    for (what, token) in [
        ("a second ago", with("exp", json!(now() - 1))),
        ("in a second", with("nbf", json!(now() + 1))),
        (
            "one of several audiences",
            with("aud", json!(["a", AUDIENCE])),
        ),
        (
            "half seconds",
            with(
                "exp",
                json!(600.5 + f64::from(u32::try_from(now()).unwrap())),
            ),
        ),
        ("scopes of another spelling", with("scope", Value::Null)),
    ] {
        let expected = if what.starts_with("scopes") { 403 } else { 200 };
        assert_eq!(
            read(&app, "/users", &token).await.status,
            expected,
            "{what}"
        );
    }
}

/// Fails when another authorization scheme is accepted, or when a large header takes more time than its length justifies.
#[tokio::test]
async fn an_authorization_header_without_a_bearer_token_returns_401() {
    let app = app().await;
    let good = token("users:read");
    let huge = {
        let mut claims = claims("users:read");
        claims["more"] = json!("x".repeat(20_000));
        pair("ed").token(&header("EdDSA", "ed"), &claims)
    };
    for value in [
        format!("Basic {good}"),
        format!("Bearer{good}"),
        good.clone(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {good} {good}"),
        format!("Bearer {good},Bearer {good}"),
        format!("Bearer {huge}"),
        "Bearer é".to_owned(),
    ] {
        let request = app
            .request(Method::GET, "/users")
            .header("authorization", &value);
        let answer = send(request).await;
        answer.problem(401, "unauthorized");
    }
    let twice = app
        .request(Method::GET, "/users")
        .bearer_auth(&good)
        .bearer_auth("x");
    send(twice).await.problem(401, "unauthorized");
    for request in [
        app.request(Method::GET, &format!("/users?access_token={good}")),
        app.request(Method::GET, "/users")
            .header("cookie", format!("access_token={good}")),
        app.request(Method::GET, "/users")
            .header("x-amzn-oidc-data", &good),
        app.request(Method::GET, "/users")
            .header("x-amzn-oidc-accesstoken", &good),
    ] {
        send(request).await.problem(401, "unauthorized");
    }
    let request = app.request(Method::GET, "/users");
    let request = request.header("authorization", format!("bearer  {good}"));
    assert_eq!(send(request).await.status, 200, "a scheme has no case");
}

/// Fails when a token without a `kid` is tried with several keys, or rejected although one key has its algorithm.
#[tokio::test]
async fn a_jwt_without_a_kid_is_verified_by_the_only_key() {
    let (one, other) = (Pair::ed25519(), Pair::ed25519());
    let token = one.token(&json!({"alg": "EdDSA"}), &claims("users:read"));
    let jwks = |keys: Vec<Value>| trusting(&json!({"keys": keys}));
    for (keys, status) in [
        (vec![one.jwk("a")], 200),
        (vec![one.jwk("a"), pair("rsa").jwk("rsa")], 200),
        (vec![one.jwk("a"), other.jwk("b")], 401),
        (vec![other.jwk("b")], 401),
        (vec![pair("rsa").jwk("rsa")], 401),
    ] {
        let app = App::with_auth(jwks(keys)).await;
        assert_eq!(read(&app, "/users", &token).await.status, status);
    }
}

/// Fails when a key verifies signatures that its `use`, `key_ops` or `alg` excludes.
#[tokio::test]
async fn a_jwk_is_used_only_for_its_own_algorithm_and_use() {
    let (rsa, ed) = (pair("rsa"), pair("ed"));
    let changed = |mut jwk: Value, name: &str, value: Value| {
        jwk[name] = value;
        jwk
    };
    // One usable key is in the set, because a set without one is rejected.
    let set = json!({"keys": [
        ed.jwk("ed"),
        changed(rsa.jwk("enc"), "use", json!("enc")),
        changed(rsa.jwk("signs"), "key_ops", json!(["sign"])),
        changed(rsa.jwk("oaep"), "alg", json!("RSA-OAEP")),
        changed(rsa.jwk("odd"), "alg", json!("ES256")),
        changed(rsa.jwk("pinned"), "alg", json!("PS256")),
        {"kid": "oct", "kty": "oct", "k": base64(b"secret"), "alg": "HS256"},
        {"kid": "none", "kty": "none"},
        "no key",
    ]});
    let app = App::with_auth(trusting(&set)).await;
    let token =
        |algorithm: &str, id: &str| rsa.token(&header(algorithm, id), &claims("users:read"));
    let tokens = [
        ("for encryption", token("RS256", "enc"), "`kid`"),
        ("for signing", token("RS256", "signs"), "`kid`"),
        ("OAEP", token("RS256", "oaep"), "`kid`"),
        ("another kind's algorithm", token("RS256", "odd"), "`kid`"),
        (
            "another algorithm than its own",
            token("RS256", "pinned"),
            "`alg`",
        ),
        (
            "a shared secret",
            shared(&header("HS256", "oct"), &claims("users:read"), b"secret"),
            "`kid`",
        ),
    ];
    assert_rejected(&app, &tokens).await;
    assert_eq!(
        read(&app, "/users", &token("PS256", "pinned")).await.status,
        200
    );
}
