//! A public key of the issuer, and the algorithms that it may verify.

use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// A public key that verifies signatures.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// `kid`.
    pub id: Option<String>,
    /// The key's `alg`, or all algorithms of its key type.
    pub algorithms: &'static [Algorithm],
    /// The public key.
    pub public: Arc<DecodingKey>,
}

/// Reads the keys of a JWK set that can verify signatures; `None` if there are none. Other keys are skipped: a set may
/// hold encryption keys and key types that this program does not know.
pub(super) fn parse_jwks(bytes: &[u8]) -> Option<Vec<Key>> {
    let set: Value = serde_json::from_slice(bytes).ok()?;
    let set = set.get("keys").and_then(Value::as_array)?;
    let keys: Vec<Key> = set.iter().filter_map(parse_key).collect();
    (!keys.is_empty()).then_some(keys)
}

fn parse_key(json: &Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(json.clone()).ok()?;
    let for_signatures = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let operations = jwk.common.key_operations.as_ref();
    let verifies = operations.is_none_or(|all| all.contains(&KeyOperations::Verify));
    let mut algorithms = supported_algorithms(&jwk.algorithm)?;
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

/// The algorithms that a key of this type can verify. Shared secrets (`oct`) have none: a server that could verify with
/// one could also sign with it.
fn supported_algorithms(parameters: &AlgorithmParameters) -> Option<&'static [Algorithm]> {
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
