//! Where the database is, and how one logs in.

use crate::event::Secret;

/// Where the database is, and how one logs in: exactly one of the three.
#[derive(Clone, Debug)]
pub enum Database {
    /// `DATABASE_URL`: all of it in one.
    Url(Secret<String>),
    /// `DB_SECRET_ARN`: a secret of AWS Secrets Manager in the shape that RDS gives it. What is said here comes before
    /// what the secret says; the secret that RDS itself keeps holds a user and a password only.
    Secret {
        /// The secret's ARN or name.
        arn: String,
        /// `DB_HOST`, `DB_PORT`, `DB_NAME`.
        place: Place,
    },
    /// `DB_IAM_AUTH=true`: a token that is signed for each new connection.
    Iam {
        /// `DB_HOST`, `DB_PORT`, `DB_NAME`.
        place: Place,
        /// `DB_USER`.
        user: String,
    },
}

/// Where the database is, as far as it is said.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// `DB_HOST`.
    pub host: Option<String>,
    /// `DB_PORT`.
    pub port: Option<u16>,
    /// `DB_NAME`.
    pub name: Option<String>,
}

/// What the environment says, and what is not right about it.
pub(super) fn read(
    get: &impl Fn(&str) -> Option<String>,
    bad: &mut Vec<String>,
) -> Option<Database> {
    let port = get("DB_PORT").map(|text| text.parse::<u16>().map_err(|_| text));
    let port = port.and_then(|port| {
        port.map_err(|text| bad.push(format!("DB_PORT is `{text}`, but should be like 5432")))
            .ok()
    });
    let place = Place {
        host: get("DB_HOST"),
        port,
        name: get("DB_NAME"),
    };
    let iam = match get("DB_IAM_AUTH").as_deref() {
        Some("true") => true,
        None | Some("false") => false,
        Some(other) => {
            bad.push(format!(
                "DB_IAM_AUTH is `{other}`, but should be true or false"
            ));
            false
        }
    };
    let (url, secret) = (get("DATABASE_URL"), get("DB_SECRET_ARN"));
    if usize::from(url.is_some()) + usize::from(secret.is_some()) + usize::from(iam) > 1 {
        bad.push("set only one of DATABASE_URL, DB_SECRET_ARN and DB_IAM_AUTH".to_owned());
    }
    if let Some(url) = url {
        return Some(Database::Url(Secret::new(url)));
    }
    if let Some(arn) = secret {
        return Some(Database::Secret { arn, place });
    }
    if !iam {
        return None;
    }
    let user = get("DB_USER");
    if place.host.is_none() || place.name.is_none() || user.is_none() {
        bad.push("DB_IAM_AUTH needs DB_HOST, DB_NAME and DB_USER".to_owned());
    }
    Some(Database::Iam {
        place,
        user: user.unwrap_or_default(),
    })
}
