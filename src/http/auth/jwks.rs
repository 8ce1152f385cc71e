//! The issuer's keys, from a file or a URL. They are kept, and asked for again when a token names one that is not among
//! them, or after an hour, so that a key that was withdrawn does not count for ever. Tokens can be made up by anybody, so
//! what they can cause is bounded: one question a minute, of bounded time and size. When it fails the old keys stay.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::{Client, Url, redirect};
use serde_json::Value;
use tokio::sync::Mutex;

use super::token::Error;

/// How long the keys are taken for the issuer's without asking again.
const FRESH: Duration = Duration::from_hours(1);
/// How long is waited between two questions, with keys to go on with and without.
const PAUSE: Duration = Duration::from_mins(1);
const PAUSE_WITHOUT: Duration = Duration::from_secs(5);
/// How long an answer may take, and how large it may be.
const TIME_LIMIT: Duration = Duration::from_secs(5);
const SIZE_LIMIT: usize = 256 * 1024;

/// Why keys cannot be had. The texts name the place, and quote nothing that is there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadJwks {
    /// The URL is neither https nor of this machine.
    #[error("JWT_JWKS should be a file or an https URL (http only at localhost)")]
    Url,
    /// The file cannot be read.
    #[error("JWT_JWKS names a file that cannot be read: {0}")]
    File(#[from] std::io::Error),
    /// The answer is not what it should be, or none came.
    #[error("JWT_JWKS cannot be fetched: {0}")]
    Fetch(String),
    /// It is larger than any set of keys.
    #[error("JWT_JWKS is larger than {SIZE_LIMIT} bytes")]
    TooLarge,
    /// It is no JWK set, or none of its keys can verify a signature.
    #[error("JWT_JWKS holds no public key for RS, PS, ES256, ES384 or EdDSA signatures")]
    NoKey,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Url(Url),
}

/// A key that verifies, and with which algorithms.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithms: &'static [Algorithm],
    key: Arc<DecodingKey>,
}

/// The keys as they are known now.
#[derive(Debug, Default)]
struct Known {
    keys: Vec<Key>,
    since: Option<Instant>,
}

/// The issuer's keys.
#[derive(Debug)]
pub(super) struct Jwks {
    source: Source,
    known: RwLock<Arc<Known>>,
    /// When was last asked because something was missing; held while asking, so that only one does.
    asked: Mutex<Option<Instant>>,
}

impl Jwks {
    /// Those at `place`. A file is read now.
    pub(super) fn new(place: &str) -> Result<Self, BadJwks> {
        let source = if place.contains("://") {
            Source::Url(url(place).ok_or(BadJwks::Url)?)
        } else {
            Source::File(place.into())
        };
        let known = match &source {
            Source::File(path) => Known::now(keys(&read(path)?)?),
            Source::Url(_) => Known::default(),
        };
        Ok(Self {
            source,
            known: RwLock::new(Arc::new(known)),
            asked: Mutex::new(None),
        })
    }

    /// The key that a token with this header is verified with.
    pub(super) async fn key(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<DecodingKey>, Error> {
        let known = self.known();
        if known.is_fresh() && known.named(id) {
            return known.key(id, algorithm);
        }
        // Keys that are only old serve on while somebody else asks.
        let mut asked = match self.asked.try_lock() {
            Ok(asked) => asked,
            Err(_) if known.named(id) && !known.keys.is_empty() => return known.key(id, algorithm),
            Err(_) => self.asked.lock().await,
        };
        // Whoever held the lock may have brought what is missing.
        let known = self.known();
        if known.is_fresh() && known.named(id) {
            return known.key(id, algorithm);
        }
        let pause = if known.keys.is_empty() {
            PAUSE_WITHOUT
        } else {
            PAUSE
        };
        if asked.is_none_or(|asked| asked.elapsed() >= pause) {
            // The first answer is no repetition: a key that is new shortly after it is found as well.
            let first = known.since.is_none();
            *asked = Some(Instant::now());
            match self.ask().await {
                Ok(keys) => {
                    self.set(Known::now(keys));
                    if first {
                        *asked = None;
                    }
                }
                Err(error) => tracing::warn!("the issuer's keys stay as they were: {error}"),
            }
        }
        self.known().key(id, algorithm)
    }

    async fn ask(&self) -> Result<Vec<Key>, BadJwks> {
        match &self.source {
            Source::File(path) => keys(&read(path)?),
            Source::Url(url) => keys(&fetch(url).await?),
        }
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, known: Known) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }
}

impl Known {
    fn now(keys: Vec<Key>) -> Self {
        Self {
            keys,
            since: Some(Instant::now()),
        }
    }

    fn is_fresh(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() < FRESH)
    }

    /// Whether there is a key of this name; a token that names none asks for none.
    fn named(&self, id: Option<&str>) -> bool {
        id.is_none() || self.keys.iter().any(|key| key.id.as_deref() == id)
    }

    /// The key of this name. A token that names none is verified where only one key can be meant.
    fn key(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Arc<DecodingKey>, Error> {
        if self.keys.is_empty() {
            return Err(Error::NoKeys);
        }
        let named: Vec<&Key> = match id {
            Some(_) => self
                .keys
                .iter()
                .filter(|key| key.id.as_deref() == id)
                .collect(),
            None => self.keys.iter().collect(),
        };
        if named.is_empty() {
            return Err(Error::UnknownKey);
        }
        let mut fit = named
            .iter()
            .filter(|key| key.algorithms.contains(&algorithm));
        match (fit.next(), fit.next()) {
            (Some(key), None) => Ok(Arc::clone(&key.key)),
            (None, _) => Err(Error::Algorithm),
            (Some(_), Some(_)) => Err(Error::UnknownKey),
        }
    }
}

/// An address that nobody on the way can answer for.
fn url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?;
    let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    (url.scheme() == "https" || (url.scheme() == "http" && here)).then_some(url)
}

fn read(path: &PathBuf) -> Result<Vec<u8>, BadJwks> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(SIZE_LIMIT as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > SIZE_LIMIT {
        return Err(BadJwks::TooLarge);
    }
    Ok(bytes)
}

async fn fetch(url: &Url) -> Result<Vec<u8>, BadJwks> {
    // An address in an error's text may hold a password; and what went wrong is deep in the chain.
    let failed = |error: reqwest::Error| {
        let error = anyhow::Error::new(error.without_url());
        BadJwks::Fetch(format!("{error:#}"))
    };
    // Made for each question, one an hour: it loads the system's certificates, which a cold start need not wait for. A
    // redirect could lead away from https.
    let client = Client::builder()
        .timeout(TIME_LIMIT)
        .redirect(redirect::Policy::none());
    let client = if url.scheme() == "http" {
        client.no_proxy()
    } else {
        client
    };
    let client = client.build().map_err(failed)?;
    let mut response = client.get(url.clone()).send().await.map_err(failed)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(BadJwks::Fetch(format!(
            "the answer is {}",
            response.status()
        )));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > SIZE_LIMIT {
            return Err(BadJwks::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The keys of a JWK set that can verify. Others are passed over: a set may hold keys for encryption, or of kinds to come.
fn keys(bytes: &[u8]) -> Result<Vec<Key>, BadJwks> {
    let set: Value = serde_json::from_slice(bytes).map_err(|_| BadJwks::NoKey)?;
    let set = set
        .get("keys")
        .and_then(Value::as_array)
        .ok_or(BadJwks::NoKey)?;
    let keys: Vec<Key> = set.iter().filter_map(key).collect();
    if keys.is_empty() {
        return Err(BadJwks::NoKey);
    }
    Ok(keys)
}

fn key(json: &Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(json.clone()).ok()?;
    let for_signatures = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let operations = jwk.common.key_operations.as_ref();
    let verifies = operations.is_none_or(|all| all.contains(&KeyOperations::Verify));
    let mut algorithms = of_kind(&jwk.algorithm)?;
    if let Some(own) = jwk.common.key_algorithm {
        let own = Algorithm::try_from(own).ok()?;
        let at = algorithms.iter().position(|algorithm| *algorithm == own)?;
        algorithms = &algorithms[at..=at];
    }
    (for_signatures && verifies).then_some(())?;
    Some(Key {
        id: jwk.common.key_id.clone(),
        algorithms,
        key: Arc::new(DecodingKey::from_jwk(&jwk).ok()?),
    })
}

/// What a key of this kind can verify. None with a shared secret: whoever can verify with it can sign as well.
fn of_kind(parameters: &AlgorithmParameters) -> Option<&'static [Algorithm]> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match parameters {
        AlgorithmParameters::RSA(_) => Some(&[RS256, RS384, RS512, PS256, PS384, PS512]),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some(&[ES256]),
            EllipticCurve::P384 => Some(&[ES384]),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(key) => {
            (key.curve == EllipticCurve::Ed25519).then_some(&[EdDSA])
        }
        _ => None,
    }
}
