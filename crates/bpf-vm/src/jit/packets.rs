//! Helpers on packets and checksums that code calls without a detour, as those of `direct.rs`. They
//! ask for the run's state, and write where they are told to, so code calls them only if a verifier
//! has proved what their arguments point to.

use std::ptr;

use bpf_isa::Register;

use super::direct::Direct;
use super::ir::Set;
use crate::errno::Errno;
use crate::helper::{checksum, packet, redirect};
use crate::memory::load;
use crate::run::Run;
use crate::state::{Kind, State};

/// What does the work of a helper, and which arguments it takes.
pub(super) fn helper(id: i32) -> Option<(Direct, Set)> {
    let function: Direct = match id {
        9 => store_bytes,
        10 => replace_l3,
        11 => replace_l4,
        23 => redirect_to,
        26 => load_bytes,
        28 => difference,
        39 => pull_data,
        44 => adjust_head,
        54 => adjust_meta,
        65 => adjust_tail,
        155 => redirect_to_peer,
        _ => return None,
    };
    let count = match id {
        9..=11 | 28 => 5,
        26 => 4,
        _ => 2,
    };
    // The context is nothing that they look at.
    let first = if matches!(id, 23 | 28 | 155) { 0 } else { 1 };
    let arguments = [Register::R1, Register::R2, Register::R3, Register::R4, Register::R5];
    let taken = arguments[first..count].iter().copied().map(Set::of);
    Some((function, taken.fold(Set::NONE, Set::with)))
}

fn result(result: Result<(), Errno>) -> u64 {
    result.map_or_else(Errno::result, |()| 0)
}

/// # Safety
///
/// `run` is what code was given, and nothing else uses it meanwhile.
unsafe fn run_of<'a>(run: *mut ()) -> &'a mut Run<'static> {
    // SAFETY: the caller's promise. What was lent doesn't get out of the functions below.
    unsafe { &mut *run.cast::<Run<'static>>() }
}

/// # Safety
///
/// As for [`run_of`].
unsafe fn with_state<R>(
    run: *mut (),
    act: impl FnOnce(&mut State) -> Result<R, Errno>,
) -> Result<R, Errno> {
    // SAFETY: the caller's promise.
    let state = unsafe { run_of(run) }.state().ok_or(Errno::EINVAL)?;
    act(state)
}

/// Copies bytes that may overlap, few of them without calling anybody.
///
/// # Safety
///
/// So many bytes can be read at `from`, and written at `to`.
#[inline(always)]
unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    /// All of it is in registers before anything is written.
    macro_rules! ends {
        ($type:ty) => {{
            let last = length - size_of::<$type>();
            // SAFETY: both pieces lie in the `length` bytes of the caller's promise.
            unsafe {
                let first_piece = from.cast::<$type>().read_unaligned();
                let last_piece = from.add(last).cast::<$type>().read_unaligned();
                to.cast::<$type>().write_unaligned(first_piece);
                to.add(last).cast::<$type>().write_unaligned(last_piece);
            }
        }};
    }
    match length {
        0 => {}
        1 => ends!(u8),
        2..4 => ends!(u16),
        4..8 => ends!(u32),
        8..16 => ends!(u64),
        16..=32 => ends!(u128),
        // SAFETY: the caller's promise.
        _ => unsafe { ptr::copy(from, to, length) },
    }
}

extern "C" fn load_bytes(_: u64, offset: u64, to: u64, length: u64, _: u64, run: *mut ()) -> u64 {
    let to = ptr::with_exposed_provenance_mut::<u8>(to as usize);
    let length = length as u32;
    // SAFETY: called by code with its run.
    let from = unsafe { with_state(run, |state| packet::to_load(state, offset, length)) };
    match from {
        Ok(from) => {
            // SAFETY: `to_load` has found so many bytes, and a verifier that they can be written.
            unsafe { copy(from, to, length as usize) };
            0
        }
        Err(error) => {
            // SAFETY: as above.
            unsafe { to.write_bytes(0, length as usize) };
            error.result()
        }
    }
}

extern "C" fn store_bytes(
    _: u64,
    offset: u64,
    from: u64,
    length: u64,
    flags: u64,
    run: *mut (),
) -> u64 {
    let from = ptr::with_exposed_provenance::<u8>(from as usize);
    let length = length as u32;
    let store = |state: &mut State| {
        let to = packet::to_store(state, offset, length, flags)?;
        // SAFETY: `to_store` has found so many bytes, and a verifier that they can be read.
        unsafe { copy(from, to, length as usize) };
        packet::stored(state, flags);
        Ok(())
    };
    // SAFETY: called by code with its run.
    result(unsafe { with_state(run, store) })
}

extern "C" fn replace_l3(_: u64, at: u64, from: u64, to: u64, flags: u64, run: *mut ()) -> u64 {
    let replace = |state: &mut State| checksum::replace_l3(state, at, from, to, flags);
    // SAFETY: called by code with its run.
    result(unsafe { with_state(run, replace) })
}

extern "C" fn replace_l4(_: u64, at: u64, from: u64, to: u64, flags: u64, run: *mut ()) -> u64 {
    let replace = |state: &mut State| checksum::replace_l4(state, at, from, to, flags);
    // SAFETY: called by code with its run.
    result(unsafe { with_state(run, replace) })
}

extern "C" fn difference(
    from: u64,
    from_length: u64,
    to: u64,
    to_length: u64,
    seed: u64,
    _: *mut (),
) -> u64 {
    let (from_length, to_length) = (from_length as u32, to_length as u32);
    // SAFETY: a verifier has found that so many bytes can be read.
    let from = |start| unsafe { sum(from, from_length, start) };
    // SAFETY: as above.
    let to = |start| unsafe { sum(to, to_length, start) };
    checksum::difference_of(from_length == 0, from, to_length == 0, to, seed as u32)
}

/// # Safety
///
/// So many bytes can be read there.
unsafe fn sum(address: u64, length: u32, start: u32) -> u32 {
    let (whole, rest) = (u64::from(length / 8), length % 8);
    // SAFETY: within what the caller promises, all of them.
    let words = (0..whole).map(|word| unsafe { load::<u64>(address + 8 * word) });
    let last = (rest > 0).then(|| {
        let bytes = (0..rest).map(|byte| {
            // SAFETY: as above.
            unsafe { load::<u8>(address + 8 * whole + u64::from(byte)) << (8 * byte) }
        });
        bytes.fold(0, |word, byte| word | byte)
    });
    checksum::sum_of(words.chain(last), start)
}

extern "C" fn pull_data(_: u64, length: u64, _: u64, _: u64, _: u64, run: *mut ()) -> u64 {
    // SAFETY: called by code with its run. What isn't moved needs not be shown.
    result(unsafe { with_state(run, |state| packet::pull(state, length as u32)) })
}

/// Moves the packet's bounds.
///
/// # Safety
///
/// As for [`run_of`].
unsafe fn adjust(
    run: *mut (),
    act: impl FnOnce(Kind, &mut crate::packet::Bounds) -> Result<(), Errno>,
) -> u64 {
    // SAFETY: the caller's promise.
    result(unsafe { run_of(run) }.move_packet(act))
}

extern "C" fn adjust_head(_: u64, delta: u64, _: u64, _: u64, _: u64, run: *mut ()) -> u64 {
    // SAFETY: called by code with its run.
    unsafe { adjust(run, |kind, bounds| packet::move_head(kind, bounds, delta as i32)) }
}

extern "C" fn adjust_meta(_: u64, delta: u64, _: u64, _: u64, _: u64, run: *mut ()) -> u64 {
    // SAFETY: called by code with its run.
    unsafe { adjust(run, |_, bounds| packet::move_meta(bounds, delta as i32)) }
}

extern "C" fn adjust_tail(_: u64, delta: u64, _: u64, _: u64, _: u64, run: *mut ()) -> u64 {
    // SAFETY: called by code with its run.
    unsafe { adjust(run, |_, bounds| packet::move_tail(bounds, delta as i32)) }
}

extern "C" fn redirect_to(ifindex: u64, flags: u64, _: u64, _: u64, _: u64, run: *mut ()) -> u64 {
    let act = |state: &mut State| Ok(redirect::to_interface(state, ifindex as u32, flags));
    // SAFETY: called by code with its run.
    unsafe { with_state(run, act) }.unwrap_or_else(Errno::result)
}

extern "C" fn redirect_to_peer(
    ifindex: u64,
    flags: u64,
    _: u64,
    _: u64,
    _: u64,
    run: *mut (),
) -> u64 {
    let act = |state: &mut State| Ok(redirect::to_peer(state, ifindex as u32, flags));
    // SAFETY: called by code with its run.
    unsafe { with_state(run, act) }.unwrap_or_else(Errno::result)
}
