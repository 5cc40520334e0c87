//! Text from programs (kernel/bpf/helpers.c, `bpf_bprintf_prepare`, Linux 6.18).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

/// A conversion of a format.
struct Conversion {
    flags: Vec<u8>,
    width: usize,
    /// 8 by default 4; 1 and 2 for `hh` and `h`.
    size: u32,
    letter: u8,
    /// What follows `%p`.
    pointer: Vec<u8>,
}

/// Reads a conversion behind its `%`; `None` if it isn't one that programs may use.
fn conversion(text: &[u8]) -> Option<(Conversion, usize)> {
    let mut at = text.iter().take_while(|byte| b"0-+ #".contains(byte)).count();
    let flags = text[..at].to_vec();
    let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let width = std::str::from_utf8(&text[at..at + digits]).ok()?.parse().unwrap_or(0);
    at += digits;
    let mut size = 4;
    let rest = &text[at..];
    let (modifier, bytes) = match rest {
        [b'l', b'l', ..] => (2, 8),
        [b'l', ..] => (1, 8),
        [b'h', b'h', ..] => (2, 1),
        [b'h', ..] => (1, 2),
        _ => (0, 4),
    };
    if modifier > 0 {
        size = bytes;
    }
    at += modifier;
    let letter = *text.get(at)?;
    at += 1;
    let mut pointer = Vec::new();
    match letter {
        b'p' => {
            let tail: &[u8] = match &text[at..] {
                [b'i' | b'I', b'4' | b'6', ..] => &text[at..at + 2],
                [b'k' | b'u', b's', ..] => &text[at..at + 2],
                [b'K' | b'x' | b's' | b'S' | b'B', ..] => &text[at..at + 1],
                _ => &[],
            };
            pointer.extend(tail);
            at += tail.len();
        }
        b's' | b'c' | b'd' | b'i' | b'u' | b'x' | b'X' | b'o' => {}
        _ => return None,
    }
    Some((Conversion { flags, width, size, letter, pointer }, at))
}

fn pad(conversion: &Conversion, text: String, number: bool) -> String {
    let missing = conversion.width.min(1024).saturating_sub(text.len());
    let has = |flag: u8| conversion.flags.contains(&flag);
    if has(b'-') {
        text + &" ".repeat(missing)
    } else if has(b'0') && number {
        let sign = usize::from(text.starts_with(['-', '+', ' ']));
        let sign = if text.starts_with("0x") || text.starts_with("0X") { 2 } else { sign };
        format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..])
    } else {
        " ".repeat(missing) + &text
    }
}

/// Longest string that `%s` takes (`MAX_BPRINTF_BUF`).
const STRING: usize = 512;

fn render(
    call: &Call<'_, '_>,
    format: &[u8],
    arguments: &[u64],
) -> Result<Result<Vec<u8>, Errno>, Stop> {
    let mut text = Vec::new();
    let mut arguments = arguments.iter();
    let mut at = 0;
    while at < format.len() {
        let byte = format[at];
        at += 1;
        if byte != b'%' {
            // Only text that a terminal bears.
            if !(byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
                return Ok(Err(Errno::EINVAL));
            }
            text.push(byte);
            continue;
        }
        if format.get(at) == Some(&b'%') {
            text.push(b'%');
            at += 1;
            continue;
        }
        let Some((conversion, used)) = conversion(&format[at..]) else {
            return Ok(Err(Errno::EINVAL));
        };
        at += used;
        let Some(&argument) = arguments.next() else { return Ok(Err(Errno::EINVAL)) };
        text.extend(one(call, &conversion, argument)?.into_bytes());
    }
    // As many arguments as conversions.
    Ok(if arguments.next().is_some() { Err(Errno::EINVAL) } else { Ok(text) })
}

fn one(call: &Call<'_, '_>, conversion: &Conversion, argument: u64) -> Result<String, Stop> {
    let has = |flag: u8| conversion.flags.contains(&flag);
    let unsigned = match conversion.size {
        1 => u64::from(argument as u8),
        2 => u64::from(argument as u16),
        4 => u64::from(argument as u32),
        _ => argument,
    };
    let signed = match conversion.size {
        1 => i64::from(argument as i8),
        2 => i64::from(argument as i16),
        4 => i64::from(argument as i32),
        _ => argument as i64,
    };
    let string = |address: u64| match read_string(call, address, STRING - 1) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        // Memory that can't be read is an empty string.
        Err(_) => String::new(),
    };
    Ok(match (conversion.letter, conversion.pointer.as_slice()) {
        (b's', _) => pad(conversion, string(argument), false),
        (b'c', _) => pad(conversion, char::from(argument as u8).to_string(), false),
        (b'd' | b'i', _) => {
            let sign = if has(b'+') && signed >= 0 {
                "+"
            } else if has(b' ') && signed >= 0 {
                " "
            } else {
                ""
            };
            pad(conversion, format!("{sign}{signed}"), true)
        }
        (b'u', _) => pad(conversion, unsigned.to_string(), true),
        (b'o', _) => pad(conversion, format!("{unsigned:o}"), true),
        (b'x', _) if has(b'#') => pad(conversion, format!("{unsigned:#x}"), true),
        (b'x', _) => pad(conversion, format!("{unsigned:x}"), true),
        (b'X', _) if has(b'#') => pad(conversion, format!("0X{unsigned:X}"), true),
        (b'X', _) => pad(conversion, format!("{unsigned:X}"), true),
        (_, [b'k' | b'u', b's']) => pad(conversion, string(argument), false),
        (_, [kind @ (b'i' | b'I'), b'4']) => {
            let mut octets = [0; 4];
            call.read(argument, &mut octets)?;
            if *kind == b'I' {
                Ipv4Addr::from(octets).to_string()
            } else {
                octets.map(|octet| format!("{octet:03}")).join(".")
            }
        }
        (_, [kind @ (b'i' | b'I'), b'6']) => {
            let mut octets = [0; 16];
            call.read(argument, &mut octets)?;
            let separator = if *kind == b'I' { ":" } else { "" };
            let groups = Ipv6Addr::from(octets).segments().map(|group| format!("{group:04x}"));
            groups.join(separator)
        }
        // Addresses: as they are, since they are ours.
        _ => pad(conversion, format!("{argument:016x}"), false),
    })
}

fn trace(call: &mut Call<'_, '_>, format: u64, size: u64, arguments: &[u64]) -> Outcome {
    let format = read_bytes(call, format, size & 0xffff_ffff)?;
    // It must be closed, and what follows the end is ignored.
    let Some(end) = format.iter().position(|byte| *byte == 0) else {
        return code(Err(Errno::EINVAL));
    };
    let text = match render(call, &format[..end], arguments)? {
        Ok(text) => text,
        Err(error) => return code(Err(error)),
    };
    let length = text.len() as u64;
    call.state::<State>()?.print(&text);
    Ok(length)
}

pub(super) fn trace_printk(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [format, size, arguments @ ..] = call.arguments;
    // Those that the format doesn't ask for are nothing that was passed.
    let bytes = read_bytes(call, format, size & 0xffff_ffff)?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let count = conversions(text).min(arguments.len());
    trace(call, format, size, &arguments[..count])
}

/// How many arguments a format asks for.
fn conversions(format: &[u8]) -> usize {
    let mut count = 0;
    let mut at = 0;
    while at < format.len() {
        if format[at] == b'%' {
            at += 1;
            count += usize::from(format.get(at) != Some(&b'%'));
        }
        at += 1;
    }
    count
}

fn list(call: &Call<'_, '_>, address: u64, size: u64) -> Result<Result<Vec<u64>, Errno>, Stop> {
    let size = size & 0xffff_ffff;
    // `MAX_BPRINTF_VARARGS` words.
    if !size.is_multiple_of(8) || size > 12 * 8 || (size > 0 && address == 0) {
        return Ok(Err(Errno::EINVAL));
    }
    let bytes = if size == 0 { Vec::new() } else { read_bytes(call, address, size)? };
    let words = bytes.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
    Ok(Ok(words.collect()))
}

pub(super) fn trace_vprintk(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [format, size, data, data_size, _] = call.arguments;
    match list(call, data, data_size)? {
        Ok(arguments) => trace(call, format, size, &arguments),
        Err(error) => code(Err(error)),
    }
}

pub(super) fn snprintf(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [to, size, format, data, data_size] = call.arguments;
    let size = (size & 0xffff_ffff) as usize;
    let arguments = match list(call, data, data_size)? {
        Ok(arguments) => arguments,
        Err(error) => return code(Err(error)),
    };
    /// Formats lie in read-only maps; this bounds the search for their end.
    const FORMAT: usize = 4096;
    let format = read_string(call, format, FORMAT)?;
    match render(call, &format, &arguments)? {
        Ok(text) => {
            if size > 0 {
                let mut cut = text[..text.len().min(size - 1)].to_vec();
                cut.push(0);
                call.write(to, &cut)?;
            }
            Ok(text.len() as u64 + 1)
        }
        Err(error) => code(Err(error)),
    }
}
