//! What is logged while a test runs.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::EnvFilter;

/// With `TEST_LOG`, what all tests and the programs that they start log goes to standard error, past the test harness:
/// `scripts/check-log.sh` looks whether it holds anything that must not be logged.
pub fn is_kept() -> bool {
    std::env::var_os("TEST_LOG").is_some()
}

/// What was logged on this thread, and with it by everything that runs on the test's own runtime.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// While there is but one subscriber, tracing asks the thread that comes by a log line first whether anybody is
    /// interested, and remembers its answer for all; that thread may be another test's. A second one ends this.
    pub fn capture(&self, filter: &str) -> (DefaultGuard, Dispatch) {
        let second = Dispatch::new(tracing_subscriber::registry());
        let log = self.clone();
        let lines = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter));
        let lines = lines.with_ansi(false).with_writer(move || log.clone());
        (tracing::subscriber::set_default(lines.finish()), second)
    }

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
