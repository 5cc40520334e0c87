//! Patience: a test waits for what must come, not for a time.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// For what takes milliseconds when nothing else keeps the machine busy.
const PATIENCE: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_millis(50);

/// Waits until it is so.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(INTERVAL);
    }
}
