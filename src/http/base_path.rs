//! The part of the path in front of the routes: a custom domain's base path mapping, or a reverse proxy's location
//! (`BASE_PATH`).

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use tower::ServiceExt as _;

/// What was removed from the front of a request's path: an extension of the request. The OpenAPI document names it as the
/// server's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasePath(pub String);

/// An extension of a request whose path is the base path without a slash at its end: relative addresses in a page are resolved
/// against the folder above.
#[derive(Clone, Copy, Debug)]
pub(super) struct WithoutSlash;

/// A router that serves every route below `base_path`, for example `/v1`, too. The routes stay available without it: the
/// gateway's own domain and health checks do not have it.
///
/// ```
/// use axum::Router;
/// use foldlog::http::with_base_path;
///
/// # fn example(router: Router) -> Router {
/// with_base_path(router, Some("/v1"))
/// # }
/// ```
pub fn with_base_path(router: Router, base_path: Option<&str>) -> Router {
    let Some(base_path) = base_path.map(ToOwned::to_owned) else {
        return router;
    };
    // Around the router, because a layer of the router would run after the routing.
    let stripped = router.map_request(move |request| strip(request, &base_path));
    Router::new().fallback_service(stripped)
}

fn strip(mut request: Request, base_path: &str) -> Request {
    let Some(target) = request.uri().path_and_query() else {
        return request;
    };
    let Some(below) = target.as_str().strip_prefix(base_path) else {
        return request;
    };
    let has_slash = below.starts_with('/');
    let below = match below.chars().next() {
        Some('/') => below.to_owned(),
        None | Some('?') => format!("/{below}"),
        // `/v1` is not in front of `/v10`.
        Some(_) => return request,
    };
    if let Ok(target) = below.parse::<PathAndQuery>() {
        *request.uri_mut() = Uri::from(target);
        let extensions = request.extensions_mut();
        let outer = extensions
            .remove::<BasePath>()
            .map_or_else(String::new, |BasePath(outer)| outer);
        extensions.insert(BasePath(outer + base_path));
        if !has_slash {
            extensions.insert(WithoutSlash);
        }
    }
    request
}
