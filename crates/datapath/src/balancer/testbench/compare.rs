//! How two frames differ, by header and field.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// One line for each field or stretch of bytes that differs; empty if the frames are the same but
/// for the bytes that may be anything.
pub fn differences(expected: &[u8], actual: &[u8], any: &[usize]) -> Vec<String> {
    let mut actual = actual.to_vec();
    for offset in any {
        if let (Some(to), Some(from)) = (actual.get_mut(*offset), expected.get(*offset)) {
            *to = *from;
        }
    }
    if actual == expected {
        return Vec::new();
    }
    let mut lines = Vec::new();
    if expected.len() != actual.len() {
        lines.push(format!("length: {} bytes instead of {}", actual.len(), expected.len()));
    }
    let (wanted, got) = (fields(expected), fields(&actual));
    let mut same_layout = true;
    for (wanted, got) in wanted.iter().zip(&got) {
        if (wanted.name, wanted.at) != (got.name, got.at) {
            same_layout = false;
            break;
        }
        if wanted.value != got.value {
            lines.push(format!("{}: {} instead of {}", got.name, got.value, wanted.value));
        }
    }
    if !same_layout || lines.is_empty() {
        lines.push(format!("expected {}", hexadecimal(expected)));
        lines.push(format!("     got {}", hexadecimal(&actual)));
    }
    lines
}

struct Field {
    name: &'static str,
    at: usize,
    value: String,
}

/// The fields of all headers that follow each other, and the rest as bytes.
fn fields(frame: &[u8]) -> Vec<Field> {
    let mut walk = Walk { frame, at: 0, fields: Vec::new() };
    walk.frame();
    let rest = frame.get(walk.at..).unwrap_or_default();
    walk.fields.push(Field { name: "payload", at: walk.at, value: hexadecimal(rest) });
    walk.fields
}

struct Walk<'a> {
    frame: &'a [u8],
    at: usize,
    fields: Vec<Field>,
}

impl Walk<'_> {
    /// Takes so many bytes, if they are there.
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let bytes = self.frame.get(self.at..self.at + count)?;
        self.at += count;
        Some(bytes)
    }

    fn field(&mut self, name: &'static str, count: usize) -> Option<u64> {
        let at = self.at;
        let bytes = self.take(count)?;
        let number = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let value = if count <= 2 { format!("{number:#x}") } else { hexadecimal(bytes) };
        self.fields.push(Field { name, at, value });
        Some(number)
    }

    fn address(&mut self, name: &'static str, v6: bool) -> Option<()> {
        let at = self.at;
        let value = if v6 {
            Ipv6Addr::from(<[u8; 16]>::try_from(self.take(16)?).ok()?).to_string()
        } else {
            Ipv4Addr::from(<[u8; 4]>::try_from(self.take(4)?).ok()?).to_string()
        };
        self.fields.push(Field { name, at, value });
        Some(())
    }

    fn frame(&mut self) -> Option<()> {
        self.field("Ethernet destination", 6)?;
        self.field("Ethernet source", 6)?;
        let mut ethertype = self.field("Ethernet type", 2)?;
        if ethertype == 0x8100 {
            self.field("VLAN tag", 2)?;
            ethertype = self.field("VLAN type", 2)?;
        }
        match ethertype {
            0x0800 => self.ipv4(0),
            0x86dd => self.ipv6(0),
            _ => None,
        }
    }

    fn ipv4(&mut self, depth: u32) -> Option<()> {
        self.field("IPv4 version and length", 1)?;
        self.field("IPv4 class of service", 1)?;
        self.field("IPv4 total length", 2)?;
        self.field("IPv4 id", 2)?;
        self.field("IPv4 flags and offset", 2)?;
        self.field("IPv4 time to live", 1)?;
        let next = self.field("IPv4 protocol", 1)?;
        self.field("IPv4 checksum", 2)?;
        self.address("IPv4 source", false)?;
        self.address("IPv4 destination", false)?;
        self.next(next, depth)
    }

    fn ipv6(&mut self, depth: u32) -> Option<()> {
        self.field("IPv6 version, class and flow", 4)?;
        self.field("IPv6 payload length", 2)?;
        let next = self.field("IPv6 next header", 1)?;
        self.field("IPv6 hop limit", 1)?;
        self.address("IPv6 source", true)?;
        self.address("IPv6 destination", true)?;
        self.next(next, depth)
    }

    fn next(&mut self, next: u64, depth: u32) -> Option<()> {
        if depth > 2 {
            return None;
        }
        match next {
            4 => self.ipv4(depth + 1),
            41 => self.ipv6(depth + 1),
            17 => {
                self.field("UDP source port", 2)?;
                let port = self.field("UDP destination port", 2)?;
                self.field("UDP length", 2)?;
                self.field("UDP checksum", 2)?;
                match (port, self.frame.get(self.at)? >> 4) {
                    (9886 | 9887 | 6080, 4) => self.ipv4(depth + 1),
                    (9886 | 9887 | 6080, 6) => self.ipv6(depth + 1),
                    _ => None,
                }
            }
            6 => {
                self.field("TCP source port", 2)?;
                self.field("TCP destination port", 2)?;
                self.field("TCP sequence", 4)?;
                self.field("TCP acknowledgement", 4)?;
                self.field("TCP offset and flags", 2)?;
                self.field("TCP window", 2)?;
                self.field("TCP checksum", 2)?;
                self.field("TCP urgent pointer", 2).map(drop)
            }
            1 | 58 => {
                self.field("ICMP type", 1)?;
                self.field("ICMP code", 1)?;
                self.field("ICMP checksum", 2)?;
                self.field("ICMP rest", 4).map(drop)
            }
            _ => None,
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A `String` takes every write.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 packet in IPIP, without payload.
    fn frame() -> Vec<u8> {
        let mut frame = vec![0; 14 + 20 + 20];
        frame[12] = 8;
        for start in [14, 34] {
            frame[start] = 0x45;
        }
        frame[14 + 9] = 4;
        frame
    }

    #[test]
    fn what_differs_is_named() {
        let expected = frame();
        assert!(differences(&expected, &expected, &[]).is_empty());
        let mut actual = expected.clone();
        actual[14 + 8] = 64;
        actual[14 + 19] = 7;
        let lines = differences(&expected, &actual, &[]);
        assert_eq!(
            lines,
            [
                "IPv4 time to live: 0x40 instead of 0x0",
                "IPv4 destination: 0.0.0.7 instead of 0.0.0.0"
            ]
        );
        assert!(differences(&expected, &actual, &[22, 33]).is_empty());
    }

    #[test]
    fn frames_of_other_lengths_and_no_headers() {
        let lines = differences(&frame(), &[1, 2], &[]);
        assert_eq!(lines[0], "length: 2 bytes instead of 54");
        assert!(lines.iter().any(|line| line.contains("got 0102")), "{lines:?}");
    }
}
