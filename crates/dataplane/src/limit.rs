//! A token bucket per CPU, so that a flood of packets is no flood of events.
//!
//! A bucket holds at most one second's worth of tokens. A rate of 0 means no limit.

use abi::state::Limiter;
use core::cell::Cell;

const NANOS: u64 = 1_000_000_000;

/// [`Limiter`] with fields that can be written in place.
#[derive(Debug)]
#[repr(C)]
pub struct Bucket {
    pub refilled_ns: Cell<u64>,
    pub tokens: Cell<u64>,
}

const _: () = {
    assert!(size_of::<Bucket>() == size_of::<Limiter>());
    assert!(core::mem::offset_of!(Bucket, tokens) == core::mem::offset_of!(Limiter, tokens));
};

impl Bucket {
    /// Takes one token, or returns false if there is none.
    #[inline(always)]
    pub fn take(&self, per_second: u32, now: u64) -> bool {
        if per_second == 0 {
            return true;
        }
        let full = u64::from(per_second) * NANOS;
        let idle = now.saturating_sub(self.refilled_ns.get());
        // Past a second the bucket is full, and the product below can't overflow.
        let refill = if idle >= NANOS { full } else { idle * u64::from(per_second) };
        let sum = self.tokens.get() + refill;
        let tokens = if sum > full { full } else { sum };
        self.refilled_ns.set(now);
        if tokens < NANOS {
            self.tokens.set(tokens);
            return false;
        }
        self.tokens.set(tokens - NANOS);
        true
    }
}
