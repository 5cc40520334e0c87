//! How much of the packet is known to be there.

use crate::register::{AT_PACKET_END, BEYOND_PACKET_END, Kind, Register};
use crate::state::State;

/// Packets are never larger (`MAX_PACKET_OFF`).
const MAX_PACKET: u64 = 0xffff;

/// All copies of the pointer may access what lies before it, and one byte more if it is strictly
/// below the end.
pub(super) fn learn(state: &mut State, pointer: &Register, strictly: bool) {
    let largest = pointer.number.u64.max;
    if pointer.off < 0 || (pointer.off == 0 && strictly) {
        return;
    }
    let off = pointer.off.cast_unsigned();
    if largest > MAX_PACKET || largest + u64::from(off) > MAX_PACKET {
        return;
    }
    let range = off + u32::from(strictly);
    let (kind, id) = (pointer.kind, pointer.id);
    state.each(
        |register| register.kind == kind && register.id == id,
        |register| {
            register.size = match register.range() {
                Some(known) => known.max(range),
                None => range,
            };
        },
    );
}

/// The pointer is at the packet's end or behind it.
pub(super) fn mark_end(state: &mut State, number: u8, beyond: bool) {
    let register = &mut state.frame_mut().registers[usize::from(number)];
    if register.kind == Kind::Packet {
        register.size = if beyond { BEYOND_PACKET_END } else { AT_PACKET_END };
    }
}
