//! Why a token is rejected.

use crate::http::problem::{Kind, Problem};

/// Why a token is rejected. The texts quote no part of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("the credentials are not a signed JWT; send `Authorization: Bearer <JWT>`")]
    Malformed,
    #[error("the token's `alg` does not match the algorithm of the issuer's key")]
    Algorithm,
    #[error("the token's `kid` does not identify a signing key in the issuer's JWKS")]
    UnknownKey,
    #[error("the token's signature is invalid")]
    Signature,
    #[error(
        "a required claim is missing or has the wrong type; the token needs `exp`, `iss`, `aud` and `sub`"
    )]
    Claims,
    #[error("the claim `sub` must be a string of 1 to 1024 bytes without NUL")]
    Subject,
    #[error("the token has expired; request a new one from the issuer")]
    Expired,
    #[error("the token is not valid yet; its `nbf` is in the future")]
    NotYetValid,
    #[error("the claim `iss` is not the issuer that this server accepts")]
    Issuer,
    #[error("the claim `aud` does not contain the audience of this server")]
    Audience,
    #[error(
        "this server cannot verify tokens: JWT_JWKS is not set and no API gateway verified the request"
    )]
    NoVerifier,
    #[error("the issuer's signing keys are temporarily unavailable; retry the request later")]
    KeysUnavailable,
}

/// How long a client should wait before it retries while the issuer's keys are unavailable.
const RETRY_AFTER_SECONDS: u64 = 5;

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let detail = error.to_string();
        match error {
            TokenError::KeysUnavailable => Self::new(Kind::Unavailable, detail)
                .retry_after(RETRY_AFTER_SECONDS)
                .because(error),
            TokenError::Malformed
            | TokenError::Algorithm
            | TokenError::UnknownKey
            | TokenError::Signature
            | TokenError::Claims
            | TokenError::Subject
            | TokenError::Expired
            | TokenError::NotYetValid
            | TokenError::Issuer
            | TokenError::Audience
            | TokenError::NoVerifier => Self::new(Kind::Unauthorized, detail)
                .challenge("Bearer error=\"invalid_token\"".to_owned())
                .because(error),
        }
    }
}
