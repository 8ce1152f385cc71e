//! Variables of the environment that no program should accept, and what it says about them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Output};

use super::program::{LISTENER, LOCAL, MIGRATE, url};
use crate::support::TestDb;

fn run(binary: &str, argument: Option<&str>, env: &[(&str, &OsStr)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(binary)
        .args(argument)
        .current_dir(folder.path())
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

/// Fails when a program takes a value that is not UTF-8 for an unset one: `AUTH` would then be `none`, and `local` would start a
/// database of its own instead of using that of `DATABASE_URL`.
#[test]
fn a_value_that_is_not_utf_8_is_not_an_unset_one() {
    let bad = OsStr::from_bytes(b"postgres://u:hunter2\xff@localhost/d");
    for (binary, argument) in [(LOCAL, None), (LISTENER, None), (MIGRATE, Some("status"))] {
        for name in ["DATABASE_URL", "AUTH"] {
            let ended = run(binary, argument, &[(name, bad)]);
            let said = String::from_utf8(ended.stderr).unwrap();
            assert!(!ended.status.success(), "{binary}: {said}");
            let expected = format!("{name} must be UTF-8");
            assert!(said.contains(&expected), "{binary}: {said}");
            assert!(!said.contains("hunter2"), "{binary}: {said}");
        }
    }
}

/// Fails when a library logs a part of the URL, or a parameter is accepted that has no effect.
#[tokio::test]
async fn a_url_with_an_unknown_parameter_is_refused_without_quoting_it() {
    let db = TestDb::new().await;
    let mut parameters = url(&db.options);
    parameters.push(if parameters.contains('?') { '&' } else { '?' });
    parameters += "sslpassword=hunter2";
    let env = [
        ("DATABASE_URL", OsStr::new(&parameters)),
        ("RUST_LOG", OsStr::new("trace")),
    ];
    let ended = run(MIGRATE, Some("status"), &env);
    let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    assert!(!ended.status.success(), "{said}");
    assert!(said.contains("does not support, sslpassword"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

/// Fails when a misspelt filter of log lines is replaced without a word.
#[tokio::test]
async fn an_invalid_filter_of_logs_is_reported() {
    let db = TestDb::new().await;
    let url = url(&db.options);
    for filter in [OsStr::new("foldlog=loud"), OsStr::from_bytes(b"\xff")] {
        let env = [("DATABASE_URL", OsStr::new(&url)), ("RUST_LOG", filter)];
        let ended = run(MIGRATE, Some("status"), &env);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success(), "{said}");
        assert!(said.contains("RUST_LOG must be a filter"), "{said}");
    }
}
