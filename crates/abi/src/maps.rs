//! Names of all maps: of the symbol in the object, and of the pin under `<bpffs>/maps/`.
//!
//! | map | kind | key | value |
//! |---|---|---|---|
//! | `state` | array of 1 | | [`State`](crate::state::State) |
//! | `endpoints` | hash | [`Address`](crate::Address) | [`Endpoint`](crate::endpoint::Endpoint) |
//! | `addresses` | LPM trie | [`AddressKey`](crate::endpoint::AddressKey) | [`AddressInfo`](crate::endpoint::AddressInfo) |
//! | `peers` | hash | [`PeerKey`](crate::policy::PeerKey) | port set, `u32` |
//! | `ports` | LPM trie | [`PortKey`](crate::policy::PortKey) | [`Rule`](crate::policy::Rule) |
//! | `services` | hash | [`ServiceKey`](crate::service::ServiceKey) | [`Service`](crate::service::Service) |
//! | `ring` | array | block | [`RingBlock`](crate::service::RingBlock) |
//! | `backends` | hash | backend id, `u32` | [`Backend`](crate::service::Backend) |
//! | `affinities` | LRU hash | [`AffinityKey`](crate::service::AffinityKey) | [`Affinity`](crate::service::Affinity) |
//! | `members` | hash | [`MemberKey`](crate::service::MemberKey) | [`Present`](crate::service::Present) |
//! | `source_ranges` | LPM trie | [`SourceRangeKey`](crate::service::SourceRangeKey) | [`Present`](crate::service::Present) |
//! | `conntrack` | LRU hash | [`FlowKey`](crate::conntrack::FlowKey) | [`Connection`](crate::conntrack::Connection) |
//! | `service_flows` | LRU hash | [`ServiceFlowKey`](crate::conntrack::ServiceFlowKey) | [`ServiceFlow`](crate::conntrack::ServiceFlow) |
//! | `masquerades` | LRU hash | [`FlowKey`](crate::conntrack::FlowKey) | [`Masquerade`](crate::conntrack::Masquerade) |
//! | `devices` | hash | interface, `u32` | [`Device`](crate::endpoint::Device) |
//! | `fragments` | LRU hash | [`FragmentKey`](crate::conntrack::FragmentKey) | [`FragmentPorts`](crate::conntrack::FragmentPorts) |
//! | `socket_owners` | socket storage | | [`SocketOwner`](crate::process::SocketOwner) |
//! | `socket_translations` | LRU hash | [`SocketTranslationKey`](crate::service::SocketTranslationKey) | [`SocketTranslation`](crate::service::SocketTranslation) |
//! | `processes` | LRU hash | [`ProcessKey`](crate::process::ProcessKey) | [`Process`](crate::process::Process) |
//! | `events` | ring buffer | | [`FlowEvent`](crate::event::FlowEvent) |
//! | `metrics` | per-CPU array | index | [`Metric`](crate::metrics::Metric) |
//! | `limiters` | per-CPU array | index | [`Limiter`](crate::state::Limiter) |
//! | `sequences` | per-CPU array of 1 | | next event number of the CPU, `u64` |

pub const STATE: &str = "state";
pub const ENDPOINTS: &str = "endpoints";
pub const ADDRESSES: &str = "addresses";
pub const PEERS: &str = "peers";
pub const PORTS: &str = "ports";
pub const SERVICES: &str = "services";
pub const RING: &str = "ring";
pub const BACKENDS: &str = "backends";
pub const AFFINITIES: &str = "affinities";
pub const MEMBERS: &str = "members";
pub const SOURCE_RANGES: &str = "source_ranges";
pub const CONNTRACK: &str = "conntrack";
pub const SERVICE_FLOWS: &str = "service_flows";
pub const MASQUERADES: &str = "masquerades";
pub const DEVICES: &str = "devices";
pub const FRAGMENTS: &str = "fragments";
pub const SOCKET_OWNERS: &str = "socket_owners";
pub const SOCKET_TRANSLATIONS: &str = "socket_translations";
pub const PROCESSES: &str = "processes";
pub const EVENTS: &str = "events";
pub const METRICS: &str = "metrics";
pub const LIMITERS: &str = "limiters";
pub const SEQUENCES: &str = "sequences";

/// Default capacities; the agent may choose others before the maps exist.
pub mod capacity {
    pub const ENDPOINTS: u32 = 16_384;
    pub const ADDRESSES: u32 = 262_144;
    pub const PEERS: u32 = 524_288;
    pub const PORTS: u32 = 262_144;
    pub const SERVICES: u32 = 65_536;
    /// Blocks of 32 slots.
    pub const RING: u32 = 65_536;
    pub const BACKENDS: u32 = 262_144;
    pub const AFFINITIES: u32 = 65_536;
    pub const MEMBERS: u32 = 65_536;
    pub const SOURCE_RANGES: u32 = 16_384;
    pub const CONNTRACK: u32 = 131_072;
    pub const SERVICE_FLOWS: u32 = 65_536;
    pub const MASQUERADES: u32 = 65_536;
    pub const DEVICES: u32 = 64;
    pub const FRAGMENTS: u32 = 8_192;
    pub const SOCKET_TRANSLATIONS: u32 = 65_536;
    pub const PROCESSES: u32 = 8_192;
    /// Bytes.
    pub const EVENTS: u32 = 4 << 20;
}
