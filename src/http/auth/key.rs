//! A key of an issuer, and the algorithms it is good for.

use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// A key that verifies, and with which algorithms.
#[derive(Debug)]
pub(super) struct Key {
    /// `kid`.
    pub id: Option<String>,
    /// Its own `alg`, or those of its kind.
    pub algorithms: &'static [Algorithm],
    /// Its public half.
    pub public: Arc<DecodingKey>,
}

/// The keys of a JWK set that can verify, if there are any. Others are passed over: a set may hold keys for encryption, or
/// of kinds to come.
pub(super) fn of_set(bytes: &[u8]) -> Option<Vec<Key>> {
    let set: Value = serde_json::from_slice(bytes).ok()?;
    let set = set.get("keys").and_then(Value::as_array)?;
    let keys: Vec<Key> = set.iter().filter_map(key).collect();
    (!keys.is_empty()).then_some(keys)
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
        public: Arc::new(DecodingKey::from_jwk(&jwk).ok()?),
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
