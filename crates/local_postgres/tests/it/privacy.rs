//! Who can connect, who can read which file, and which names a data directory may have.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use local_postgres::{ManagedPostgres, Settings};
use nix::unistd::geteuid;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::data::{Data, connect, write_row};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o777
}

/// Fails when any connection is possible without the password.
#[tokio::test]
async fn every_connection_requires_the_scram_password() {
    let data = Data::new();
    let postgres = data.start().await;
    let mut connection = connect(&postgres).await;
    let methods = "select distinct auth_method from pg_hba_file_rules";
    let methods: Vec<String> = sqlx::query_scalar(methods)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(methods, ["scram-sha-256"]);
    for password in ["", "postgres", "wrong"] {
        let options = postgres.connect_options().password(password);
        let error = options.connect().await.unwrap_err();
        let error = error.as_database_error().unwrap();
        assert_eq!(error.code().as_deref(), Some("28P01"), "{error}");
    }
    connection.close().await.unwrap();
    assert!(postgres.stop_if_unused().await.unwrap());
}

/// Fails when the default parameters differ from those of the documentation, or when the server listens on TCP.
#[tokio::test]
async fn the_server_has_parameters_for_development_and_does_not_listen_on_tcp() {
    let data = Data::new();
    let settings = Settings::new(&data.path);
    let postgres = ManagedPostgres::start(settings).await.unwrap();
    let query = "select name || '=' || setting from pg_settings where name = any($1) order by name";
    let names = [
        "listen_addresses",
        "jit",
        "max_connections",
        "server_encoding",
        "fsync",
        "shared_buffers",
    ];
    let parameters: Vec<String> = sqlx::query_scalar(query)
        .bind(names)
        .fetch_all(&mut connect(&postgres).await)
        .await
        .unwrap();
    assert_eq!(
        parameters,
        [
            "fsync=on",
            "jit=off",
            "listen_addresses=",
            "max_connections=200",
            "server_encoding=UTF8",
            "shared_buffers=16384"
        ]
    );
    assert!(postgres.stop_if_unused().await.unwrap());
}

/// Fails when another user could read a file, or when the password appears outside of its file.
#[tokio::test]
async fn files_are_private_and_only_one_contains_the_password() {
    let data = Data::new();
    let postgres = data.start().await;
    let password = fs::read_to_string(data.path.join("password")).unwrap();
    assert!(postgres.url().contains(&password));
    assert!(!postgres.description().contains(&password));
    assert!(!format!("{postgres:?}").contains(&password));
    for file in [
        "postgres.log",
        "cluster/postmaster.opts",
        "cluster/postmaster.pid",
    ] {
        let text = fs::read_to_string(data.path.join(file)).unwrap();
        assert!(!text.contains(&password), "{file}");
    }
    // The server of root runs as another user, who has to pass through the folder.
    let expected = if geteuid().is_root() { 0o711 } else { 0o700 };
    assert_eq!(mode(&data.path), expected);
    for folder in ["cluster", "socket"] {
        assert_eq!(mode(&data.path.join(folder)), 0o700, "{folder}");
    }
    for file in ["password", "postgres.log", "users.lock", "start.lock"] {
        assert_eq!(mode(&data.path.join(file)), 0o600, "{file}");
    }
    for entry in fs::read_dir(&data.path).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(!name.to_string_lossy().starts_with("initdb-"), "{name:?}");
    }
    assert!(postgres.stop_if_unused().await.unwrap());
}

/// Fails when the path of the socket is longer than Unix allows, or when two processes disagree on it.
#[tokio::test]
async fn a_deep_data_directory_has_its_socket_in_tmp() {
    let data = Data::named(&format!("{0}/{0}, \"and\" more", "d".repeat(90)));
    let postgres = data.start().await;
    let socket = postgres.connect_options().get_socket().unwrap().clone();
    assert!(socket.starts_with("/tmp/"), "{}", socket.display());
    assert_eq!(mode(&socket), 0o700);
    write_row(&postgres).await;
    let other = data.start().await;
    assert_eq!(other.connect_options().get_socket(), Some(&socket));
    drop(postgres);
    assert!(other.stop_if_unused().await.unwrap());
}

/// Fails when a path is not quoted for Postgres or not encoded in the URL.
#[tokio::test]
async fn a_data_directory_may_have_special_characters_in_its_name() {
    let data = Data::named("a, \"b\" %c ü");
    let postgres = data.start().await;
    write_row(&postgres).await;
    let options: PgConnectOptions = postgres.url().parse().unwrap();
    options.connect().await.unwrap().close().await.unwrap();
    assert!(postgres.stop_if_unused().await.unwrap());
}

/// Fails when the name of the superuser and the database is not quoted in SQL or not encoded in the URL.
#[tokio::test]
async fn the_user_and_the_database_have_the_configured_name() {
    let data = Data::new();
    let settings = Settings {
        name: "my-app".to_owned(),
        ..data.settings()
    };
    let postgres = ManagedPostgres::start(settings).await.unwrap();
    let options: PgConnectOptions = postgres.url().parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let names: (String, String) =
        sqlx::query_as("select current_user::text, current_database()::text")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(names, ("my-app".to_owned(), "my-app".to_owned()));
    connection.close().await.unwrap();
    assert!(postgres.stop_if_unused().await.unwrap());
}
