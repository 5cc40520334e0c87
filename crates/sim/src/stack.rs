//! What the host's stack reads of a packet, and does to one that it hands on.

use std::net::IpAddr;

use wire::checksum::Sum;

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const HEADER: usize = 14;

/// Source and destination of a frame's IP packet.
pub fn addresses(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let packet = frame.get(HEADER..)?;
    let v4 = |at: usize| {
        let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(IpAddr::from(bytes))
    };
    let v6 = |at: usize| {
        let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::from(bytes))
    };
    match frame.get(12..14)? {
        kind if *kind == IPV4 => Some((v4(12)?, v4(16)?)),
        kind if *kind == IPV6 => Some((v6(8)?, v6(24)?)),
        _ => None,
    }
}

/// The headers of a packet that a reader wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    pub macs: [[u8; 6]; 2],
    pub source: IpAddr,
    pub destination: IpAddr,
    pub hops: u8,
    /// The number of the IP protocol, of extension headers the first one's.
    pub protocol: u8,
    /// Of TCP, UDP and SCTP.
    pub ports: Option<(u16, u16)>,
    pub tcp_flags: Option<u8>,
}

/// `None` for what is no IP packet.
pub fn headers(frame: &[u8]) -> Option<Headers> {
    let (source, destination) = addresses(frame)?;
    let packet = frame.get(HEADER..)?;
    let (hops, protocol, length) = match source {
        IpAddr::V4(_) => (packet.get(8)?, packet.get(9)?, usize::from(packet.first()? & 0xf) * 4),
        IpAddr::V6(_) => (packet.get(7)?, packet.get(6)?, 40),
    };
    let half = |at: usize| {
        let bytes = packet.get(length + at..length + at + 2)?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    };
    let has_ports = matches!(protocol, 6 | 17 | 132);
    Some(Headers {
        macs: [frame.get(6..12)?.try_into().ok()?, frame.get(..6)?.try_into().ok()?],
        source,
        destination,
        hops: *hops,
        protocol: *protocol,
        ports: has_ports.then(|| half(0).zip(half(2))).flatten(),
        tcp_flags: (*protocol == 6).then(|| packet.get(length + 13).copied()).flatten(),
    })
}

/// The link's addresses.
pub fn readdress(frame: &[u8], source: [u8; 6], destination: [u8; 6]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let Some(macs) = frame.get_mut(..12) {
        macs[..6].copy_from_slice(&destination);
        macs[6..].copy_from_slice(&source);
    }
    frame
}

/// One hop less, and the link's addresses. `None` if the packet has no hop left.
pub fn forward(frame: &[u8], source: [u8; 6], destination: [u8; 6]) -> Option<Vec<u8>> {
    let mut frame = readdress(frame, source, destination);
    let is_v4 = frame.get(12..14)? == IPV4;
    let packet = frame.get_mut(HEADER..)?;
    let hops = packet.get_mut(if is_v4 { 8 } else { 7 })?;
    *hops = hops.checked_sub(1).filter(|hops| *hops > 0)?;
    if is_v4 {
        let length = usize::from(packet.first()? & 0xf) * 4;
        let header = packet.get_mut(..length)?;
        header.get_mut(10..12)?.fill(0);
        let checksum = Sum::ZERO.bytes(header).finish().to_ne_bytes();
        header.get_mut(10..12)?.copy_from_slice(&checksum);
    }
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::build::Frame;

    #[test]
    fn a_hop_further() {
        for (from, to) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let frame = Frame::between(from, to).udp(1, 2).payload(b"hello");
            assert_eq!(addresses(&frame.build()), Some((from, to)));
            let (source, destination) = ([2; 6], [4; 6]);
            let further = frame.clone().macs(source, destination).hop();
            assert_eq!(forward(&frame.build(), source, destination), Some(further.build()));
            assert_eq!(forward(&frame.ttl(1).build(), source, destination), None);
        }
        assert_eq!(addresses(b"short"), None);
    }
}
