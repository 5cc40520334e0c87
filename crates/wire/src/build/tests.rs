//! Against etherparse, which knows nothing of this crate.

use super::*;
use etherparse::{SlicedPacket, TransportSlice};

const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";
const A6: &str = "fd00::1";
const B6: &str = "fd00::2";

fn between(a: &str, b: &str) -> Frame {
    Frame::between(a.parse().unwrap(), b.parse().unwrap())
}

/// The frame parses, its transport header has these ports, and its checksums hold.
fn check(frame: &Frame, ports: (u16, u16)) {
    let bytes = frame.build();
    let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
    let net = packet.net.clone().unwrap();
    match (packet.transport.unwrap(), net) {
        (TransportSlice::Tcp(tcp), etherparse::NetSlice::Ipv4(ip)) => {
            assert_eq!((tcp.source_port(), tcp.destination_port()), ports);
            assert_eq!(
                tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()),
                Ok(tcp.checksum())
            );
            assert_eq!(
                ip.header().to_header().calc_header_checksum(),
                ip.header().header_checksum()
            );
        }
        (TransportSlice::Tcp(tcp), etherparse::NetSlice::Ipv6(ip)) => {
            assert_eq!((tcp.source_port(), tcp.destination_port()), ports);
            assert_eq!(
                tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()),
                Ok(tcp.checksum())
            );
        }
        (TransportSlice::Udp(udp), etherparse::NetSlice::Ipv4(ip)) => {
            assert_eq!((udp.source_port(), udp.destination_port()), ports);
            let sum = udp.to_header().calc_checksum_ipv4_raw(
                ip.header().source(),
                ip.header().destination(),
                udp.payload(),
            );
            assert_eq!(sum, Ok(udp.checksum()));
        }
        (TransportSlice::Udp(udp), etherparse::NetSlice::Ipv6(ip)) => {
            assert_eq!((udp.source_port(), udp.destination_port()), ports);
            let sum = udp.to_header().calc_checksum_ipv6_raw(
                ip.header().source(),
                ip.header().destination(),
                udp.payload(),
            );
            assert_eq!(sum, Ok(udp.checksum()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn tcp_and_udp() {
    for (a, b) in [(A, B), (A6, B6)] {
        check(&between(a, b).tcp(1000, 80, 2), (1000, 80));
        check(&between(a, b).tcp(1000, 80, 0x18).payload(b"odd"), (1000, 80));
        check(&between(a, b).udp(5353, 53).payload(b"question"), (5353, 53));
    }
}

#[test]
fn options_and_extensions() {
    let mut ip = Ipv4::between(A.parse().unwrap(), B.parse().unwrap());
    ip.options = [1, 1, 1, 1].repeat(3);
    check(&Frame::new([2; 6], [4; 6]).ipv4(ip).tcp(1, 2, 2), (1, 2));
    let frame = between(A6, B6)
        .options(protocol::HOP_BY_HOP, 2)
        .options(protocol::DESTINATION_OPTIONS, 1)
        .tcp(1, 2, 2);
    check(&frame, (1, 2));
    check(&between(A6, B6).fragment(7, 0, false).udp(3, 4), (3, 4));
}

#[test]
fn vlan() {
    let ip = Ipv4::between(A.parse().unwrap(), B.parse().unwrap());
    check(&Frame::new([2; 6], [4; 6]).vlan(5).ipv4(ip).udp(1, 2), (1, 2));
}

#[test]
fn icmp_checksums_hold() {
    let bytes = between(A6, B6).icmpv6(128, 0, [0, 1, 0, 2]).payload(b"ping").build();
    let Some(TransportSlice::Icmpv6(icmp)) = SlicedPacket::from_ethernet(&bytes).unwrap().transport
    else {
        panic!("no ICMPv6");
    };
    let (a, b): (Ipv6Addr, Ipv6Addr) = (A6.parse().unwrap(), B6.parse().unwrap());
    assert!(icmp.is_checksum_valid(a.octets(), b.octets()));

    let bytes = between(A, B).icmp(8, 0, [0, 1, 0, 2]).payload(b"ping").build();
    assert_eq!(Sum::ZERO.bytes(&bytes[34..]).fold(), 0xffff);
}

/// The CRC of an INIT chunk, over the packet with a zero in its place.
#[test]
fn sctp() {
    let bytes = between(A, B).sctp(1000, 2000, 7).payload(&[1, 0, 0, 4]).build();
    let mut summed = bytes[34..].to_vec();
    let stored = u32::from_le_bytes(summed[8..12].try_into().unwrap());
    summed[8..12].fill(0);
    assert_eq!(crc32c(&summed), stored);
}
