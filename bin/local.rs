//! Everything in one process on a Postgres that it finds or brings.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    foldlog::run::exit(foldlog::local::serve(foldlog::domains::ALL, foldlog::http::router).await)
}
