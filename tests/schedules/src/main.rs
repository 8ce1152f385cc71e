//! Runs fault schedules: foldlog's real processes on a real Postgres, and many faults at once.
//!
//! ```sh
//! schedules --seeds 1000            # the seeds 1 to 1000
//! schedules --first 17 --seeds 1    # one seed
//! schedules host local all          # one of the hosts, which the schedules start
//! ```

#![expect(
    unreachable_pub,
    reason = "in a program, `pub` marks what other modules use"
)]

mod check;
mod client;
mod clock;
mod cluster;
mod domains;
mod drain;
mod faults;
mod host;
mod link;
mod model;
mod operator;
mod options;
mod plan;
mod pooler;
mod ports;
mod programs;
mod record;
mod rng;
mod run;
mod runtime_api;
mod template;
mod transaction;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "host") {
        arguments.drain(..1);
        return start_host(&arguments);
    }
    options::main(&arguments)
}

/// The `main` of a host, as a crate with these domains would write it.
fn start_host(arguments: &[String]) -> ExitCode {
    let domains = if arguments.get(1).is_some_and(|list| list == "all") {
        domains::ALL
    } else {
        domains::FEW
    };
    match arguments.first().map(String::as_str) {
        Some("local") => foldlog::hosts::local(domains),
        Some("listener") => foldlog::hosts::listener(domains),
        Some("command") => foldlog::hosts::command(domains),
        Some("catch_up") => foldlog::hosts::catch_up(domains),
        _ => {
            // `migrate` reads the arguments of the process itself.
            let verbs = arguments.iter().skip(2).cloned();
            match tokio::runtime::Runtime::new() {
                Ok(runtime) => {
                    foldlog::run::exit(runtime.block_on(foldlog::run::migrate(domains, verbs)))
                }
                Err(error) => foldlog::run::exit(Err(error.into())),
            }
        }
    }
}
