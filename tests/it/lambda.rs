//! The functions, each as a program of its own that speaks to a Runtime API server.

mod events;
mod function;
mod gateways;
mod wire;
