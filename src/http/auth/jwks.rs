//! The issuer's keys, from a file or a URL. They are kept, and asked for again when a token names one that is not among
//! them, or after an hour, so that a key that was withdrawn does not count for ever. Tokens can be made up by anybody, so
//! what they can cause is bounded: one question a minute, of bounded time and size. When it fails the old keys stay.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::{Client, Url, redirect};
use tokio::sync::Mutex;

use super::key::{self, Key};
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

#[derive(Clone, Debug)]
enum Source {
    File(PathBuf),
    Url(Url),
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
    known: Arc<RwLock<Arc<Known>>>,
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
            known: Arc::new(RwLock::new(Arc::new(known))),
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
            // In a task of its own: whoever asks and hangs up must not take the answer of all others along.
            let (source, set) = (self.source.clone(), self.setter());
            let asking = tokio::spawn(async move {
                match source.ask().await {
                    Ok(keys) => {
                        set(Known::now(keys));
                        true
                    }
                    Err(error) => {
                        tracing::warn!("the issuer's keys stay as they were: {error}");
                        false
                    }
                }
            });
            if asking.await.unwrap_or(false) && first {
                *asked = None;
            }
        }
        self.known().key(id, algorithm)
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn setter(&self) -> impl Fn(Known) + Send + 'static {
        let place = Arc::clone(&self.known);
        move |known| *place.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known)
    }
}

impl Source {
    async fn ask(&self) -> Result<Vec<Key>, BadJwks> {
        match self {
            Self::File(path) => keys(&read(path)?),
            Self::Url(url) => keys(&fetch(url).await?),
        }
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
            (Some(key), None) => Ok(Arc::clone(&key.public)),
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

fn keys(bytes: &[u8]) -> Result<Vec<Key>, BadJwks> {
    key::of_set(bytes).ok_or(BadJwks::NoKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An issuer that is away.
    fn away() -> Jwks {
        let jwks = Jwks::new("http://127.0.0.1:9/").unwrap();
        let key = Key {
            id: Some("old".to_owned()),
            algorithms: &[Algorithm::EdDSA],
            public: Arc::new(DecodingKey::from_ed_components("AA").unwrap()),
        };
        jwks.setter()(Known::now(vec![key]));
        jwks
    }

    async fn asked(jwks: &Jwks) -> Option<Duration> {
        let asked = *jwks.asked.lock().await;
        asked.map(|asked| asked.elapsed())
    }

    async fn has(jwks: &Jwks, id: &str) -> bool {
        jwks.key(Some(id), Algorithm::EdDSA).await.is_ok()
    }

    /// Fails when a key that is unknown sends us to the issuer more than once a minute, or never again.
    #[tokio::test]
    async fn the_issuer_is_asked_once_a_minute_at_most() {
        let jwks = away();
        assert!(has(&jwks, "old").await && asked(&jwks).await.is_none());
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        for (seconds, again) in [(59, false), (61, true)] {
            *jwks.asked.lock().await = ago(seconds);
            assert!(!has(&jwks, "new").await);
            let asked = asked(&jwks).await.unwrap();
            assert_eq!(asked < Duration::from_secs(50), again, "after {seconds} s");
        }
    }

    /// Fails when keys count for ever, though the issuer may have withdrawn one; or stop to count because it is away.
    #[tokio::test]
    async fn old_keys_are_asked_for_again_and_serve_meanwhile() {
        let jwks = away();
        let known = jwks.known();
        let keys = known.keys.iter().map(|key| Key {
            id: key.id.clone(),
            algorithms: key.algorithms,
            public: Arc::clone(&key.public),
        });
        jwks.setter()(Known {
            keys: keys.collect(),
            since: Instant::now().checked_sub(Duration::from_secs(3601)),
        });
        let asking = jwks.asked.lock().await;
        assert!(has(&jwks, "old").await, "it waits for whoever asks");
        drop(asking);
        assert!(has(&jwks, "old").await);
        assert!(asked(&jwks).await.is_some(), "nobody asked");
    }
}
