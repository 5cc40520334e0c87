//! Messages of sockets (`sk_msg`), whose bytes lie side by side here: net/core/filter.c,
//! Linux 6.18.

use super::*;
use crate::packet::Bounds;
use crate::state::packet_moved;

/// How many bytes the verdict is for.
pub(super) fn apply(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let bytes = call.arguments[1] as u32;
    call.state::<State>()?.applied = Some(bytes);
    Ok(0)
}

/// How many bytes must be there before the program is asked again.
pub(super) fn cork(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let bytes = call.arguments[1] as u32;
    call.state::<State>()?.corked = Some(bytes);
    Ok(0)
}

fn change(call: &mut Call<'_, '_>, act: impl FnOnce(&mut Bounds) -> Result<(), Errno>) -> Outcome {
    let state = call.state::<State>()?;
    let Some(mut bounds) = state.packet else { return code(Err(Errno::EINVAL)) };
    let result = act(&mut bounds);
    if result.is_ok() {
        state.packet = Some(bounds);
        // A change shows the whole message again.
        state.shown = None;
        packet_moved(call)?;
    }
    code(result)
}

/// Shows the bytes from one to another, as far as the message goes.
pub(super) fn pull(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, start, end, flags, _] = call.arguments;
    let (start, end) = (start as u32, end as u32);
    let state = call.state::<State>()?;
    let Some(bounds) = state.packet else { return code(Err(Errno::EINVAL)) };
    if flags != 0 || end <= start || end > bounds.len() {
        return code(Err(Errno::EINVAL));
    }
    state.shown = Some((start, end));
    packet_moved(call)?;
    Ok(0)
}

/// Makes room before a byte.
pub(super) fn push(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, start, length, flags, _] = call.arguments;
    let (start, length) = (start as u32, length as u32);
    if flags != 0 {
        return code(Err(Errno::EINVAL));
    }
    if length == 0 {
        return Ok(0);
    }
    change(call, |bounds| {
        if start > bounds.len() {
            return Err(Errno::EINVAL);
        }
        let end = bounds.end.checked_add(length).filter(|end| *end <= bounds.ceiling);
        let end = end.ok_or(Errno::ENOMEM)?;
        let at = bounds.data + start;
        bounds.shift(at, at + length, bounds.end - at);
        bounds.clear(at, length);
        bounds.end = end;
        Ok(())
    })
}

/// Takes bytes out.
pub(super) fn pop(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, start, length, flags, _] = call.arguments;
    let (start, length) = (start as u32, length as u32);
    if flags != 0 {
        return code(Err(Errno::EINVAL));
    }
    change(call, |bounds| {
        let end = start.checked_add(length).filter(|end| *end <= bounds.len());
        let end = end.ok_or(Errno::EINVAL)?;
        let (at, behind) = (bounds.data + start, bounds.data + end);
        bounds.shift(behind, at, bounds.end - behind);
        bounds.end -= length;
        Ok(())
    })
}
