//! Which packets are captured, and what of them.

use crate::Address;
use crate::balancer::maps::capacity;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of map `lb_capture`: what a packet must meet, all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CaptureFilter {
    /// Bits of [`kinds`]: one of them. 0 for any.
    pub kinds: u32,
    /// Index of [`counter`](super::counter): it was dropped for this. 0 for any.
    pub reason: u32,
    /// It went to this backend; [`Address::NONE`] for any.
    pub backend: Address,
    /// What of the client's address must be `client`.
    pub client_mask: Address,
    pub client: Address,
    /// A bit for each VIP number.
    pub vips: [u64; VIP_WORDS],
}

/// Words of [`CaptureFilter::vips`].
pub const VIP_WORDS: usize = capacity::VIPS as usize / 64;

const _: () = assert!(size_of::<CaptureFilter>() == 56 + 8 * VIP_WORDS);

impl CaptureFilter {
    /// Every packet for a VIP, and every packet dropped.
    pub const ALL: CaptureFilter = CaptureFilter {
        kinds: 0,
        reason: 0,
        backend: Address::NONE,
        client_mask: Address::NONE,
        client: Address::NONE,
        vips: [u64::MAX; VIP_WORDS],
    };
}

/// Of [`CaptureFilter::kinds`].
pub mod kinds {
    /// It began a flow.
    pub const NEW_FLOW: u32 = 1 << 0;
    /// It went elsewhere than to its slot's owner.
    pub const MOVED: u32 = 1 << 1;
    /// Its flow should have been remembered and was not.
    pub const MISS: u32 = 1 << 2;
    pub const DROPPED: u32 = 1 << 3;
}

/// Bytes that are kept of each packet as it came, and as it left, which may be longer.
pub const KEPT: usize = 512;
pub const KEPT_AFTER: usize = KEPT + 64;

/// What is in ring buffer `lb_captured`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Captured {
    /// Boot-time nanoseconds.
    pub time_ns: u64,
    pub ifindex: u32,
    /// What the program returned: an action of XDP.
    pub action: u32,
    /// [`NO_VIP`] if it was for none.
    pub vip: u32,
    /// Backend number; 0 if it got none.
    pub backend: u32,
    /// Index of [`counter`](super::counter), the last that was counted; 0 if none was.
    pub counted: u32,
    /// Bits of [`kinds`] that apply.
    pub kinds: u32,
    /// Bytes of the whole packet, as it came and as it left.
    pub before_length: u32,
    pub after_length: u32,
    pub before: [u8; KEPT],
    pub after: [u8; KEPT_AFTER],
}

pub const NO_VIP: u32 = u32::MAX;

const _: () = assert!(size_of::<Captured>() == 40 + KEPT + KEPT_AFTER);
