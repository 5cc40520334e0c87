//! Values that fields of load balancers have: numbers, durations, MAC addresses, port ranges.

use crate::manifest::node::{Node, Scalar};
use crate::manifest::reader::{Fields, Reader};
use crate::manifest::selector::shorten;
use model::load_balancer::PortRange;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The default if the field is missing; `None` after an error.
pub fn optional<T: Default>(
    reader: &mut Reader,
    node: Option<&Node>,
    read: impl FnOnce(&mut Reader, &Node) -> Option<T>,
) -> Option<T> {
    match node {
        Some(node) => read(reader, node),
        None => Some(T::default()),
    }
}

/// Every item of a list, which may be missing. All are read, whatever is wrong with some.
pub fn each<T>(
    reader: &mut Reader,
    node: Option<&Node>,
    name: &str,
    mut read: impl FnMut(&mut Reader, &Node) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(node) = node else { return Some(Vec::new()) };
    let read: Vec<Option<T>> =
        reader.items(node, name)?.iter().map(|item| read(reader, item)).collect();
    read.into_iter().collect()
}

/// False if it is missing.
pub fn flag(reader: &mut Reader, fields: &mut Fields, name: &'static str) -> Option<bool> {
    fields.optional(name).map_or(Some(false), |node| reader.flag(node, name))
}

pub fn number(
    reader: &mut Reader,
    node: &Node,
    name: &str,
    range: RangeInclusive<u64>,
) -> Option<u64> {
    if let Some(Scalar::Integer(Some(number))) = node.scalar()
        && let Ok(number) = u64::try_from(number)
        && range.contains(&number)
    {
        return Some(number);
    }
    let (first, last) = (range.start(), range.end());
    reader
        .error(node.place, format_args!("`{name}` must be a whole number"))
        .label(format_args!("{first} to {last}"));
    None
}

/// `500ms`, `5s`, `2m`; at most an hour.
pub fn duration(reader: &mut Reader, node: &Node, name: &str) -> Option<Duration> {
    let text = match node.scalar() {
        Some(Scalar::Text(text)) => text,
        _ => "",
    };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let milliseconds = number.parse::<u64>().ok().and_then(|number| {
        number.checked_mul(match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            _ => return None,
        })
    });
    match milliseconds {
        Some(milliseconds @ 0..=3_600_000) => Some(Duration::from_millis(milliseconds)),
        _ => {
            reader
                .error(node.place, format_args!("`{name}` is not a duration"))
                .help("write it like 500ms, 5s or 2m; at most 60m");
            None
        }
    }
}

pub fn mac(reader: &mut Reader, node: &Node, name: &str) -> Option<[u8; 6]> {
    let text = reader.text(node, name)?;
    let mut octets = [0; 6];
    let mut parts = text.split(':');
    let right = octets.iter_mut().all(|octet| {
        let part = parts.next().filter(|part| part.len() == 2);
        match part.and_then(|part| u8::from_str_radix(part, 16).ok()) {
            Some(value) => {
                *octet = value;
                true
            }
            None => false,
        }
    });
    if !right || parts.next().is_some() {
        reader
            .error(node.place, format_args!("`{}` is not a MAC address", shorten(text)))
            .help("write it like 02:00:5e:10:00:01");
        return None;
    }
    if octets[0] & 1 != 0 {
        reader.error(node.place, format_args!("{text} is a multicast address"));
        return None;
    }
    Some(octets)
}

/// A port, or a range as text: `8000-8100`.
pub fn port_range(reader: &mut Reader, node: &Node, name: &str) -> Option<PortRange> {
    let Some(Scalar::Text(text)) = node.scalar() else {
        let port = reader.port(node, name)?;
        return Some(PortRange { first: port, last: port });
    };
    let range = text.split_once('-').and_then(|(first, last)| {
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        Some(PortRange { first: port(first)?, last: port(last)? })
    });
    match range {
        Some(range) if range.first <= range.last => Some(range),
        Some(range) => {
            reader.error(
                node.place,
                format_args!("the range ends at {}, below {}", range.last, range.first),
            );
            None
        }
        None => {
            reader
                .error(node.place, format_args!("`{name}` is neither a port nor a range"))
                .help("write it like 443 or 8000-8100");
            None
        }
    }
}
