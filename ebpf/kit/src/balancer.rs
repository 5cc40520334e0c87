//! The maps of [`abi::balancer`], and the kernel as the balancer's environment.

use crate::map::{Array, Hash, LpmTrie, LruHash, Map, PerCpuArray, RingBuffer, held};
use abi::Address;
use abi::balancer::capture::{CaptureFilter, Captured};
use abi::balancer::maps::capacity;
use abi::balancer::{
    Backend, BackendCounters, DownKey, Flow, FlowKey, FrontEnd, FrontEndKey, FrontEndKeyV4, Limit,
    PrefixKey, RING_BLOCK, RangeKey, Recent, RingBlock, Settings, SourceKey, Translation,
    VipCounters, counter,
};
use abi::conntrack::{FragmentKey, FragmentPorts};
use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST, bpf_map_type};
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_boot_ns, bpf_map_update_elem};
use core::ptr;
use dataplane::balancer::{BackendCells, Env, FlowCell, LimitCell, VipCells};

mod capture;
mod recent;
mod skb;
mod xdp;

pub use capture::Capture;
pub use skb::SkbFrame;
pub use xdp::XdpFrame;

/// Flows are remembered in one table with a list of the least recently used for each CPU: cards send
/// a flow to one CPU, and CPUs don't wait for each other.
type FlowTable<const MAX: usize> = Map<
    FlowKey,
    Flow,
    { bpf_map_type::BPF_MAP_TYPE_LRU_HASH as usize },
    MAX,
    { aya_ebpf::bindings::BPF_F_NO_COMMON_LRU as usize },
>;

maps! {
    "lb_settings" SETTINGS: Array<Settings, 1>;
    "lb_frontends" FRONTENDS: Hash<FrontEndKey, FrontEnd, { capacity::FRONTENDS as usize }>;
    "lb_frontends_v4" FRONTENDS_V4:
        Hash<FrontEndKeyV4, FrontEnd, { capacity::FRONTENDS as usize }>;
    "lb_recent" RECENT: PerCpuArray<Recent, { capacity::RECENT as usize }>;
    "lb_ranges" RANGES: LpmTrie<RangeKey, FrontEnd, { capacity::RANGES as usize }>;
    "lb_prefixes" PREFIXES: LpmTrie<PrefixKey, FrontEnd, { capacity::PREFIXES as usize }>;
    "lb_rings" RINGS: Array<RingBlock, { capacity::RINGS as usize }>;
    "lb_backends" BACKENDS: Array<Backend, { capacity::BACKENDS as usize }>;
    "lb_flows" FLOWS: FlowTable<{ capacity::FLOWS as usize }>;
    "lb_fragments" FRAGMENTS: LruHash<FragmentKey, FragmentPorts, { capacity::FRAGMENTS as usize }>;
    "lb_translations" TRANSLATIONS:
        LruHash<FlowKey, Translation, { capacity::TRANSLATIONS as usize }>;
    "lb_server_ids" SERVER_IDS: Hash<u32, u32, { capacity::SERVER_IDS as usize }>;
    "lb_sources" SOURCES: LpmTrie<SourceKey, u32, { capacity::SOURCES as usize }>;
    "lb_decapsulate" DECAPSULATE: Hash<Address, u32, { capacity::DECAPSULATE as usize }>;
    "lb_down" DOWN: Hash<DownKey, u32, { capacity::DOWN as usize }>;
    "lb_checks" CHECKS: Hash<u32, u32, { capacity::CHECKS as usize }>;
    "lb_limits" LIMITS: Array<Limit, { capacity::VIPS as usize }>;
    "lb_vip_counters" VIP_COUNTERS: PerCpuArray<VipCounters, { capacity::VIPS as usize }>;
    "lb_backend_counters" BACKEND_COUNTERS:
        PerCpuArray<BackendCounters, { capacity::BACKENDS as usize }>;
    "lb_counters" COUNTERS: PerCpuArray<u64, { counter::COUNT as usize }>;
    "lb_capture" CAPTURE: Array<CaptureFilter, 1>;
    "lb_captured" CAPTURED: RingBuffer<{ capacity::CAPTURED as usize }>;
    "lb_capture_scratch" CAPTURE_SCRATCH: PerCpuArray<Captured, 1>;
}

/// The kernel's maps. With `TELLS`, what was counted last is kept for [`Capture`].
#[derive(Clone, Copy, Debug)]
pub struct Maps<const TELLS: bool> {}

pub type Kernel = Maps<false>;
/// Of programs that capture.
pub type TellingKernel = Maps<true>;

impl<const TELLS: bool> Env for Maps<TELLS> {
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
    fn settings(&self) -> Option<&Settings> {
        // SAFETY: the map's own type. The agent may write it while it is read: each field is read
        // where it is needed, and any mixture of old and new is a state that was wanted.
        unsafe { held(&SETTINGS, &0) }
    }

    #[inline(always)]
    fn front_end(&self, settings: &Settings, key: &FrontEndKey) -> Option<&FrontEnd> {
        match key.v4() {
            Some(key) => recent::front_end(settings.generation, key),
            // SAFETY: the map's own type; elements are replaced, not written in place.
            None => unsafe { held(&FRONTENDS, key) },
        }
    }

    #[inline(always)]
    fn range(&self, key: &RangeKey) -> Option<&FrontEnd> {
        // SAFETY: as above.
        unsafe { held(&RANGES, key) }
    }

    #[inline(always)]
    fn prefix(&self, key: &PrefixKey) -> Option<&FrontEnd> {
        // SAFETY: as above.
        unsafe { held(&PREFIXES, key) }
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<u16> {
        let block = RINGS.lookup(&(index / RING_BLOCK as u32));
        if block.is_null() {
            return None;
        }
        // SAFETY: not null, so it is an element of the map; the remainder is within it. The agent
        // writes only blocks that no front-end uses, but for the bit of slots that have settled.
        Some(unsafe { (*block).slots[index as usize % RING_BLOCK] })
    }

    #[inline(always)]
    fn backend(&self, number: u32) -> Option<&Backend> {
        // SAFETY: the map's own type. The agent writes a backend before it is used.
        let backend: &Backend = unsafe { held(&BACKENDS, &number) }?;
        // An array has an element for every number.
        if backend.address.is_none() { None } else { Some(backend) }
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<&FlowCell> {
        // SAFETY: `FlowCell` has `Flow`'s layout, and its fields are cells.
        unsafe { held(&FLOWS, key) }
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey, flow: &Flow) {
        FLOWS.insert(key, flow);
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        FRAGMENTS.copy(key)
    }

    #[inline(always)]
    fn insert_fragment(&self, key: &FragmentKey, ports: &FragmentPorts) {
        FRAGMENTS.insert(key, ports);
    }

    #[inline(always)]
    fn translation(&self, key: &FlowKey) -> Option<&Translation> {
        // SAFETY: the map's own type; elements are replaced, not written in place.
        unsafe { held(&TRANSLATIONS, key) }
    }

    #[inline(always)]
    fn new_translation(&self, key: &FlowKey, translation: &Translation) -> bool {
        update(key, translation, u64::from(BPF_NOEXIST))
    }

    #[inline(always)]
    fn replace_translation(&self, key: &FlowKey, translation: &Translation) -> bool {
        update(key, translation, u64::from(BPF_ANY))
    }

    #[inline(always)]
    fn server_id(&self, id: u32) -> Option<u32> {
        SERVER_IDS.copy(&id)
    }

    #[inline(always)]
    fn source(&self, key: &SourceKey) -> Option<u32> {
        SOURCES.copy(key)
    }

    #[inline(always)]
    fn decapsulates(&self, destination: &Address) -> Option<u32> {
        DECAPSULATE.copy(destination)
    }

    #[inline(always)]
    fn is_down(&self, key: &DownKey) -> bool {
        !DOWN.lookup(key).is_null()
    }

    #[inline(always)]
    fn check(&self, mark: u32) -> Option<u32> {
        CHECKS.copy(&mark)
    }

    #[inline(always)]
    fn limit(&self, vip: u32) -> Option<&LimitCell> {
        // SAFETY: `LimitCell` has `Limit`'s layout, and its fields are cells.
        unsafe { held(&LIMITS, &vip) }
    }

    #[inline(always)]
    fn count(&self, counter: u32) {
        if TELLS {
            capture::tell(counter);
        }
        let counter = COUNTERS.lookup(&counter);
        if counter.is_null() {
            return;
        }
        // SAFETY: not null, so it is this CPU's element, which only programs on this CPU write.
        unsafe { *counter += 1 };
    }

    #[inline(always)]
    fn vip(&self, vip: u32) -> Option<&VipCells> {
        // SAFETY: `VipCells` has `VipCounters`' layout, and its fields are cells.
        unsafe { held(&VIP_COUNTERS, &vip) }
    }

    #[inline(always)]
    fn backend_counters(&self, number: u32) -> Option<&BackendCells> {
        // SAFETY: `BackendCells` has `BackendCounters`' layout, and its fields are cells.
        unsafe { held(&BACKEND_COUNTERS, &number) }
    }
}

#[inline(always)]
fn update(key: &FlowKey, translation: &Translation, flags: u64) -> bool {
    let (key, value) = (ptr::from_ref(key).cast(), ptr::from_ref(translation).cast());
    // SAFETY: the map has keys and values of these types.
    unsafe { bpf_map_update_elem(TRANSLATIONS.as_ptr(), key, value, flags) == 0 }
}
