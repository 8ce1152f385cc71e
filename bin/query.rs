//! Lambda behind an API gateway: reads views.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let served = foldlog::lambda::query(foldlog::domains::ALL, foldlog::http::query_router);
    foldlog::run::exit(served.await)
}
