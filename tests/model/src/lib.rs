//! Models of foldlog's protocols, explored exhaustively.
//!
//! # The projection
//!
//! `src/projection` implements the protocol "read, fold, write" with lanes and has the argument for it. `tests/it/replay` replays
//! the interleavings that the mutations need against that code and a real Postgres.
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
//! - A *skip* declares the event at which an aggregate is parked as applied without effect.
//!
//! # Reprojections
//!
//! A second generation of the projection is *begun*, *filled* slice by slice under one frozen snapshot, projected like any other,
//! and made live by a *swap*. It can be *cancelled* before, and the old generation is *dropped* after it. The two generations
//! share the log and the projection's lock; claims, rows, parked aggregates and lanes are separate.
//!
//! # The doorbell
//!
//! [`doorbell`] is a model of its own: it asks whether a listener can sleep through an append.
//!
//! [`explore`](explore::explore) visits every reachable state of a [`Scenario`](scenarios::Scenario), and
//! [`check`] states what must hold in each of them. The [`mutations`] remove one rule of the protocol each; the tests show
//! that the model notices every one of them.

pub mod check;
mod database;
pub mod doorbell;
pub mod explore;
mod memory;
pub mod mutations;
mod read;
pub mod scenarios;
mod set;
pub mod state;
mod steps;
mod transitions;
