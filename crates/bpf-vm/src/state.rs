//! The state of a run, which helpers share.

use std::net::IpAddr;
use std::sync::Arc;

use crate::context::{Image, Socket, Sysctl, sk_buff, sk_msg, xdp_md};
use crate::errno::Errno;
use crate::fault::Stop;
use crate::helper::TunnelKey;
use crate::map::Map;
use crate::memory::Region;
use crate::packet::Bounds;
use crate::program::Program;
use crate::run::Call;
use crate::slab::Slab;
use crate::world::Environment;

/// The length of an Ethernet header.
pub(crate) const ETHERNET: u32 = 14;

/// What a run may leave behind at most: programs may do in a loop what takes memory.
const MOST_LINES: usize = 1 << 12;
const MOST_CLONES: usize = 1 << 10;
/// What it may make the runtime keep while it lasts.
const MOST_KEPT: usize = 1 << 16;
pub(crate) const MOST_DYNPTRS: usize = 1 << 16;

/// Where a program wants its packet to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// `bpf_redirect`.
    Interface { ifindex: u32, ingress: bool },
    /// `bpf_redirect_peer`: to the other end of the interface's pair.
    Peer { ifindex: u32 },
    /// `bpf_redirect_neigh`: with the link addresses of the next hop.
    Neighbour { ifindex: u32, next_hop: Option<IpAddr> },
    /// `bpf_redirect_map`: to what a map of devices, CPUs or XDP sockets has under a key; to all
    /// of them if there is no key.
    Map { map: String, key: Option<u32>, target: u64, flags: u64 },
    /// To a socket of a map of sockets.
    Socket { map: String, cookie: u64, ingress: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Xdp,
    Skb { ethernet: bool },
    SocketLookup,
    Message,
    Other,
}

/// A record of a ring buffer that isn't submitted yet.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub map: Arc<Map>,
    pub position: u64,
    pub region: Region,
}

/// A socket that the program has a pointer to.
#[derive(Debug)]
pub(crate) struct Lent {
    pub image: Image,
    pub socket: Socket,
    /// How often the program must release it.
    pub references: u32,
}

/// What a dynptr stands for.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Memory {
        address: u64,
    },
    /// A record in `State::reserved`.
    Record {
        address: u64,
    },
    Bytes(Arc<Slab>),
    /// The run's packet, wherever it is by then.
    Packet,
}

#[derive(Clone, Debug)]
pub(crate) struct Dynptr {
    pub target: Target,
    pub offset: u32,
    pub size: u32,
    pub read_only: bool,
}

#[derive(Debug)]
pub(crate) struct State {
    pub environment: Arc<Environment>,
    pub kind: Kind,
    pub image: Image,
    pub packet: Option<Bounds>,
    /// Where the network header begins, from the packet's start.
    pub network: u32,
    /// The same of the transport header; 0 if nobody has said.
    pub transport: u32,
    /// A program has put an outer header before it.
    pub encapsulated: bool,
    pub redirect: Option<Redirect>,
    pub clones: Vec<(Redirect, Vec<u8>)>,
    pub trace: Vec<String>,
    /// Copies and lines for which there was no room.
    pub lost_clones: u64,
    pub lost_lines: u64,
    pub reserved: Vec<Reserved>,
    pub dynptrs: Vec<Option<Dynptr>>,
    /// What programs may still point to.
    pub kept: Vec<Arc<Slab>>,
    /// Copies of keys that callbacks were given, for the next ones.
    pub copies: Vec<Arc<Slab>>,
    pub sockets: Vec<Lent>,
    /// The socket that the context belongs to.
    pub context_socket: Option<Socket>,
    pub assigned: Option<u64>,
    pub tunnel: Option<TunnelKey>,
    pub tunnel_options: Vec<u8>,
    pub received_tunnel: Option<TunnelKey>,
    pub received_options: Vec<u8>,
    pub options: Vec<(u32, u32, Vec<u8>)>,
    pub return_value: i32,
    /// Addresses of the spin locks that the program holds.
    pub locked: Vec<u64>,
    /// It is a timer's callback that runs.
    pub fires: bool,
    pub callback_flags: u32,
    pub bound: Option<crate::context::Endpoint>,
    /// What iterators over bits have copied.
    pub bits: Vec<Vec<u64>>,
    /// Of a message: how many bytes the verdict is for, how many it waits for, and which are shown
    /// if not all.
    pub applied: Option<u32>,
    pub corked: Option<u32>,
    pub shown: Option<(u32, u32)>,
    pub sysctl: Option<Sysctl>,
    /// The program that was started.
    pub program: Option<Arc<Program>>,
    /// Whether a helper was given all of this, and may have changed more of it than the packet, its
    /// bounds and where it goes.
    pub is_used: bool,
}

fn first_network_header(kind: Kind) -> u32 {
    if kind == (Kind::Skb { ethernet: false }) { 0 } else { ETHERNET }
}

impl State {
    pub fn new(environment: Arc<Environment>, kind: Kind, image: Image) -> Self {
        Self {
            environment,
            kind,
            image,
            packet: None,
            encapsulated: false,
            transport: 0,
            network: first_network_header(kind),
            bits: Vec::new(),
            applied: None,
            corked: None,
            shown: None,
            sysctl: None,
            redirect: None,
            clones: Vec::new(),
            trace: Vec::new(),
            lost_clones: 0,
            lost_lines: 0,
            reserved: Vec::new(),
            dynptrs: Vec::new(),
            kept: Vec::new(),
            copies: Vec::new(),
            sockets: Vec::new(),
            context_socket: None,
            assigned: None,
            tunnel: None,
            tunnel_options: Vec::new(),
            received_tunnel: None,
            received_options: Vec::new(),
            options: Vec::new(),
            return_value: 0,
            locked: Vec::new(),
            fires: false,
            callback_flags: 0,
            bound: None,
            program: None,
            is_used: false,
        }
    }

    /// Forgets what a run has left, for the next one of the same kind. What it has taken of others
    /// was given back when it ended.
    #[inline]
    pub fn reset(&mut self) {
        if self.redirect.is_some() {
            self.redirect = None;
        }
        if self.is_used {
            self.reset_all();
        }
    }

    #[cold]
    fn reset_all(&mut self) {
        self.is_used = false;
        self.encapsulated = false;
        self.transport = 0;
        self.network = first_network_header(self.kind);
        self.clones.clear();
        self.trace.clear();
        self.lost_clones = 0;
        self.lost_lines = 0;
        self.dynptrs.clear();
        self.kept.clear();
        self.sockets.clear();
        self.bits.clear();
        self.applied = None;
        self.corked = None;
        self.shown = None;
        self.sysctl = None;
        self.assigned = None;
        self.tunnel = None;
        self.tunnel_options.clear();
        self.options.clear();
        self.return_value = 0;
        self.callback_flags = 0;
        self.bound = None;
    }

    /// Notes a line for the host, or that there was no room for it.
    pub fn print(&mut self, line: &[u8]) {
        if self.trace.len() == MOST_LINES {
            self.lost_lines += 1;
        } else {
            self.trace.push(String::from_utf8_lossy(line).into_owned());
        }
    }

    /// Notes a copy of the packet that goes out at once.
    pub fn send_copy(&mut self, redirect: Redirect) -> Result<(), Errno> {
        let bounds = self.packet.ok_or(Errno::EINVAL)?;
        if self.clones.len() == MOST_CLONES {
            self.lost_clones += 1;
            return Err(Errno::ENOMEM);
        }
        let mut packet = vec![0; bounds.len() as usize];
        bounds.read(bounds.data, &mut packet);
        self.clones.push((redirect, packet));
        Ok(())
    }

    /// Keeps what the program is given a pointer to, if it isn't too much.
    pub fn keep(&mut self, slab: Arc<Slab>) -> Result<(), Errno> {
        if self.kept.len() == MOST_KEPT {
            return Err(Errno::ENOMEM);
        }
        self.kept.push(slab);
        Ok(())
    }

    pub fn is_skb(&self) -> bool {
        matches!(self.kind, Kind::Skb { .. })
    }

    /// Where the network header begins.
    pub fn link_header(&self) -> u32 {
        self.network
    }

    /// Writes the packet's bounds into the context.
    #[inline]
    pub fn show_packet(&self) {
        let Some(bounds) = &self.packet else { return };
        let at = |offset: u32| (bounds.base + u64::from(offset)) as u32;
        let (data, end, meta) = (at(bounds.data), at(bounds.end), at(bounds.meta));
        match self.kind {
            Kind::Xdp => {
                self.image.set_word(xdp_md::DATA, data);
                self.image.set_word(xdp_md::DATA_END, end);
                self.image.set_word(xdp_md::DATA_META, meta);
            }
            Kind::Skb { .. } => {
                self.image.set_word(sk_buff::LEN, bounds.len());
                self.image.set_word(sk_buff::DATA, data);
                self.image.set_word(sk_buff::DATA_END, end);
                self.image.set_word(sk_buff::DATA_META, meta);
            }
            Kind::Message => {
                let (from, to) = self.shown.unwrap_or((0, bounds.len()));
                let start = bounds.base + u64::from(bounds.data);
                self.image.set_double(sk_msg::DATA, start + u64::from(from));
                self.image.set_double(sk_msg::DATA_END, start + u64::from(to));
                self.image.set_word(sk_msg::LENGTH, bounds.len());
            }
            Kind::SocketLookup | Kind::Other => {}
        }
    }

    /// What of the packet programs may access: directly, and by the packet instructions.
    #[inline]
    pub fn packet_regions(&self) -> Option<(Region, Region)> {
        let bounds = self.packet.as_ref()?;
        let region = |from: u32| Region {
            start: bounds.base + u64::from(from),
            length: u64::from(bounds.end - from),
            writable: true,
        };
        Some((region(bounds.meta), region(bounds.data)))
    }

    /// The socket behind a pointer or a context.
    pub fn socket_at(&self, address: u64) -> Option<&Socket> {
        if address == self.image.address() {
            return self.context_socket.as_ref();
        }
        self.sockets.iter().find(|lent| lent.image.address() == address).map(|lent| &lent.socket)
    }

    pub fn dynptr(&mut self, index: u64) -> Option<&mut Dynptr> {
        self.dynptrs.get_mut(usize::try_from(index).ok()?)?.as_mut()
    }
}

/// After a helper has changed the packet's bounds: context and lent memory follow.
pub(crate) fn packet_moved(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let state = call.state::<State>()?;
    state.show_packet();
    let regions = state.packet_regions();
    if let Some((direct, instructions)) = regions {
        call.memory().move_packet(direct, instructions);
    }
    Ok(())
}

/// Gives the program a pointer to a socket.
pub(crate) fn lend_socket(
    call: &mut Call<'_, '_>,
    socket: Socket,
    reference: bool,
) -> Result<u64, Stop> {
    let state = call.state::<State>()?;
    let known = state.sockets.iter_mut().find(|lent| lent.socket.cookie == socket.cookie);
    if let Some(lent) = known {
        lent.references += u32::from(reference);
        return Ok(lent.image.address());
    }
    let Ok(image) = socket.image() else { return Ok(0) };
    let region = Region { start: image.address(), length: image.size().into(), writable: false };
    state.sockets.push(Lent { image, socket, references: reference.into() });
    call.memory().add(region);
    Ok(region.start)
}
