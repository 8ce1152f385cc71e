//! The package of the web client: it is generated from the domains, and the repository has the one of its own domains. Node and
//! the TypeScript compiler test the packages that are written here: `scripts/client-test.sh`.

mod awkward;

use std::fs;
use std::path::{Path, PathBuf};

use foldlog::client::{Arguments, ClientError, Package, run};
use foldlog::domain::Domains;
use foldlog::{domains, http};

use crate::bins::program::{CLIENT, Program};
use crate::openapi::types::{Parcels, letters::Letters};
use crate::support::accounts::{AccountEvent, Accounts};

/// The package of the example domain, which the repository has.
const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/client");

/// The packages that the script compiles and uses, each with the document from which it was generated.
const PACKAGES: &[(&str, Domains)] = &[
    ("accounts", domains![Accounts, domains::users::Users]),
    ("types", domains![Parcels, Letters]),
    ("awkward", awkward::DOMAINS),
];

fn declarations(domains: &Domains) -> String {
    let package = Package::generate(domains, "it").unwrap();
    let mut files = package.files();
    let (_, text) = files.find(|(name, _)| *name == "index.d.ts").unwrap();
    text.to_owned()
}

fn arguments(words: &[&str]) -> Result<Arguments, ClientError> {
    Arguments::parse(words.iter().map(|word| (*word).to_owned()))
}

// Fails when a change of the domains, the document or the generator is not followed by `cargo run --bin client -- client`.
#[test]
fn the_committed_client_is_current() {
    let package = Package::generate(&domains::ALL, "foldlog-client").unwrap();
    package.check(Path::new(COMMITTED)).unwrap();
}

// Fails when two runs write different bytes, or when a package cannot be written for the domains that `client-test.sh` uses.
#[test]
fn packages_of_test_domains_are_the_same_each_time() {
    for (name, domains) in PACKAGES {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join("client")
            .join(name);
        let [one, two] = [(); 2].map(|()| Package::generate(domains, name).unwrap());
        assert_eq!(one, two);
        one.write(&folder).unwrap();
        two.check(&folder).unwrap();
        let document = http::document(domains, true);
        fs::write(folder.join("openapi.json"), document.to_string()).unwrap();
    }
}

// Fails when the program needs a database or a configuration, writes files that differ from those of the library, or when
// `--check` accepts a file that was changed, or rejects one that was not.
#[tokio::test]
async fn the_program_writes_a_package_and_checks_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("api").display().to_string();
    let written = Program::run(CLIENT, &[&folder, "--name", "@acme/api"], &[]).await;
    assert!(written.status.success(), "{}", written.err);
    let package = Package::generate(&domains::ALL, "@acme/api").unwrap();
    package.check(Path::new(&folder)).unwrap();

    // The package keeps its name.
    let checked = Program::run(CLIENT, &[&folder, "--check"], &[]).await;
    assert!(checked.status.success(), "{}", checked.err);
    fs::write(Path::new(&folder).join("index.js"), "// changed").unwrap();
    let checked = Program::run(CLIENT, &["--check", &folder], &[]).await;
    assert!(!checked.status.success());
    assert!(
        checked.err.contains("is stale (index.js)"),
        "{}",
        checked.err
    );
    let usage = Program::run(CLIENT, &[], &[]).await;
    assert!(usage.err.contains("usage: client DIR"), "{}", usage.err);
}

// Fails when arguments that mean nothing are ignored.
#[test]
fn arguments_that_are_not_understood_are_rejected() {
    for words in [
        &["a", "b"][..],
        &["a", "--nmae", "x"],
        &["a", "--name"],
        &["--check"],
    ] {
        let parsed = arguments(words);
        assert!(matches!(parsed, Err(ClientError::Usage)), "{parsed:?}");
    }
}

// Fails when a package.json without a name gets the default name.
#[test]
fn a_manifest_without_a_name_needs_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("package.json"), "{}").unwrap();
    let arguments = arguments(&[&folder.path().display().to_string()]).unwrap();
    let done = run(&domains::ALL, &arguments);
    assert!(matches!(done, Err(ClientError::Manifest(_))), "{done:?}");
}

// Fails when an event of the README's domain has another constructor or payload, or its declared order or its comments are lost.
#[test]
fn an_event_becomes_a_constructor_with_its_payload_and_comment() {
    let text = declarations(&domains![Accounts]);
    let opened = "opened(aggregateId: string, payload: $.accounts.event.Opened[\"payload\"]";
    assert!(text.contains(opened), "{text}");
    let users = declarations(&domains::ALL);
    let row = users.split("interface Row {").nth(1).unwrap();
    let names: Vec<&str> = row
        .lines()
        .take_while(|line| !line.ends_with("  }"))
        .filter_map(|line| line.trim().split_once(": ").map(|(name, _)| name))
        .filter(|name| !name.starts_with("/**"))
        .collect();
    assert_eq!(names, ["id", "username", "email", "version"]);
    assert!(users.contains("  /** Ends a user. Only `Restored` can follow. */\n  deleted("));
    // The type ids that the constructors use are those of the domain.
    let package = Package::generate(&domains![Accounts], "it").unwrap();
    let (_, module) = package
        .files()
        .find(|(name, _)| *name == "index.js")
        .unwrap();
    for event_type in <AccountEvent as foldlog::event::Payload>::TYPES {
        assert!(
            module.contains(&format!("$.event({})", event_type.id)),
            "{module}"
        );
    }
}

// Fails when two domains, or a domain and a word of JavaScript, get one name.
#[test]
fn domains_with_awkward_names_get_names_of_their_own() {
    let text = declarations(&awkward::DOMAINS);
    for (domain, export) in [
        ("problem", "problem"),
        ("any", "any_"),
        ("event", "event"),
        ("new", "new_"),
        ("new_", "new__"),
    ] {
        assert!(
            text.contains(&format!("export declare const {export}: {{")),
            "{export}"
        );
        let client = format!("  {domain}: DomainClient<$.{export}.Event, ");
        assert!(text.contains(&client), "{client}");
    }
}
