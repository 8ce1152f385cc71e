//! With Postgres away.
