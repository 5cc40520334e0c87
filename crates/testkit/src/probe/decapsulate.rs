//! The receiving end of a load balancer, where the kernel has no devices for its encapsulations: the
//! inner packet is sent once more, to an address that is this host's own, and so comes in as any
//! other.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use wire::checksum::Sum;

pub const GUE_PORT: u16 = 6080;
pub const GENEVE_PORT: u16 = 6081;

/// IANA protocol numbers.
const IPV4_INSIDE: i32 = 4;
const IPV6_INSIDE: i32 = 41;
const ANY_PACKET: i32 = 255;
const TCP: u8 = 6;
const UDP: u8 = 17;

const LONGEST: usize = 65_536;
/// Room for thousands of packets while the process does something else.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Begins to take IPv4 and IPv6 packets out of IPIP, GUE (variant 1) and Geneve. Each kind on a
/// thread that blocks.
pub fn start() -> io::Result<()> {
    let again = Arc::new(Again::open()?);
    let inside =
        [(Domain::IPV4, IPV4_INSIDE), (Domain::IPV6, IPV4_INSIDE), (Domain::IPV6, IPV6_INSIDE)];
    for (domain, protocol) in inside {
        let mut socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)))?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let again = again.clone();
        thread::spawn(move || {
            let mut buffer = vec![0; LONGEST];
            while let Ok(length) = socket.read(&mut buffer) {
                // A raw socket gives IPv4 packets with their header and IPv6 packets without.
                let outer = if domain == Domain::IPV4 { header_len(&buffer) } else { 0 };
                again.send(buffer.get_mut(outer..length));
            }
        });
    }
    for (port, header) in [(GUE_PORT, no_header as fn(&[u8]) -> usize), (GENEVE_PORT, geneve_len)] {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
        let again = again.clone();
        thread::spawn(move || {
            let mut buffer = vec![0; LONGEST];
            while let Ok((length, _)) = socket.recv_from(&mut buffer) {
                let outer = header(&buffer[..length]);
                again.send(buffer.get_mut(outer..length));
            }
        });
    }
    Ok(())
}

/// Variant 1 is the packet itself, told from others by its first bits.
fn no_header(_: &[u8]) -> usize {
    0
}

/// RFC 8926, section 3.4: eight bytes, and options in words of four.
fn geneve_len(packet: &[u8]) -> usize {
    8 + usize::from(packet.first().map_or(0, |first| first & 0x3f)) * 4
}

fn header_len(packet: &[u8]) -> usize {
    usize::from(packet[0] & 0x0f) * 4
}

/// Sockets that send whole packets, with whatever source they have.
struct Again {
    v4: Socket,
    v6: Socket,
}

impl Again {
    fn open() -> io::Result<Self> {
        let open = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(ANY_PACKET)));
        Ok(Self { v4: open(Domain::IPV4)?, v6: open(Domain::IPV6)? })
    }

    /// What can't be sent is lost, as on a wire.
    fn send(&self, packet: Option<&mut [u8]>) {
        let Some(packet) = packet else { return };
        let Some(destination) = complete(packet) else { return };
        let socket = if destination.is_ipv4() { &self.v4 } else { &self.v6 };
        // A raw socket's port must be 0: IPv6 takes it for a protocol.
        let _ = socket.send_to(packet, &SockAddr::from(SocketAddr::new(destination, 0)));
    }
}

/// Where the packet goes. A sender on this machine has left the checksum to a network card that
/// isn't there, with the sum of the pseudo header in its place; then it is made now. A wrong one is
/// left as it is.
fn complete(packet: &mut [u8]) -> Option<IpAddr> {
    let (addresses, protocol, header_len, destination) = match packet.first()? >> 4 {
        4 => {
            let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            (12..20, packet[9], header_len(packet), IpAddr::from(Ipv4Addr::from(destination)))
        }
        6 => {
            let destination: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (8..40, packet[6], 40, IpAddr::from(Ipv6Addr::from(destination)))
        }
        _ => return None,
    };
    let addresses = packet.get(addresses)?.to_vec();
    let (source, target) = addresses.split_at(addresses.len() / 2);
    let segment = packet.get_mut(header_len..)?;
    let at = match protocol {
        TCP => 16,
        UDP => 6,
        _ => return Some(destination),
    };
    let length = u32::try_from(segment.len()).ok()?;
    let pseudo_header = Sum::pseudo_header(source, target, protocol, length);
    let stored = segment.get_mut(at..at + 2)?;
    if stored == pseudo_header.fold().to_ne_bytes() {
        stored.fill(0);
        let made = pseudo_header.bytes(segment).finish();
        segment[at..at + 2].copy_from_slice(&made.to_ne_bytes());
    }
    Some(destination)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::build::Frame;

    #[test]
    fn checksums_left_to_the_card_are_made() {
        let check = |source: &str, destination: &str, tcp: bool| {
            let address = |text: &str| -> IpAddr { text.parse().unwrap() };
            let frame = Frame::between(address(source), address(destination));
            let frame = if tcp { frame.tcp(4000, 80, 2) } else { frame.udp(4000, 80) };
            let expected = frame.payload(b"odd").build().split_off(14);
            let v4 = address(source).is_ipv4();
            let (header, addresses) = if v4 { (20, 12..20) } else { (40, 8..40) };
            let (at, protocol) = if tcp { (header + 16, TCP) } else { (header + 6, UDP) };

            let mut packet = expected.clone();
            let (source, target) = expected[addresses.clone()].split_at(addresses.len() / 2);
            let length = (packet.len() - header) as u32;
            let left = Sum::pseudo_header(source, target, protocol, length).fold();
            packet[at..at + 2].copy_from_slice(&left.to_ne_bytes());
            complete(&mut packet).unwrap();
            assert_eq!(packet, expected);

            packet[at] ^= 1;
            let wrong = packet.clone();
            assert_eq!(complete(&mut packet), Some(address(destination)));
            assert_eq!(packet, wrong, "a wrong one stays wrong");
        };
        check("198.18.1.2", "203.0.113.10", true);
        check("198.18.1.2", "203.0.113.10", false);
        check("2001:2:0:1::2", "2001:db8::10", true);
        check("2001:2:0:1::2", "2001:db8::10", false);
    }

    #[test]
    fn nonsense_goes_nowhere() {
        for packet in [&mut [][..], &mut [0x45; 10], &mut [0x65; 39], &mut [0x15; 60]] {
            assert_eq!(complete(packet), None);
        }
    }
}
