//! Secrets are never seen.
