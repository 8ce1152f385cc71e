//! A log that moved to another cluster.
