//! An environment and packets in memory, for tests and the simulator.
//!
//! The maps are the plain and slow kind: what a lookup gives must be obvious. Capacities are not
//! modelled except that of `conntrack`, which can be made to refuse.

extern crate std;

mod frame;

pub use frame::BufferFrame;

use crate::conntrack::Entry;
use crate::env::{Env, Owner};
use crate::flow::Tuple;
use crate::limit::Bucket;
use crate::packet::{Checksum, Packet, RewriteFailed, Size};
use abi::Address;
use abi::conntrack::{
    FlowKey, FragmentKey, FragmentPorts, Masquerade, ServiceFlow, ServiceFlowKey,
};
use abi::endpoint::{AddressInfo, AddressKey, Device, Endpoint};
use abi::event::FlowEvent;
use abi::policy::{PeerKey, PortKey, Rule};
use abi::service::{
    Affinity, AffinityKey, Backend, MemberKey, Present, RingBlock, Service, ServiceKey,
    SourceRangeKey,
};
use abi::state::{State, Timeouts, limiter, state_flags};
use core::cell::{Cell, RefCell};
use core::hash::Hash;
use std::collections::HashMap;
use std::rc::Rc;
use std::vec::Vec;
use wire::checksum::{Sum, update};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// A map; values that are shared while they are held are behind [`Rc`].
#[derive(Debug)]
pub struct Table<K, V>(RefCell<HashMap<K, V>>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table(RefCell::default())
    }
}

impl<K: Eq + Hash + Copy, V: Clone> Table<K, V> {
    pub fn insert(&self, key: K, value: V) {
        self.0.borrow_mut().insert(key, value);
    }

    pub fn remove(&self, key: &K) -> Option<V> {
        self.0.borrow_mut().remove(key)
    }

    pub fn lookup(&self, key: &K) -> Option<V> {
        self.0.borrow().get(key).cloned()
    }

    pub fn entries(&self) -> Vec<(K, V)> {
        self.0.borrow().iter().map(|(key, value)| (*key, value.clone())).collect()
    }

    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All maps, a clock that stands still until it is moved, and chance that repeats itself.
#[derive(Debug)]
pub struct Memory {
    pub now: Cell<u64>,
    pub random: Cell<u32>,
    pub state: Cell<State>,
    /// What another CPU does in the middle of the next lookup of a port set, once.
    pub meanwhile: Cell<Option<fn(&Memory)>>,
    pub endpoints: Table<Address, Rc<Endpoint>>,
    pub addresses: RefCell<Vec<(AddressKey, AddressInfo)>>,
    pub peers: Table<PeerKey, u32>,
    pub ports: RefCell<Vec<(PortKey, Rule)>>,
    pub services: Table<ServiceKey, Service>,
    pub ring: Table<u32, RingBlock>,
    pub backends: Table<u32, Rc<Backend>>,
    pub affinities: Table<AffinityKey, Affinity>,
    pub members: Table<MemberKey, Present>,
    pub source_ranges: RefCell<Vec<(SourceRangeKey, Present)>>,
    pub conntrack: Table<FlowKey, Rc<Entry>>,
    /// The connection table refuses new entries.
    pub conntrack_full: Cell<bool>,
    pub service_flows: Table<ServiceFlowKey, Rc<ServiceFlow>>,
    pub devices: Table<u32, Device>,
    pub masquerades: Table<FlowKey, Masquerade>,
    pub fragments: Table<FragmentKey, FragmentPorts>,
    pub metrics: Table<u32, u64>,
    pub buckets: [Rc<Bucket>; limiter::COUNT as usize],
    pub sequence: Cell<u64>,
    pub events: RefCell<Vec<FlowEvent>>,
    /// The ring buffer has no room.
    pub events_full: Cell<bool>,
}

impl Default for Memory {
    fn default() -> Self {
        let bucket = || Rc::new(Bucket { refilled_ns: Cell::new(0), tokens: Cell::new(0) });
        Memory {
            // The machine has been up for a while.
            now: Cell::new(1_000_000_000_000),
            random: Cell::new(1),
            state: Cell::new(State {
                abi_version: abi::ABI_VERSION,
                policy_epoch: 1,
                flags: state_flags::REDIRECT_PEER,
                flow_events_per_second: 0,
                drop_events_per_second: 0,
                timeouts: Timeouts::DEFAULT,
                zero: 0,
            }),
            meanwhile: Cell::new(None),
            endpoints: Table::default(),
            addresses: RefCell::default(),
            peers: Table::default(),
            ports: RefCell::default(),
            services: Table::default(),
            ring: Table::default(),
            backends: Table::default(),
            affinities: Table::default(),
            members: Table::default(),
            source_ranges: RefCell::default(),
            conntrack: Table::default(),
            conntrack_full: Cell::new(false),
            service_flows: Table::default(),
            devices: Table::default(),
            masquerades: Table::default(),
            fragments: Table::default(),
            metrics: Table::default(),
            buckets: [bucket(), bucket()],
            sequence: Cell::new(0),
            events: RefCell::default(),
            events_full: Cell::new(false),
        }
    }
}

/// Longest-prefix match as `BPF_MAP_TYPE_LPM_TRIE` does it: the key's first word is the length, the
/// bits after it are compared.
fn longest_match<K: IntoBytes + Immutable, V: Copy>(
    entries: &[(K, V)],
    key: &K,
    length: impl Fn(&K) -> u32,
) -> Option<V> {
    let matches = |entry: &K| {
        let (entry_bits, key_bits) = (&entry.as_bytes()[4..], &key.as_bytes()[4..]);
        (0..length(entry) as usize).all(|bit| {
            let mask = 0x80 >> (bit % 8);
            entry_bits[bit / 8] & mask == key_bits[bit / 8] & mask
        })
    };
    let found = entries.iter().filter(|(entry, _)| matches(entry));
    found.max_by_key(|(entry, _)| length(entry)).map(|(_, value)| *value)
}

impl Env for Memory {
    type Held<'a, T: 'a> = Rc<T>;

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn random(&self) -> u32 {
        // A linear congruential generator; its high bits are the random ones.
        self.random.set(self.random.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        self.random.get() >> 8
    }

    fn cpu(&self) -> u16 {
        0
    }

    fn state(&self) -> Option<Rc<State>> {
        Some(Rc::new(self.state.get()))
    }

    fn endpoint(&self, address: &Address) -> Option<Rc<Endpoint>> {
        self.endpoints.lookup(address)
    }

    fn address(&self, key: &AddressKey) -> Option<AddressInfo> {
        longest_match(&self.addresses.borrow(), key, |key| key.prefix_len)
    }

    fn port_set(&self, key: &PeerKey) -> Option<u32> {
        let found = self.peers.lookup(key);
        if let Some(change) = self.meanwhile.take() {
            change(self);
        }
        found
    }

    fn rule(&self, key: &PortKey) -> Option<Rule> {
        longest_match(&self.ports.borrow(), key, |key| key.prefix_len)
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.services.lookup(key)
    }

    fn ring_slot(&self, block: u32, slot: u32) -> Option<u32> {
        self.ring.lookup(&block)?.backends.get(slot as usize).copied()
    }

    fn backend(&self, id: u32) -> Option<Rc<Backend>> {
        self.backends.lookup(&id)
    }

    fn affinity(&self, key: &AffinityKey) -> Option<Affinity> {
        self.affinities.lookup(key)
    }

    fn insert_affinity(&self, key: &AffinityKey, affinity: &Affinity) {
        self.affinities.insert(*key, *affinity);
    }

    fn is_member(&self, key: &MemberKey) -> bool {
        self.members.lookup(key).is_some()
    }

    fn is_in_source_ranges(&self, key: &SourceRangeKey) -> bool {
        longest_match(&self.source_ranges.borrow(), key, |key| key.prefix_len).is_some()
    }

    fn connection(&self, key: &FlowKey) -> Option<Rc<Entry>> {
        self.conntrack.lookup(key)
    }

    fn insert_connection(&self, key: &FlowKey, entry: &Entry) -> bool {
        if self.conntrack_full.get() {
            return false;
        }
        self.conntrack.insert(*key, Rc::new(entry.clone()));
        true
    }

    fn service_flow(&self, key: &ServiceFlowKey) -> Option<Rc<ServiceFlow>> {
        self.service_flows.lookup(key)
    }

    fn insert_service_flow(&self, key: &ServiceFlowKey, flow: &ServiceFlow) {
        self.service_flows.insert(*key, Rc::new(*flow));
    }

    fn device(&self, ifindex: u32) -> Option<Device> {
        self.devices.lookup(&ifindex)
    }

    fn masquerade(&self, key: &FlowKey) -> Option<Masquerade> {
        self.masquerades.lookup(key)
    }

    fn insert_masquerade(&self, key: &FlowKey, masquerade: &Masquerade) -> bool {
        self.masquerades.insert(*key, *masquerade);
        true
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        self.fragments.lookup(key)
    }

    fn insert_fragment(&self, key: &FragmentKey, ports: &FragmentPorts) {
        self.fragments.insert(*key, *ports);
    }

    fn count(&self, metric: u32, _bytes: u32) {
        self.metrics.insert(metric, self.metrics.lookup(&metric).unwrap_or(0) + 1);
    }

    fn bucket(&self, limiter: u32) -> Option<Rc<Bucket>> {
        self.buckets.get(limiter as usize).cloned()
    }

    fn sequence(&self) -> u64 {
        self.sequence.replace(self.sequence.get() + 1)
    }

    fn emit(&self, fill: impl FnOnce(&mut FlowEvent)) -> bool {
        if self.events_full.get() {
            return false;
        }
        let mut event = FlowEvent::new_zeroed();
        fill(&mut event);
        self.events.borrow_mut().push(event);
        true
    }
}

/// A frame in memory.
#[derive(Clone, Debug, Default)]
pub struct Buffer {
    pub bytes: Vec<u8>,
    pub ifindex: u32,
    pub ingress_ifindex: u32,
    pub mark: u32,
    pub owner: Option<Owner>,
    /// Where every packet is routed to.
    pub route: Option<u32>,
    /// What [`Packet::segment`] says.
    pub segment: u32,
}

impl Buffer {
    fn field<const N: usize>(&mut self, offset: u32) -> Result<&mut [u8; N], RewriteFailed> {
        let range = self.bytes.get_mut(offset as usize..).ok_or(RewriteFailed)?;
        range.first_chunk_mut().ok_or(RewriteFailed)
    }

    fn correct_sum(
        &mut self,
        at: u32,
        from: Sum,
        to: Sum,
        zero_is_none: bool,
    ) -> Result<(), RewriteFailed> {
        let field = self.field::<2>(at)?;
        let before = u16::from_ne_bytes(*field);
        if zero_is_none && before == 0 {
            return Ok(());
        }
        let after = match update(before, from, to) {
            0 if zero_is_none => 0xffff,
            after => after,
        };
        *field = after.to_ne_bytes();
        Ok(())
    }
}

fn sum(value: u32, size: Size) -> Sum {
    match size {
        Size::Half => Sum::ZERO.word(value as u16),
        Size::Word => Sum::ZERO.double(value),
    }
}

impl Packet for Buffer {
    type Frame<'a> = BufferFrame<'a>;

    fn frame(&mut self) -> BufferFrame<'_> {
        BufferFrame(self)
    }

    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn ingress_ifindex(&self) -> u32 {
        self.ingress_ifindex
    }

    fn mark(&self) -> u32 {
        self.mark
    }

    fn length(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn segment(&self) -> u32 {
        self.segment
    }

    fn head<T: FromBytes + Copy, const OFFSET: usize>(&self) -> Option<T> {
        wire::read(&self.bytes, OFFSET)
    }

    fn read<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        wire::read(&self.bytes, offset as usize)
    }

    fn owner(&self, _tuple: &Tuple) -> Option<Owner> {
        self.owner
    }

    fn route(&self, _tuple: &Tuple) -> Option<u32> {
        self.route
    }

    fn store_head<T: IntoBytes + Immutable>(&mut self, head: &T) -> Result<(), RewriteFailed> {
        let head = head.as_bytes();
        self.bytes.get_mut(..head.len()).ok_or(RewriteFailed)?.copy_from_slice(head);
        Ok(())
    }

    fn set_macs(&mut self, destination: [u8; 6], source: [u8; 6]) -> Result<(), RewriteFailed> {
        *self.field(0)? = destination;
        *self.field(6)? = source;
        Ok(())
    }

    fn store_byte(&mut self, offset: u32, value: u8) -> Result<(), RewriteFailed> {
        *self.field(offset)? = [value];
        Ok(())
    }

    fn store_half(&mut self, offset: u32, value: u16) -> Result<(), RewriteFailed> {
        *self.field(offset)? = value.to_ne_bytes();
        Ok(())
    }

    fn store_word(&mut self, offset: u32, value: u32) -> Result<(), RewriteFailed> {
        *self.field(offset)? = value.to_ne_bytes();
        Ok(())
    }

    fn store_address(&mut self, offset: u32, value: &Address) -> Result<(), RewriteFailed> {
        *self.field(offset)? = value.octets();
        Ok(())
    }

    fn correct_header(
        &mut self,
        checksum: u32,
        from: u32,
        to: u32,
        size: Size,
    ) -> Result<(), RewriteFailed> {
        self.correct_sum(checksum, sum(from, size), sum(to, size), false)
    }

    fn correct(
        &mut self,
        checksum: Checksum,
        from: u32,
        to: u32,
        size: Size,
    ) -> Result<(), RewriteFailed> {
        self.correct_sum(checksum.offset, sum(from, size), sum(to, size), checksum.zero_is_none)
    }

    fn correct_v6(
        &mut self,
        checksum: Checksum,
        from: &Address,
        to: &Address,
    ) -> Result<(), RewriteFailed> {
        let (from, to) = (Sum::ZERO.bytes(&from.octets()), Sum::ZERO.bytes(&to.octets()));
        self.correct_sum(checksum.offset, from, to, checksum.zero_is_none)
    }
}
