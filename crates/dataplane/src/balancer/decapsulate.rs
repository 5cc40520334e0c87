//! Taking packets out of IPIP and GUE.

use super::frame::{Frame, Link};
use super::{Env, Verdict};
use abi::Address;
use abi::balancer::{Settings, counter, decapsulate as how, settings_flags};
use wire::Be16;
use wire::ethernet::{self, ethertype};
use wire::ip::protocol;
use wire::ipv4::{self, Ipv4};
use wire::ipv6::{self, Ipv6};
use wire::transport::{self, Tcp, Udp};

/// What comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The frame, decapsulated or not, is to be balanced.
    Balance,
    Pass,
    Drop,
    Transmit,
}

const NETWORK: u32 = ethernet::LEN as u32;
const V4_UDP: usize = ethernet::LEN + ipv4::LEN;
const V6_UDP: usize = ethernet::LEN + ipv6::LEN;
const UDP_LEN: u32 = size_of::<Udp>() as u32;

/// What surrounds a packet.
struct Around {
    link: Link,
    destination: Address,
    /// Bytes of outer headers behind the Ethernet header.
    length: u32,
    is_v6: bool,
    inner_v6: bool,
}

/// A packet to one of the balancer's own addresses, before it is balanced.
#[inline(never)]
pub fn inline(env: &impl Env, frame: &mut impl Frame, settings: &Settings) -> Step {
    let Some(around) = look(frame, settings) else { return Step::Balance };
    let flags = env.decapsulates(&around.destination);
    if flags.is_none() && !accepts(settings, &around) {
        return Step::Pass;
    }
    let hops = spend_hop(frame, NETWORK + around.length, around.inner_v6);
    if strip(frame, &around).is_none() {
        env.count(counter::DROP_REWRITE);
        return Step::Drop;
    }
    env.count(counter::DECAPSULATED);
    if hops.is_none() {
        env.count(counter::DROP_HOPS);
        return Step::Drop;
    }
    match flags {
        None => Step::Pass,
        Some(flags) if flags & how::EGRESS != 0 => {
            let Some(link) = frame.head::<Link, 0>() else { return Step::Drop };
            let back = Link { destination: link.source, source: link.destination, ..link };
            match frame.write_head::<Link, 0>(&back) {
                Some(()) => Step::Transmit,
                None => Step::Drop,
            }
        }
        Some(_) => Step::Balance,
    }
}

/// On a backend: packets from a balancer are taken out, and go up the stack. Fragments and options
/// of the outer packet are refused in the compatibility mode.
#[inline(always)]
pub fn decapsulate(env: &impl Env, frame: &mut impl Frame) -> Verdict {
    let Some(settings) = env.settings() else { return Verdict::Pass };
    let settings: &Settings = &settings;
    if settings.flags & settings_flags::KATRAN != 0 && is_refused(frame) {
        env.count(counter::DROP_FRAGMENT);
        return Verdict::Drop;
    }
    let Some(around) = look(frame, settings) else { return Verdict::Pass };
    if !accepts(settings, &around) {
        return Verdict::Pass;
    }
    if strip(frame, &around).is_none() {
        env.count(counter::DROP_REWRITE);
        return Verdict::Drop;
    }
    env.count(counter::DECAPSULATED);
    Verdict::Pass
}

#[inline(always)]
fn is_refused(frame: &impl Frame) -> bool {
    let Some(link) = frame.head::<Link, 0>() else { return true };
    match link.ethertype {
        ethertype::IPV4 => match frame.head::<Ipv4, { ethernet::LEN }>() {
            Some(ip) => ip.header_length() != ipv4::LEN as u32 || ip.is_fragment(),
            None => true,
        },
        ethertype::IPV6 => match frame.head::<Ipv6, { ethernet::LEN }>() {
            Some(ip) => ip.next_header == protocol::FRAGMENT,
            None => true,
        },
        _ => false,
    }
}

/// IPIP or GUE, if it is taken.
#[inline(always)]
fn look(frame: &impl Frame, settings: &Settings) -> Option<Around> {
    let link = frame.head::<Link, 0>()?;
    match link.ethertype {
        ethertype::IPV4 => {
            let ip = frame.head::<Ipv4, { ethernet::LEN }>()?;
            if ip.version_length != 0x45 || ip.is_fragment() {
                return None;
            }
            let destination = Address::from_v4_word(ip.destination);
            let (length, inner_v6) = match ip.protocol {
                protocol::UDP => gue::<V4_UDP>(frame, settings, ipv4::LEN as u32)?,
                next => ipip(settings, next, ipv4::LEN as u32)?,
            };
            Some(Around { link, destination, length, is_v6: false, inner_v6 })
        }
        ethertype::IPV6 => {
            let ip = frame.head::<Ipv6, { ethernet::LEN }>()?;
            let (length, inner_v6) = match ip.next_header {
                protocol::UDP => gue::<V6_UDP>(frame, settings, ipv6::LEN as u32)?,
                next => ipip(settings, next, ipv6::LEN as u32)?,
            };
            let destination = Address(ip.destination);
            Some(Around { link, destination, length, is_v6: true, inner_v6 })
        }
        _ => None,
    }
}

#[inline(always)]
fn ipip(settings: &Settings, next: u8, outer: u32) -> Option<(u32, bool)> {
    if settings.flags & settings_flags::DECAPSULATE_IPIP == 0 {
        return None;
    }
    match next {
        protocol::IPIP => Some((outer, false)),
        protocol::IPV6 => Some((outer, true)),
        _ => None,
    }
}

/// GUE's variant 1, which has no header of its own: the first bits are the IP version's.
#[inline(always)]
fn gue<const OFFSET: usize>(
    frame: &impl Frame,
    settings: &Settings,
    outer: u32,
) -> Option<(u32, bool)> {
    if settings.flags & settings_flags::DECAPSULATE_GUE == 0 {
        return None;
    }
    let udp = frame.head::<Udp, OFFSET>()?;
    if udp.destination.0 != settings.gue_port.to_wire() {
        return None;
    }
    let version = frame.read::<u8>(OFFSET as u32 + UDP_LEN)? >> 4;
    match version {
        4 => Some((outer + UDP_LEN, false)),
        6 => Some((outer + UDP_LEN, true)),
        _ => None,
    }
}

#[inline(always)]
fn accepts(settings: &Settings, around: &Around) -> bool {
    if settings.flags & settings_flags::DECAPSULATE_STRICT == 0 {
        return true;
    }
    let own = if around.is_v6 { settings.source_v6 } else { settings.source_v4 };
    around.destination == own
}

/// Counts one hop of the inner packet; `None` if it was the last.
#[inline(always)]
fn spend_hop(frame: &mut impl Frame, network: u32, is_v6: bool) -> Option<()> {
    if is_v6 {
        let at = network + ipv6::offset::HOP_LIMIT;
        let hops = frame.read::<u8>(at)?.wrapping_sub(1);
        frame.write(at, &hops)?;
        return (hops != 0).then_some(());
    }
    let mut ip = frame.read::<Ipv4>(network)?;
    ip.ttl = ip.ttl.wrapping_sub(1);
    // The hops are the first byte of their word: one less there is one more in the checksum.
    let sum = u32::from(ip.checksum.0) + u32::from(1u16.to_le());
    ip.checksum = Be16((sum & 0xffff) as u16 + (sum >> 16) as u16);
    frame.write(network + ipv4::offset::TTL, &ip.ttl)?;
    frame.write(network + ipv4::offset::CHECKSUM, &ip.checksum)?;
    (ip.ttl != 0).then_some(())
}

#[inline(always)]
fn strip(frame: &mut impl Frame, around: &Around) -> Option<()> {
    frame.shrink(around.length)?;
    let ethertype = if around.inner_v6 { ethertype::IPV6 } else { ethertype::IPV4 };
    frame.write_head::<Link, 0>(&Link { ethertype, ..around.link })
}

/// On a backend whose clients are behind address translation: in GUE to this port, an inner TCP
/// packet gets the outer packet's source, which translation has made to be true.
pub const MATCH_SOURCE_PORT: Be16 = Be16::new(9887);

/// `None` if the packet is none of those; it goes on either way.
#[inline(always)]
pub fn match_source(frame: &mut impl MatchSource) -> Option<()> {
    const INNER: usize = V6_UDP + size_of::<Udp>();
    let link = frame.head::<Link, 0>()?;
    let outer = frame.head::<Ipv6, { ethernet::LEN }>()?;
    if link.ethertype != ethertype::IPV6 || outer.next_header != protocol::UDP {
        return None;
    }
    let udp = frame.head::<Udp, V6_UDP>()?;
    if udp.destination != MATCH_SOURCE_PORT {
        return None;
    }
    let inner = frame.head::<Ipv6, INNER>()?;
    if inner.version() != 6 || inner.next_header != protocol::TCP {
        return None;
    }
    frame.head::<Tcp, { INNER + ipv6::LEN }>()?;
    let checksum = (INNER + ipv6::LEN) as u32 + transport::offset::TCP_CHECKSUM;
    let (from, to) = (Address(inner.source), Address(outer.source));
    frame.replace_address(INNER as u32 + ipv6::offset::SOURCE, checksum, &from, &to)
}

/// A frame whose checksum by the network card must stay right while it changes.
pub trait MatchSource: Frame {
    /// Writes an address and corrects the transport checksum that covers it.
    fn replace_address(
        &mut self,
        offset: u32,
        checksum: u32,
        from: &Address,
        to: &Address,
    ) -> Option<()>;
}
