//! Map definitions as BTF describes them (the `.maps` section), and access to elements.
//!
//! Of our own, because aya-ebpf's LPM keys are packed, its socket storage takes no flags, and its
//! getters hand out plain references to what other CPUs write.

use aya_ebpf::bindings::bpf_map_type as kind;
use aya_ebpf::helpers::{bpf_map_delete_elem, bpf_map_lookup_elem, bpf_map_update_elem};
use core::ffi::c_void;
use core::ptr;

/// A map of type `KIND`. The loader reads the numbers from the array lengths behind the pointers.
#[repr(C)]
#[allow(missing_debug_implementations, reason = "a map can't be printed from within the kernel")]
pub struct Map<K, V, const KIND: usize, const MAX_ENTRIES: usize, const FLAGS: usize> {
    r#type: *const [i32; KIND],
    key: *const K,
    value: *const V,
    max_entries: *const [i32; MAX_ENTRIES],
    map_flags: *const [i32; FLAGS],
}

// SAFETY: the fields are placeholders that are never read; the kernel synchronises access to maps.
unsafe impl<K, V, const T: usize, const M: usize, const F: usize> Sync for Map<K, V, T, M, F> {}

const NO_PREALLOC: usize = aya_ebpf::bindings::BPF_F_NO_PREALLOC as usize;
const CLONE: usize = aya_ebpf::bindings::BPF_F_CLONE as usize;

pub type Hash<K, V, const MAX: usize> = Map<K, V, { kind::BPF_MAP_TYPE_HASH as usize }, MAX, 0>;
pub type LruHash<K, V, const MAX: usize> =
    Map<K, V, { kind::BPF_MAP_TYPE_LRU_HASH as usize }, MAX, 0>;
pub type Array<V, const MAX: usize> = Map<u32, V, { kind::BPF_MAP_TYPE_ARRAY as usize }, MAX, 0>;
pub type PerCpuArray<V, const MAX: usize> =
    Map<u32, V, { kind::BPF_MAP_TYPE_PERCPU_ARRAY as usize }, MAX, 0>;
pub type LpmTrie<K, V, const MAX: usize> =
    Map<K, V, { kind::BPF_MAP_TYPE_LPM_TRIE as usize }, MAX, NO_PREALLOC>;
/// Inherited by sockets that are accepted from one that has it.
pub type SocketStorage<V> =
    Map<i32, V, { kind::BPF_MAP_TYPE_SK_STORAGE as usize }, 0, { NO_PREALLOC | CLONE }>;

impl<K, V, const T: usize, const M: usize, const F: usize> Map<K, V, T, M, F> {
    #[allow(clippy::new_without_default, reason = "a map is only ever a static")]
    pub const fn new() -> Self {
        Map {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }

    #[inline(always)]
    pub fn as_ptr(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// The element under `key`, or null.
    #[inline(always)]
    pub fn lookup(&self, key: &K) -> *mut V {
        // SAFETY: `self` stands for a map whose keys are `K`; the helper reads one from `key`.
        unsafe { bpf_map_lookup_elem(self.as_ptr(), ptr::from_ref(key).cast()) }.cast()
    }

    /// A copy of the element under `key`.
    #[inline(always)]
    pub fn copy(&self, key: &K) -> Option<V>
    where
        V: Copy,
    {
        let value = self.lookup(key);
        if value.is_null() {
            return None;
        }
        // SAFETY: not null, so it is an element of this map, whose values are `V`. It stays
        // readable until the program ends, also when the element is deleted meanwhile.
        Some(unsafe { *value })
    }

    /// Inserts or replaces.
    #[inline(always)]
    pub fn insert(&self, key: &K, value: &V) -> bool {
        self.insert_as(key, value)
    }

    /// The same for a value of another type with the layout of `V`.
    #[inline(always)]
    pub fn insert_as<W>(&self, key: &K, value: &W) -> bool {
        const { assert!(size_of::<W>() == size_of::<V>()) };
        let (key, value) = (ptr::from_ref(key).cast(), ptr::from_ref(value).cast());
        // SAFETY: the helper reads a `K` and as many bytes as a `V` has, which are as many as a `W`
        // has.
        unsafe { bpf_map_update_elem(self.as_ptr(), key, value, 0) == 0 }
    }

    #[inline(always)]
    pub fn remove(&self, key: &K) -> bool {
        // SAFETY: the helper reads a `K` from `key`.
        unsafe { bpf_map_delete_elem(self.as_ptr(), ptr::from_ref(key).cast()) == 0 }
    }
}

/// An element of a map, seen as another type of the same layout.
///
/// # Safety
/// `T` must have the layout of `V` or of a prefix of it, accept all its bit patterns, and have
/// interior mutability if any program or the agent writes such elements.
#[inline(always)]
pub(crate) unsafe fn held<'a, T, K, V, const A: usize, const B: usize, const C: usize>(
    map: &'static Map<K, V, A, B, C>,
    key: &K,
) -> Option<&'a T> {
    // SAFETY: the element lives until the program ends (RCU); the rest is the caller's promise.
    unsafe { map.lookup(key).cast::<T>().as_ref() }
}

/// A ring buffer has neither keys nor values; `BYTES` is a power of two.
#[repr(C)]
#[allow(missing_debug_implementations, reason = "a map can't be printed from within the kernel")]
pub struct RingBuffer<const BYTES: usize> {
    r#type: *const [i32; kind::BPF_MAP_TYPE_RINGBUF as usize],
    max_entries: *const [i32; BYTES],
}

// SAFETY: as for `Map`.
unsafe impl<const BYTES: usize> Sync for RingBuffer<BYTES> {}

impl<const BYTES: usize> RingBuffer<BYTES> {
    #[allow(clippy::new_without_default, reason = "a map is only ever a static")]
    pub const fn new() -> Self {
        RingBuffer { r#type: ptr::null(), max_entries: ptr::null() }
    }

    #[inline(always)]
    pub fn as_ptr(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }
}
