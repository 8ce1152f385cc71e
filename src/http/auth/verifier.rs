//! Verifies tokens. The issuer's key determines which algorithms are acceptable; the token's header may only agree with
//! it. Beside `alg` and `kid` the header is ignored: `jku`, `jwk` and `x5c` are chosen by the sender.

use std::collections::HashSet;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::claims::{Claims, GatewayClaims, split_list};
use super::error::TokenError;
use super::jwks::{Jwks, JwksError};

/// API gateways limit all headers together to about this size.
const MAX_TOKEN_BYTES: usize = 10_240;

/// How far the clocks of issuer and server may differ.
const LEEWAY_SECONDS: u64 = 30;

/// Verifies tokens of one issuer for one audience.
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
    ) -> Result<Self, JwksError> {
        Ok(Self {
            jwks: jwks.map(Jwks::new).transpose()?,
            issuer: issuer.map(ToOwned::to_owned),
            audience: audience.map(ToOwned::to_owned),
        })
    }

    /// The claims of a token that an API gateway has verified. Issuer and audience are compared again where they are
    /// configured: the gateway's configuration may drift from this server's.
    pub(super) fn gateway_verified(
        &self,
        GatewayClaims(claims): &GatewayClaims,
    ) -> Result<Claims, TokenError> {
        let text = |name| claims.get(name).and_then(Value::as_str);
        if self
            .issuer
            .as_deref()
            .is_some_and(|issuer| text("iss") != Some(issuer))
        {
            return Err(TokenError::Issuer);
        }
        if let Some(audience) = &self.audience {
            // API Gateway compares `client_id` where a token has no `aud` (Cognito's access tokens).
            let aud = claims.get("aud").or_else(|| claims.get("client_id"));
            // A text is one audience, which may contain spaces, or an array that API Gateway has flattened.
            let is_array = |aud: &Value| aud.as_str().is_none_or(|text| text.starts_with('['));
            let contains_audience = |aud: &Value| {
                aud.as_str() == Some(audience)
                    || (is_array(aud) && split_list(aud).contains(audience))
            };
            if !aud.is_some_and(contains_audience) {
                return Err(TokenError::Audience);
            }
        }
        Claims::new(claims)
    }

    /// Verifies a token's signature, validity, issuer and audience, and returns its claims.
    pub(super) async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let (Some(jwks), Some(issuer), Some(audience)) = (&self.jwks, &self.issuer, &self.audience)
        else {
            return Err(TokenError::NoVerifier);
        };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        // The library does not parse `none` and unknown algorithms, so they end here.
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        // RFC 7515, 4.1.11: a recipient that does not implement a critical extension must reject the token.
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let key = jwks.key(header.kid.as_deref(), header.alg).await?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.required_spec_claims =
            HashSet::from(["exp", "iss", "aud", "sub"].map(String::from));
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        let token = decode::<Map<String, Value>>(token, &key, &validation)
            .map_err(|e| token_error(e.kind()))?;
        // The library accepts an array of issuers that contains the expected one; RFC 7519 allows a single string only.
        if token.claims.get("iss").and_then(Value::as_str) != Some(issuer) {
            return Err(TokenError::Issuer);
        }
        Claims::new(&token.claims)
    }
}

fn token_error(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => TokenError::Claims,
        ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        ErrorKind::InvalidSignature => TokenError::Signature,
        // `ErrorKind` is non-exhaustive. Every other kind also means that the token is invalid.
        _ => TokenError::Malformed,
    }
}
