//! `GET /{domain}`, `GET /{domain}/{id}`, `GET /health`.
