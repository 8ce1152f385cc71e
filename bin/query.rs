//! Lambda behind an API gateway: reads views.

fn main() -> std::process::ExitCode {
    let served = foldlog::lambda::query(foldlog::domains::ALL, foldlog::http::query_router);
    foldlog::lambda::main(served)
}
