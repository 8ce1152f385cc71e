//! `DATABASE_URL`: which parameters it may have, and what each may be. The parser behind it ignores unknown parameters and logs their
//! values, which may be secrets, so foldlog rejects them first. No error repeats a part of the URL.

use std::net::IpAddr;
use std::str::FromStr as _;

use reqwest::Url;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::login::{check_certificates, require_verified_tls};

/// The parameters, in groups of names that mean the same.
const PARAMETERS: &[&[&str]] = &[
    &["sslmode", "ssl-mode"],
    &["sslrootcert", "ssl-root-cert", "ssl-ca"],
    &["sslcert", "ssl-cert"],
    &["sslkey", "ssl-key"],
    &["statement-cache-capacity"],
    &["host", "hostaddr"],
    &["port"],
    &["dbname"],
    &["user"],
    &["password"],
    &["application_name"],
];

/// Parameters of other clients that are often in a URL. An error may name them: unlike any other text, they are no secret.
const FOREIGN: &[&str] = &[
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "connection_limit",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "passfile",
    "pgbouncer",
    "pool_timeout",
    "prepared_statements",
    "replication",
    "schema",
    "search_path",
    "service",
    "sslcompression",
    "sslcrl",
    "sslnegotiation",
    "sslpassword",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "uselibpqcompat",
];

/// Why a text cannot be used as a Postgres URL. The error does not repeat the text, because that may contain a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// The text cannot be parsed.
    #[error(
        "DATABASE_URL must be a Postgres URL, like postgres://user:password@host:5432/database; percent-encode special \
         characters in its parts, as %23 for #"
    )]
    NoUrl,
    /// foldlog does not know a parameter. `{0}` is its name, if it is one of another client.
    #[error(
        "DATABASE_URL has a parameter that foldlog does not support{}: remove it; supported are {}",
        .0.map(|name| format!(", {name}")).unwrap_or_default(),
        supported()
    )]
    UnknownParameter(Option<&'static str>),
    /// A parameter is given twice, or under two names.
    #[error("DATABASE_URL has the parameter {0} more than once: remove all but one")]
    DuplicateParameter(&'static str),
    /// The value of a parameter is invalid.
    #[error("the parameter {0} of DATABASE_URL has an invalid value")]
    InvalidParameter(&'static str),
    /// The certificates cannot be read.
    #[error(
        "the certificates in {0} (sslrootcert, PGSSLROOTCERT) cannot be read; for RDS pack the bundle global-bundle.pem \
         into the function and name its path"
    )]
    NoCertificates(String),
}

fn supported() -> String {
    let names = PARAMETERS.iter().filter_map(|names| names.first());
    let names: Vec<&str> = names.copied().chain(["options"]).collect();
    names.join(", ")
}

/// The options of a URL. TLS is verified unless the host is this machine or the URL sets `sslmode`.
///
/// # Errors
///
/// See [`UrlError`].
pub fn from_url(url: &str) -> Result<PgConnectOptions, UrlError> {
    let is_postgres = ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.trim_start().starts_with(scheme));
    // The parser would cut a value off at a `#`.
    if !is_postgres || url.contains('#') {
        return Err(UrlError::NoUrl);
    }
    // The parser's own message may quote the URL, and with it the password.
    let parsed = Url::parse(url).map_err(|_| UrlError::NoUrl)?;
    let given = check_parameters(&parsed)?;
    let value = |name: &str| given.iter().find(|(known, _)| *known == name);
    let has_ssl_mode = value("sslmode").is_some();
    let file = value("sslrootcert").map(|(_, file)| file.clone());
    let options = PgConnectOptions::from_str(url).map_err(|_| UrlError::NoUrl)?;
    let options = if has_ssl_mode {
        options
    } else {
        require_verified_tls(options)
    };
    check_certificates(&options, file)?;
    Ok(options)
}

/// Checks the parameters of a URL; returns the first name in each group, and the value.
fn check_parameters(url: &Url) -> Result<Vec<(&'static str, String)>, UrlError> {
    let mut given: Vec<(&'static str, String)> = Vec::new();
    for (name, value) in url.query_pairs() {
        // These may be repeated: each sets another option of the session.
        if name == "options" || (name.starts_with("options[") && name.ends_with(']')) {
            continue;
        }
        let group = PARAMETERS.iter().find(|names| names.contains(&&*name));
        let Some(known) = group.and_then(|names| names.first()).copied() else {
            let foreign = FOREIGN.iter().find(|foreign| **foreign == name);
            return Err(UrlError::UnknownParameter(foreign.copied()));
        };
        if given.iter().any(|(earlier, _)| *earlier == known) {
            return Err(UrlError::DuplicateParameter(known));
        }
        let is_valid = match &*name {
            "sslmode" | "ssl-mode" => value.parse::<PgSslMode>().is_ok(),
            "port" => value.parse::<u16>().is_ok_and(|port| port > 0),
            "statement-cache-capacity" => value.parse::<usize>().is_ok(),
            "hostaddr" => value.parse::<IpAddr>().is_ok(),
            _ => !value.contains('\0'),
        };
        if !is_valid {
            return Err(UrlError::InvalidParameter(known));
        }
        given.push((known, value.into_owned()));
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_verified_outside_of_this_machine_unless_the_url_says_otherwise() {
        for (url, verified) in [
            ("postgres://u:p@db.example.org/d", true),
            ("postgres://u:p@10.0.0.1/d?application_name=x", true),
            ("postgres://u:p@db.example.org/d?sslmode=require", false),
            ("postgres://u:p@localhost/d", false),
            ("postgres://u:p@127.0.0.1:5433/d", false),
            ("postgres://u:p@[::1]/d", false),
            ("postgres://u:p@%2Fvar%2Frun/d", false),
        ] {
            let mode = from_url(url).unwrap().get_ssl_mode();
            assert_eq!(
                matches!(mode, PgSslMode::VerifyFull),
                verified,
                "{url}: {mode:?}"
            );
        }
    }

    #[test]
    fn unreadable_certificates_are_reported_by_path() {
        let error = from_url("postgres://u:hunter2@db.example.org/d?sslrootcert=%2fno%2Fsuch.pem")
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/no/such.pem"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    /// Fails when a parameter that the parser would ignore, and log, is accepted, or when the error quotes a part of the URL that
    /// may be a secret.
    #[test]
    fn invalid_urls_are_rejected_without_quoting_them() {
        for (parameters, expected) in [
            ("sslpassword=hunter2", "not support, sslpassword:"),
            (
                "target_session_attrs=hunter2",
                "not support, target_session_attrs:",
            ),
            ("channel_binding=require", "not support, channel_binding:"),
            ("hunter2", "not support:"),
            ("hunter2=x", "not support:"),
            ("Password=hunter2", "not support:"),
            ("sslpassword%3Dhunter2", "not support:"),
            ("sslmode=require&hunter2@db.example.org/d", "not support:"),
            ("password=a&pass%77ord=hunter2", "password more than once"),
            ("sslmode=require&ssl-mode=hunter2", "sslmode more than once"),
            ("host=hunter2&hostaddr=127.0.0.1", "host more than once"),
            (
                "sslmode=hunter2",
                "sslmode of DATABASE_URL has an invalid value",
            ),
            ("port=hunter2", "port of DATABASE_URL has an invalid value"),
            (
                "hostaddr=hunter2",
                "host of DATABASE_URL has an invalid value",
            ),
            ("port=0", "port of DATABASE_URL has an invalid value"),
            (
                "application_name=%00",
                "application_name of DATABASE_URL has an invalid value",
            ),
            ("statement-cache-capacity=hunter2", "has an invalid value"),
            ("password=a#hunter2", "must be a Postgres URL"),
        ] {
            let error = from_url(&format!("postgres://u:hunter2@localhost/d?{parameters}"));
            let text = error.unwrap_err().to_string();
            assert!(text.contains(expected), "{parameters}: {text}");
            assert!(!text.contains("hunter2"), "{parameters}: {text}");
        }
        for url in [
            "hunter2",
            "mysql://u:hunter2@localhost/d",
            "postgres://u:hunter2#@localhost/d",
            "postgres://u:hunter2?@localhost/d",
            "postgres://u:hun/ter2@localhost/d",
            "",
        ] {
            let text = from_url(url).unwrap_err().to_string();
            assert!(
                !text.contains("hunter2") && text.contains("DATABASE_URL"),
                "{url}: {text}"
            );
        }
    }

    /// Fails when a supported parameter is rejected.
    #[test]
    fn supported_parameters_are_accepted() {
        for parameters in [
            "",
            "sslmode=disable&application_name=x&options=-c%20a.b=c&options[a.c]=d&options[a.d]=e&statement-cache-capacity=9",
            "host=%2Fvar%2Frun&port=5433&user=u&password=p&dbname=d",
            "hostaddr=%3A%3A1",
            "&&",
        ] {
            from_url(&format!("postgresql://localhost/d?{parameters}")).unwrap();
        }
    }
}
