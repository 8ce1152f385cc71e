//! Where the API listens and who may call it.

use std::net::SocketAddr;
use std::str::FromStr;

use super::console::is_origin;
use super::environment::not;
use super::{AuthConfig, Environment};

/// Where the API listens and who may call it.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// `APP_SERVER_PORT`: the address of the local server, default `:7755`. A port alone, with or without a colon, listens on
    /// loopback only, because `AUTH` is `none` by default; `0.0.0.0:7755` opens it to the network.
    pub listen: SocketAddr,
    /// `CORS_ORIGINS`: the origins whose pages may call the API, comma-separated; default none.
    pub cors_origins: Vec<String>,
    /// `BASE_PATH`: what a custom domain or a reverse proxy puts in front of every path, for example `/v1`; default nothing.
    pub base_path: Option<String>,
    /// `AUTH` and the `JWT_…` variables: who may call.
    pub auth: AuthConfig,
}

impl HttpConfig {
    pub(super) fn read(env: &mut Environment<'_>) -> Self {
        let listen = env.parse("APP_SERVER_PORT", "like `:7755` or `0.0.0.0:7755`", |_| {
            true
        });
        let ListenAddress(listen) = listen.unwrap_or(ListenAddress::on_loopback(7755));
        let cors_origins: Vec<String> = env.list("CORS_ORIGINS");
        for origin in cors_origins.iter().filter(|origin| !is_origin(origin)) {
            env.reject(format!(
                "CORS_ORIGINS must list origins like `https://app.example.org`{}",
                not(origin)
            ));
        }
        let expected = "a path like `/v1`, without a slash at its end";
        let base_path = env.parse("BASE_PATH", expected, |path: &String| is_base_path(path));
        Self {
            listen,
            cors_origins,
            base_path,
            auth: AuthConfig::read(env),
        }
    }
}

struct ListenAddress(SocketAddr);

impl ListenAddress {
    fn on_loopback(port: u16) -> Self {
        Self(SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

impl FromStr for ListenAddress {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix(':').unwrap_or(text).parse() {
            Ok(port) => Ok(Self::on_loopback(port)),
            Err(_) => text.parse().map(Self),
        }
    }
}

fn is_base_path(text: &str) -> bool {
    let segments = text.strip_prefix('/').map(|path| path.split('/'));
    segments.is_some_and(|mut segments| {
        // Clients resolve dots before they send a path.
        segments.all(|segment| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.~".contains(c))
        })
    })
}
