//! An echo request and its answer.

use super::Outcome;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Identifier and sequence number of the next request: answers to others are passed over.
static NEXT: AtomicU32 = AtomicU32::new(0);

const ECHO_REQUEST: [u8; 2] = [8, 128];
const ECHO_REPLY: [u8; 2] = [0, 129];

pub async fn echo(address: IpAddr, mark: Option<u32>, timeout: Duration) -> io::Result<Outcome> {
    let task = tokio::task::spawn_blocking(move || blocking(address, mark, timeout));
    task.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn blocking(address: IpAddr, mark: Option<u32>, timeout: Duration) -> io::Result<Outcome> {
    let started = Instant::now();
    let (domain, protocol, family) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 1),
    };
    let mut socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    // Only answers of that host are delivered.
    socket.connect(&SockAddr::from(SocketAddr::new(address, 0)))?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed) ^ std::process::id() << 16;
    let request = request(ECHO_REQUEST[family], number);
    socket.send(&request)?;
    let mut buffer = [0; 2048];
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(Outcome::bad("no echo reply"));
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let packet = &buffer[..length];
        // IPv4 sockets give the IP header too (raw(7)); IPv6 sockets don't (RFC 3542).
        let header = match family {
            0 => usize::from(packet.first().copied().unwrap_or(0) & 0xf) * 4,
            _ => 0,
        };
        if let Some(message) = packet.get(header..header + request.len())
            && message[0] == ECHO_REPLY[family]
            && message[4..8] == number.to_be_bytes()
        {
            return Ok(Outcome::good("echo reply"));
        }
    }
}

/// The kernel fills in the checksum of ICMPv6.
fn request(kind: u8, number: u32) -> [u8; 16] {
    let mut message = [0; 16];
    message[0] = kind;
    message[4..8].copy_from_slice(&number.to_be_bytes());
    message[8..].copy_from_slice(b"skep\0\0\0\0");
    let sum: u32 =
        message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_add_up() {
        let message = request(8, 0xffff_1234);
        let sum: u32 =
            message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
