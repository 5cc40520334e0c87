//! Noting what comes in that has no socket of its own: SCTP, through raw sockets.

use std::io::{self, Read as _};
use std::sync::{Arc, Mutex, MutexGuard};

use socket2::{Domain, Protocol, Socket, Type};

use super::protocol::Arrival;
use crate::sctp::{self, Init};

/// Room for thousands of INITs while the process does something else.
const RECEIVE_BUFFER: usize = 1 << 20;

#[derive(Clone, Debug, Default)]
pub struct Arrivals(Arc<Mutex<Vec<Arrival>>>);

impl Arrivals {
    /// Begins to note them, for IPv4 and for IPv6 where there is IPv6. Each on a thread that
    /// blocks, since the raw socket is no kind that tokio knows.
    pub fn start() -> Self {
        let arrivals = Self::default();
        for domain in [Domain::IPV4, Domain::IPV6] {
            if let Ok(socket) = open(domain) {
                let arrivals = arrivals.clone();
                std::thread::spawn(move || arrivals.note(&socket, domain));
            }
        }
        arrivals
    }

    pub fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.list())
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn note(&self, mut socket: &Socket, domain: Domain) {
        let mut buffer = [0; 2048];
        while let Ok(length) = socket.read(&mut buffer) {
            if let Some(init) = transport_part(&buffer[..length], domain).and_then(Init::parse) {
                self.list().push(Arrival { port: init.destination_port, tag: init.tag });
            }
        }
    }
}

fn open(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(sctp::PROTOCOL)))?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    Ok(socket)
}

/// A raw socket gives IPv4 packets with their header and IPv6 packets without (raw(7), ipv6(7)).
fn transport_part(packet: &[u8], domain: Domain) -> Option<&[u8]> {
    if domain == Domain::IPV6 {
        return Some(packet);
    }
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    packet.get(header_len..)
}
