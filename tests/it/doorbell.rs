//! The listener and its bell.
