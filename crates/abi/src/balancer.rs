//! The L4 load balancer of the edge: keys and values of the maps that object `balancer` reads.
//!
//! | map | kind | key | value |
//! |---|---|---|---|
//! | `lb_settings` | array of 1 | | [`Settings`] |
//! | `lb_frontends` | hash | [`FrontEndKey`], of IPv6 alone | [`FrontEnd`] |
//! | `lb_frontends_v4` | hash | [`FrontEndKeyV4`] | [`FrontEnd`] |
//! | `lb_recent` | per-CPU array | [`Recent::index`] | [`Recent`] |
//! | `lb_ranges` | LPM trie | [`RangeKey`] | [`FrontEnd`] |
//! | `lb_prefixes` | LPM trie | [`PrefixKey`] | [`FrontEnd`] |
//! | `lb_rings` | array | block | [`RingBlock`] |
//! | `lb_backends` | array | backend number | [`Backend`] |
//! | `lb_flows` | LRU hash | [`FlowKey`] | [`Flow`] |
//! | `lb_fragments` | LRU hash | [`FragmentKey`](crate::conntrack::FragmentKey) | [`FragmentPorts`](crate::conntrack::FragmentPorts) |
//! | `lb_translations` | LRU hash | [`FlowKey`] | [`Translation`] |
//! | `lb_server_ids` | hash | server id, `u32` | backend number, `u32` |
//! | `lb_sources` | LPM trie | [`SourceKey`] | backend number, `u32` |
//! | `lb_decapsulate` | hash | [`Address`] | bits of [`decapsulate`], `u32` |
//! | `lb_down` | hash | [`DownKey`] | `u32`, not read |
//! | `lb_checks` | hash | mark, `u32` | backend number, `u32` |
//! | `lb_limits` | array | VIP number | [`Limit`] |
//! | `lb_vip_counters` | per-CPU array | VIP number | [`VipCounters`] |
//! | `lb_backend_counters` | per-CPU array | backend number | [`BackendCounters`] |
//! | `lb_counters` | per-CPU array | [`counter`] | `u64` |
//! | `lb_capture` | array of 1 | | [`CaptureFilter`](capture::CaptureFilter) |
//! | `lb_captured` | ring buffer | | [`Captured`](capture::Captured) |
//!
//! **Order of writing.** Backends, then blocks of a new ring that no front-end uses yet, then
//! front-ends (each entry flips as a whole), then a new [`Settings::generation`], with which CPUs
//! forget the front-ends that they have met, then what is no longer used. A packet so meets the old or
//! the new ring, never a mixture.
//!
//! **Which flows are remembered.** A slot of a ring is a backend number and a bit, [`slot::MOVED`].
//! Without the bit the slot's owner gets every packet and no flow is remembered. The bit is set for
//! slots whose owner has changed, and [`FrontEnd::previous`] then leads to a second ring with the
//! owner before the first change of the *window*, which ends at [`FrontEnd::window_end_ns`]:
//!
//! - a packet whose flow is in `lb_flows` goes where the flow goes (unless that backend is down);
//! - within the window a TCP SYN opens a flow, which goes to the owner and is remembered;
//! - within the window any other packet of an unknown flow belongs to a flow that is older than the
//!   window's first change: it goes to the previous owner and is remembered. Previous owner 0 (it
//!   died) stands for the owner;
//! - after the window an unknown flow goes to the owner and is not remembered; a SYN of a remembered
//!   one makes it the owner's.
//!
//! A further change within the window keeps each slot's previous owner and extends the window, since
//! whatever began after the first change is remembered. A further change after the window sets
//! previous owners anew. The bit can be cleared once the window has ended and no
//! flow of the slot is left in `lb_flows`: dead ones are removed before.

use crate::{Address, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub mod capture;
pub mod counter;
pub mod flags;
pub mod maps;

pub use counter::{BackendCounters, VipCounters};
pub use flags::{backend_flags, decapsulate, frontend_flags, settings_flags};

/// The address of a network card: three half-words in memory order, because the eBPF target loads
/// byte arrays byte by byte.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Mac(pub [u16; 3]);

const _: () = assert!(size_of::<Mac>() == 6);

impl From<[u8; 6]> for Mac {
    fn from(o: [u8; 6]) -> Self {
        let half = |at: usize| u16::from_ne_bytes([o[at], o[at + 1]]);
        Mac([half(0), half(2), half(4)])
    }
}

impl From<Mac> for [u8; 6] {
    fn from(mac: Mac) -> Self {
        let [a, b, c] = mac.0.map(u16::to_ne_bytes);
        [a[0], a[1], b[0], b[1], c[0], c[1]]
    }
}

/// Value of map `lb_settings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Settings {
    /// Bits of [`settings_flags`].
    pub flags: u32,
    /// Longest frame (with its Ethernet header) for a VIP, whatever its delivery. Longer ones are
    /// answered by too-big messages or dropped.
    pub max_frame: u32,
    /// Source of GUE, Geneve and health-check packets over IPv4, and of masqueraded flows; the
    /// address that strict decapsulation accepts.
    pub source_v4: Address,
    /// The same for IPv6.
    pub source_v6: Address,
    /// Destination MAC of what is sent by a fixed next hop.
    pub router_mac: Mac,
    /// Source MAC of health-check packets.
    pub local_mac: Mac,
    /// Interface by which health-check packets leave.
    pub check_ifindex: u32,
    pub gue_port: Port,
    pub geneve_port: Port,
    /// First and last port of masqueraded flows, in the machine's order.
    pub nat_first_port: u16,
    pub nat_last_port: u16,
    /// Seed of the hash of flows for VIPs of our own hashing.
    pub seed: u32,
    /// Upper half of the outer source of IPIP packets (172.16), in memory order.
    pub ipip_source_v4: u16,
    pub zero: u16,
    /// First three words of the outer source of IPv6 packets (100::), in memory order.
    pub ipip_source_v6: [u32; 3],
    /// Longest frame that is sent to a backend, encapsulation included; as `max_frame` for the rest.
    pub max_sent: u32,
    /// Idle nanoseconds after which a UDP flow of flow keeping `all` is a new one.
    pub udp_timeout_ns: u64,
    /// Another after each change of front-ends: see [`Recent`].
    pub generation: u32,
    pub zero_too: u32,
}

const _: () = assert!(size_of::<Settings>() == 104);

/// Key of map `lb_frontends`, and as [`FrontEndKeyV4`] of `lb_frontends_v4`. Each VIP's address also
/// has an entry with protocol ICMP (58 for IPv6) and no port: echo requests to it are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FrontEndKey {
    pub address: Address,
    /// [`Port::NONE`] for all ports; one with a port goes before it.
    pub port: Port,
    /// IP protocol number.
    pub protocol: u8,
    pub zero: u8,
}

const _: () = assert!(size_of::<FrontEndKey>() == 20);

/// Key of map `lb_frontends_v4`: a [`FrontEndKey`] of IPv4 in two words, which are hashed in half the
/// time of five.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FrontEndKeyV4 {
    /// In memory order.
    pub address: u32,
    pub port: Port,
    pub protocol: u8,
    pub zero: u8,
}

const _: () = assert!(size_of::<FrontEndKeyV4>() == 8);

impl FrontEndKey {
    /// The key's place is in `lb_frontends_v4`, unless this is `None`.
    #[inline(always)]
    pub const fn v4(&self) -> Option<FrontEndKeyV4> {
        if !self.address.is_v4() {
            return None;
        }
        let address = self.address.v4_word();
        Some(FrontEndKeyV4 { address, port: self.port, protocol: self.protocol, zero: 0 })
    }
}

impl FrontEndKeyV4 {
    /// As one word, in memory order: what is stored at once is loaded at once.
    #[inline(always)]
    pub const fn word(&self) -> u64 {
        // Shifts, since the compiler would put an array of bytes together in memory.
        let (address, port) = (self.address.to_le() as u64, self.port.to_wire().to_le() as u64);
        let word = address | port << 32 | (self.protocol as u64) << 48 | (self.zero as u64) << 56;
        u64::from_le(word)
    }
}

const _: () = assert!(maps::capacity::RECENT == 1 << 8);

impl From<FrontEndKeyV4> for FrontEndKey {
    fn from(key: FrontEndKeyV4) -> Self {
        let FrontEndKeyV4 { address, port, protocol, .. } = key;
        FrontEndKey { address: Address::from_v4_word(address), port, protocol, zero: 0 }
    }
}

/// Key of map `lb_ranges`: a block of ports of one address. A range is cut into such blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct RangeKey {
    /// [`RangeKey::FIXED_BITS`] and as many bits of the port as the block fixes.
    pub prefix_len: u32,
    pub address: Address,
    pub protocol: u8,
    pub zero: u8,
    pub port: Port,
}

const _: () = assert!(size_of::<RangeKey>() == 24);

impl RangeKey {
    /// Address, protocol and the zero byte.
    pub const FIXED_BITS: u32 = 128 + 8 + 8;
}

/// Key of map `lb_prefixes`: a block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PrefixKey {
    /// [`PrefixKey::FIXED_BITS`] and the bits of the address (of its v4-mapped form: 96 more for
    /// IPv4).
    pub prefix_len: u32,
    /// [`Port::NONE`] for all ports.
    pub port: Port,
    pub protocol: u8,
    pub zero: u8,
    pub address: Address,
}

const _: () = assert!(size_of::<PrefixKey>() == 24);

impl PrefixKey {
    /// Port, protocol and the zero byte.
    pub const FIXED_BITS: u32 = 16 + 8 + 8;
}

/// Where a VIP's packets go. Replaced as a whole.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct FrontEnd {
    /// Index of counters and limit.
    pub vip: u32,
    /// Bits of [`frontend_flags`].
    pub flags: u32,
    /// First slot of the ring in map `lb_rings`, counted in slots: a multiple of [`RING_BLOCK`].
    pub ring: u32,
    /// Slots in the ring; 0 means no backend.
    pub ring_len: u32,
    /// First slot of the ring of previous owners; not read unless a slot is [`slot::MOVED`].
    pub previous: u32,
    /// New flows a second; 0 means no limit.
    pub new_flows_per_second: u32,
    /// Boot-time nanoseconds until which an unknown flow may be older than the last changes.
    pub window_end_ns: u64,
    /// Table of `lb_sources` that goes before the ring; read with
    /// [`frontend_flags::SOURCE_ROUTING`].
    pub sources: u32,
    /// Slots in the ring of previous owners: as many as in `ring`, unless that has got another size.
    pub previous_len: u32,
}

const _: () = assert!(size_of::<FrontEnd>() == 40);

/// Element of map `lb_recent`: an entry of `lb_frontends_v4` that this CPU has met. It holds as long
/// as `generation` is that of the settings, which the agent changes once front-ends are written, and
/// before anything goes that the former ones lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Recent {
    /// [`FrontEndKeyV4::word`].
    pub key: u64,
    pub generation: u32,
    pub zero: u32,
    pub front_end: FrontEnd,
}

impl Recent {
    /// Where a key's element is: neighbouring addresses, or ports, have different ones.
    #[inline(always)]
    pub const fn index(key: u64) -> u32 {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u32
    }
}

const _: () = assert!(size_of::<Recent>() == 56);

/// Slots in one value of map `lb_rings`.
pub const RING_BLOCK: usize = 512;

/// Value of map `lb_rings`: slots, see [`slot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct RingBlock {
    pub slots: [u16; RING_BLOCK],
}

const _: () = assert!(size_of::<RingBlock>() == 1024);

/// What a slot of a ring holds.
pub mod slot {
    /// The backend number; 0 is no backend.
    pub const BACKEND: u16 = 0x7fff;
    /// The slot's flows may have another owner: `lb_flows` is asked.
    pub const MOVED: u16 = 0x8000;
}

/// Slots of a ring of the compatible hashing.
pub const KATRAN_RING: u32 = 65_537;

/// Value of map `lb_backends`: all that delivering a packet needs to know. A server that is reached
/// in two ways (of two VIPs) has two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Backend {
    /// Outer destination, or the destination that NAT writes. [`Address::NONE`]: no such backend.
    pub address: Address,
    /// Outer source (GUE, Geneve) or the source that masquerading writes; ignored by IPIP.
    pub source: Address,
    /// Bits of [`backend_flags`].
    pub flags: u32,
    /// Interface to send by; 0 is the one that the packet came in by.
    pub ifindex: u32,
    /// Destination MAC with a fixed next hop.
    pub mac: Mac,
    /// Source MAC where `ifindex` isn't 0; otherwise the packet's own destination MAC is used.
    pub source_mac: Mac,
    /// Port that NAT writes; [`Port::NONE`] keeps the packet's.
    pub port: Port,
    pub zero: u16,
    /// Geneve's network identifier, in the machine's order.
    pub vni: u32,
    pub zero2: u32,
}

const _: () = assert!(size_of::<Backend>() == 64);

/// Key of maps `lb_flows` and `lb_translations`, in the direction of the packet. What the VIP's
/// flags leave out of the hash is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FlowKey {
    pub source: Address,
    pub destination: Address,
    pub source_port: Port,
    pub destination_port: Port,
    pub protocol: u8,
    pub zero: [u8; 3],
}

const _: () = assert!(size_of::<FlowKey>() == 40);

/// Value of map `lb_flows`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Flow {
    /// Boot-time nanoseconds. Of UDP flows under `all` and of flows under `moved`, else 0.
    pub last_seen_ns: u64,
    /// Backend number.
    pub backend: u32,
    pub vip: u32,
}

const _: () = assert!(size_of::<Flow>() == 16);

/// Value of map `lb_translations`: what the packet's addresses and ports become. Each flow has two
/// entries, one for each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Translation {
    pub source: Address,
    pub destination: Address,
    pub source_port: Port,
    pub destination_port: Port,
    /// Backend number.
    pub backend: u32,
    /// Boot-time nanoseconds.
    pub created_ns: u64,
}

const _: () = assert!(size_of::<Translation>() == 48);

/// Key of map `lb_sources`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SourceKey {
    /// [`SourceKey::FIXED_BITS`] and the bits of the address (96 more for IPv4).
    pub prefix_len: u32,
    /// [`FrontEnd::sources`].
    pub table: u32,
    pub address: Address,
}

const _: () = assert!(size_of::<SourceKey>() == 24);

impl SourceKey {
    /// The table.
    pub const FIXED_BITS: u32 = 32;
}

/// Key of map `lb_down`: a backend whose UDP flows of a VIP with
/// [`frontend_flags::UDP_MIGRATION`] are to go elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct DownKey {
    pub vip: u32,
    pub backend: u32,
}

const _: () = assert!(size_of::<DownKey>() == 8);

/// Value of map `lb_limits`: a bucket of new flows, of programs alone.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Limit {
    pub refilled_ns: u64,
    pub tokens: u64,
}

const _: () = assert!(size_of::<Limit>() == 16);
