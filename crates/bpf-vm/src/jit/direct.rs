//! Helpers that code calls without a detour: they can't end the run, and look at nothing but their
//! arguments and the number of the CPU. One for each kind of map, so that there is nothing left to
//! find out when they are called.
//!
//! Whoever emits a call has made sure that the program may read what the arguments point to: a
//! verifier has proved it, or it lies in the current frame.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::Relaxed;
use std::{ptr, slice};

use bpf_object::MapType;

use crate::clock::{Random, Time};
use crate::map::{Content, Map, Who, update};
use crate::memory::{self, load};
use crate::run::Run;

/// Called with what [`super::bound::Call`] names, `r2` to `r5`, and the run; returns `r0`.
pub(crate) type Direct = extern "C" fn(u64, u64, u64, u64, u64, *mut ()) -> u64;

/// Keys and values up to this size are copied to the stack.
const SHORT: usize = 256;

/// # Safety
///
/// `address` is what `bound.rs` made of a `T` that lives as long as the code that is running.
unsafe fn object<'a, T>(address: u64) -> &'a T {
    // SAFETY: the caller's promise.
    unsafe { &*ptr::with_exposed_provenance::<T>(address as usize) }
}

/// Does something with a copy of bytes, which other threads may change meanwhile.
///
/// # Safety
///
/// So many bytes can be read there.
unsafe fn with_bytes<R>(address: u64, length: usize, act: impl FnOnce(&[u8]) -> R) -> R {
    if length <= SHORT {
        let mut copy = [MaybeUninit::<u8>::uninit(); SHORT];
        let start = copy.as_mut_ptr().cast::<u8>();
        // SAFETY: the caller's promise; there is room, as just compared, and what is copied there
        // has values then.
        return act(unsafe {
            copy_short(address, start, length);
            slice::from_raw_parts(start, length)
        });
    }
    let mut copy = vec![0; length];
    let from = ptr::with_exposed_provenance::<u8>(address as usize);
    // SAFETY: as above.
    unsafe { from.copy_to_nonoverlapping(copy.as_mut_ptr(), length) };
    act(&copy)
}

/// Eight bytes, in halves if it can be. Programs make keys of fields, and what a processor has just
/// stored in two pieces it can't load as one before both are in the cache: until then, everything
/// behind the load would wait.
///
/// # Safety
///
/// So many bytes can be read there.
#[inline(always)]
unsafe fn double(address: u64) -> u64 {
    if !address.is_multiple_of(4) {
        // SAFETY: the caller's promise.
        return unsafe { load::<u64>(address) };
    }
    // As atomics, which compilers leave apart.
    // SAFETY: the caller's promise, and they are aligned.
    let half = |at| unsafe { u64::from(memory::atomic32(at).load(Relaxed)) };
    half(address) | half(address + 4) << 32
}

/// The last word of a longer key, of which only the lower half is there if it is `HALF`: in yet
/// smaller pieces, since keys end with ports and a protocol. For the same reason as [`double`].
///
/// # Safety
///
/// As for [`double`].
#[inline(always)]
unsafe fn last<const HALF: bool>(address: u64) -> u64 {
    if !address.is_multiple_of(4) {
        // SAFETY: the caller's promise.
        return unsafe { if HALF { load::<u32>(address) } else { load::<u64>(address) } };
    }
    // SAFETY: the caller's promise, and both are aligned.
    let two =
        |at: u64| unsafe { u64::from(memory::atomic16(address + at).load(Relaxed)) << (8 * at) };
    // SAFETY: the caller's promise.
    let one =
        |at: u64| unsafe { u64::from(memory::atomic8(address + at).load(Relaxed)) << (8 * at) };
    match HALF {
        true => two(0) | one(2) | one(3),
        false => two(0) | two(2) | one(4) | one(5) | one(6) | one(7),
    }
}

/// Copies a few bytes, of a number that isn't known before, without calling anybody.
///
/// # Safety
///
/// So many bytes can be read at `from`, and written at `to`, which is elsewhere.
#[inline(always)]
unsafe fn copy_short(from: u64, to: *mut u8, length: usize) {
    let mut at = 0;
    // SAFETY: within what the caller promises, all of them.
    unsafe {
        while length - at >= 8 {
            to.add(at).cast::<u64>().write_unaligned(double(from + at as u64));
            at += 8;
        }
        while at < length {
            to.add(at).write(load::<u8>(from + at as u64) as u8);
            at += 1;
        }
    }
}

/// The number of the CPU.
///
/// # Safety
///
/// `run` is what code was given.
unsafe fn cpu(run: *mut ()) -> u32 {
    // SAFETY: code doesn't use the run while this is called, and nobody else can.
    unsafe { (*run.cast::<Run<'static>>()).cpu }
}

pub(super) extern "C" fn time(time: u64, _: u64, _: u64, _: u64, _: u64, _: *mut ()) -> u64 {
    // SAFETY: called by code with the address of the runtime's clock.
    unsafe { object::<Time>(time) }.now()
}

pub(super) extern "C" fn random(random: u64, _: u64, _: u64, _: u64, _: u64, _: *mut ()) -> u64 {
    // SAFETY: called by code with the address of the runtime's numbers.
    unsafe { object::<Random>(random) }.next().into()
}

/// Looks up a key of so many words in a hash; `HALF`: of the last one, only its lower half is
/// there. In maps per CPU the element is this CPU's.
extern "C" fn find_words<const WORDS: usize, const HALF: bool, const PER_CPU: bool>(
    map: u64,
    key: u64,
    _: u64,
    _: u64,
    _: u64,
    run: *mut (),
) -> u64 {
    // SAFETY: called by code for this map.
    let map = unsafe { object::<Map>(map) };
    let mut words = [0; WORDS];
    for (number, word) in words.iter_mut().enumerate() {
        let at = key + 8 * number as u64;
        // SAFETY: called by code with a key of this length.
        *word = unsafe {
            match number + 1 == WORDS {
                true if WORDS > 1 => last::<HALF>(at),
                true if HALF => load::<u32>(at),
                _ => double(at),
            }
        };
    }
    // SAFETY: called by code with its run.
    let cpu = if PER_CPU { unsafe { cpu(run) } } else { 0 };
    map.find_words(words, cpu).unwrap_or_default()
}

/// [`find_words`] for keys of so many bytes.
fn by_words<const PER_CPU: bool>(key_size: u32) -> Option<Direct> {
    Some(match key_size {
        4 => find_words::<1, true, PER_CPU>,
        8 => find_words::<1, false, PER_CPU>,
        12 => find_words::<2, true, PER_CPU>,
        16 => find_words::<2, false, PER_CPU>,
        20 => find_words::<3, true, PER_CPU>,
        24 => find_words::<3, false, PER_CPU>,
        28 => find_words::<4, true, PER_CPU>,
        32 => find_words::<4, false, PER_CPU>,
        36 => find_words::<5, true, PER_CPU>,
        40 => find_words::<5, false, PER_CPU>,
        44 => find_words::<6, true, PER_CPU>,
        48 => find_words::<6, false, PER_CPU>,
        _ => return None,
    })
}

extern "C" fn find(map: u64, key: u64, _: u64, _: u64, _: u64, run: *mut ()) -> u64 {
    // SAFETY: called by code for this map.
    let (map, cpu) = unsafe { (object::<Map>(map), cpu(run)) };
    let length = map.definition().key_size as usize;
    // SAFETY: the key is as long.
    unsafe { with_bytes(key, length, |key| map.find(key, cpu)) }.unwrap_or_default()
}

/// What looks up elements of a map, if its elements are nothing but their bytes.
pub(super) fn look_up(map: &Map) -> Option<Direct> {
    let definition = map.definition();
    let by_words = match definition.kind {
        MapType::HASH | MapType::LRU_HASH => by_words::<false>(definition.key_size),
        MapType::PER_CPU_HASH | MapType::LRU_PER_CPU_HASH => by_words::<true>(definition.key_size),
        _ => None,
    };
    by_words.or_else(|| is_plain(map).then_some(find))
}

extern "C" fn update_element(
    map: u64,
    key: u64,
    value: u64,
    flags: u64,
    _: u64,
    run: *mut (),
) -> u64 {
    // SAFETY: called by code for this map.
    let (map, cpu) = unsafe { (object::<Map>(map), cpu(run)) };
    let definition = map.definition();
    let (key_size, value_size) = (definition.key_size as usize, definition.value_size as usize);
    let who = Who::Program { cpu };
    // SAFETY: key and value are as long.
    let result = unsafe {
        with_bytes(key, key_size, |key| {
            with_bytes(value, value_size, |value| map.update_as(who, key, value, flags))
        })
    };
    result.map_or_else(crate::Errno::result, |()| 0)
}

/// Stores an element of an array in which nothing is the kernel's.
extern "C" fn store_element(
    map: u64,
    key: u64,
    value: u64,
    flags: u64,
    _: u64,
    run: *mut (),
) -> u64 {
    // SAFETY: called by code for this map, with a key of four bytes.
    let (object, cpu, index) = unsafe { (object::<Map>(map), cpu(run), load::<u32>(key) as u32) };
    match object.element(index, cpu) {
        Some((to, length)) if matches!(flags, update::ANY | update::EXIST) => {
            // SAFETY: the value is as long, and so is the element, which nobody takes away.
            unsafe { store_words(value, to, length) };
            0
        }
        // What is wrong with it is found out where it doesn't matter how long that takes.
        _ => update_element(map, key, value, flags, 0, run),
    }
}

/// Copies word by word as [`crate::slab`] does, since other threads may look on.
///
/// # Safety
///
/// So many bytes can be read at `from`, and written at `to`, a multiple of 8.
#[inline(always)]
unsafe fn store_words(from: u64, to: u64, length: u32) {
    let (end, mut at) = (u64::from(length), 0);
    while end - at >= 8 {
        // SAFETY: within what the caller promises, aligned to 8.
        unsafe { memory::atomic64(to + at).store(double(from + at), Relaxed) };
        at += 8;
    }
    while at < end {
        // SAFETY: within what the caller promises.
        unsafe { memory::atomic8(to + at).store(load::<u8>(from + at) as u8, Relaxed) };
        at += 1;
    }
}

pub(super) fn update(map: &Map) -> Option<Direct> {
    if map.is_bare_array() {
        return Some(store_element);
    }
    // Whether the program holds a lock is known to the helper.
    (is_plain(map) && map.definition().spin_lock.is_none()).then_some(update_element)
}

extern "C" fn delete_element(map: u64, key: u64, _: u64, _: u64, _: u64, run: *mut ()) -> u64 {
    // SAFETY: called by code for this map.
    let (map, cpu) = unsafe { (object::<Map>(map), cpu(run)) };
    let length = map.definition().key_size as usize;
    let delete = |key: &[u8]| map.delete_as(Who::Program { cpu }, key);
    // SAFETY: the key is as long.
    let result = unsafe { with_bytes(key, length, delete) };
    result.map_or_else(crate::Errno::result, |()| 0)
}

pub(super) fn delete(map: &Map) -> Option<Direct> {
    is_plain(map).then_some(delete_element)
}

/// Whether elements are nothing but their bytes.
fn is_plain(map: &Map) -> bool {
    let is_kind = matches!(
        map.definition().kind,
        MapType::ARRAY
            | MapType::PER_CPU_ARRAY
            | MapType::HASH
            | MapType::LRU_HASH
            | MapType::PER_CPU_HASH
            | MapType::LRU_PER_CPU_HASH
            | MapType::LPM_TRIE
    );
    is_kind && matches!(map.content(), Content::Array(_) | Content::Hash(..) | Content::Trie(..))
}
