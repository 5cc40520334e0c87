//! Sockets of workloads' processes: calls that translate addresses, and who has opened what.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use abi::process::ProcessKey;
use bpf_object::{MapType, Object};
use bpf_vm::context::{Endpoint as End, Socket, SocketAddress};
use bpf_vm::map::{Map, update};
use bpf_vm::{Environment, Errno, Instance, MapDefinition, Process, ProgramHandle, Runtime};
use wire::build::Frame;

use crate::{BOOT, Error, From, Node, Way, headers};

/// The call by which a packet is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub kind: CallKind,
    /// The name of the process that makes it.
    pub process: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// Of TCP, and of UDP sockets with one peer.
    Connect,
    /// Of UDP sockets that name the peer each time.
    Send,
}

/// One call, as a program of the workload's cgroup has translated it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketCall {
    pub program: &'static str,
    /// By its number in [`Node::endpoints`].
    pub endpoint: usize,
    pub process: String,
    /// The other end, as the process names it (or would get it), and after the translation.
    pub before: SocketAddr,
    pub after: SocketAddr,
}

/// A socket that was opened by a call.
#[derive(Debug)]
struct Open {
    endpoint: usize,
    process: String,
    socket: Socket,
    is_connected: bool,
}

/// Programs on sockets, and the sockets that they have seen.
#[derive(Debug)]
pub(crate) struct Sockets {
    programs: BTreeMap<&'static str, ProgramHandle>,
    open: Vec<Open>,
    processes: BTreeMap<(usize, String), Process>,
    /// Where tasks lie that programs read.
    tasks: Arc<Map>,
}

const PROGRAMS: [&str; 9] = [
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
    "recvmsg4",
    "recvmsg6",
    "getpeername4",
    "getpeername6",
    "sock_create",
];

/// A task as the programs of this simulation find it: offsets of what is read of it.
mod task {
    pub const SIZE: u32 = 64;
    pub const TGID: u32 = 0;
    pub const START: u32 = 8;
    pub const LEADER: u32 = 16;
    pub const COMM: u32 = 32;
    /// The constants of object `sock`; what isn't here is a field that this kernel doesn't have.
    pub const FIELDS: [(&str, u32); 4] = [
        ("TASK_STRUCT_TGID", TGID),
        ("TASK_STRUCT_START_BOOTTIME", START),
        ("TASK_STRUCT_GROUP_LEADER", LEADER),
        ("TASK_STRUCT_COMM", COMM),
    ];
}

/// So many processes can have names.
const MOST: u32 = 1024;
const FIRST_PID: u32 = 1001;
/// The key of the array's only value.
const KEY: [u8; 4] = [0; 4];
const TCP: u8 = 6;
const UDP: u8 = 17;

impl Sockets {
    /// Loads object `sock`, which shares its maps with the other programs.
    pub fn load(runtime: &Runtime, shared: &Instance) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Object { object: "sock", reason };
        let mut object = Object::parse(objects::SOCK).map_err(|error| wrong(error.to_string()))?;
        for (name, offset) in task::FIELDS {
            object
                .set_variable(name, &offset.to_ne_bytes())
                .map_err(|error| wrong(error.to_string()))?;
        }
        let instance = runtime.loader().maps_of(shared).load(&object)?;
        let programs = PROGRAMS
            .into_iter()
            .map(|name| Ok((name, instance.program(name)?)))
            .collect::<Result<_, Error>>()?;
        let tasks = MapDefinition::new(MapType::ARRAY, 4, task::SIZE * MOST, 1).named("tasks");
        let tasks = runtime.map(tasks)?;
        Ok(Self { programs, open: Vec::new(), processes: BTreeMap::new(), tasks })
    }

    /// The process of that name in a workload, which begins with its first call.
    fn process(&mut self, endpoint: usize, name: &str) -> Result<Process, Error> {
        if let Some(known) = self.processes.get(&(endpoint, name.to_owned())) {
            return Ok(known.clone());
        }
        let number = self.processes.len() as u32;
        let failed = |source| Error::Map { map: "tasks", source };
        let place = number * task::SIZE;
        let address = self.tasks.value_address(place.into()).ok_or(Errno::ENOMEM);
        let address = address.map_err(failed)?;
        let pid = FIRST_PID + number;
        let mut bytes = self.tasks.lookup(&KEY).map_err(failed)?;
        let mut put = |at: u32, value: &[u8]| {
            let at = (place + at) as usize;
            bytes[at..at + value.len()].copy_from_slice(value);
        };
        put(task::TGID, &pid.to_ne_bytes());
        put(task::START, &start(pid).to_ne_bytes());
        put(task::LEADER, &address.to_ne_bytes());
        let comm = &name.as_bytes()[..name.len().min(15)];
        put(task::COMM, comm);
        self.tasks.update(&KEY, &bytes, update::ANY).map_err(failed)?;
        let process = Process {
            pid,
            tgid: pid,
            comm: name.to_owned(),
            cgroup_id: endpoint as u64 + 100,
            task: address,
            ..Process::default()
        };
        self.processes.insert((endpoint, name.to_owned()), process.clone());
        Ok(process)
    }

    fn program(
        &self,
        name: &'static str,
        process: Process,
        endpoint: usize,
    ) -> Option<ProgramHandle> {
        // The first namespace's cookie is 1.
        let netns_cookie = endpoint as u64 + 2;
        let environment = Environment { process, netns_cookie, ..Environment::default() };
        Some(self.programs.get(name)?.clone().within(environment))
    }

    /// Runs the program of a call, and says what it made of the address.
    fn run(
        &mut self,
        names: [&'static str; 2],
        endpoint: usize,
        process: &str,
        socket: &Socket,
        peer: SocketAddr,
    ) -> Result<SocketCall, Error> {
        let program = names[usize::from(peer.is_ipv6())];
        let task = self.process(endpoint, process)?;
        let call = SocketAddress::new(socket.clone(), End::new(peer.ip(), peer.port()));
        let handle = self.program(program, task, endpoint);
        let outcome = match handle {
            Some(handle) => handle.run_socket_address(&call)?,
            None => bpf_vm::Outcome::default(),
        };
        let after = outcome
            .address
            .map_or(peer, |address| SocketAddr::new(address.user.address, address.user.port));
        Ok(SocketCall { program, endpoint, process: process.to_owned(), before: peer, after })
    }
}

/// When a process has started, by its number.
fn start(pid: u32) -> u64 {
    BOOT / 2 + u64::from(pid)
}

impl Node {
    /// Has a process of a workload send a packet by a call: the socket's programs see the call
    /// first, and the packet goes where they say.
    pub fn call(&mut self, endpoint: usize, call: &Call, frame: &[u8]) -> Result<Way, Error> {
        let wrong = |reason: &str| Error::Call(reason.to_owned());
        let seen = headers(frame).ok_or_else(|| wrong("this is no IP packet"))?;
        let (Some((local, remote)), TCP | UDP) = (seen.ports, seen.protocol) else {
            return Err(wrong("sockets' calls are for TCP and UDP"));
        };
        if call.kind == CallKind::Send && seen.protocol != UDP {
            return Err(wrong("sendmsg with an address is for UDP"));
        }
        let local = End::new(seen.source, local);
        let peer = SocketAddr::new(seen.destination, remote);
        let mut calls = Vec::new();
        let socket = self.open(endpoint, call, seen.protocol, local)?;
        let names = match call.kind {
            CallKind::Connect => ["connect4", "connect6"],
            CallKind::Send => ["sendmsg4", "sendmsg6"],
        };
        let process = call.process.as_str();
        let translated = self.sockets.run(names, endpoint, process, &socket, peer)?;
        let to = translated.after;
        calls.push(translated);
        if call.kind == CallKind::Connect {
            let socket = Socket { remote: End::new(to.ip(), to.port()), ..socket };
            let names = ["getpeername4", "getpeername6"];
            calls.push(self.sockets.run(names, endpoint, process, &socket, to)?);
            let cookie = socket.cookie;
            let open = self.sockets.open.iter_mut().find(|open| open.socket.cookie == cookie);
            open.into_iter().for_each(|open| open.socket = socket.clone());
        }
        let frame = match to == peer {
            true => frame.to_vec(),
            false => readdressed(frame, to).ok_or_else(|| wrong("its packet can't be made"))?,
        };
        let mut way = self.send(From::Endpoint(endpoint), &frame)?;
        calls.append(&mut way.calls);
        way.calls = calls;
        Ok(way)
    }

    /// The socket of a process with that local end, made if it isn't there.
    fn open(
        &mut self,
        endpoint: usize,
        call: &Call,
        protocol: u8,
        local: End,
    ) -> Result<Socket, Error> {
        let is_it = |open: &&Open| {
            open.endpoint == endpoint
                && open.process == call.process
                && (open.socket.protocol, open.socket.local) == (protocol, local)
                && open.is_connected == (call.kind == CallKind::Connect)
        };
        if let Some(open) = self.sockets.open.iter().find(is_it) {
            return Ok(open.socket.clone());
        }
        let cookie = self.sockets.open.len() as u64 + 1;
        let nowhere = match local.address {
            IpAddr::V4(_) => End::default(),
            IpAddr::V6(_) => End::new(std::net::Ipv6Addr::UNSPECIFIED, 0),
        };
        let socket = match protocol {
            TCP => Socket::tcp(cookie, local, nowhere),
            _ => Socket::udp(cookie, local, nowhere),
        };
        let process = self.sockets.process(endpoint, &call.process)?;
        if let Some(program) = self.sockets.program("sock_create", process, endpoint) {
            program.run_socket(&socket)?;
        }
        self.sockets.open.push(Open {
            endpoint,
            process: call.process.clone(),
            socket: socket.clone(),
            is_connected: call.kind == CallKind::Connect,
        });
        Ok(socket)
    }

    /// The socket that a packet of an endpoint comes from, if a call has opened it.
    pub(crate) fn socket_of(&self, endpoint: usize, frame: &[u8]) -> Option<Socket> {
        let seen = headers(frame)?;
        let local = End::new(seen.source, seen.ports?.0);
        self.find(endpoint, seen.protocol, local).map(|open| open.socket.clone())
    }

    fn find(&self, endpoint: usize, protocol: u8, local: End) -> Option<&Open> {
        self.sockets.open.iter().rev().find(|open| {
            open.endpoint == endpoint
                && (open.socket.protocol, open.socket.local) == (protocol, local)
        })
    }

    /// A packet has come to an endpoint: what its socket tells the process of the sender.
    pub(crate) fn received(
        &mut self,
        endpoint: usize,
        frame: &[u8],
    ) -> Result<Vec<SocketCall>, Error> {
        let Some(seen) = headers(frame).filter(|seen| seen.protocol == UDP) else {
            return Ok(Vec::new());
        };
        let Some((from, to)) = seen.ports else { return Ok(Vec::new()) };
        let local = End::new(seen.destination, to);
        let Some(open) = self.find(endpoint, UDP, local) else { return Ok(Vec::new()) };
        let (process, socket) = (open.process.clone(), open.socket.clone());
        let peer = SocketAddr::new(seen.source, from);
        let names = ["recvmsg4", "recvmsg6"];
        Ok(vec![self.sockets.run(names, endpoint, &process, &socket, peer)?])
    }

    /// The name of a process that an event names.
    pub fn process_name(&self, key: ProcessKey) -> Option<&str> {
        let mut known = self.sockets.processes.iter();
        let is_it =
            |process: &Process| (process.pid, start(process.pid)) == (key.pid, key.start_ns);
        known.find(|(_, process)| is_it(process)).map(|((_, name), _)| name.as_str())
    }
}

/// The same packet to another destination.
fn readdressed(frame: &[u8], to: SocketAddr) -> Option<Vec<u8>> {
    let seen = headers(frame)?;
    let (source_port, _) = seen.ports?;
    let [source, destination] = seen.macs;
    let start = 14 + if seen.source.is_ipv4() { usize::from(frame.get(14)? & 0xf) * 4 } else { 40 };
    let transport = frame.get(start..)?;
    let made = Frame::between(seen.source, to.ip()).macs(source, destination);
    Some(match seen.protocol {
        TCP => {
            let length = usize::from(transport.get(12)? >> 4) * 4;
            let payload = transport.get(length..)?;
            made.tcp(source_port, to.port(), seen.tcp_flags?).payload(payload).build()
        }
        _ => made.udp(source_port, to.port()).payload(transport.get(8..)?).build(),
    })
}
