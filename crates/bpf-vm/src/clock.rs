//! Time and randomness, which a test can set.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// What programs find to be the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The host's.
    #[default]
    Host,
    /// So many nanoseconds after boot, until it is advanced.
    Manual(u64),
}

#[derive(Debug)]
pub(crate) struct Time {
    manual: bool,
    /// Of a manual clock, the time; of the host's, what was added to it.
    nanoseconds: AtomicU64,
    /// The host's time since boot when its monotonic clock stood at zero.
    zero: u64,
}

impl Time {
    pub fn new(clock: Clock) -> Self {
        let (manual, nanoseconds) = match clock {
            Clock::Host => (false, 0),
            Clock::Manual(time) => (true, time),
        };
        Self {
            manual,
            nanoseconds: AtomicU64::new(nanoseconds),
            zero: since_boot().wrapping_sub(monotonic()),
        }
    }

    pub fn now(&self) -> u64 {
        let nanoseconds = self.nanoseconds.load(Relaxed);
        if self.manual {
            return nanoseconds;
        }
        self.zero.wrapping_add(monotonic()).wrapping_add(nanoseconds)
    }

    pub fn advance(&self, nanoseconds: u64) {
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    /// International atomic time: 37 seconds ahead of UTC since 2017.
    pub fn atomic(&self) -> u64 {
        if self.manual {
            return self.now();
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_nanos() as u64 + 37_000_000_000
    }
}

/// What `Instant` is made of, which takes as long again to make it and to take it apart.
fn monotonic() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock writes to the structure that it is given. It is on every system.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Since the Unix epoch where the system doesn't say.
fn since_boot() -> u64 {
    let uptime = std::fs::read_to_string("/proc/uptime").ok();
    let seconds = uptime.as_deref().and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    match seconds {
        Some(seconds) => (seconds * 1e9) as u64,
        None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64,
    }
}

/// Numbers that follow from a seed (SplitMix64).
#[derive(Debug)]
pub(crate) struct Random(AtomicU64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub fn next(&self) -> u32 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut word = self.0.fetch_add(STEP, Relaxed).wrapping_add(STEP);
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ word >> 31) >> 32) as u32
    }
}
