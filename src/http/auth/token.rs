//! A token's verification. The key decides which algorithms there are, and the token may only agree: what its header says
//! beside `alg` and `kid` (`jku`, `jwk`, `x5c`) is what the sender wishes.

use std::collections::HashSet;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::claims::{Claims, GatewayClaims, words};
use super::jwks::{BadJwks, Jwks};

/// More than a gateway lets pass in all headers together.
const LONGEST: usize = 10_240;

/// How far the clocks may be apart, in seconds.
const LEEWAY: u64 = 30;

/// Why a token is refused. The texts quote nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("the token is no signed JWT that came as Authorization: Bearer …")]
    Malformed,
    #[error("the token is signed with an algorithm that is not that of the issuer's key")]
    Algorithm,
    #[error("the token is signed with a key that the issuer does not name")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token lacks a claim or has one of a wrong type; it needs exp, iss, aud and sub")]
    Claims,
    #[error("the token does not say who its bearer is; it needs sub")]
    Subject,
    #[error("the token has expired")]
    Expired,
    #[error("the token does not hold yet")]
    Early,
    #[error("the token is of another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token cannot be verified here: no gateway has, and JWT_JWKS is not set")]
    NoVerifier,
    #[error("the issuer's keys cannot be had now; send the request again later")]
    NoKeys,
}

/// What verifies tokens.
#[derive(Debug)]
pub struct Verifier {
    jwks: Option<Jwks>,
    issuer: Option<String>,
    audience: Option<String>,
}

impl Verifier {
    pub(super) fn new(
        jwks: Option<&str>,
        issuer: Option<&str>,
        audience: Option<&str>,
    ) -> Result<Self, BadJwks> {
        Ok(Self {
            jwks: jwks.map(Jwks::new).transpose()?,
            issuer: issuer.map(ToOwned::to_owned),
            audience: audience.map(ToOwned::to_owned),
        })
    }

    /// The claims that a gateway has verified; that they are of this issuer and audience as well is cheap to see.
    pub(super) fn vouched(&self, GatewayClaims(claims): &GatewayClaims) -> Result<Claims, Error> {
        let text = |name| claims.get(name).and_then(Value::as_str);
        if self
            .issuer
            .as_deref()
            .is_some_and(|issuer| text("iss") != Some(issuer))
        {
            return Err(Error::Issuer);
        }
        if let Some(audience) = &self.audience {
            // Where a token has no `aud` the gateway looks at `client_id` (Cognito's access tokens).
            let aud = claims.get("aud").or_else(|| claims.get("client_id"));
            let is_for = |aud| text("aud") == Some(audience) || words(aud).contains(audience);
            if !aud.is_some_and(is_for) {
                return Err(Error::Audience);
            }
        }
        Claims::new(claims)
    }

    /// The claims of a token, if it holds.
    pub(super) async fn verify(&self, token: &str) -> Result<Claims, Error> {
        let (Some(jwks), Some(issuer), Some(audience)) = (&self.jwks, &self.issuer, &self.audience)
        else {
            return Err(Error::NoVerifier);
        };
        if token.len() > LONGEST {
            return Err(Error::Malformed);
        }
        // `none` and what else is not known here does not even parse.
        let header = decode_header(token).map_err(|_| Error::Malformed)?;
        // What a critical extension demands is not done here, so the token does not hold (RFC 7515, 4.1.11).
        if header.crit.is_some() {
            return Err(Error::Malformed);
        }
        let key = jwks.key(header.kid.as_deref(), header.alg).await?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.required_spec_claims =
            HashSet::from(["exp", "iss", "aud", "sub"].map(String::from));
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        let token =
            decode::<Map<String, Value>>(token, &key, &validation).map_err(|e| why(e.kind()))?;
        // An issuer is one; that library takes a list of them as well.
        if token.claims.get("iss").and_then(Value::as_str) != Some(issuer) {
            return Err(Error::Issuer);
        }
        Claims::new(&token.claims)
    }
}

fn why(kind: &ErrorKind) -> Error {
    match kind {
        ErrorKind::ExpiredSignature => Error::Expired,
        ErrorKind::ImmatureSignature => Error::Early,
        ErrorKind::InvalidIssuer => Error::Issuer,
        ErrorKind::InvalidAudience => Error::Audience,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => Error::Claims,
        ErrorKind::InvalidAlgorithm => Error::Algorithm,
        ErrorKind::InvalidSignature => Error::Signature,
        // The kinds are not ours to list in full, and every one of them is a token that does not hold.
        _ => Error::Malformed,
    }
}
