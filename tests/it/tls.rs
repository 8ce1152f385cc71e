//! TLS to the database: verified up to the host's name, by real handshakes. What stands before the tests' server, which may
//! speak none, takes the encryption off as a server would.

use std::path::PathBuf;
use std::sync::Arc;

use foldlog::db::{DbError, Pool, login};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use crate::bins::program::{MIGRATE, PASSWORD, Program};
use crate::support::TestDb;

/// The message with which a client asks for TLS.
const ASKS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

struct Encrypted {
    port: u16,
    folder: TempDir,
}

impl Encrypted {
    /// Before the test's server, with a certificate for these names by an authority of its own.
    async fn start(db: &TestDb, names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = authority.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("authority.pem"), certificate.pem()).unwrap();
        let issuer = Issuer::new(authority, key);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap();
        let certificate = certificate.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let target = db.options.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = socket.accept().await.unwrap();
                tokio::spawn(serve(client, acceptor.clone(), target.clone()));
            }
        });
        Self { port, folder }
    }

    fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    fn url(&self, db: &TestDb, host: &str, more: &str) -> String {
        let direct = sqlx::ConnectOptions::to_url_lossy(&db.options);
        let password = direct.password().unwrap_or(PASSWORD);
        format!(
            "postgres://{}:{password}@{host}:{}/{}?{more}",
            db.options.get_username(),
            self.port,
            db.options.get_database().unwrap(),
        )
    }
}

async fn serve(mut client: TcpStream, acceptor: TlsAcceptor, target: PgConnectOptions) {
    let mut asks = [0; 8];
    // A client that asks for no TLS, or does not trust the certificate, is gone here.
    if client.read_exact(&mut asks).await.is_err() || asks != ASKS {
        return;
    }
    client.write_all(b"S").await.unwrap();
    let Ok(mut client) = acceptor.accept(client).await else {
        return;
    };
    let _ = if let Some(folder) = target.get_socket() {
        let path = folder.join(format!(".s.PGSQL.{}", target.get_port()));
        let mut server = UnixStream::connect(path).await.unwrap();
        copy_bidirectional(&mut client, &mut server).await
    } else {
        let at = (target.get_host(), target.get_port());
        let mut server = TcpStream::connect(at).await.unwrap();
        copy_bidirectional(&mut client, &mut server).await
    };
}

async fn connects(url: &str) -> Result<(), DbError> {
    let pool = Pool::new(login::from_url(url).unwrap(), 1);
    pool.acquire().await.map(|_| ())
}

/// Fails when a certificate of an unknown authority or of another host is accepted, or when a valid one is rejected. TLS is not the
/// default for `localhost`, so the URL asks for it.
#[tokio::test]
async fn tls_verifies_the_certificate_and_the_host_name() {
    let db = TestDb::new().await;
    let encrypted = Encrypted::start(&db, &["localhost"]).await;
    let authority = encrypted.authority();
    let trusts = format!("sslrootcert={}", authority.display());
    let url = |host, more: &str| encrypted.url(&db, host, more);
    for (host, more, well) in [
        ("localhost", format!("sslmode=verify-full&{trusts}"), true),
        // The web's authorities do not know it.
        ("localhost", "sslmode=verify-full".to_owned(), false),
        // It is not that host's.
        ("127.0.0.1", format!("sslmode=verify-full&{trusts}"), false),
        ("127.0.0.1", format!("sslmode=verify-ca&{trusts}"), true),
        ("localhost", "sslmode=require".to_owned(), true),
    ] {
        let connected = connects(&url(host, &more)).await;
        assert_eq!(connected.is_ok(), well, "{host} {more}: {connected:?}");
    }
}

/// Fails when TLS is left to the server's pleasure outside of this machine: a host by another name has to show its
/// certificate although the URL says nothing of TLS. Fails, too, when the reason is a riddle.
#[tokio::test]
async fn tls_is_verified_by_default_for_remote_hosts() {
    let db = TestDb::new().await;
    // A name for this machine that is not `localhost`, if the system resolves it.
    let host = "ip6-localhost.localdomain";
    let options = login::from_url(&format!("postgres://u:p@{host}/d")).unwrap();
    let mode = format!("{:?}", options.get_ssl_mode());
    assert_eq!(mode, "VerifyFull");
    let encrypted = Encrypted::start(&db, &["localhost"]).await;
    let url = encrypted.url(&db, "localhost", "sslmode=verify-full");
    let ended = Program::run(MIGRATE, &["status"], &[("DATABASE_URL", &url)]).await;
    let line = ended.one_line_of_error();
    assert!(
        line.contains("certificate") && line.contains("sslrootcert"),
        "{line}"
    );
    let url = encrypted.url(
        &db,
        "localhost",
        "sslmode=verify-full&sslrootcert=/no/such.pem",
    );
    let ended = Program::run(MIGRATE, &["status"], &[("DATABASE_URL", &url)]).await;
    let line = ended.one_line_of_error();
    assert!(
        line.contains("/no/such.pem") && !line.contains(PASSWORD),
        "{line}"
    );
}
