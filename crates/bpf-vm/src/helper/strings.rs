//! Numbers in text, and comparison.

use super::*;

const BASE_MASK: u64 = 0x1f;

/// Sign, magnitude and length of a number at the start of a text (kernel/bpf/helpers.c,
/// `__bpf_strtoull`).
fn parse(
    call: &Call<'_, '_>,
    address: u64,
    length: u64,
    flags: u64,
) -> Result<Result<(bool, u64, u64), Errno>, Stop> {
    let base = flags & BASE_MASK;
    if !matches!(base, 0 | 8 | 10 | 16) || flags & !BASE_MASK != 0 || length == 0 {
        return Ok(Err(Errno::EINVAL));
    }
    let text = read_bytes(call, address, length)?;
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let spaces = text.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let rest = &text[spaces..];
    let negative = rest.first() == Some(&b'-');
    let start = spaces + usize::from(negative);
    let mut rest = &text[start..];
    let mut prefix = 0;
    let has_hex = rest.len() > 2
        && rest[0] == b'0'
        && rest[1].eq_ignore_ascii_case(&b'x')
        && rest[2].is_ascii_hexdigit();
    let base = match base {
        0 if has_hex => 16,
        0 if rest.first() == Some(&b'0') => 8,
        0 => 10,
        base => base,
    } as u32;
    if base == 16 && rest.len() > 1 && rest[0] == b'0' && rest[1].eq_ignore_ascii_case(&b'x') {
        rest = &rest[2..];
        prefix = 2;
    }
    let digits = rest.iter().take_while(|byte| char::from(**byte).is_digit(base)).count();
    if digits == 0 {
        return Ok(Err(Errno::EINVAL));
    }
    let mut number = 0u64;
    for digit in &rest[..digits] {
        let digit = char::from(*digit).to_digit(base).unwrap_or_default();
        let next = number.checked_mul(base.into()).and_then(|n| n.checked_add(digit.into()));
        match next {
            Some(next) => number = next,
            None => return Ok(Err(Errno::ERANGE)),
        }
    }
    Ok(Ok((negative, number, (start + prefix + digits) as u64)))
}

pub(super) fn to_signed(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [address, length, flags, result, _] = call.arguments;
    match parse(call, address, length, flags)? {
        Err(error) => code(Err(error)),
        Ok((negative, number, used)) => {
            let limit = i64::MAX as u64 + u64::from(negative);
            if number > limit {
                return code(Err(Errno::ERANGE));
            }
            let number = if negative { number.wrapping_neg() } else { number };
            call.write(result, &number.to_ne_bytes())?;
            Ok(used)
        }
    }
}

pub(super) fn to_unsigned(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [address, length, flags, result, _] = call.arguments;
    match parse(call, address, length, flags)? {
        Err(error) => code(Err(error)),
        Ok((true, ..)) => code(Err(Errno::EINVAL)),
        Ok((false, number, used)) => {
            call.write(result, &number.to_ne_bytes())?;
            Ok(used)
        }
    }
}

pub(super) fn compare(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [a, length, b, ..] = call.arguments;
    for at in 0..length & 0xffff_ffff {
        let (mut x, mut y) = ([0], [0]);
        call.read(a.wrapping_add(at), &mut x)?;
        call.read(b.wrapping_add(at), &mut y)?;
        if x != y {
            return Ok(if x < y { -1i64 as u64 } else { 1 });
        }
        if x == [0] {
            break;
        }
    }
    Ok(0)
}
