//! The long-lived worker: projects what is appended, woken by a doorbell.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    foldlog::run::exit(foldlog::run::listen(foldlog::domains::ALL).await)
}
