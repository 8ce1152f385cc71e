//! Workers killed at every step.
