//! An issuer of tokens with real keys. It assembles tokens by hand, so that it can make invalid ones, too.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use foldlog::config;
use foldlog::http::Auth;
use serde_json::{Value, json};
use tempfile::TempDir;

pub const ISSUER: &str = "https://issuer.example.org/";
pub const AUDIENCE: &str = "foldlog-tests";

/// A key pair.
pub enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Pair {
    pub fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub fn p384() -> Self {
        Self::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    /// The public key as a JWK with this `kid` and the required members only.
    pub fn jwk(&self, id: &str) -> Value {
        let point = |curve: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            json!({"kid": id, "kty": "EC", "crv": curve, "x": base64(x), "y": base64(y)})
        };
        match self {
            Self::Rsa(pair) => {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                let bytes = |number: aws_lc_rs::io::Positive<'_>| {
                    base64(number.big_endian_without_leading_zero())
                };
                json!({"kid": id, "kty": "RSA", "use": "sig", "n": bytes(n), "e": bytes(e)})
            }
            Self::P256(pair) => point("P-256", pair.public_key().as_ref()),
            Self::P384(pair) => point("P-384", pair.public_key().as_ref()),
            Self::Ed25519(pair) => {
                let x = base64(pair.public_key().as_ref());
                json!({"kid": id, "kty": "OKP", "crv": "Ed25519", "x": x})
            }
        }
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Self::P256(pair) | Self::P384(pair) => {
                pair.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with this header and these claims, signed with the header's `alg` if the key supports it.
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let algorithm = header["alg"].as_str().unwrap_or_default();
        let signature = self.sign(algorithm, message.as_bytes());
        format!("{message}.{}", base64(&signature))
    }
}

/// A token signed with a shared secret (HS256).
pub fn shared(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = message(header, claims);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    format!(
        "{message}.{}",
        base64(hmac::sign(&key, message.as_bytes()).as_ref())
    )
}

pub fn message(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| base64(json.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

pub fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// The claims of a valid token with these scopes.
pub fn claims(scope: &str) -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "exp": now() + 600, "sub": "ada", "scope": scope})
}

/// The issuer's keys. They are generated once, because RSA keys take a while.
pub fn pairs() -> &'static [(&'static str, Pair)] {
    static PAIRS: OnceLock<Vec<(&'static str, Pair)>> = OnceLock::new();
    PAIRS.get_or_init(|| {
        vec![
            ("rsa", Pair::rsa()),
            ("p256", Pair::p256()),
            ("p384", Pair::p384()),
            ("ed", Pair::ed25519()),
        ]
    })
}

/// The key pair with this `kid`.
pub fn pair(id: &str) -> &'static Pair {
    &pairs().iter().find(|(name, _)| *name == id).unwrap().1
}

/// A valid token with these scopes.
pub fn token(scope: &str) -> String {
    pair("ed").token(&json!({"alg": "EdDSA", "kid": "ed"}), &claims(scope))
}

/// The JWK set of all keys.
pub fn set() -> Value {
    let keys: Vec<Value> = pairs().iter().map(|(id, pair)| pair.jwk(id)).collect();
    json!({"keys": keys})
}

/// `AUTH=jwt` with this `JWT_JWKS`.
pub fn config(jwks: Option<&str>) -> config::AuthConfig {
    config::AuthConfig::Jwt {
        jwks: jwks.map(ToOwned::to_owned),
        issuer: Some(ISSUER.to_owned()),
        audience: Some(AUDIENCE.to_owned()),
    }
}

/// Authentication with the keys of this set, from a file.
pub fn trusting(set: &Value) -> Auth {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, set.to_string()).unwrap();
    Auth::new(&config(file.to_str())).unwrap()
}
