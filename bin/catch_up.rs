//! Lambda on a schedule: projects what is appended.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    foldlog::run::exit(foldlog::lambda::catch_up(foldlog::domains::ALL).await)
}
