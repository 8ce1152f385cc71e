//! A model of the projection protocol "read, fold, write" with lanes, explored exhaustively.
//!
//! `src/projection` implements this protocol and has the argument for it. `tests/it/replay` replays the interleavings that the
//! mutations need against that code and a real Postgres.
//!
//! The model runs the protocol on an abstraction of Postgres READ COMMITTED, one statement at a time. It contains what the
//! argument for exactly-once depends on: statement snapshots; transaction ids that are assigned at a transaction's first
//! write, and positions that are assigned when an insert runs; unique keys and row locks that make a second transaction
//! wait until the first transaction ends; rows that a statement locks one after another; aborts and crashes at every step; deadlocks.
//!
//! There are two aggregates: A in slot 0 and B in slot 1. A projection therefore has one lane with the slots 0 to 1, or two
//! lanes with one slot each.
//!
//! - A *quick* worker reads in one statement, folds, and writes in one statement, without an open transaction in between.
//! - A *bulk* worker takes a free lane in a transaction and runs the same two statements in it. If no lane is free, it
//!   waits for one and splits it.
//! - A *lazy* worker is a quick worker that settles nothing. It locks neither the lane nor the parked rows.
//! - Appends (with or without an inline projection), retries of parked aggregates and merges of lanes run beside them.
//!
//! [`explore`](explore::explore) visits every reachable state of a [`Scenario`](scenarios::Scenario), and
//! [`check`] states what must hold in each of them. The [`mutations`] remove one rule of the protocol each; the tests show
//! that the model notices every one of them.

pub mod check;
pub mod explore;
mod memory;
pub mod mutations;
mod read;
pub mod scenarios;
mod set;
pub mod state;
mod steps;
