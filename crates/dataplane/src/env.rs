//! What decisions need from where they run.

use crate::conntrack::Entry;
use crate::limit::Bucket;
use abi::Address;
use abi::conntrack::{
    FlowKey, FragmentKey, FragmentPorts, Masquerade, ServiceFlow, ServiceFlowKey,
};
use abi::endpoint::{AddressInfo, AddressKey, Device, Endpoint};
use abi::event::FlowEvent;
use abi::policy::{PeerKey, PortKey, Rule};
use abi::process::ProcessKey;
use abi::service::{
    Affinity, AffinityKey, Backend, MemberKey, Service, ServiceKey, SourceRangeKey,
};
use abi::state::State;
use core::ops::Deref;

/// Maps, clock, chance and events. Every lookup is one of the map of that name in [`abi::maps`].
pub trait Env {
    /// A map value that may be shared with other CPUs while it is held.
    type Held<'a, T: 'a>: Deref<Target = T>
    where
        Self: 'a;

    /// Boot-time nanoseconds.
    fn now(&self) -> u64;
    fn random(&self) -> u32;
    fn cpu(&self) -> u16;

    fn state(&self) -> Option<Self::Held<'_, State>>;
    fn endpoint(&self, address: &Address) -> Option<Self::Held<'_, Endpoint>>;
    /// Longest-prefix match.
    fn address(&self, key: &AddressKey) -> Option<AddressInfo>;
    fn port_set(&self, key: &PeerKey) -> Option<u32>;
    /// Longest-prefix match.
    fn rule(&self, key: &PortKey) -> Option<Rule>;

    fn service(&self, key: &ServiceKey) -> Option<Service>;
    fn ring_slot(&self, block: u32, slot: u32) -> Option<u32>;
    fn backend(&self, id: u32) -> Option<Self::Held<'_, Backend>>;
    fn affinity(&self, key: &AffinityKey) -> Option<Affinity>;
    fn insert_affinity(&self, key: &AffinityKey, affinity: &Affinity);
    fn is_member(&self, key: &MemberKey) -> bool;
    /// Longest-prefix match.
    fn is_in_source_ranges(&self, key: &SourceRangeKey) -> bool;

    fn connection(&self, key: &FlowKey) -> Option<Self::Held<'_, Entry>>;
    /// Inserts or replaces; false if the map takes no more.
    fn insert_connection(&self, key: &FlowKey, entry: &Entry) -> bool;

    fn service_flow(&self, key: &ServiceFlowKey) -> Option<Self::Held<'_, ServiceFlow>>;
    fn insert_service_flow(&self, key: &ServiceFlowKey, flow: &ServiceFlow);

    /// One of the node's interfaces to the outside.
    fn device(&self, ifindex: u32) -> Option<Device>;
    fn masquerade(&self, key: &FlowKey) -> Option<Masquerade>;
    /// Inserts or replaces; false if the map takes no more.
    fn insert_masquerade(&self, key: &FlowKey, masquerade: &Masquerade) -> bool;

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts>;
    fn insert_fragment(&self, key: &FragmentKey, ports: &FragmentPorts);

    /// Adds one packet of `bytes` to a counter of [`abi::metrics`].
    fn count(&self, metric: u32, bytes: u32);
    fn bucket(&self, limiter: u32) -> Option<Self::Held<'_, Bucket>>;
    /// The next event number of this CPU.
    fn sequence(&self) -> u64;
    /// Has `fill` write an event, or returns false if there is no room for one. `fill` writes every
    /// field: what the event holds before is undefined.
    fn emit(&self, fill: impl FnOnce(&mut FlowEvent)) -> bool;
}

/// What a socket of this machine knows of its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub process: ProcessKey,
    /// Service address that the socket was translated from, or none.
    pub vip: Address,
    pub vip_port: abi::Port,
    pub service: u32,
    pub backend: u32,
}
