//! Lambda behind an API gateway: appends events.

fn main() -> std::process::ExitCode {
    let served = foldlog::lambda::command(foldlog::domains::ALL, foldlog::http::command_router);
    foldlog::lambda::main(served)
}
