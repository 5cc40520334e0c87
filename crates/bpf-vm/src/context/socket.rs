//! Sockets, and contexts of calls on them.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    Image, bpf_sock as b, sk_lookup as l, sk_msg as m, sock_addr as a, sock_ops as o, sysctl,
};
use crate::errno::Errno;

/// `AF_INET` and `AF_INET6` of Linux.
const INET: u32 = 2;
const INET6: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self { address: Ipv4Addr::UNSPECIFIED.into(), port: 0 }
    }
}

impl Endpoint {
    pub fn new(address: impl Into<IpAddr>, port: u16) -> Self {
        Self { address: address.into(), port }
    }

    /// As `bpf_sock` and others hold it: four words in network order, of which IPv4 has one.
    fn words(&self) -> Vec<u8> {
        match self.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        }
    }
}

/// `SOCK_STREAM`, `SOCK_DGRAM` and `SOCK_RAW`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketKind {
    #[default]
    Stream = 1,
    Datagram = 2,
    Raw = 3,
}

/// A socket that programs see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// What tells it from others, above zero. Values in socket storage belong to it.
    pub cookie: u64,
    pub kind: SocketKind,
    /// `IPPROTO_TCP`, `IPPROTO_UDP` and so on.
    pub protocol: u8,
    /// `TCP_ESTABLISHED` (1) to `TCP_NEW_SYN_RECV` (12); 10 is `TCP_LISTEN`.
    pub state: u8,
    pub local: Endpoint,
    pub remote: Endpoint,
    pub bound_ifindex: u32,
    pub mark: u32,
    pub priority: u32,
    pub uid: u32,
    pub cgroup_id: u64,
    /// Not a request or a time-wait socket.
    pub full: bool,
}

const LISTEN: u8 = 10;

impl Socket {
    /// A connected TCP socket.
    pub fn tcp(cookie: u64, local: Endpoint, remote: Endpoint) -> Self {
        Self {
            cookie,
            kind: SocketKind::Stream,
            protocol: 6,
            state: 1,
            local,
            remote,
            bound_ifindex: 0,
            mark: 0,
            priority: 0,
            uid: 0,
            cgroup_id: 0,
            full: true,
        }
    }

    /// A UDP socket; its remote end is nowhere unless it is connected.
    pub fn udp(cookie: u64, local: Endpoint, remote: Endpoint) -> Self {
        let tcp = Self::tcp(cookie, local, remote);
        Self { kind: SocketKind::Datagram, protocol: 17, state: 7, ..tcp }
    }

    /// A TCP socket that listens.
    pub fn listener(cookie: u64, local: Endpoint) -> Self {
        let nowhere = match local.address {
            IpAddr::V4(_) => Endpoint::default(),
            IpAddr::V6(_) => Endpoint::new(std::net::Ipv6Addr::UNSPECIFIED, 0),
        };
        Self { state: LISTEN, ..Self::tcp(cookie, local, nowhere) }
    }

    pub(crate) fn listens(&self) -> bool {
        self.state == LISTEN
    }

    pub(crate) fn family(&self) -> u32 {
        if self.local.address.is_ipv4() { INET } else { INET6 }
    }

    /// `struct bpf_sock`.
    pub(crate) fn image(&self) -> Result<Image, Errno> {
        let image = Image::new(b::SIZE)?;
        image.set_word(b::BOUND_DEV_IF, self.bound_ifindex);
        image.set_word(b::TYPE, self.kind as u32);
        image.set_word(b::PROTOCOL, self.protocol.into());
        image.set_word(b::MARK, self.mark);
        image.set_word(b::PRIORITY, self.priority);
        self.fill(&image, [b::FAMILY, b::DST_IP4, b::SRC_IP4, b::DST_IP6, b::SRC_IP6]);
        image.set_word(b::SRC_PORT, self.local.port.into());
        image.put(b::DST_PORT, &self.remote.port.to_be_bytes());
        image.set_word(b::STATE, self.state.into());
        image.set_word(b::RX_QUEUE_MAPPING, u32::MAX);
        Ok(image)
    }

    /// Family and addresses at the offsets of: family, remote and local IPv4, remote and local
    /// IPv6.
    pub(super) fn fill(&self, image: &Image, [family, r4, l4, r6, l6]: [u32; 5]) {
        image.set_word(family, self.family());
        let place = |endpoint: &Endpoint, v4: u32, v6: u32| match endpoint.address {
            IpAddr::V4(_) => image.put(v4, &endpoint.words()),
            IpAddr::V6(_) => image.put(v6, &endpoint.words()),
        };
        place(&self.remote, r4, r6);
        place(&self.local, l4, l6);
    }
}

/// A call with an address (`connect`, `sendmsg`, `bind` and the like): `struct bpf_sock_addr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketAddress {
    /// The address of the call, which the program may change.
    pub user: Endpoint,
    /// Of `sendmsg`: the source address, if one is given.
    pub source: Option<IpAddr>,
    pub socket: Socket,
}

impl SocketAddress {
    pub fn new(socket: Socket, user: Endpoint) -> Self {
        Self { user, source: None, socket }
    }

    pub(crate) fn image(&self) -> Result<Image, Errno> {
        let image = Image::new(a::SIZE)?;
        let family = if self.user.address.is_ipv4() { INET } else { INET6 };
        image.set_word(a::USER_FAMILY, family);
        match self.user.address {
            IpAddr::V4(_) => image.put(a::USER_IP4, &self.user.words()),
            IpAddr::V6(_) => image.put(a::USER_IP6, &self.user.words()),
        }
        image.put(a::USER_PORT, &self.user.port.to_be_bytes());
        image.set_word(a::FAMILY, self.socket.family());
        image.set_word(a::TYPE, self.socket.kind as u32);
        image.set_word(a::PROTOCOL, self.socket.protocol.into());
        match self.source {
            Some(IpAddr::V4(address)) => image.put(a::MSG_SRC_IP4, &address.octets()),
            Some(IpAddr::V6(address)) => image.put(a::MSG_SRC_IP6, &address.octets()),
            None => {}
        }
        Ok(image)
    }

    /// The address as a run has left it.
    pub(crate) fn after(&self, image: &Image) -> Self {
        let bytes = image.bytes();
        let port = a::USER_PORT as usize;
        let port = u16::from_be_bytes([bytes[port], bytes[port + 1]]);
        let address = |v4: u32, v6: u32, is_v4: bool| -> IpAddr {
            if is_v4 {
                let mut octets = [0; 4];
                octets.copy_from_slice(&bytes[v4 as usize..][..4]);
                octets.into()
            } else {
                let mut octets = [0; 16];
                octets.copy_from_slice(&bytes[v6 as usize..][..16]);
                octets.into()
            }
        };
        let user = address(a::USER_IP4, a::USER_IP6, self.user.address.is_ipv4());
        let source =
            self.source.map(|source| address(a::MSG_SRC_IP4, a::MSG_SRC_IP6, source.is_ipv4()));
        Self { user: Endpoint { address: user, port }, source, socket: self.socket.clone() }
    }
}

/// An event of a TCP socket: `struct bpf_sock_ops`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOperation {
    /// `BPF_SOCK_OPS_*`.
    pub operation: u32,
    pub arguments: [u32; 4],
    pub socket: Socket,
}

impl SocketOperation {
    pub(crate) fn image(&self) -> Result<Image, Errno> {
        let image = Image::new(o::SIZE)?;
        image.set_word(o::OP, self.operation);
        for (number, word) in self.arguments.into_iter().enumerate() {
            image.set_word(o::ARGS + 4 * number as u32, word);
        }
        let places = [o::FAMILY, o::REMOTE_IP4, o::LOCAL_IP4, o::REMOTE_IP6, o::LOCAL_IP6];
        self.socket.fill(&image, places);
        image.set_word(o::REMOTE_PORT, u32::from(self.socket.remote.port).to_be());
        image.set_word(o::LOCAL_PORT, self.socket.local.port.into());
        image.set_word(o::IS_FULLSOCK, self.socket.full.into());
        image.set_word(o::STATE, self.socket.state.into());
        Ok(image)
    }
}

/// The search for a socket that is to get a packet: `struct bpf_sk_lookup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketLookup {
    pub protocol: u8,
    pub local: Endpoint,
    pub remote: Endpoint,
    pub ingress_ifindex: u32,
}

impl SocketLookup {
    pub(crate) fn image(&self) -> Result<Image, Errno> {
        let image = Image::new(l::SIZE)?;
        // Only addresses and family are taken of it.
        let socket = Socket::tcp(0, self.local, self.remote);
        socket.fill(&image, [l::FAMILY, l::REMOTE_IP4, l::LOCAL_IP4, l::REMOTE_IP6, l::LOCAL_IP6]);
        image.set_word(l::PROTOCOL, self.protocol.into());
        image.put(l::REMOTE_PORT, &self.remote.port.to_be_bytes());
        image.set_word(l::LOCAL_PORT, self.local.port.into());
        image.set_word(l::INGRESS_IFINDEX, self.ingress_ifindex);
        Ok(image)
    }
}

/// What `struct sk_msg_md` says besides the bytes that a process sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub socket: Socket,
}

impl Message {
    pub(crate) fn image(&self) -> Result<Image, Errno> {
        let image = Image::new(m::SIZE)?;
        let places = [m::FAMILY, m::REMOTE_IP4, m::LOCAL_IP4, m::REMOTE_IP6, m::LOCAL_IP6];
        self.socket.fill(&image, places);
        image.set_word(m::REMOTE_PORT, u32::from(self.socket.remote.port).to_be());
        image.set_word(m::LOCAL_PORT, self.socket.local.port.into());
        Ok(image)
    }
}

/// A setting of the kernel that a process reads or writes: `struct bpf_sysctl`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sysctl {
    /// Below `/proc/sys`, such as `net/ipv4/ip_forward`.
    pub name: String,
    pub current: Vec<u8>,
    /// What is written; `None` if it is read.
    pub written: Option<Vec<u8>>,
    pub file_position: u32,
}

impl Sysctl {
    pub(crate) fn image(&self) -> Result<Image, Errno> {
        let image = Image::new(sysctl::SIZE)?;
        image.set_word(sysctl::WRITE, self.written.is_some().into());
        image.set_word(sysctl::FILE_POSITION, self.file_position);
        Ok(image)
    }
}
