//! How the views follow the events.

use std::collections::BTreeSet;

use super::Environment;
use super::environment::not;

/// How the views follow the events.
#[derive(Clone, Debug)]
pub struct ProjectionConfig {
    /// `BATCH_SIZE`: events in a batch of catch-up, 1 to 10000, default 2000.
    pub batch_size: u32,
    /// `INLINE`: the projections that are folded in the append's own transaction, comma-separated; default none.
    pub inline: BTreeSet<String>,
    /// `AFTER_APPEND`: what a command function does for the views after an append, default `none`.
    pub after_append: AfterAppend,
    /// `CATCH_UP_FUNCTION`: the name or ARN of the function that a command function invokes after an append, with
    /// `AFTER_APPEND=invoke`, and for `POST /projections`.
    pub catch_up_function: Option<String>,
}

/// What a command function does for the views after an append has committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterAppend {
    /// `none`: nothing; the schedule or a listener projects.
    #[default]
    None,
    /// `invoke`: it invokes the function [`ProjectionConfig::catch_up_function`], and does not wait for that function to finish.
    Invoke,
    /// `catch_up`: it catches up itself before it responds.
    CatchUp,
}

impl ProjectionConfig {
    pub(super) fn read(env: &mut Environment<'_>) -> Self {
        let batch_size = env.parse("BATCH_SIZE", "a number from 1 to 10000", |size| {
            (1..=10_000).contains(size)
        });
        let catch_up_function = env.get("CATCH_UP_FUNCTION");
        Self {
            batch_size: batch_size.unwrap_or(2000),
            inline: env.list("INLINE"),
            after_append: AfterAppend::read(env, catch_up_function.is_some()),
            catch_up_function,
        }
    }
}

impl AfterAppend {
    fn read(env: &mut Environment<'_>, has_function: bool) -> Self {
        match env.get("AFTER_APPEND").as_deref() {
            None | Some("none") => {}
            Some("catch_up") => return Self::CatchUp,
            Some("invoke") if has_function => return Self::Invoke,
            Some("invoke") => env.reject(
                "AFTER_APPEND=invoke requires CATCH_UP_FUNCTION: set it to the function's name or ARN",
            ),
            Some("inline") => env.reject(
                "AFTER_APPEND=inline is now called AFTER_APPEND=catch_up (INLINE folds in the append's transaction)",
            ),
            Some(other) => env.reject(format!(
                "AFTER_APPEND must be none, invoke or catch_up{}",
                not(other)
            )),
        }
        Self::None
    }
}
