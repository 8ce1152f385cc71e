//! `migrate`, verb by verb.

use super::empty;
use super::program::{MIGRATE, Program, url};
use crate::support::TestDb;

/// Fails when a verb does not do what it says, or when asking for the status writes.
#[tokio::test]
async fn each_migrate_verb_works() {
    let db = empty().await;
    let env = [("DATABASE_URL", &*url(&db.options))];
    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    let run = async |arguments: &[&str]| {
        Program::run(MIGRATE, arguments, &env)
            .await
            .well()
            .out
            .clone()
    };

    let pending = run(&["status"]).await;
    assert!(
        pending.lines().count() >= 6 && pending.lines().all(|line| line.starts_with("pending  2")),
        "{pending}"
    );
    assert_eq!(run(&["down"]).await, "nothing to revert\n");
    assert_eq!(db.count(tables).await, 0, "asking has written");

    let applied = pending.replace("pending", "applied");
    assert_eq!(run(&["up"]).await, applied);
    assert_eq!(run(&["up"]).await, applied);
    assert_eq!(run(&["status"]).await, applied);

    for line in applied.lines().rev() {
        assert_eq!(
            run(&["down"]).await,
            format!("{}\n", line.replace("applied  ", "reverted "))
        );
    }
    assert_eq!(run(&["status"]).await, pending);
    assert_eq!(run(&["up"]).await, applied);
}

/// Fails when `migrate up` does not name the view whose fold has changed, or not what to send.
#[tokio::test]
async fn migrate_up_names_the_views_to_reproject() {
    let db = TestDb::new().await;
    let env = [("DATABASE_URL", &*url(&db.options))];
    db.run("update views set fold_hash = 'another' where name = 'users'")
        .await;
    let out = Program::run(MIGRATE, &["up"], &env)
        .await
        .well()
        .out
        .clone();
    let last = out.lines().last().unwrap();
    assert!(last.contains(r#"send {"reproject":"users"}"#), "{out}");
}

/// Fails when a pair is not written where it belongs, is not a pair, or a bad name or verb is taken.
#[tokio::test]
async fn migrate_create_writes_up_and_down_files_and_rejects_bad_names() {
    let folder = tempfile::tempdir().unwrap();
    let migrations = folder.path().join("migrations");
    std::fs::create_dir(&migrations).unwrap();
    let program = Program::start_in(
        folder.path(),
        MIGRATE,
        &["create", "-n", "add_archive"],
        &[],
    );
    let ended = program.end().await;
    let mut names: Vec<_> = std::fs::read_dir(&migrations)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let [down, up] = &names[..] else {
        panic!("{names:?}")
    };
    assert_eq!(up.strip_suffix(".up.sql"), down.strip_suffix(".down.sql"));
    let (stamp, name) = up.split_once('_').unwrap();
    assert!(
        stamp.len() == 14 && stamp.bytes().all(|b| b.is_ascii_digit()),
        "{stamp}"
    );
    assert_eq!(name, "add_archive.up.sql");
    assert_eq!(ended.well().out.lines().count(), 2);

    for name in ["", "../x", "Add", "a-b", "a b", "ä"] {
        let ended = Program::run(MIGRATE, &["create", "-n", name], &[]).await;
        assert!(ended.one_line_of_error().contains("lower-case"), "{name}");
    }
    let nowhere = Program::run(MIGRATE, &["create", "-n", "x"], &[]).await;
    assert!(nowhere.one_line_of_error().contains("Cargo.toml"));
    for verb in [&[][..], &["sideways"], &["create", "x"], &["up", "2"]] {
        let ended = Program::run(MIGRATE, verb, &[]).await;
        assert!(
            ended.one_line_of_error().contains("usage: migrate up"),
            "{verb:?}"
        );
    }
}
