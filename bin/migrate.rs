//! `migrate up | down | status | create -n NAME`.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    foldlog::run::exit(foldlog::run::migrate(foldlog::domains::ALL, std::env::args().skip(1)).await)
}
