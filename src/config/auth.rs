//! Who may call the API.

use super::Environment;

/// Who may call the API: `AUTH`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuthConfig {
    /// `none`, the default: every caller, without a token.
    #[default]
    None,
    /// `jwt`: callers with a valid token, or whose token a gateway in front of the function has verified.
    Jwt {
        /// `JWT_JWKS`: a file or an https URL with the issuer's public keys. Without it, only a gateway can verify tokens.
        jwks: Option<String>,
        /// `JWT_ISSUER`: the required value of the claim `iss`.
        issuer: Option<String>,
        /// `JWT_AUDIENCE`: a value that the claim `aud` must contain.
        audience: Option<String>,
    },
}

impl AuthConfig {
    pub(super) fn read(env: &mut Environment<'_>) -> Self {
        let is_jwt = env.choice("AUTH", &[("none", false), ("jwt", true)]);
        if is_jwt == Some(false) {
            return Self::None;
        }
        let (jwks, issuer, audience) = (
            env.get("JWT_JWKS"),
            env.get("JWT_ISSUER"),
            env.get("JWT_AUDIENCE"),
        );
        if is_jwt.is_none() {
            if jwks.is_some() || issuer.is_some() || audience.is_some() {
                env.reject("JWT_JWKS, JWT_ISSUER and JWT_AUDIENCE have an effect with AUTH=jwt only: set it, or AUTH=none");
            }
            return Self::None;
        }
        if jwks.is_some() && (issuer.is_none() || audience.is_none()) {
            env.reject("JWT_JWKS requires JWT_ISSUER and JWT_AUDIENCE: set both");
        }
        Self::Jwt {
            jwks,
            issuer,
            audience,
        }
    }
}
