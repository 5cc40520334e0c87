//! What the balancer needs from where it runs: the maps of [`abi::balancer`], clock and chance.

use abi::Address;
use abi::balancer::{
    Backend, BackendCounters, DownKey, Flow, FlowKey, FrontEnd, FrontEndKey, Limit, PrefixKey,
    RangeKey, Settings, SourceKey, Translation, VipCounters,
};
use abi::conntrack::{FragmentKey, FragmentPorts};
use core::cell::Cell;
use core::ops::Deref;

/// A map value whose fields programs write in place.
macro_rules! cells {
    ($($(#[$doc:meta])* $name:ident = $of:ident { $($field:ident: $ty:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        #[repr(C)]
        pub struct $name {
            $(pub $field: Cell<$ty>,)*
        }

        const _: () = {
            assert!(size_of::<$name>() == size_of::<$of>());
            $(assert!(core::mem::offset_of!($name, $field) == core::mem::offset_of!($of, $field));)*
        };
    )*};
}

cells! {
    /// [`Flow`] in its map.
    FlowCell = Flow { last_seen_ns: u64, backend: u32, vip: u32 }
    /// [`Limit`] in its map.
    LimitCell = Limit { refilled_ns: u64, tokens: u64 }
    /// [`VipCounters`] in their map.
    VipCells = VipCounters {
        packets: u64, bytes: u64, new_flows: u64, moved: u64, misses: u64, limited: u64,
        no_backend: u64, too_big: u64,
    }
    /// [`BackendCounters`] in their map.
    BackendCells = BackendCounters { packets: u64, bytes: u64 }
}

/// Maps, clock and chance.
pub trait Env {
    /// A map value that may be shared with other CPUs while it is held.
    type Held<'a, T: 'a>: Deref<Target = T>
    where
        Self: 'a;

    /// Boot-time nanoseconds.
    fn now(&self) -> u64;
    fn random(&self) -> u32;

    fn settings(&self) -> Option<Self::Held<'_, Settings>>;
    fn front_end(&self, settings: &Settings, key: &FrontEndKey)
    -> Option<Self::Held<'_, FrontEnd>>;
    /// Longest-prefix match.
    fn range(&self, key: &RangeKey) -> Option<Self::Held<'_, FrontEnd>>;
    /// Longest-prefix match.
    fn prefix(&self, key: &PrefixKey) -> Option<Self::Held<'_, FrontEnd>>;
    /// A slot of map `lb_rings`, counted over all its blocks.
    fn slot(&self, index: u32) -> Option<u16>;
    fn backend(&self, number: u32) -> Option<Self::Held<'_, Backend>>;

    fn flow(&self, key: &FlowKey) -> Option<Self::Held<'_, FlowCell>>;
    fn insert_flow(&self, key: &FlowKey, flow: &Flow);
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts>;
    fn insert_fragment(&self, key: &FragmentKey, ports: &FragmentPorts);
    fn translation(&self, key: &FlowKey) -> Option<Self::Held<'_, Translation>>;
    /// Inserts; false if there is one already or the map takes no more.
    fn new_translation(&self, key: &FlowKey, translation: &Translation) -> bool;
    fn replace_translation(&self, key: &FlowKey, translation: &Translation) -> bool;

    fn server_id(&self, id: u32) -> Option<u32>;
    /// Longest-prefix match.
    fn source(&self, key: &SourceKey) -> Option<u32>;
    fn decapsulates(&self, destination: &Address) -> Option<u32>;
    fn is_down(&self, key: &DownKey) -> bool;
    /// Backend number of a health check's mark.
    fn check(&self, mark: u32) -> Option<u32>;
    fn limit(&self, vip: u32) -> Option<Self::Held<'_, LimitCell>>;

    fn count(&self, counter: u32);
    fn vip(&self, vip: u32) -> Option<Self::Held<'_, VipCells>>;
    fn backend_counters(&self, number: u32) -> Option<Self::Held<'_, BackendCells>>;
}
