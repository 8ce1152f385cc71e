//! Lambda behind an API gateway: appends events.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let served = foldlog::lambda::command(foldlog::domains::ALL, foldlog::http::command_router);
    foldlog::run::exit(served.await)
}
