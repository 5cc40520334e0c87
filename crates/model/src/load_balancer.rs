//! The edge balancer: kind `LoadBalancer`, `skep.dev/v1`.

use crate::{ObjectName, Origin, Protocol};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    pub name: ObjectName,
    pub edge: Edge,
    pub vips: Vec<Vip>,
    pub origin: Origin,
}

/// What holds for all VIPs of a node: load balancers of one node agree on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    /// Empty: nothing is attached (for test runs).
    pub interfaces: Vec<EdgeInterface>,
    pub next_hop: NextHop,
    pub delivery: Delivery,
    pub hashing: Hashing,
    pub flows: FlowKeeping,
    pub server_ids: Vec<ServerId>,
    pub source_routes: Vec<SourceRoute>,
    pub decapsulation: Option<Decapsulation>,
    pub probes: Option<ProbeEncapsulation>,
    /// Where this balancer is, for VIPs that prefer backends of their zone.
    pub zone: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeInterface {
    pub name: String,
    pub attach: AttachMode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttachMode {
    /// Native XDP, then generic XDP, then tc: the first that the interface takes.
    #[default]
    Auto,
    Native,
    Generic,
    Tc,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NextHop {
    /// The kernel's routes and neighbours say where a packet goes.
    #[default]
    Fib,
    /// Everything goes back out of the interface it came in by, to this address.
    Mac([u8; 6]),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryMode {
    #[default]
    Ipip,
    Gue,
    Geneve,
    Nat,
}

/// How packets get to backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub mode: DeliveryMode,
    /// UDP destination port of GUE.
    pub gue_port: u16,
    /// UDP destination port of Geneve.
    pub geneve_port: u16,
    pub geneve_vni: u32,
    /// Largest packet on the way to the backends, encapsulation included, without the Ethernet
    /// header. Larger ones are answered with ICMP.
    pub mtu: u16,
    /// Largest packet from clients, whatever the encapsulation leaves.
    pub client_mtu: u16,
    /// Larger ones are dropped without an answer.
    pub drop_too_big: bool,
    /// Outer source addresses; for GUE, Geneve and health checks.
    pub source_v4: Option<Ipv4Addr>,
    pub source_v6: Option<Ipv6Addr>,
    /// For `nat`: the source that backends see is the balancer's.
    pub masquerade: Option<Masquerade>,
}

impl Delivery {
    /// UDP port of GUE, as IANA registered it.
    pub const GUE_PORT: u16 = 6080;
    /// UDP port of Geneve (RFC 8926).
    pub const GENEVE_PORT: u16 = 6081;
    pub const MTU: u16 = 1500;
}

impl Default for Delivery {
    fn default() -> Self {
        Delivery {
            mode: DeliveryMode::default(),
            gue_port: Self::GUE_PORT,
            geneve_port: Self::GENEVE_PORT,
            geneve_vni: 0,
            mtu: Self::MTU,
            client_mtu: Self::MTU,
            drop_too_big: false,
            source_v4: None,
            source_v6: None,
            masquerade: None,
        }
    }
}

/// Source addresses and ports of translated flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masquerade {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    pub ports: PortRange,
}

impl Masquerade {
    /// Above the range that Linux gives to its own sockets by default.
    pub const PORTS: PortRange = PortRange { first: 61_000, last: 65_535 };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

/// How flows are spread over backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashing {
    pub algorithm: HashAlgorithm,
    /// Slots of each VIP's ring; chosen by the number of backends if missing.
    pub ring_size: Option<u32>,
    /// Slots that all rings together may have.
    pub slots: u32,
}

impl Hashing {
    /// 16.1 MiB: 128 rings of 65,537.
    pub const SLOTS: u32 = 16_512 * 512;
}

impl Default for Hashing {
    fn default() -> Self {
        Hashing { algorithm: HashAlgorithm::default(), ring_size: None, slots: Self::SLOTS }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// Weighted Maglev: shares in proportion, least disruption.
    #[default]
    Skep,
    /// Byte for byte as Katran, with its rings of version 1 or 2.
    KatranV1,
    KatranV2,
}

impl HashAlgorithm {
    /// Slots of a ring of the compatibility mode.
    pub const KATRAN_RING: u32 = 65_537;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowKeeping {
    pub keep: Keep,
    /// Flows that the table holds, over all CPUs.
    pub table: u32,
    /// How long a flow that no packet came of counts as alive after its ring slot has moved.
    pub idle: Duration,
}

impl FlowKeeping {
    pub const TABLE: u32 = 1_000_000;
    pub const IDLE: Duration = Duration::from_secs(60);
}

impl Default for FlowKeeping {
    fn default() -> Self {
        FlowKeeping { keep: Keep::default(), table: Self::TABLE, idle: Self::IDLE }
    }
}

/// Which flows are remembered with their backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Those whose ring slot has moved.
    #[default]
    Moved,
    /// Every one.
    All,
    None,
}

/// A number that servers put into connection ids and TCP options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerId {
    pub id: u32,
    pub backend: IpAddr,
}

/// For VIPs with source routing: clients of a block go to one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceRoute {
    pub source: IpNet,
    pub backend: IpAddr,
}

/// What is taken out of its encapsulation here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decapsulation {
    pub ipip: bool,
    /// At the delivery's GUE port.
    pub gue: bool,
    /// Outer destinations; empty: any.
    pub destinations: Vec<IpAddr>,
    /// Outer destinations to which backends send answers: the inner packets go back out.
    pub egress: Vec<IpAddr>,
    /// An inner packet must be for a VIP or for the host.
    pub strict_destination: bool,
    pub hook: DecapsulationHook,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecapsulationHook {
    #[default]
    Xdp,
    Tc,
}

/// The node's own packets with a mark, encapsulated to a backend: how health checks of others take
/// the way of the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeEncapsulation {
    /// Interface that probes leave by.
    pub interface: Option<String>,
    /// Source of the Ethernet header; the interface's own if missing.
    pub local_mac: Option<[u8; 6]>,
    pub marks: Vec<ProbeMark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeMark {
    pub mark: u32,
    pub backend: IpAddr,
}

/// A virtual address and who serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    pub block: IpNet,
    /// Empty: all ports.
    pub ports: Vec<PortRange>,
    pub protocol: Protocol,
    pub delivery: DeliveryMode,
    pub keep: Keep,
    pub hash_on: HashOn,
    /// By the server id in QUIC connection ids.
    pub quic: bool,
    /// By the server id in a TCP option.
    pub tcp_server_id: bool,
    /// By the server id at the beginning of UDP payloads.
    pub udp_stable_routing: bool,
    /// Flows leave a backend that is down or forgets its flows.
    pub udp_flow_migration: bool,
    pub source_routing: bool,
    /// Backends of the balancer's own zone, as long as there are any.
    pub prefer_zone: bool,
    /// More are dropped.
    pub new_flows_per_second: Option<u32>,
    pub health_check: Option<HealthCheck>,
    pub backends: Vec<Backend>,
    /// Where it was written.
    pub line: u32,
}

impl Vip {
    /// One TCP port, as a manifest that says no more has it.
    pub fn tcp(address: impl Into<IpNet>, port: u16, backends: Vec<Backend>) -> Self {
        Vip {
            block: address.into(),
            ports: vec![PortRange { first: port, last: port }],
            protocol: Protocol::Tcp,
            delivery: DeliveryMode::default(),
            keep: Keep::default(),
            hash_on: HashOn::default(),
            quic: false,
            tcp_server_id: false,
            udp_stable_routing: false,
            udp_flow_migration: false,
            source_routing: false,
            prefer_zone: false,
            new_flows_per_second: None,
            health_check: None,
            backends,
            line: 1,
        }
    }
}

/// What of a packet chooses its backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashOn {
    #[default]
    Flow,
    /// Source port ignored: connections of one client go together.
    NoSourcePort,
    DestinationPort,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub address: IpAddr,
    /// For `nat`; the packet's own if missing.
    pub port: Option<u16>,
    /// 0: no new flows.
    pub weight: u32,
    pub zone: Option<String>,
    pub state: BackendState,
    /// Of standbys: the lowest number serves first.
    pub priority: u32,
    /// It is this host: packets are passed on to it without encapsulation.
    pub local: bool,
    /// Flows remembered for it choose anew where their VIP has flow migration.
    pub forget_flows: bool,
    /// Where it was written.
    pub line: u32,
}

impl Backend {
    /// As a manifest that names just the address has it.
    pub fn at(address: IpAddr) -> Self {
        Backend {
            address,
            port: None,
            weight: 1,
            zone: None,
            state: BackendState::default(),
            priority: 0,
            local: false,
            forget_flows: false,
            line: 1,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendState {
    #[default]
    Active,
    /// Keeps its flows, gets no new ones.
    Draining,
    /// Gets nothing; its flows choose anew.
    Down,
    /// As active, once no active one is healthy.
    Standby,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HealthCheck {
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
    /// Good answers in a row until a backend counts as healthy.
    pub healthy_after: u32,
    /// Failures in a row until it doesn't.
    pub unhealthy_after: u32,
    /// How long a backend that recovers takes to its full weight.
    pub slow_start: Duration,
    /// The probe is for the VIP and goes through the VIP's encapsulation.
    pub through_encapsulation: bool,
}

impl HealthCheck {
    pub const INTERVAL: Duration = Duration::from_secs(5);
    pub const TIMEOUT: Duration = Duration::from_secs(2);
    pub const HEALTHY_AFTER: u32 = 2;
    pub const UNHEALTHY_AFTER: u32 = 3;
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// The VIP's own port if missing.
    Tcp {
        port: Option<u16>,
    },
    Http(HttpProbe),
    Icmp,
    /// Exit status 0 is healthy. Gets `SKEP_BACKEND`, `SKEP_PORT` and `SKEP_VIP` in its
    /// environment.
    Script {
        command: Vec<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpProbe {
    pub tls: bool,
    pub port: Option<u16>,
    pub path: String,
    /// Header `Host`, and the name in TLS; the backend's address if missing.
    pub host: Option<String>,
    /// First and last status that is healthy.
    pub status: (u16, u16),
}
