//! Sockets of a namespace, listed and closed through sock_diag(7).
//!
//! Closing another's socket (`SOCK_DESTROY`, Linux 4.9 with CONFIG_INET_DIAG_DESTROY) ends its calls
//! with ECONNABORTED, so that its program notices at once what a timeout would tell it in minutes.
//!
//! What a TCP socket keeps in a map of socket storage comes with it in the list (Linux 5.8; not with
//! UDP sockets, as `inet_sk_diag_fill` of net/ipv4/inet_diag.c ends earlier for them).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::sys::socket::SockProtocol;
use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::exchange::{Attribute, Header, ask, value};
use crate::{Error, NetNamespace, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Tcp,
    Udp,
}

/// A socket that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    pub transport: Transport,
    pub local: SocketAddr,
    /// IPv4 as such, also on a socket for both families.
    pub remote: SocketAddr,
    /// The number that programs in the kernel know it by (`bpf_get_socket_cookie`).
    pub cookie: u64,
    /// A TCP socket's value in the map that was asked about.
    pub storage: Option<Vec<u8>>,
    id: Id,
    family: u8,
}

const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;

/// `TCP_ESTABLISHED`, which connected UDP sockets have too, and the states that follow and precede
/// it while there still is somebody to tell.
const STATES: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 8;

/// `struct inet_diag_sockid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Id {
    source_port: U16,
    destination_port: U16,
    source: [u8; 16],
    destination: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

/// `struct inet_diag_req_v2`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Request {
    header: Header,
    family: u8,
    protocol: u8,
    extensions: u8,
    pad: u8,
    states: u32,
    id: Id,
}

/// The beginning of `struct inet_diag_msg`.
#[derive(Clone, Copy, Debug, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Found {
    family: u8,
    state: u8,
    timer: u8,
    retransmits: u8,
    id: Id,
}

/// The attribute that asks for the sockets' values in one map.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
struct OfMap {
    storages: Attribute,
    map: Attribute,
    descriptor: i32,
}

/// `INET_DIAG_REQ_SK_BPF_STORAGES`, and in it `SK_DIAG_BPF_STORAGE_REQ_MAP_FD`.
const ASK_STORAGES: u16 = 2;
const ASK_MAP: u16 = 1;
/// `INET_DIAG_SK_BPF_STORAGES`, in it `SK_DIAG_BPF_STORAGE` for each map, and in that
/// `SK_DIAG_BPF_STORAGE_MAP_VALUE`.
const VALUE: [u16; 3] = [20, 1, 3];

/// `struct inet_diag_msg`, after which attributes follow.
const MESSAGE: usize = 72;

const ANY: Id = Id {
    source_port: U16::ZERO,
    destination_port: U16::ZERO,
    source: [0; 16],
    destination: [0; 16],
    interface: 0,
    cookie: [0; 2],
};

/// Closes the connected sockets that `wanted` picks, which is told what those of TCP keep in `storage`,
/// a map of socket storage; returns how many. Blocks for as long as it takes to list all.
pub fn close(
    namespace: &NetNamespace,
    storage: Option<BorrowedFd<'_>>,
    wanted: impl Fn(&Socket) -> bool + Send,
) -> Result<usize> {
    namespace.run(move || {
        let mut closed = 0;
        for transport in [Transport::Tcp, Transport::Udp] {
            for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
                let found =
                    list(transport, family, storage).map_err(|source| failed("list", source))?;
                for socket in found.iter().filter(|socket| wanted(socket)) {
                    match destroy(socket) {
                        Ok(()) => closed += 1,
                        // It has gone by itself.
                        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                        Err(error) => return Err(failed("close", error)),
                    }
                }
            }
        }
        Ok(closed)
    })?
}

fn failed(what: &str, source: io::Error) -> Error {
    Error::system(format!("{what} sockets through sock_diag"), source)
}

fn request(kind: u16, flags: i32, transport: Transport, family: u8, id: Id) -> Request {
    let protocol = match transport {
        Transport::Tcp => libc::IPPROTO_TCP,
        Transport::Udp => libc::IPPROTO_UDP,
    };
    Request {
        header: Header {
            length: size_of::<Request>() as u32,
            kind,
            flags: (libc::NLM_F_REQUEST | flags) as u16,
            sequence: 1,
            port: 0,
        },
        family,
        protocol: protocol as u8,
        extensions: 0,
        pad: 0,
        states: STATES,
        id,
    }
}

fn list(
    transport: Transport,
    family: u8,
    storage: Option<BorrowedFd<'_>>,
) -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    let mut request = request(BY_FAMILY, libc::NLM_F_DUMP, transport, family, ANY);
    let of_map = storage.map(|map| OfMap {
        storages: Attribute {
            length: size_of::<OfMap>() as u16,
            kind: ASK_STORAGES | libc::NLA_F_NESTED as u16,
        },
        map: Attribute { length: (size_of::<Attribute>() + 4) as u16, kind: ASK_MAP },
        descriptor: map.as_raw_fd(),
    });
    let mut bytes = of_map.as_ref().map_or_else(Vec::new, |it| it.as_bytes().to_vec());
    request.header.length += bytes.len() as u32;
    bytes.splice(..0, request.as_bytes().iter().copied());
    let listed = ask(SockProtocol::NetlinkSockDiag, &bytes, |body| {
        let Ok((found, _)) = Found::read_from_prefix(body) else { return };
        sockets.push(Socket {
            transport,
            local: address(found.family, found.id.source, found.id.source_port),
            remote: address(found.family, found.id.destination, found.id.destination_port),
            cookie: u64::from(found.id.cookie[1]) << 32 | u64::from(found.id.cookie[0]),
            storage: value(body.get(MESSAGE..).unwrap_or_default(), &VALUE).map(<[u8]>::to_vec),
            id: found.id,
            family: found.family,
        });
    });
    match listed {
        // A kernel without this family or without a part of sock_diag has nothing to list.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(()) => Ok(sockets),
    }
}

fn destroy(socket: &Socket) -> io::Result<()> {
    let request = request(DESTROY, libc::NLM_F_ACK, socket.transport, socket.family, socket.id);
    ask(SockProtocol::NetlinkSockDiag, request.as_bytes(), |_| {})
}

fn address(family: u8, bytes: [u8; 16], port: U16) -> SocketAddr {
    let ip = match i32::from(family) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        _ => IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(),
    };
    SocketAddr::new(ip, port.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn closes_what_was_picked_and_nothing_else() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let namespace = NetNamespace::unnamed().unwrap();
        let (listener, mut doomed, mut spared, datagrams, server) = namespace
            .run(|| {
                let listener = TcpListener::bind("[::]:0").unwrap();
                let port = listener.local_addr().unwrap().port();
                let doomed = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let spared = TcpStream::connect(("::1", port)).unwrap();
                let server = UdpSocket::bind("127.0.0.1:0").unwrap();
                let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
                datagrams.connect(server.local_addr().unwrap()).unwrap();
                (listener, doomed, spared, datagrams, server)
            })
            .unwrap();
        let tcp =
            SocketAddr::new("127.0.0.1".parse().unwrap(), listener.local_addr().unwrap().port());
        let udp = server.local_addr().unwrap();
        let closed =
            close(&namespace, None, |socket| socket.remote == tcp || socket.remote == udp).unwrap();
        assert_eq!(closed, 2);
        let error = doomed.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        let error = datagrams.recv(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        spared.set_nonblocking(true).unwrap();
        assert_eq!(spared.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
