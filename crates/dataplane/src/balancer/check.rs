//! Health checks that take the way of the traffic: a packet of this host whose mark names a backend
//! is encapsulated to it.

use super::Env;
use super::deliver::{outer_v4, outer_v6};
use super::frame::{Frame, Link, Outer};
use abi::balancer::{Backend, Settings, backend_flags as how, counter};
use wire::Be16;
use wire::ethernet::{self, ethertype};
use wire::ip::protocol;
use wire::ipv4::{self, Ipv4};
use wire::ipv6::{self, Ipv6};
use wire::transport::Udp;

/// What becomes of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// None of ours.
    None,
    /// Encapsulated, to be sent by this interface.
    Send(u32),
    Drop,
}

const NETWORK: usize = ethernet::LEN;
const UDP_LEN: u32 = size_of::<Udp>() as u32;

#[inline(always)]
pub fn encapsulate_check(env: &impl Env, frame: &mut impl Frame, mark: u32) -> Check {
    if mark == 0 {
        return Check::None;
    }
    let Some(number) = env.check(mark) else { return Check::None };
    let (Some(settings), Some(backend)) = (env.settings(), env.backend(number)) else {
        return Check::Drop;
    };
    match encapsulate(frame, &settings, &backend) {
        Some(()) => {
            env.count(counter::CHECKS_SENT);
            Check::Send(settings.check_ifindex)
        }
        None => {
            env.count(counter::DROP_REWRITE);
            Check::Drop
        }
    }
}

#[inline(always)]
fn encapsulate(frame: &mut impl Frame, settings: &Settings, backend: &Backend) -> Option<()> {
    let old = frame.head::<Link, 0>()?;
    let inner = frame.length().checked_sub(NETWORK as u32)?;
    let is_gue = backend.flags & how::DELIVERY == how::GUE;
    let mac = if backend.flags & how::OWN_MAC != 0 { backend.mac } else { settings.router_mac };
    let link = |ethertype| Link { destination: mac.0, source: settings.local_mac.0, ethertype };
    let next = if old.ethertype == ethertype::IPV6 { protocol::IPV6 } else { protocol::IPIP };
    let (length, next) = if is_gue { (inner + UDP_LEN, protocol::UDP) } else { (inner, next) };
    let [first, _, _, last] = backend.address.0;
    if backend.flags & how::V6 != 0 {
        let (from, to) = (settings.source_v6.0, backend.address.0);
        let ip = outer_v6(0, length, next, from, to);
        let seed = first | last;
        if is_gue {
            frame.grow(ipv6::LEN as u32 + UDP_LEN, Outer::UdpV6)?;
            frame.write((NETWORK + ipv6::LEN) as u32, &udp(settings, seed, length))?;
        } else {
            frame.grow(ipv6::LEN as u32, Outer::V6)?;
        }
        frame.write_head::<Link, 0>(&link(ethertype::IPV6))?;
        return frame.write_head::<Ipv6, NETWORK>(&ip);
    }
    let (from, to) = (settings.source_v4.v4_word(), backend.address.v4_word());
    let ip = outer_v4(0, length, next, from, to);
    if is_gue {
        frame.grow(ipv4::LEN as u32 + UDP_LEN, Outer::UdpV4)?;
        frame.write((NETWORK + ipv4::LEN) as u32, &udp(settings, to, length))?;
    } else {
        frame.grow(ipv4::LEN as u32, Outer::V4)?;
    }
    frame.write_head::<Link, 0>(&link(ethertype::IPV4))?;
    frame.write_head::<Ipv4, NETWORK>(&ip)
}

/// Without a checksum, as tunnels may (RFC 6935); the source port differs by backend.
#[inline(always)]
fn udp(settings: &Settings, seed: u32, length: u32) -> Udp {
    Udp {
        source: Be16((seed ^ seed >> 16) as u16),
        destination: Be16(settings.gue_port.to_wire()),
        length: Be16::new(length as u16),
        checksum: Be16(0),
    }
}
