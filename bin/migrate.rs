//! `migrate up | down | status | create -n NAME`; without any of them, where Lambda starts it, a function.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let arguments = std::env::args().skip(1);
    #[cfg(feature = "lambda")]
    if arguments.len() == 0 && foldlog::lambda::is_function() {
        return foldlog::run::exit(foldlog::lambda::migrate(foldlog::domains::ALL).await);
    }
    foldlog::run::exit(foldlog::run::migrate(foldlog::domains::ALL, arguments).await)
}
