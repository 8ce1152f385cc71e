//! The web console of the local server.

use reqwest::Url;

use super::Environment;
use super::environment::not;

/// The web console of the local server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsoleConfig {
    /// `CONSOLE`: whether there is a console, and what it may do.
    pub mode: ConsoleMode,
    /// `CONSOLE_ISSUER` and what belongs to it: where users of the console sign in. Without it they paste a token.
    pub sign_in: Option<ConsoleSignIn>,
    /// `CONSOLE_CONNECT`: origins that the page may call besides its own and the issuer's, comma-separated; default none. An issuer may
    /// give tokens at another origin than its own.
    pub connect: Vec<String>,
}

/// What the console may do: `CONSOLE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsoleMode {
    /// `off`: no console is served.
    Off,
    /// `read`: the console only reads, and the server refuses what a page of it would write.
    Read,
    /// `write`, the default: what the caller's token allows.
    #[default]
    Write,
}

/// How users of the console sign in at an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleSignIn {
    /// `CONSOLE_ISSUER`: the URL of the issuer.
    pub issuer: Url,
    /// `CONSOLE_CLIENT_ID`: the name under which the issuer knows the console, a public client.
    pub client_id: String,
    /// `CONSOLE_SCOPE`: the scopes to ask for, separated by spaces; default `openid`.
    pub scope: Option<String>,
    /// `CONSOLE_AUDIENCE`: the audience to ask for, if the issuer needs it.
    pub audience: Option<String>,
}

impl ConsoleConfig {
    pub(super) fn read(env: &mut Environment<'_>) -> Self {
        let modes = [
            ("off", ConsoleMode::Off),
            ("read", ConsoleMode::Read),
            ("write", ConsoleMode::Write),
        ];
        let mode = env.choice("CONSOLE", &modes).unwrap_or_default();
        let connect: Vec<String> = env.list("CONSOLE_CONNECT");
        for origin in connect.iter().filter(|origin| !is_origin(origin)) {
            env.reject(format!(
                "CONSOLE_CONNECT must list origins like `https://login.example.org`{}",
                not(origin)
            ));
        }
        Self {
            mode,
            sign_in: ConsoleSignIn::read(env),
            connect,
        }
    }
}

impl ConsoleSignIn {
    fn read(env: &mut Environment<'_>) -> Option<Self> {
        let expected = "an https URL without a query, like `https://login.example.org/`; http is accepted for localhost";
        let issuer = env.parse("CONSOLE_ISSUER", expected, is_issuer);
        let client_id = env.get("CONSOLE_CLIENT_ID");
        let is_given = env.get("CONSOLE_ISSUER").is_some();
        let (scope, audience) = (env.get("CONSOLE_SCOPE"), env.get("CONSOLE_AUDIENCE"));
        if is_given != client_id.is_some() || !is_given && (scope.is_some() || audience.is_some()) {
            env.reject(
                "CONSOLE_ISSUER and CONSOLE_CLIENT_ID must be set together, also for CONSOLE_SCOPE and CONSOLE_AUDIENCE",
            );
        }
        Some(Self {
            issuer: issuer?,
            client_id: client_id?,
            scope,
            audience,
        })
    }
}

/// Whether the console accepts this issuer: `parts/oidc.js` knows the same two names of this machine.
fn is_issuer(url: &Url) -> bool {
    let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1"));
    let is_plain = url.query().is_none() && url.fragment().is_none();
    (url.scheme() == "https" || url.scheme() == "http" && is_local)
        && is_plain
        && url.username().is_empty()
        && url.password().is_none()
}

/// Whether a text is an origin as browsers write it. CORS compares it with what a browser sends, and anything else would change the
/// meaning of the page's policy.
pub(super) fn is_origin(text: &str) -> bool {
    let origin = Url::parse(text).map(|url| url.origin());
    origin.is_ok_and(|origin| origin.is_tuple() && origin.ascii_serialization() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigError;

    fn console(variables: &[(&str, &str)]) -> Result<ConsoleConfig, ConfigError> {
        let mut env = Environment::new(|name| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        let console = ConsoleConfig::read(&mut env);
        env.finish(console)
    }

    // Fails when a setting is lost, or when an unset one turns something on.
    #[test]
    fn the_console_writes_and_has_no_issuer_unless_it_is_told() {
        let default = console(&[]).unwrap();
        assert_eq!(default, ConsoleConfig::default());
        assert_eq!(default.mode, ConsoleMode::Write);
        let set = console(&[
            ("CONSOLE", "read"),
            ("CONSOLE_ISSUER", "https://login.example.org/tenant"),
            ("CONSOLE_CLIENT_ID", "console"),
            ("CONSOLE_SCOPE", "openid users:read"),
            ("CONSOLE_AUDIENCE", "foldlog"),
            (
                "CONSOLE_CONNECT",
                "https://token.example.org, http://127.0.0.1:8080",
            ),
        ]);
        let set = set.unwrap();
        assert_eq!(set.mode, ConsoleMode::Read);
        assert_eq!(
            set.connect,
            ["https://token.example.org", "http://127.0.0.1:8080"]
        );
        let sign_in = set.sign_in.unwrap();
        assert_eq!(sign_in.issuer.as_str(), "https://login.example.org/tenant");
        assert_eq!(sign_in.scope.as_deref(), Some("openid users:read"));
        assert_eq!(sign_in.audience.as_deref(), Some("foldlog"));
    }

    // Fails when a console starts with other rights, another issuer or another policy than its operator has meant.
    #[test]
    fn settings_that_cannot_be_meant_are_rejected_by_name() {
        for bad in [
            &[("CONSOLE", "readonly")][..],
            &[("CONSOLE_ISSUER", "https://a.example")],
            &[("CONSOLE_CLIENT_ID", "console")],
            &[("CONSOLE_SCOPE", "openid")],
            &[("CONSOLE_AUDIENCE", "foldlog")],
            &[
                ("CONSOLE_ISSUER", "http://a.example"),
                ("CONSOLE_CLIENT_ID", "c"),
            ],
            &[
                ("CONSOLE_ISSUER", "https://a.example/?x"),
                ("CONSOLE_CLIENT_ID", "c"),
            ],
            &[
                ("CONSOLE_ISSUER", "javascript:1"),
                ("CONSOLE_CLIENT_ID", "c"),
            ],
            &[("CONSOLE_CONNECT", "https://a.example/")],
            &[("CONSOLE_CONNECT", "https://a.example; script-src *")],
            &[("CONSOLE_CONNECT", "*")],
            &[("CONSOLE_CONNECT", "data:")],
        ] {
            let error = console(bad).unwrap_err().to_string();
            assert!(error.contains(bad[0].0), "{bad:?}: {error}");
        }
        let local = [
            ("CONSOLE_ISSUER", "http://localhost:9000"),
            ("CONSOLE_CLIENT_ID", "c"),
        ];
        assert!(console(&local).unwrap().sign_in.is_some());
    }
}
