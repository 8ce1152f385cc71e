//! The functions, each as a program of its own that speaks to a Runtime API server.

mod after_append;
mod deadlines;
mod events;
mod frozen;
pub mod function;
mod gateways;
mod handed_over;
mod hostile_events;
mod verbs;
mod wire;
