//! When a target begins or ceases to accept connections, to the millisecond.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::protocol::Target;

const PACE: Duration = Duration::from_millis(1);
/// An attempt that got no answer for so long got none.
const WINDOW: Duration = Duration::from_millis(100);

/// Begins an attempt every millisecond. The time since boot of the end of the first attempt that is
/// answered, or of the beginning of the first one that isn't.
pub async fn observe(target: Target, answers: bool, limit: Duration) -> Option<u64> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let attempts = tokio::spawn(async move {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && !sender.is_closed() {
            ticks.tick().await;
            let (target, sender) = (target.clone(), sender.clone());
            tokio::spawn(async move {
                let began = now();
                let attempt = TcpStream::connect(target.socket_address());
                let answered = matches!(timeout(WINDOW, attempt).await, Ok(Ok(_)));
                if answered == answers {
                    // The receiver is gone once it has the first.
                    let _ = sender.send(if answered { now() } else { began });
                }
            });
        }
    });
    let first = timeout(limit + 2 * WINDOW, receiver.recv()).await;
    attempts.abort();
    // Another attempt may have begun earlier and be told of later, in the same instant.
    let mut first = first.ok().flatten()?;
    while let Ok(other) = receiver.try_recv() {
        first = first.min(other);
    }
    Some(first)
}

fn now() -> u64 {
    let time = host::process::boot_time().unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
