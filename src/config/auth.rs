//! Who may call.

/// Who may call the API: `AUTH`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// `none`, the default: everybody.
    #[default]
    None,
    /// `jwt`: whoever brings a token, or came through a gateway that has verified one.
    Jwt {
        /// `JWT_JWKS`: a file or an https URL with the issuer's keys. Without it only a gateway's word counts.
        jwks: Option<String>,
        /// `JWT_ISSUER`: what `iss` must be.
        issuer: Option<String>,
        /// `JWT_AUDIENCE`: what `aud` must hold.
        audience: Option<String>,
    },
}

/// What the environment says, and what is not right about it.
pub(super) fn read(get: &impl Fn(&str) -> Option<String>, bad: &mut Vec<String>) -> Auth {
    let (jwks, issuer, audience) = (get("JWT_JWKS"), get("JWT_ISSUER"), get("JWT_AUDIENCE"));
    match get("AUTH").as_deref() {
        None | Some("none") => Auth::None,
        Some("jwt") => {
            if jwks.is_some() && (issuer.is_none() || audience.is_none()) {
                bad.push("JWT_JWKS needs JWT_ISSUER and JWT_AUDIENCE beside it".to_owned());
            }
            Auth::Jwt {
                jwks,
                issuer,
                audience,
            }
        }
        Some(other) => {
            bad.push(format!("AUTH is `{other}`, but should be none or jwt"));
            Auth::None
        }
    }
}
