//! Builders of whole frames, for tests and for tools that craft packets.
//!
//! A [`Frame`] collects headers from the outside in; [`Frame::build`] fills in lengths, protocol
//! numbers and checksums. What is set by hand stays, so that broken packets can be built too.

extern crate std;

use crate::checksum::{Sum, crc32c};
use crate::ethernet::ethertype;
use crate::ip::protocol;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::vec::Vec;

/// A header or what stands in its place.
#[derive(Clone, Debug)]
enum Layer {
    Vlan { ethertype: u16, tag: u16 },
    Ipv4(Ipv4),
    Ipv6(Ipv6),
    Extension { header: u8, bytes: Vec<u8> },
    Transport(Transport),
}

/// An IPv4 header to build.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub ttl: u8,
    pub id: u16,
    /// In units of eight bytes.
    pub fragment_offset: u16,
    pub more_fragments: bool,
    /// A multiple of four bytes, at most forty.
    pub options: Vec<u8>,
}

/// An IPv6 header to build.
#[derive(Clone, Debug)]
pub struct Ipv6 {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub hop_limit: u8,
}

#[derive(Clone, Debug)]
enum Transport {
    Tcp {
        source: u16,
        destination: u16,
        flags: u8,
        sequence: u32,
        acknowledgement: u32,
    },
    Udp {
        source: u16,
        destination: u16,
        checksum: bool,
    },
    Sctp {
        source: u16,
        destination: u16,
        tag: u32,
    },
    Icmp {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
    Icmpv6 {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
    /// No header: a later fragment, or a protocol of its own.
    Raw {
        protocol: u8,
    },
}

/// A frame in the making.
#[derive(Clone, Debug)]
pub struct Frame {
    source: [u8; 6],
    destination: [u8; 6],
    layers: Vec<Layer>,
    payload: Vec<u8>,
}

impl Frame {
    pub fn new(source: [u8; 6], destination: [u8; 6]) -> Self {
        Frame { source, destination, layers: Vec::new(), payload: Vec::new() }
    }

    /// Between two addresses of the same family, with nothing special.
    pub fn between(source: IpAddr, destination: IpAddr) -> Self {
        let frame = Frame::new([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.ipv4(Ipv4::between(source, destination))
            }
            (source, destination) => {
                let v6 = |address| match address {
                    IpAddr::V4(v4) => Ipv4Addr::to_ipv6_mapped(&v4),
                    IpAddr::V6(v6) => v6,
                };
                frame.ipv6(Ipv6 { source: v6(source), destination: v6(destination), hop_limit: 64 })
            }
        }
    }

    /// The same frame one hop further.
    pub fn hop(mut self) -> Self {
        for layer in &mut self.layers {
            match layer {
                Layer::Ipv4(ip) => ip.ttl = ip.ttl.saturating_sub(1),
                Layer::Ipv6(ip) => ip.hop_limit = ip.hop_limit.saturating_sub(1),
                _ => {}
            }
        }
        self
    }

    /// With other addresses in its outermost IP header; of the same family, else nothing changes.
    pub fn readdressed(mut self, from: IpAddr, to: IpAddr) -> Self {
        for layer in &mut self.layers {
            match (layer, from, to) {
                (Layer::Ipv4(ip), IpAddr::V4(from), IpAddr::V4(to)) => {
                    (ip.source, ip.destination) = (from, to);
                    break;
                }
                (Layer::Ipv6(ip), IpAddr::V6(from), IpAddr::V6(to)) => {
                    (ip.source, ip.destination) = (from, to);
                    break;
                }
                _ => {}
            }
        }
        self
    }

    /// With other MAC addresses.
    pub fn macs(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        (self.source, self.destination) = (source, destination);
        self
    }

    /// With another time to live, or hop limit.
    pub fn ttl(mut self, hops: u8) -> Self {
        for layer in &mut self.layers {
            match layer {
                Layer::Ipv4(ip) => ip.ttl = hops,
                Layer::Ipv6(ip) => ip.hop_limit = hops,
                _ => {}
            }
        }
        self
    }

    pub fn vlan(self, tag: u16) -> Self {
        self.with(Layer::Vlan { ethertype: ethertype::VLAN.number(), tag })
    }

    pub fn ipv4(self, header: Ipv4) -> Self {
        self.with(Layer::Ipv4(header))
    }

    pub fn ipv6(self, header: Ipv6) -> Self {
        self.with(Layer::Ipv6(header))
    }

    /// An extension header of IPv6, whose first byte (the next header) is filled in.
    pub fn extension(self, header: u8, bytes: &[u8]) -> Self {
        self.with(Layer::Extension { header, bytes: bytes.into() })
    }

    /// Hop-by-hop or destination options, padded to `units` times eight bytes.
    pub fn options(self, header: u8, units: u8) -> Self {
        let mut bytes = std::vec![0; usize::from(units.max(1)) * 8];
        bytes[1] = units.max(1) - 1;
        // One PadN option over the rest.
        bytes[2] = 1;
        bytes[3] = (bytes.len() - 4) as u8;
        self.with(Layer::Extension { header, bytes })
    }

    /// `offset` in units of eight bytes.
    pub fn fragment(self, id: u32, offset: u16, more: bool) -> Self {
        let mut bytes = std::vec![0; 8];
        bytes[2..4].copy_from_slice(&(offset << 3 | u16::from(more)).to_be_bytes());
        bytes[4..8].copy_from_slice(&id.to_be_bytes());
        self.with(Layer::Extension { header: protocol::FRAGMENT, bytes })
    }

    pub fn tcp(self, source: u16, destination: u16, flags: u8) -> Self {
        self.with(Layer::Transport(Transport::Tcp {
            source,
            destination,
            flags,
            sequence: 1,
            acknowledgement: 0,
        }))
    }

    pub fn udp(self, source: u16, destination: u16) -> Self {
        self.with(Layer::Transport(Transport::Udp { source, destination, checksum: true }))
    }

    /// Without a checksum, which only IPv4 allows.
    pub fn udp_unsummed(self, source: u16, destination: u16) -> Self {
        self.with(Layer::Transport(Transport::Udp { source, destination, checksum: false }))
    }

    pub fn sctp(self, source: u16, destination: u16, tag: u32) -> Self {
        self.with(Layer::Transport(Transport::Sctp { source, destination, tag }))
    }

    /// `rest` is what follows the checksum: identifier and sequence, pointer, MTU …
    pub fn icmp(self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        self.with(Layer::Transport(Transport::Icmp { kind, code, rest }))
    }

    pub fn icmpv6(self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        self.with(Layer::Transport(Transport::Icmpv6 { kind, code, rest }))
    }

    /// The payload is all that follows the IP headers.
    pub fn raw(self, protocol: u8) -> Self {
        self.with(Layer::Transport(Transport::Raw { protocol }))
    }

    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.into();
        self
    }

    fn with(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// The bytes of the frame.
    pub fn build(&self) -> Vec<u8> {
        let addresses = self.layers.iter().rev().find_map(|layer| match layer {
            Layer::Ipv4(ip) => {
                Some((ip.source.octets().to_vec(), ip.destination.octets().to_vec()))
            }
            Layer::Ipv6(ip) => {
                Some((ip.source.octets().to_vec(), ip.destination.octets().to_vec()))
            }
            _ => None,
        });
        let (source, destination) = addresses.unwrap_or_default();
        let mut bytes = self.payload.clone();
        let mut next = protocol::NO_NEXT_HEADER;
        let mut ethertype = 0;
        for layer in self.layers.iter().rev() {
            match layer {
                Layer::Transport(transport) => {
                    bytes = transport.build(&source, &destination, &bytes);
                    next = transport.protocol();
                }
                Layer::Extension { header, bytes: extension } => {
                    let mut extension = extension.clone();
                    if let Some(first) = extension.first_mut() {
                        *first = next;
                    }
                    extension.append(&mut bytes);
                    bytes = extension;
                    next = *header;
                }
                Layer::Ipv4(ip) => {
                    bytes = ip.build(next, &bytes);
                    ethertype = ethertype::IPV4.number();
                }
                Layer::Ipv6(ip) => {
                    bytes = ip.build(next, &bytes);
                    ethertype = ethertype::IPV6.number();
                }
                Layer::Vlan { ethertype: own, tag } => {
                    let mut tagged = tag.to_be_bytes().to_vec();
                    tagged.extend_from_slice(&ethertype.to_be_bytes());
                    tagged.append(&mut bytes);
                    bytes = tagged;
                    ethertype = *own;
                }
            }
        }
        let mut frame = self.destination.to_vec();
        frame.extend_from_slice(&self.source);
        frame.extend_from_slice(&ethertype.to_be_bytes());
        frame.append(&mut bytes);
        frame
    }
}

impl Ipv4 {
    pub fn between(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Ipv4 {
            source,
            destination,
            ttl: 64,
            id: 1,
            fragment_offset: 0,
            more_fragments: false,
            options: Vec::new(),
        }
    }

    fn build(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let flags = u16::from(self.more_fragments) << 13 | (self.fragment_offset & 0x1fff);
        let mut bytes = std::vec![0x40 | (header / 4) as u8, 0];
        bytes.extend_from_slice(&((header + payload.len()) as u16).to_be_bytes());
        bytes.extend_from_slice(&self.id.to_be_bytes());
        bytes.extend_from_slice(&flags.to_be_bytes());
        bytes.extend_from_slice(&[self.ttl, protocol, 0, 0]);
        bytes.extend_from_slice(&self.source.octets());
        bytes.extend_from_slice(&self.destination.octets());
        bytes.extend_from_slice(&self.options);
        let checksum = Sum::ZERO.bytes(&bytes).finish();
        bytes[10..12].copy_from_slice(&checksum.to_ne_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }
}

impl Ipv6 {
    fn build(&self, next: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = std::vec![0x60, 0, 0, 0];
        bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[next, self.hop_limit]);
        bytes.extend_from_slice(&self.source.octets());
        bytes.extend_from_slice(&self.destination.octets());
        bytes.extend_from_slice(payload);
        bytes
    }
}

impl Transport {
    fn protocol(&self) -> u8 {
        match self {
            Transport::Tcp { .. } => protocol::TCP,
            Transport::Udp { .. } => protocol::UDP,
            Transport::Sctp { .. } => protocol::SCTP,
            Transport::Icmp { .. } => protocol::ICMP,
            Transport::Icmpv6 { .. } => protocol::ICMPV6,
            Transport::Raw { protocol } => *protocol,
        }
    }

    fn build(&self, source_address: &[u8], destination_address: &[u8], payload: &[u8]) -> Vec<u8> {
        let ports = |source: u16, destination: u16| {
            let mut bytes = source.to_be_bytes().to_vec();
            bytes.extend_from_slice(&destination.to_be_bytes());
            bytes
        };
        let sum = |bytes: &[u8], protocol| {
            Sum::pseudo_header(source_address, destination_address, protocol, bytes.len() as u32)
                .bytes(bytes)
                .finish()
        };
        match self {
            Transport::Tcp { source, destination, flags, sequence, acknowledgement } => {
                let mut bytes = ports(*source, *destination);
                bytes.extend_from_slice(&sequence.to_be_bytes());
                bytes.extend_from_slice(&acknowledgement.to_be_bytes());
                bytes.extend_from_slice(&[0x50, *flags, 0xff, 0xff, 0, 0, 0, 0]);
                bytes.extend_from_slice(payload);
                let checksum = sum(&bytes, protocol::TCP);
                bytes[16..18].copy_from_slice(&checksum.to_ne_bytes());
                bytes
            }
            Transport::Udp { source, destination, checksum } => {
                let mut bytes = ports(*source, *destination);
                bytes.extend_from_slice(&((8 + payload.len()) as u16).to_be_bytes());
                bytes.extend_from_slice(&[0, 0]);
                bytes.extend_from_slice(payload);
                if *checksum {
                    let checksum = match sum(&bytes, protocol::UDP) {
                        0 => 0xffff,
                        sum => sum,
                    };
                    bytes[6..8].copy_from_slice(&checksum.to_ne_bytes());
                }
                bytes
            }
            Transport::Sctp { source, destination, tag } => {
                let mut bytes = ports(*source, *destination);
                bytes.extend_from_slice(&tag.to_be_bytes());
                bytes.extend_from_slice(&[0; 4]);
                bytes.extend_from_slice(payload);
                let checksum = crc32c(&bytes);
                bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
                bytes
            }
            Transport::Icmp { kind, code, rest } => {
                let mut bytes = std::vec![*kind, *code, 0, 0];
                bytes.extend_from_slice(rest);
                bytes.extend_from_slice(payload);
                let checksum = Sum::ZERO.bytes(&bytes).finish();
                bytes[2..4].copy_from_slice(&checksum.to_ne_bytes());
                bytes
            }
            Transport::Icmpv6 { kind, code, rest } => {
                let mut bytes = std::vec![*kind, *code, 0, 0];
                bytes.extend_from_slice(rest);
                bytes.extend_from_slice(payload);
                let checksum = sum(&bytes, protocol::ICMPV6);
                bytes[2..4].copy_from_slice(&checksum.to_ne_bytes());
                bytes
            }
            Transport::Raw { .. } => payload.into(),
        }
    }
}

/// An ARP request or reply over Ethernet.
pub fn arp(
    operation: crate::Be16,
    sender: ([u8; 6], Ipv4Addr),
    target: ([u8; 6], Ipv4Addr),
) -> Vec<u8> {
    let destination = if operation == crate::arp::REQUEST { [0xff; 6] } else { target.0 };
    let mut frame = destination.to_vec();
    frame.extend_from_slice(&sender.0);
    frame.extend_from_slice(&ethertype::ARP.number().to_be_bytes());
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4]);
    frame.extend_from_slice(&operation.number().to_be_bytes());
    frame.extend_from_slice(&sender.0);
    frame.extend_from_slice(&sender.1.octets());
    frame.extend_from_slice(&target.0);
    frame.extend_from_slice(&target.1.octets());
    frame
}

#[cfg(test)]
mod tests;
