//! The latest records, and a way to follow new ones.

use super::record::{Body, Record};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use tokio::sync::broadcast;

/// Records that a follower may be behind before it loses some (and is told how many).
const FOLLOWER_BACKLOG: usize = 4096;

#[derive(Debug)]
pub struct History {
    kept: Mutex<Kept>,
    capacity: usize,
    live: broadcast::Sender<Arc<Record>>,
}

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<Arc<Record>>,
    last_sequence: u64,
}

impl History {
    pub fn new(capacity: usize) -> Self {
        let (live, _) = broadcast::channel(FOLLOWER_BACKLOG);
        History { kept: Mutex::default(), capacity, live }
    }

    pub fn push(&self, time: SystemTime, body: Body) {
        let mut kept = self.lock();
        kept.last_sequence += 1;
        let record = Arc::new(Record { sequence: kept.last_sequence, time, body });
        if kept.records.len() >= self.capacity {
            kept.records.pop_front();
        }
        if self.capacity > 0 {
            kept.records.push_back(record.clone());
        }
        // Nobody following is fine. Sent under the lock, so that `follow` misses and repeats none.
        let _ = self.live.send(record);
    }

    /// Records so far.
    pub fn total(&self) -> u64 {
        self.lock().last_sequence
    }

    /// Records kept.
    pub fn len(&self) -> usize {
        self.lock().records.len()
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What is kept, oldest first, and a receiver of everything after it.
    pub fn follow(&self) -> (Vec<Arc<Record>>, broadcast::Receiver<Arc<Record>>) {
        let kept = self.lock();
        (kept.records.iter().cloned().collect(), self.live.subscribe())
    }

    /// What is kept, newest first, for as long as `each` says to go on.
    pub fn newest_first(&self, mut each: impl FnMut(&Arc<Record>) -> bool) {
        let kept = self.lock();
        for record in kept.records.iter().rev() {
            if !each(record) {
                break;
            }
        }
    }
}
