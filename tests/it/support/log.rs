//! The log output of a test.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::EnvFilter;

/// With `TEST_LOG`, all tests and the programs that they start log to standard error, bypassing the test harness:
/// `scripts/check-log.sh` searches that log for secrets.
pub fn is_kept() -> bool {
    std::env::var_os("TEST_LOG").is_some()
}

/// The log output of this thread, and so of everything that runs on the test's own runtime.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Starts to capture. It also returns a second subscriber: with only one, tracing asks the first thread that reaches a log
    /// statement whether the statement is enabled and caches the answer for all threads, and that thread may be another test's.
    pub fn capture(&self, filter: &str) -> (DefaultGuard, Dispatch) {
        let second = Dispatch::new(tracing_subscriber::registry());
        let log = self.clone();
        let lines = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter));
        let lines = lines.with_ansi(false).with_writer(move || log.clone());
        (tracing::subscriber::set_default(lines.finish()), second)
    }

    /// Returns the captured text.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
