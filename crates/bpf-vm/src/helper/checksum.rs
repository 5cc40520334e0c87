//! Internet checksums (net/core/filter.c, Linux 6.18).

use super::*;
use crate::packet::Bounds;

/// Flags of `bpf_l4_csum_replace`.
const SIZE_MASK: u64 = 0xf;
const PSEUDO: u64 = 0x10;
const MARK_MANGLED_0: u64 = 0x20;
const MARK_ENFORCE: u64 = 0x40;
const IPV6: u64 = 0x80;

/// As `csum_partial` gives it on x86-64 (arch/x86/lib/csum-partial_64.c): a sum of 64-bit words with
/// the carry put back, then of its halves. Of two numbers that stand for the same checksum, programs
/// see which one it is.
fn partial(bytes: &[u8], start: u32) -> u32 {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    sum_of(words, start)
}

/// The sum of bytes that were taken by eight, the last ones filled up with zeroes.
pub(crate) fn sum_of(words: impl Iterator<Item = u64>, start: u32) -> u32 {
    let mut sum = u64::from(start);
    for word in words {
        let (added, carry) = sum.overflowing_add(word);
        sum = added.wrapping_add(carry.into());
    }
    (sum.wrapping_add(sum.rotate_right(32)) >> 32) as u32
}

fn narrow(mut sum: u64) -> u32 {
    while sum >> 32 != 0 {
        sum = (sum & 0xffff_ffff) + (sum >> 32);
    }
    sum as u32
}

fn fold(mut sum: u32) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn add(a: u32, b: u32) -> u32 {
    narrow(u64::from(a) + u64::from(b))
}

/// Replaces `from` by `to` in what the checksum covers (`csum_replace_by_diff`).
fn replace_by(check: u16, difference: u32) -> u16 {
    fold(add(difference, u32::from(!check)))
}

/// Words of two bytes or four (RFC 1624, equation 3).
fn replace(check: u16, from: u32, to: u32) -> u16 {
    replace_by(check, add(!from, to))
}

fn replace16(check: u16, from: u16, to: u16) -> u16 {
    fold(add(add(u32::from(!check), u32::from(!from)), u32::from(to)))
}

pub(super) fn difference(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [from, from_length, to, to_length, seed] = call.arguments;
    // Any lengths, as Linux 6.18 has it. Earlier kernels refuse what isn't a multiple of 4.
    let (from_length, to_length) = (from_length & 0xffff_ffff, to_length & 0xffff_ffff);
    let seed = seed as u32;
    let from = read_bytes(call, from, from_length)?;
    let to = read_bytes(call, to, to_length)?;
    let sum_from = |start| partial(&from, start);
    let sum_to = |start| partial(&to, start);
    Ok(difference_of(from.is_empty(), sum_from, to.is_empty(), sum_to, seed))
}

/// `bpf_csum_diff`, by what sums up each side from a number on.
pub(crate) fn difference_of(
    nothing_from: bool,
    from: impl Fn(u32) -> u32,
    nothing_to: bool,
    to: impl Fn(u32) -> u32,
    seed: u32,
) -> u64 {
    let sum = match (nothing_from, nothing_to) {
        (false, false) => add(to(seed), !from(0)),
        (true, false) => to(seed),
        (false, true) => !from(!seed),
        (true, true) => seed,
    };
    u64::from(settle(sum))
}

/// As `csum_from32to16`: since Linux 6.13 the result is folded to 16 bits on all architectures.
fn settle(sum: u32) -> u32 {
    u32::from(!fold(sum))
}

fn header(bounds: &Bounds, offset: u64) -> Option<u32> {
    let offset = offset & 0xffff_ffff;
    let whole = offset <= 0xffff && offset.is_multiple_of(2);
    let in_packet = whole && offset + 2 <= u64::from(bounds.len());
    in_packet.then(|| bounds.data + offset as u32)
}

fn load(bounds: &Bounds, at: u32) -> u16 {
    u16::from_ne_bytes(bounds.array(at))
}

pub(super) fn l3_replace(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, offset, from, to, flags] = call.arguments;
    code(replace_l3(call.state()?, offset, from, to, flags))
}

/// `bpf_l3_csum_replace`.
pub(crate) fn replace_l3(
    state: &State,
    offset: u64,
    from: u64,
    to: u64,
    flags: u64,
) -> Result<(), Errno> {
    if flags & !SIZE_MASK != 0 {
        return Err(Errno::EINVAL);
    }
    let bounds = state.packet.as_ref().filter(|_| state.is_skb()).ok_or(Errno::EINVAL)?;
    let at = header(bounds, offset).ok_or(Errno::EFAULT)?;
    let check = load(bounds, at);
    bounds.write(at, &replaced(check, flags & SIZE_MASK, from, to)?.to_ne_bytes());
    Ok(())
}

/// A checksum after a replacement of so many bytes; of 0 bytes if `to` is a difference.
fn replaced(check: u16, size: u64, from: u64, to: u64) -> Result<u16, Errno> {
    match size {
        0 if from != 0 => Err(Errno::EINVAL),
        0 => Ok(replace_by(check, to as u32)),
        2 => Ok(replace16(check, from as u16, to as u16)),
        4 => Ok(replace(check, from as u32, to as u32)),
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn l4_replace(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, offset, from, to, flags] = call.arguments;
    code(replace_l4(call.state()?, offset, from, to, flags))
}

/// `bpf_l4_csum_replace`.
pub(crate) fn replace_l4(
    state: &State,
    offset: u64,
    from: u64,
    to: u64,
    flags: u64,
) -> Result<(), Errno> {
    let known = MARK_MANGLED_0 | MARK_ENFORCE | PSEUDO | SIZE_MASK | IPV6;
    if flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let bounds = state.packet.as_ref().filter(|_| state.is_skb()).ok_or(Errno::EINVAL)?;
    let at = header(bounds, offset).ok_or(Errno::EFAULT)?;
    let check = load(bounds, at);
    let is_mangled = flags & MARK_MANGLED_0 != 0;
    if is_mangled && flags & MARK_ENFORCE == 0 && check == 0 {
        return Ok(());
    }
    // The packets of a run have whole checksums (CHECKSUM_NONE), so a pseudo header's part is like
    // any other.
    let mut new = replaced(check, flags & SIZE_MASK, from, to)?;
    if is_mangled && new == 0 {
        new = 0xffff;
    }
    bounds.write(at, &new.to_ne_bytes());
    Ok(())
}

/// Only packets whose sum a network card has made can have it changed (`CHECKSUM_COMPLETE`).
pub(super) fn update(_: &Shared, _: &mut Call<'_, '_>) -> Outcome {
    code(Err(Errno::ENOTSUPP))
}

/// No checksum was verified (`CHECKSUM_NONE`): there is no level to ask for or to change.
pub(super) fn level(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    const QUERY: u64 = 0;
    const RESET: u64 = 3;
    match call.arguments[1] {
        QUERY => code(Err(Errno::EACCES)),
        1..=RESET => Ok(0),
        _ => code(Err(Errno::EINVAL)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_word_gives_the_sum_of_the_new_bytes() {
        let mut header =
            *b"\x45\x00\x00\x54\x12\x34\x40\x00\x40\x01\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02";
        let before = fold(partial(&header, 0));
        let (old, new) = ([10, 0, 0, 1], [192, 168, 7, 9]);
        header[12..16].copy_from_slice(&new);
        let after = fold(partial(&header, 0));
        let (from, to) = (u32::from_ne_bytes(old), u32::from_ne_bytes(new));
        assert_eq!(replace(before, from, to), after);
        let difference = add(partial(&new, 0), !partial(&old, 0));
        assert_eq!(replace_by(before, difference), after);
        let half = |bytes: [u8; 4], at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let step = replace16(before, half(old, 0), half(new, 0));
        assert_eq!(replace16(step, half(old, 2), half(new, 2)), after);
    }
}
