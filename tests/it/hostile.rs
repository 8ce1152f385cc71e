//! Hostile input: refused with a problem, nothing stored.
