//! Versions in order, whatever order commits arrive in.
