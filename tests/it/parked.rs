//! Parked aggregates.
