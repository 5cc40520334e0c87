//! The kernel as the environment of decisions.

use crate::map::held;
use crate::maps;
use abi::Address;
use abi::conntrack::{
    FlowKey, FragmentKey, FragmentPorts, Masquerade, ServiceFlow, ServiceFlowKey,
};
use abi::endpoint::{AddressInfo, AddressKey, Device, Endpoint};
use abi::event::FlowEvent;
use abi::policy::{PeerKey, PortKey, Rule};
use abi::service::{
    Affinity, AffinityKey, Backend, MemberKey, RING_BLOCK, Service, ServiceKey, SourceRangeKey,
};
use abi::state::State;
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::{
    bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns, bpf_ringbuf_query,
    bpf_ringbuf_reserve, bpf_ringbuf_submit,
};
use dataplane::conntrack::Entry;
use dataplane::env::Env;
use dataplane::limit::Bucket;

/// Bytes waiting in the ring buffer that are worth waking the agent for. A wake-up costs a thousand
/// times what an event does, so it is made for the event that reaches this or a multiple of it, and
/// else the agent finds events by polling.
const WATERMARK: u64 = 64 << 10;

/// Bytes of one event in the ring buffer.
const RECORD: u64 = (size_of::<FlowEvent>() as u64 + 8).next_multiple_of(8);

#[derive(Clone, Copy, Debug)]
pub struct Kernel;

impl Env for Kernel {
    type Held<'a, T: 'a> = &'a T;

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_ktime_get_boot_ns() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn cpu(&self) -> u16 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_get_smp_processor_id() as u16 }
    }

    #[inline(always)]
    fn state(&self) -> Option<&State> {
        // SAFETY: the map's own type. The agent may write it while it is read: each field is a
        // word that is read once or whose change in between does no harm.
        unsafe { held(&maps::STATE, &0) }
    }

    #[inline(always)]
    fn endpoint(&self, address: &Address) -> Option<&Endpoint> {
        // SAFETY: the map's own type; elements are replaced, not written in place.
        unsafe { held(&maps::ENDPOINTS, address) }
    }

    #[inline(always)]
    fn address(&self, key: &AddressKey) -> Option<AddressInfo> {
        maps::ADDRESSES.copy(key)
    }

    #[inline(always)]
    fn port_set(&self, key: &PeerKey) -> Option<u32> {
        maps::PEERS.copy(key)
    }

    #[inline(always)]
    fn rule(&self, key: &PortKey) -> Option<Rule> {
        maps::PORTS.copy(key)
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        maps::SERVICES.copy(key)
    }

    #[inline(always)]
    fn ring_slot(&self, block: u32, slot: u32) -> Option<u32> {
        let block = maps::RING.lookup(&block);
        if block.is_null() {
            return None;
        }
        // SAFETY: not null, so it is an element of the map. The mask keeps the index within it.
        Some(unsafe { (*block).backends[slot as usize & (RING_BLOCK - 1)] })
    }

    #[inline(always)]
    fn backend(&self, id: u32) -> Option<&Backend> {
        // SAFETY: the map's own type; elements are replaced, not written in place.
        unsafe { held(&maps::BACKENDS, &id) }
    }

    #[inline(always)]
    fn affinity(&self, key: &AffinityKey) -> Option<Affinity> {
        maps::AFFINITIES.copy(key)
    }

    #[inline(always)]
    fn insert_affinity(&self, key: &AffinityKey, affinity: &Affinity) {
        maps::AFFINITIES.insert(key, affinity);
    }

    #[inline(always)]
    fn is_member(&self, key: &MemberKey) -> bool {
        !maps::MEMBERS.lookup(key).is_null()
    }

    #[inline(always)]
    fn is_in_source_ranges(&self, key: &SourceRangeKey) -> bool {
        !maps::SOURCE_RANGES.lookup(key).is_null()
    }

    #[inline(always)]
    fn connection(&self, key: &FlowKey) -> Option<&Entry> {
        // SAFETY: `Entry` asserts that it has `Connection`'s layout; its fields are cells. Packets
        // of one flow on two CPUs may lose a count or a flag to each other, which is accepted:
        // every field is a plain number.
        unsafe { held(&maps::CONNTRACK, key) }
    }

    #[inline(always)]
    fn insert_connection(&self, key: &FlowKey, entry: &Entry) -> bool {
        maps::CONNTRACK.insert_as(key, entry)
    }

    #[inline(always)]
    fn service_flow(&self, key: &ServiceFlowKey) -> Option<&ServiceFlow> {
        // SAFETY: the map's own type; elements are replaced, not written in place.
        unsafe { held(&maps::SERVICE_FLOWS, key) }
    }

    #[inline(always)]
    fn insert_service_flow(&self, key: &ServiceFlowKey, flow: &ServiceFlow) {
        maps::SERVICE_FLOWS.insert(key, flow);
    }

    #[inline(always)]
    fn device(&self, ifindex: u32) -> Option<Device> {
        maps::DEVICES.copy(&ifindex)
    }

    #[inline(always)]
    fn masquerade(&self, key: &FlowKey) -> Option<Masquerade> {
        maps::MASQUERADES.copy(key)
    }

    #[inline(always)]
    fn insert_masquerade(&self, key: &FlowKey, masquerade: &Masquerade) -> bool {
        maps::MASQUERADES.insert(key, masquerade)
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        maps::FRAGMENTS.copy(key)
    }

    #[inline(always)]
    fn insert_fragment(&self, key: &FragmentKey, ports: &FragmentPorts) {
        maps::FRAGMENTS.insert(key, ports);
    }

    #[inline(always)]
    fn count(&self, metric: u32, bytes: u32) {
        let metric = maps::METRICS.lookup(&metric);
        if metric.is_null() {
            return;
        }
        // SAFETY: not null, so it is this CPU's element, which only programs on this CPU write.
        unsafe {
            (*metric).packets += 1;
            (*metric).bytes += u64::from(bytes);
        }
    }

    #[inline(always)]
    fn bucket(&self, limiter: u32) -> Option<&Bucket> {
        // SAFETY: `Bucket` has `Limiter`'s layout and its fields are cells.
        unsafe { held(&maps::LIMITERS, &limiter) }
    }

    #[inline(always)]
    fn sequence(&self) -> u64 {
        let next = maps::SEQUENCES.lookup(&0);
        if next.is_null() {
            return 0;
        }
        // SAFETY: as in `count`.
        unsafe {
            let number = *next;
            *next = number + 1;
            number
        }
    }

    #[inline(always)]
    fn emit(&self, fill: impl FnOnce(&mut FlowEvent)) -> bool {
        let ring = maps::EVENTS.as_ptr();
        // SAFETY: the ring is a ring buffer. What is reserved is writable, large enough and aligned
        // to 8, any bytes are a `FlowEvent`, and it is submitted on the only way out.
        unsafe {
            let event = bpf_ringbuf_reserve(ring, size_of::<FlowEvent>() as u64, 0);
            if event.is_null() {
                return false;
            }
            fill(&mut *event.cast::<FlowEvent>());
            let waiting = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA.into());
            let reached = waiting % WATERMARK < RECORD && waiting >= WATERMARK;
            let wake = if reached { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
            bpf_ringbuf_submit(event, wake.into());
        }
        true
    }
}
