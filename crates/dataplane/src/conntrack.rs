//! The state of a connection, and when it counts as gone.
//!
//! An entry is as good as absent once it has been idle for the timeout of its state. A SYN opens a
//! TCP entry anew, as another connection, when the old one is closed, or when it comes against the
//! direction of one that is established: neither belongs to the old connection, so its verdict must
//! not apply.

use abi::conntrack::{Connection, Counters, conn_flags, seen, tcp_state};
use abi::process::ProcessKey;
use abi::state::Timeouts;
use abi::{Address, Port};
use core::cell::Cell;
use core::mem::offset_of;
use wire::ip::protocol;
use wire::transport::tcp_flags;

/// [`Counters`] with fields that can be written in place.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Count {
    pub packets: Cell<u64>,
    pub bytes: Cell<u64>,
}

impl Count {
    const fn none() -> Self {
        Count { packets: Cell::new(0), bytes: Cell::new(0) }
    }

    #[inline(always)]
    fn add(&self, bytes: u32) {
        self.packets.set(self.packets.get() + 1);
        self.bytes.set(self.bytes.get() + u64::from(bytes));
    }

    #[inline(always)]
    pub fn counters(&self) -> Counters {
        Counters { packets: self.packets.get(), bytes: self.bytes.get() }
    }
}

macro_rules! entry {
    ($($field:ident: $ty:ty = $zero:expr,)*) => {
        /// [`Connection`] with fields that can be written in place, since map values are shared.
        #[derive(Clone, Debug)]
        #[repr(C)]
        pub struct Entry {
            $(pub $field: $ty,)*
        }

        const _: () = {
            assert!(size_of::<Entry>() == size_of::<Connection>());
            $(assert!(offset_of!(Entry, $field) == offset_of!(Connection, $field));)*
        };

        impl Entry {
            pub const fn empty() -> Self {
                Entry { $($field: $zero,)* }
            }
        }
    };
}

entry! {
    created_ns: Cell<u64> = Cell::new(0),
    last_seen_ns: Cell<u64> = Cell::new(0),
    original: Count = Count::none(),
    reply: Count = Count::none(),
    initiator: Cell<ProcessKey> = Cell::new(ProcessKey::NONE),
    responder: Cell<ProcessKey> = Cell::new(ProcessKey::NONE),
    vip: Cell<Address> = Cell::new(Address::NONE),
    vip_port: Cell<Port> = Cell::new(Port::NONE),
    flags: Cell<u16> = Cell::new(0),
    service: Cell<u32> = Cell::new(0),
    backend: Cell<u32> = Cell::new(0),
    epoch: Cell<u32> = Cell::new(0),
    initiator_identity: Cell<u32> = Cell::new(0),
    responder_identity: Cell<u32> = Cell::new(0),
    initiator_endpoint: Cell<u32> = Cell::new(0),
    responder_endpoint: Cell<u32> = Cell::new(0),
    egress_rule: Cell<u32> = Cell::new(0),
    ingress_rule: Cell<u32> = Cell::new(0),
    state: Cell<u8> = Cell::new(0),
    seen: Cell<u8> = Cell::new(0),
    denied: Cell<u8> = Cell::new(0),
    icmp_type: Cell<u8> = Cell::new(0),
    denied_direction: Cell<u8> = Cell::new(0),
    zero: Cell<[u8; 3]> = Cell::new([0; 3]),
}

const SECOND: u64 = 1_000_000_000;

/// Seconds of idleness after which a connection is forgotten. The agent's garbage collection asks
/// as well.
#[inline(always)]
pub fn timeout(protocol: u8, state: u8, replied: bool, timeouts: &Timeouts) -> u32 {
    match protocol {
        protocol::TCP => match state {
            tcp_state::ESTABLISHED => timeouts.tcp_established,
            tcp_state::CLOSING | tcp_state::CLOSED => timeouts.tcp_closing,
            _ => timeouts.tcp_opening,
        },
        protocol::ICMP | protocol::ICMPV6 => timeouts.icmp,
        _ if replied => timeouts.other,
        _ => timeouts.other_unreplied,
    }
}

impl Entry {
    #[inline(always)]
    pub fn has(&self, flag: u16) -> bool {
        self.flags.get() & flag != 0
    }

    #[inline(always)]
    pub fn set(&self, flag: u16) {
        self.flags.set(self.flags.get() | flag);
    }

    #[inline(always)]
    pub fn unset(&self, flag: u16) {
        self.flags.set(self.flags.get() & !flag);
    }

    /// True if packets of this flow carry the service's address on the initiator's side.
    #[inline(always)]
    pub fn is_translated(&self) -> bool {
        !self.vip.get().is_none() && !self.has(conn_flags::SOCKET_TRANSLATED)
    }

    /// True if a packet from the key's high end (or not) goes against the first packet's direction.
    #[inline(always)]
    pub fn is_reply(&self, from_high: bool) -> bool {
        self.has(conn_flags::FROM_HIGH) != from_high
    }

    #[inline(always)]
    pub fn is_expired(&self, protocol: u8, timeouts: &Timeouts, now: u64) -> bool {
        // The clock of another CPU may be a little ahead.
        let idle = now.saturating_sub(self.last_seen_ns.get());
        let replied = self.has(conn_flags::REPLY_SEEN);
        idle > u64::from(timeout(protocol, self.state.get(), replied, timeouts)) * SECOND
    }

    /// True if a packet with these TCP flags begins another connection with the same tuple.
    #[inline(always)]
    pub fn opens_anew(&self, tcp: u8, is_reply: bool) -> bool {
        if tcp & (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST) != tcp_flags::SYN {
            return false;
        }
        match self.state.get() {
            tcp_state::CLOSED => true,
            tcp_state::ESTABLISHED | tcp_state::CLOSING => is_reply,
            _ => false,
        }
    }

    /// Accounts for one packet.
    #[inline(always)]
    pub fn update(&self, is_reply: bool, bytes: u32, now: u64) {
        self.last_seen_ns.set(now);
        if is_reply {
            self.reply.add(bytes);
        } else {
            self.original.add(bytes);
        }
    }

    /// Follows TCP. True if the connection has just become closed.
    ///
    /// | state | leaves it |
    /// |---|---|
    /// | SYN_SENT | a SYN of the other end: SYN_RECEIVED |
    /// | SYN_RECEIVED | an ACK of the first end: ESTABLISHED |
    /// | ESTABLISHED | a FIN: CLOSING |
    /// | CLOSING | the FIN of the other end: CLOSED |
    /// | any | RST: CLOSED |
    #[inline(always)]
    pub fn follow(&self, tcp: u8, is_reply: bool) -> bool {
        let state = self.state.get();
        let interesting = tcp & (tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST) != 0;
        if state == tcp_state::ESTABLISHED && !interesting {
            return false;
        }
        let shift = if is_reply { seen::REPLY_SHIFT } else { 0 };
        let all = self.seen.get() | (flags_seen(tcp) << shift);
        self.seen.set(all);
        let both = |flag: u8| all & flag != 0 && all & (flag << seen::REPLY_SHIFT) != 0;
        let either = |flag: u8| all & (flag | flag << seen::REPLY_SHIFT) != 0;
        let next = if either(seen::RST) || both(seen::FIN) {
            tcp_state::CLOSED
        } else if either(seen::FIN) {
            tcp_state::CLOSING
        } else if state >= tcp_state::ESTABLISHED {
            state
        } else if both(seen::SYN) {
            if all & seen::ACK != 0 { tcp_state::ESTABLISHED } else { tcp_state::SYN_RECEIVED }
        } else {
            state
        };
        if next == state {
            return false;
        }
        self.state.set(next);
        next == tcp_state::CLOSED
    }

    /// The first packet of a TCP connection, or of the part of it that is seen here.
    #[inline(always)]
    pub fn open(&self, tcp: u8) {
        let syn_only = tcp & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN;
        if syn_only {
            self.state.set(tcp_state::SYN_SENT);
        } else {
            self.state.set(tcp_state::ESTABLISHED);
            self.set(conn_flags::ADOPTED);
        }
        self.follow(tcp, false);
    }
}

#[inline(always)]
fn flags_seen(tcp: u8) -> u8 {
    let mut flags = 0;
    if tcp & tcp_flags::FIN != 0 {
        flags |= seen::FIN;
    }
    if tcp & tcp_flags::RST != 0 {
        flags |= seen::RST;
    }
    if tcp & tcp_flags::SYN != 0 {
        flags |= seen::SYN;
    }
    if tcp & tcp_flags::ACK != 0 {
        flags |= seen::ACK;
    }
    flags
}
