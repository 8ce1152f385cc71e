//! The all-in-one host as a person runs it.
