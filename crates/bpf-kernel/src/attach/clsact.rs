//! Programs as filters on a clsact queueing discipline, through netlink.
//!
//! Our filter has a priority and a handle of its own, so that the same message makes it or swaps its
//! program (net/sched/cls_bpf.c replaces under RCU: every packet meets the old or the new one).

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

use super::{Attached, Direction};
use crate::{program::Program, sys};

const PRIORITY: u32 = 1;
/// Names our filter among others of the same priority.
const HANDLE: u32 = 0x5ce9;

const CLSACT_PARENT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
const DIRECT_ACTION: u32 = 1;

const HEADER: usize = 16;
const TCMSG: usize = 20;

pub(super) fn attach(
    program: &Program,
    ifindex: u32,
    direction: Direction,
) -> io::Result<Attached> {
    let old = self::program(ifindex, direction)?;
    let new = program.info().map_err(io::Error::other)?.id;
    if old == Some(new) {
        return Ok(Attached::Unchanged);
    }
    let mut socket = Socket::open()?;
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut qdisc = Message::new(libc::RTM_NEWQDISC, flags, ifindex);
    qdisc.tc(CLSACT_HANDLE, CLSACT_PARENT, 0);
    qdisc.attribute(TCA_KIND, b"clsact\0");
    match socket.ask(qdisc) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
        result => drop(result?),
    }

    let mut filter = filter(libc::RTM_NEWTFILTER, libc::NLM_F_CREATE, ifindex, direction);
    let options = filter.open(TCA_OPTIONS);
    filter.attribute(TCA_BPF_FD, &sys::raw(program.as_fd()).to_ne_bytes());
    let mut name = program.name().as_bytes().to_vec();
    name.push(0);
    filter.attribute(TCA_BPF_NAME, &name);
    filter.attribute(TCA_BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes());
    filter.close(options);
    socket.ask(filter)?;
    Ok(if old.is_some() { Attached::Swapped } else { Attached::New })
}

pub(super) fn detach(ifindex: u32, direction: Direction) -> io::Result<()> {
    let result = Socket::open()?.ask(filter(libc::RTM_DELTFILTER, 0, ifindex, direction));
    absent(result).map(drop)
}

/// The id of the program in our filter.
pub(super) fn program(ifindex: u32, direction: Direction) -> io::Result<Option<u32>> {
    let result = Socket::open()?.ask(filter(libc::RTM_GETTFILTER, 0, ifindex, direction));
    Ok(absent(result)?.and_then(|answer| {
        let options = attribute(answer.get(HEADER + TCMSG..)?, TCA_OPTIONS)?;
        Some(u32::from_ne_bytes(attribute(options, TCA_BPF_ID)?.try_into().ok()?))
    }))
}

/// No filter, no clsact, no interface: nothing of ours is there.
fn absent(result: io::Result<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
    match result {
        Ok(answer) => Ok(Some(answer)),
        // EINVAL: no clsact on the interface (cls_api.c: "Parent Qdisc doesn't exists").
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::EINVAL | libc::ENODEV) => Ok(None),
            _ => Err(error),
        },
    }
}

fn filter(kind: u16, flags: i32, ifindex: u32, direction: Direction) -> Message {
    let parent = match direction {
        Direction::Ingress => 0xffff_fff2,
        Direction::Egress => 0xffff_fff3,
    };
    let mut message = Message::new(kind, flags, ifindex);
    let protocol = u32::from((libc::ETH_P_ALL as u16).to_be());
    message.tc(HANDLE, parent, PRIORITY << 16 | protocol);
    message.attribute(TCA_KIND, b"bpf\0");
    message
}

/// A message being written: netlink header, `struct tcmsg`, attributes.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: i32, ifindex: u32) -> Self {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        let mut bytes = vec![0; HEADER + TCMSG];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[HEADER + 4..HEADER + 8].copy_from_slice(&ifindex.to_ne_bytes());
        Self(bytes)
    }

    fn tc(&mut self, handle: u32, parent: u32, info: u32) {
        for (at, value) in [(8, handle), (12, parent), (16, info)] {
            self.0[HEADER + at..HEADER + at + 4].copy_from_slice(&value.to_ne_bytes());
        }
    }

    fn open(&mut self, kind: u16) -> usize {
        let at = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        at
    }

    fn close(&mut self, at: usize) {
        let length = (self.0.len() - at) as u16;
        self.0[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let at = self.open(kind);
        self.0.extend_from_slice(value);
        self.close(at);
    }
}

struct Socket(OwnedFd);

impl Socket {
    fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Sends the request and returns the message that answers it (empty for a bare success).
    fn ask(&mut self, mut message: Message) -> io::Result<Vec<u8>> {
        let length = message.0.len() as u32;
        message.0[..4].copy_from_slice(&length.to_ne_bytes());
        send(self.0.as_fd().as_raw_fd(), &message.0, MsgFlags::empty())?;
        let mut answer = Vec::new();
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let mut rest = &buffer[..length];
            while let Some((kind, whole)) = next_message(&mut rest) {
                if i32::from(kind) != libc::NLMSG_ERROR {
                    answer = whole.to_vec();
                    continue;
                }
                let code = whole.get(HEADER..HEADER + 4).and_then(|code| code.try_into().ok());
                return match code.map(i32::from_ne_bytes) {
                    Some(0) => Ok(answer),
                    Some(code) => Err(io::Error::from_raw_os_error(-code)),
                    None => Err(io::ErrorKind::InvalidData.into()),
                };
            }
        }
    }
}

fn next_message<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
    let whole = rest.get(..length).filter(|_| length >= HEADER)?;
    *rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    Some((kind, whole))
}

fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        // The upper two bits say "nested" and "network order".
        if kind & 0x3fff == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}
