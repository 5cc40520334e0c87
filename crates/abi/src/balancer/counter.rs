//! What the balancer counts, per CPU.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of map `lb_vip_counters`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct VipCounters {
    pub packets: u64,
    /// Of the IP packets before encapsulation.
    pub bytes: u64,
    /// TCP SYNs, and other packets that made a flow be remembered.
    pub new_flows: u64,
    /// Packets that went elsewhere than to their slot's owner.
    pub moved: u64,
    /// Packets of a flow that should have been remembered and was not.
    pub misses: u64,
    /// New flows dropped by the limit.
    pub limited: u64,
    /// Packets dropped because there was no backend.
    pub no_backend: u64,
    /// Packets dropped or answered because they were too long.
    pub too_big: u64,
}

const _: () = assert!(size_of::<VipCounters>() == 64);

/// Value of map `lb_backend_counters`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct BackendCounters {
    pub packets: u64,
    pub bytes: u64,
}

const _: () = assert!(size_of::<BackendCounters>() == 16);

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $index:literal, $text:literal;)*) => {
        $($(#[$doc])* pub const $name: u32 = $index;)*
        /// Index and name, as metrics and the CLI call it.
        pub const NAMES: &[(u32, &str)] = &[$(($name, $text)),*];
    };
}

// Indices of map `lb_counters`. Those below `FIRST_EVENT` are reasons of drops.
counters! {
    /// A header is cut short or contradicts itself.
    DROP_MALFORMED = 1, "malformed";
    /// Fragments in the compatibility mode.
    DROP_FRAGMENT = 2, "fragment";
    /// IP options in the compatibility mode.
    DROP_OPTIONS = 3, "options";
    /// A later fragment whose first was not seen.
    DROP_FRAGMENT_UNKNOWN = 4, "fragment-unknown";
    /// The VIP has no backend.
    DROP_NO_BACKEND = 5, "no-backend";
    /// A ring or server id names a backend that is not there.
    DROP_BACKEND_UNKNOWN = 6, "backend-unknown";
    /// Too long, and no message is sent about it.
    DROP_TOO_BIG = 7, "too-big";
    /// The limit of new flows of the VIP.
    DROP_LIMITED = 8, "limited";
    /// The packet could not be lengthened or rewritten.
    DROP_REWRITE = 9, "rewrite-failed";
    /// The inner packet's hop limit ran out.
    DROP_HOPS = 10, "hop-limit";
    /// No route or neighbour to the backend.
    DROP_NO_ROUTE = 11, "no-route";
    /// No port was left for a masqueraded flow.
    DROP_NO_PORT = 12, "no-port";
    /// More or longer IPv6 extension headers than are looked through.
    DROP_EXTENSIONS = 13, "extensions";

    /// Packets for no VIP, left to the stack.
    PASSED = 33, "passed";
    ECHO_ANSWERED = 34, "echo-answered";
    TOO_BIG_SENT = 35, "too-big-sent";
    DECAPSULATED = 36, "decapsulated";
    /// Flows by server id of QUIC, TCP or stable routing.
    SERVER_ID_USED = 37, "server-id-used";
    /// Server ids that no backend has.
    SERVER_ID_UNKNOWN = 38, "server-id-unknown";
    /// ICMP errors delivered to a flow's backend.
    ERRORS_DELIVERED = 39, "errors-delivered";
    /// UDP flows that left a backend that is down.
    MIGRATED = 40, "migrated";
    /// NAT flows begun.
    TRANSLATED = 41, "translated";
    CHECKS_SENT = 42, "checks-sent";
    SOURCE_ROUTED = 43, "source-routed";
    /// Packets that should have been captured, while the agent was behind.
    CAPTURE_LOST = 44, "capture-lost";
}

/// Indices from here on are no drops.
pub const FIRST_EVENT: u32 = 32;
/// Entries of map `lb_counters`.
pub const COUNT: u32 = 64;
