//! How events are appended.

use super::Environment;

/// The default of `STATE_CACHE_BYTES`.
const DEFAULT_STATE_CACHE_BYTES: usize = 32 * 1024 * 1024;

/// How events are appended.
#[derive(Clone, Copy, Debug)]
pub struct AppendConfig {
    /// `STATE_CACHE_BYTES`: how much memory the states of recently appended aggregates may take, default 33554432. Functions
    /// remember none.
    pub state_cache_bytes: usize,
}

impl AppendConfig {
    pub(super) fn read(env: &mut Environment<'_>) -> Self {
        let bytes = env.parse("STATE_CACHE_BYTES", "a number of bytes, or 0", |_| true);
        Self {
            state_cache_bytes: bytes.unwrap_or(DEFAULT_STATE_CACHE_BYTES),
        }
    }
}
