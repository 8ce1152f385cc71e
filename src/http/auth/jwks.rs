//! A cache of the issuer's JWK set, which is read from a file or a URL. The cache is refreshed when a token names an
//! unknown `kid`, and after an hour, so that a withdrawn key stops being accepted. When a refresh fails, the cached keys
//! stay in use.
//!
//! Anyone can send tokens with made-up `kid`s, so refreshes are single-flight, limited in number, time and size. A token
//! whose key is not cached is rejected only after a refresh that began after the token had arrived: a made-up `kid` can
//! delay the first use of a rotated key by a few seconds, but cannot make it fail.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::{Client, Url, redirect};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::error::TokenError;
use super::fetches::{FetchCounter, Fetches};
use super::key::{self, Key};

/// How long the keys are used before they are fetched again.
const MAX_CACHE_AGE: Duration = Duration::from_hours(1);
/// The shortest interval between two fetches while there are no keys.
const INITIAL_RETRY_INTERVAL: Duration = Duration::from_secs(5);
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_JWKS_BYTES: usize = 256 * 1024;

/// Why the issuer's keys cannot be loaded. The texts name the setting and quote none of the content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwksError {
    /// The URL is neither https nor http on this machine.
    #[error("JWT_JWKS must be a file or an https URL (http is allowed for localhost only)")]
    Url,
    /// The file cannot be read.
    #[error("JWT_JWKS names a file that cannot be read: {0}")]
    File(#[from] std::io::Error),
    /// The URL did not answer with 200 and a body.
    #[error("JWT_JWKS cannot be fetched: {0}")]
    Fetch(String),
    /// The set exceeds the size limit.
    #[error("JWT_JWKS is larger than {MAX_JWKS_BYTES} bytes")]
    TooLarge,
    /// The content is not a JWK set, or none of its keys can verify a signature.
    #[error(
        "JWT_JWKS contains no public key for RS, PS, ES256, ES384 or EdDSA signatures; it must be a JWK set"
    )]
    NoKey,
}

#[derive(Clone, Debug)]
enum Source {
    File(PathBuf),
    Url(Url),
}

/// The keys of the last successful fetch.
#[derive(Debug, Default)]
struct CachedKeys {
    keys: Vec<Key>,
    fetched_at: Option<Instant>,
}

/// The issuer's keys.
#[derive(Debug)]
pub(super) struct Jwks {
    source: Source,
    cache: Arc<RwLock<Arc<CachedKeys>>>,
    /// Held during a fetch: fetches are single-flight.
    fetches: Mutex<Fetches>,
    counter: Arc<FetchCounter>,
}

impl Jwks {
    /// The keys at `location`, a path or a URL. A file is read now, a URL when the first token arrives.
    pub(super) fn new(location: &str) -> Result<Self, JwksError> {
        let (source, cached) = if location.contains("://") {
            let url = parse_url(location).ok_or(JwksError::Url)?;
            (Source::Url(url), CachedKeys::default())
        } else {
            let path = PathBuf::from(location);
            let cached = CachedKeys::fetched_now(parse(&read(&path)?)?);
            (Source::File(path), cached)
        };
        Ok(Self {
            source,
            cache: Arc::new(RwLock::new(Arc::new(cached))),
            fetches: Mutex::default(),
            counter: Arc::default(),
        })
    }

    /// The key that verifies a token with this `kid` and `alg`; fetches the set when the cache lacks it.
    pub(super) async fn key(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<DecodingKey>, TokenError> {
        let arrived = self.counter.begun();
        let cached = self.cached();
        if cached.is_fresh() && cached.contains(id) {
            return cached.find(id, algorithm);
        }
        // A key that is merely outdated is used while another request refreshes the cache.
        let is_outdated = |cached: &CachedKeys| cached.contains(id) && !cached.keys.is_empty();
        let mut fetches = match self.fetches.try_lock() {
            Ok(fetches) => fetches,
            Err(_) if is_outdated(&cached) => return cached.find(id, algorithm),
            Err(_) => self.fetches.lock().await,
        };
        // The previous holder of the lock may have fetched the key, or has asked the issuer after this token arrived.
        let cached = self.cached();
        if self.counter.has_completed_after(arrived) || (cached.is_fresh() && cached.contains(id)) {
            return cached.find(id, algorithm);
        }
        if cached.keys.is_empty() {
            if fetches
                .last
                .is_some_and(|last| last.elapsed() < INITIAL_RETRY_INTERVAL)
            {
                return Err(TokenError::KeysUnavailable);
            }
        } else if is_outdated(&cached) && !fetches.delay().is_zero() {
            return cached.find(id, algorithm);
        } else {
            // Requests that arrive meanwhile share this fetch, since it begins after them.
            sleep(fetches.delay()).await;
        }
        fetches.begin();
        let number = self.counter.begin();
        self.refresh(number).await;
        drop(fetches);
        self.cached().find(id, algorithm)
    }

    /// Fetches the keys into the cache. The fetch runs in its own task: when the request that
    /// started it is cancelled, the requests that wait for it still get the keys.
    async fn refresh(&self, number: u64) {
        let (source, cache) = (self.source.clone(), Arc::clone(&self.cache));
        let counter = Arc::clone(&self.counter);
        let fetch = tokio::spawn(async move {
            match source.fetch().await {
                Ok(keys) => store(&cache, CachedKeys::fetched_now(keys)),
                Err(error) => {
                    tracing::warn!(
                        "cannot refresh the issuer's keys, so the cached keys stay: {error}"
                    );
                }
            }
            counter.complete(number);
        });
        // A fetch that panicked has left the cached keys as they were.
        let _ = fetch.await;
    }

    fn cached(&self) -> Arc<CachedKeys> {
        Arc::clone(&self.cache.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn store(cache: &RwLock<Arc<CachedKeys>>, keys: CachedKeys) {
    *cache.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
}

impl Source {
    async fn fetch(&self) -> Result<Vec<Key>, JwksError> {
        match self {
            Self::File(path) => parse(&read(path)?),
            Self::Url(url) => parse(&fetch(url).await?),
        }
    }
}

impl CachedKeys {
    fn fetched_now(keys: Vec<Key>) -> Self {
        Self {
            keys,
            fetched_at: Some(Instant::now()),
        }
    }

    fn is_fresh(&self) -> bool {
        self.fetched_at
            .is_some_and(|at| at.elapsed() < MAX_CACHE_AGE)
    }

    /// Whether a key has this `kid`. A token without a `kid` never needs a refresh.
    fn contains(&self, id: Option<&str>) -> bool {
        id.is_none() || self.keys.iter().any(|key| key.id.as_deref() == id)
    }

    /// The key with this `kid`. A token without one is verified only if exactly one key has its algorithm.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Arc<DecodingKey>, TokenError> {
        if self.keys.is_empty() {
            return Err(TokenError::KeysUnavailable);
        }
        let candidates: Vec<&Key> = match id {
            Some(_) => self
                .keys
                .iter()
                .filter(|key| key.id.as_deref() == id)
                .collect(),
            None => self.keys.iter().collect(),
        };
        if candidates.is_empty() {
            return Err(TokenError::UnknownKey);
        }
        let mut matching = candidates
            .iter()
            .filter(|key| key.algorithms.contains(&algorithm));
        match (matching.next(), matching.next()) {
            (Some(key), None) => Ok(Arc::clone(&key.public)),
            (None, _) => Err(TokenError::Algorithm),
            (Some(_), Some(_)) => Err(TokenError::UnknownKey),
        }
    }
}

/// Parses a URL whose answer cannot be forged on the network: https, or http on this machine.
fn parse_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?;
    let is_local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    (url.scheme() == "https" || (url.scheme() == "http" && is_local)).then_some(url)
}

fn read(path: &Path) -> Result<Vec<u8>, JwksError> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_JWKS_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > MAX_JWKS_BYTES {
        return Err(JwksError::TooLarge);
    }
    Ok(bytes)
}

async fn fetch(url: &Url) -> Result<Vec<u8>, JwksError> {
    // A URL may contain a password, so it is left out; the cause is at the end of reqwest's error chain.
    let failed = |error: reqwest::Error| {
        let error = anyhow::Error::new(error.without_url());
        JwksError::Fetch(format!("{error:#}"))
    };
    // The client is built for each fetch, about once an hour: building one loads the system's certificates, which would
    // slow down every cold start. Redirects are off because one could lead away from https.
    let client = Client::builder()
        .timeout(FETCH_TIMEOUT)
        .redirect(redirect::Policy::none());
    let client = if url.scheme() == "http" {
        client.no_proxy()
    } else {
        client
    };
    let client = client.build().map_err(failed)?;
    let mut response = client.get(url.clone()).send().await.map_err(failed)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(JwksError::Fetch(format!(
            "the server answered {}",
            response.status()
        )));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > MAX_JWKS_BYTES {
            return Err(JwksError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<Vec<Key>, JwksError> {
    key::parse_jwks(bytes).ok_or(JwksError::NoKey)
}

#[cfg(test)]
mod tests {
    use super::super::fetches::{MAX_REFRESHES_AT_ONCE, REFRESH_INTERVAL};
    use super::*;

    /// A cache with the key `old`, whose issuer cannot be reached.
    fn unreachable_issuer() -> Jwks {
        let jwks = Jwks::new("http://127.0.0.1:9/").unwrap();
        let key = Key {
            id: Some("old".to_owned()),
            algorithms: &[Algorithm::EdDSA],
            public: Arc::new(DecodingKey::from_ed_components("AA").unwrap()),
        };
        store(&jwks.cache, CachedKeys::fetched_now(vec![key]));
        jwks
    }

    async fn has(jwks: &Jwks, id: &str) -> bool {
        jwks.key(Some(id), Algorithm::EdDSA).await.is_ok()
    }

    async fn last_fetch(jwks: &Jwks) -> Option<Instant> {
        jwks.fetches.lock().await.last
    }

    /// Fails when tokens with made-up `kid`s cause any number of fetches, when one of them is rejected without a fetch that
    /// began after it, or when concurrent ones do not share a fetch.
    #[tokio::test(start_paused = true)]
    async fn unknown_kids_are_looked_up_at_most_once_per_interval() {
        let jwks = unreachable_issuer();
        assert!(has(&jwks, "old").await && last_fetch(&jwks).await.is_none());
        for n in 0..=2 * MAX_REFRESHES_AT_ONCE {
            let arrived = Instant::now();
            assert!(!has(&jwks, &format!("made up {n}")).await);
            assert!(last_fetch(&jwks).await.unwrap() >= arrived, "{n}");
            let begun = jwks.fetches.lock().await.paced_until.unwrap();
            let ahead = begun.saturating_duration_since(Instant::now());
            assert!(
                ahead <= REFRESH_INTERVAL * MAX_REFRESHES_AT_ONCE,
                "{n}: {ahead:?}"
            );
        }
        let before = jwks.fetches.lock().await.paced_until;
        let many = (0..50).map(|n| format!("concurrent {n}"));
        let many = many.map(|id| async {
            let id = id;
            has(&jwks, &id).await
        });
        let found = futures_util::future::join_all(many).await;
        assert!(found.iter().all(|found| !found));
        let after = jwks.fetches.lock().await.paced_until;
        assert_eq!(after.unwrap() - before.unwrap(), REFRESH_INTERVAL);
    }

    /// Fails when an outdated JWKS is never refreshed, although the issuer may have withdrawn a key; or when outdated
    /// keys are rejected while the issuer cannot be reached.
    #[tokio::test]
    async fn an_outdated_jwks_is_refreshed_and_serves_meanwhile() {
        let jwks = unreachable_issuer();
        let outdated = CachedKeys {
            keys: jwks.cached().keys.clone(),
            fetched_at: Instant::now().checked_sub(Duration::from_secs(3601)),
        };
        store(&jwks.cache, outdated);
        let other_fetch = jwks.fetches.lock().await;
        assert!(has(&jwks, "old").await, "waits for another request's fetch");
        drop(other_fetch);
        assert!(has(&jwks, "old").await);
        assert!(last_fetch(&jwks).await.is_some(), "did not fetch");
    }
}
