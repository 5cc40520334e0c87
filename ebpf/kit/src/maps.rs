//! The maps of [`abi::maps`]. An object holds those that its programs use.

use crate::map::{Array, Hash, LpmTrie, LruHash, PerCpuArray, RingBuffer, SocketStorage};
use abi::Address;
use abi::conntrack::{
    Connection, FlowKey, FragmentKey, FragmentPorts, Masquerade, ServiceFlow, ServiceFlowKey,
};
use abi::endpoint::{AddressInfo, AddressKey, Device, Endpoint};
use abi::maps::capacity;
use abi::metrics::{self, Metric};
use abi::policy::{PeerKey, PortKey, Rule};
use abi::process::{Process, ProcessKey, SocketOwner};
use abi::service::{
    Affinity, AffinityKey, Backend, MemberKey, Present, RingBlock, Service, ServiceKey,
    SocketTranslation, SocketTranslationKey, SourceRangeKey,
};
use abi::state::{Limiter, State, limiter};

maps! {
    "state" STATE: Array<State, 1>;
    "endpoints" ENDPOINTS: Hash<Address, Endpoint, { capacity::ENDPOINTS as usize }>;
    "addresses" ADDRESSES: LpmTrie<AddressKey, AddressInfo, { capacity::ADDRESSES as usize }>;
    "peers" PEERS: Hash<PeerKey, u32, { capacity::PEERS as usize }>;
    "ports" PORTS: LpmTrie<PortKey, Rule, { capacity::PORTS as usize }>;
    "services" SERVICES: Hash<ServiceKey, Service, { capacity::SERVICES as usize }>;
    "ring" RING: Array<RingBlock, { capacity::RING as usize }>;
    "backends" BACKENDS: Hash<u32, Backend, { capacity::BACKENDS as usize }>;
    "affinities" AFFINITIES: LruHash<AffinityKey, Affinity, { capacity::AFFINITIES as usize }>;
    "members" MEMBERS: Hash<MemberKey, Present, { capacity::MEMBERS as usize }>;
    "source_ranges" SOURCE_RANGES:
        LpmTrie<SourceRangeKey, Present, { capacity::SOURCE_RANGES as usize }>;
    "conntrack" CONNTRACK: LruHash<FlowKey, Connection, { capacity::CONNTRACK as usize }>;
    "service_flows" SERVICE_FLOWS:
        LruHash<ServiceFlowKey, ServiceFlow, { capacity::SERVICE_FLOWS as usize }>;
    "masquerades" MASQUERADES: LruHash<FlowKey, Masquerade, { capacity::MASQUERADES as usize }>;
    "devices" DEVICES: Hash<u32, Device, { capacity::DEVICES as usize }>;
    "fragments" FRAGMENTS: LruHash<FragmentKey, FragmentPorts, { capacity::FRAGMENTS as usize }>;
    "socket_owners" SOCKET_OWNERS: SocketStorage<SocketOwner>;
    "socket_translations" SOCKET_TRANSLATIONS:
        LruHash<
            SocketTranslationKey,
            SocketTranslation,
            { capacity::SOCKET_TRANSLATIONS as usize },
        >;
    "processes" PROCESSES: LruHash<ProcessKey, Process, { capacity::PROCESSES as usize }>;
    "events" EVENTS: RingBuffer<{ capacity::EVENTS as usize }>;
    "metrics" METRICS: PerCpuArray<Metric, { metrics::COUNT as usize }>;
    "limiters" LIMITERS: PerCpuArray<Limiter, { limiter::COUNT as usize }>;
    "sequences" SEQUENCES: PerCpuArray<u64, 1>;
}
