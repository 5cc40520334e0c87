//! What surrounds programs: the process on whose behalf they run, sockets, routes.

use std::net::IpAddr;

use crate::context::Socket;

/// Where and for whom a program runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    pub cpu: u32,
    pub process: Process,
    /// The network namespace's cookie.
    pub netns_cookie: u64,
}

impl Default for Environment {
    fn default() -> Self {
        // The cookie of the first network namespace.
        Self { cpu: 0, process: Process::default(), netns_cookie: 1 }
    }
}

/// The current process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The thread.
    pub pid: u32,
    /// The thread group, which users know as the process.
    pub tgid: u32,
    pub uid: u32,
    pub gid: u32,
    /// Up to 15 bytes.
    pub comm: String,
    pub cgroup_id: u64,
    /// Its ancestors from the root on, for `bpf_get_current_ancestor_cgroup_id`.
    pub cgroup_ancestors: Vec<u64>,
    /// What `bpf_get_current_task` returns. Reading from there fails unless memory is lent.
    pub task: u64,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            pid: 1,
            tgid: 1,
            uid: 0,
            gid: 0,
            comm: "skep".to_owned(),
            cgroup_id: 1,
            cgroup_ancestors: Vec::new(),
            task: 0,
        }
    }
}

/// The host that programs ask about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    pub sockets: Vec<Socket>,
    pub routes: Vec<Route>,
    pub neighbours: Vec<Neighbour>,
    pub interfaces: Vec<Interface>,
    /// Whether the host forwards packets. If not, look-ups of routes say so.
    pub forwarding: bool,
}

/// The most specific route counts, then the one with the lowest metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub destination: IpAddr,
    pub prefix: u8,
    pub table: u32,
    pub metric: u32,
    pub what: RouteKind,
    /// The address that the host prefers as source.
    pub source: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteKind {
    Unicast {
        ifindex: u32,
        gateway: Option<IpAddr>,
    },
    Blackhole,
    Unreachable,
    Prohibit,
    /// The host itself.
    Local,
}

/// The main table.
pub const MAIN_TABLE: u32 = 254;

impl Route {
    pub fn unicast(destination: impl Into<IpAddr>, prefix: u8, ifindex: u32) -> Self {
        Self {
            destination: destination.into(),
            prefix,
            table: MAIN_TABLE,
            metric: 0,
            what: RouteKind::Unicast { ifindex, gateway: None },
            source: None,
        }
    }

    pub fn via(mut self, next: impl Into<IpAddr>) -> Self {
        if let RouteKind::Unicast { gateway, .. } = &mut self.what {
            *gateway = Some(next.into());
        }
        self
    }

    fn covers(&self, address: IpAddr) -> bool {
        fn equal(a: &[u8], b: &[u8], prefix: u8) -> bool {
            let (whole, rest) = (usize::from(prefix) / 8, prefix % 8);
            let mask = !(0xffu16 >> rest) as u8;
            a.len() == b.len()
                && a.get(..whole) == b.get(..whole)
                && (rest == 0
                    || a.get(whole).zip(b.get(whole)).is_some_and(|(a, b)| (a ^ b) & mask == 0))
        }
        match (self.destination, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => equal(&a.octets(), &b.octets(), self.prefix),
            (IpAddr::V6(a), IpAddr::V6(b)) => equal(&a.octets(), &b.octets(), self.prefix),
            _ => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub address: IpAddr,
    pub ifindex: u32,
    pub mac: [u8; 6],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub ifindex: u32,
    pub mac: [u8; 6],
    pub mtu: u32,
}

impl World {
    pub(crate) fn route(&self, to: IpAddr, table: Option<u32>) -> Option<&Route> {
        let in_table = |route: &&Route| table.is_none_or(|table| route.table == table);
        let routes = self.routes.iter().filter(in_table).filter(|route| route.covers(to));
        routes.max_by_key(|route| (route.prefix, std::cmp::Reverse(route.metric)))
    }

    pub(crate) fn interface(&self, ifindex: u32) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.ifindex == ifindex)
    }

    pub(crate) fn neighbour(&self, address: IpAddr, ifindex: u32) -> Option<&Neighbour> {
        let mut neighbours = self.neighbours.iter();
        neighbours.find(|known| known.address == address && known.ifindex == ifindex)
    }

    /// The socket that a packet is for: the connected one, else one that waits for any peer.
    pub(crate) fn socket(
        &self,
        protocol: u8,
        local: (IpAddr, u16),
        remote: (IpAddr, u16),
    ) -> Option<&Socket> {
        let waits = |socket: &&Socket| {
            socket.remote.port == 0
                && socket.local.port == local.1
                && (socket.local.address == local.0 || socket.local.address.is_unspecified())
        };
        let of_protocol = || self.sockets.iter().filter(|socket| socket.protocol == protocol);
        let connected = of_protocol().find(|socket| {
            (socket.local.address, socket.local.port) == local
                && (socket.remote.address, socket.remote.port) == remote
        });
        let bound = || of_protocol().filter(waits);
        connected
            .or_else(|| bound().find(|socket| !socket.local.address.is_unspecified()))
            .or_else(|| bound().next())
    }
}
