//! Server ids in packets: QUIC connection ids, a TCP option, the stable routing header.

use super::Env;
use super::frame::Frame;
use super::parse::Packet;
use abi::balancer::counter;
use wire::transport::Udp;

/// The backend with that id.
#[inline(always)]
pub fn backend(env: &impl Env, id: u32) -> Option<u32> {
    match env.server_id(id) {
        Some(number) if number != 0 => {
            env.count(counter::SERVER_ID_USED);
            Some(number)
        }
        _ => {
            env.count(counter::SERVER_ID_UNKNOWN);
            None
        }
    }
}

const UDP: u32 = size_of::<Udp>() as u32;

/// A long header of QUIC up to the first bytes of its destination's connection id (RFC 9000, 17.2).
const LONG_HEADER: u32 = 0x80;
const LONG_ID: u32 = 6;
const SHORT_ID: u32 = 1;
/// Connection ids that can hold a server id.
const ID_LENGTH: u32 = 8;

/// From a QUIC packet whose connection id a server has chosen: not from Initial and 0-RTT.
#[inline(always)]
pub fn quic(frame: &impl Frame, packet: &Packet) -> Option<u32> {
    let payload = packet.transport + UDP;
    let first = u32::from(frame.read::<u8>(payload)?);
    let at = if first & LONG_HEADER != 0 {
        const TYPE: u32 = 0x30;
        const HANDSHAKE: u32 = 0x20;
        if first & TYPE < HANDSHAKE {
            return None;
        }
        let length = u32::from(frame.read::<u8>(payload + LONG_ID - 1)?);
        if length < ID_LENGTH {
            return None;
        }
        payload + LONG_ID
    } else {
        payload + SHORT_ID
    };
    let id: [u8; ID_LENGTH as usize] = frame.read(at)?;
    let byte = |index: usize| u32::from(id[index]);
    // The two highest bits are the version of the scheme.
    let server = match byte(0) >> 6 {
        1 => (byte(0) & 0x3f) << 10 | byte(1) << 2 | byte(2) >> 6,
        2 => byte(1) << 16 | byte(2) << 8 | byte(3),
        3 => byte(1) << 24 | byte(2) << 16 | byte(3) << 8 | byte(4),
        _ => 0,
    };
    (server != 0).then_some(server)
}

/// From the header that some UDP protocols put before their payload.
#[inline(always)]
pub fn stable_routing(frame: &impl Frame, packet: &Packet) -> Option<u32> {
    const MARK: u8 = 0x52;
    let header: [u8; 8] = frame.read(packet.transport + UDP)?;
    let byte = |index: usize| u32::from(header[index]);
    let server = byte(1) << 16 | byte(2) << 8 | byte(3);
    (header[0] == MARK && server != 0).then_some(server)
}

/// From the TCP option that servers ask clients to echo.
#[inline(always)]
pub fn tcp(frame: &impl Frame, packet: &Packet) -> Option<u32> {
    match option(frame, packet.transport) {
        0 => None,
        id => Some(id),
    }
}

/// 0 if there is none: the kernel's functions return one register.
#[inline(never)]
fn option(frame: &impl Frame, transport: u32) -> u32 {
    walk_options(frame, transport).unwrap_or(0)
}

#[inline(always)]
fn walk_options(frame: &impl Frame, transport: u32) -> Option<u32> {
    const HEADER: u32 = 20;
    const DATA_OFFSET: u32 = 12;
    /// Options that are looked at.
    const MOST: u32 = 15;
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const SERVER_ID: u8 = 0xb7;
    const LENGTH: u32 = 6;

    let words = u32::from(frame.read::<u8>(transport + DATA_OFFSET)? >> 4);
    if words * 4 < HEADER + LENGTH {
        return None;
    }
    let mut left = words * 4 - HEADER;
    let mut at = transport + HEADER;
    for _ in 0..MOST {
        if left == 0 {
            return None;
        }
        let kind = frame.read::<u8>(at)?;
        if kind == END {
            return None;
        }
        if kind == NOTHING {
            left -= 1;
            at += 1;
            continue;
        }
        if left < 2 {
            return None;
        }
        let length = u32::from(frame.read::<u8>(at + 1)?);
        if length > left {
            return None;
        }
        if kind == SERVER_ID {
            if length != LENGTH {
                return None;
            }
            let id = u32::from_le_bytes(frame.read::<[u8; 4]>(at + 2)?);
            return (id != 0).then_some(id);
        }
        left -= length;
        at += length;
    }
    None
}
