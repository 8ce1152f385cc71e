//! What the README promises.
