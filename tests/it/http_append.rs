//! `POST /{domain}` and `POST /events`.
