//! Every binary, started.
