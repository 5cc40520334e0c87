//! Which VIP a packet is for: an address with its port, then a range of ports, then all ports of the
//! address, then blocks of addresses.

use super::Env;
use super::parse::Packet;
use abi::Port;
use abi::balancer::{
    FrontEnd, FrontEndKey, PrefixKey, RangeKey, Settings, frontend_flags as vip, settings_flags,
};

/// Also takes out of the packet's flow what the VIP doesn't look at. `missed`: it is known that none
/// has the packet's port as its own.
#[inline(always)]
pub fn find<'a, E: Env>(
    env: &'a E,
    settings: &Settings,
    packet: &mut Packet,
    missed: bool,
) -> Option<E::Held<'a, FrontEnd>> {
    let key = FrontEndKey {
        address: packet.key.destination,
        port: packet.key.destination_port,
        protocol: packet.key.protocol,
        zero: 0,
    };
    let found = if missed { None } else { env.front_end(settings, &key) };
    let found = match found {
        Some(found) => found,
        None => wider(env, settings, packet, key)?,
    };
    if found.flags & vip::NO_SOURCE_PORT != 0 {
        packet.key.source_port = Port::NONE;
        packet.source_port = Port::NONE;
    }
    Some(found)
}

#[inline(always)]
fn wider<'a, E: Env>(
    env: &'a E,
    settings: &Settings,
    packet: &mut Packet,
    mut key: FrontEndKey,
) -> Option<E::Held<'a, FrontEnd>> {
    if settings.flags & settings_flags::RANGES != 0 {
        let key = RangeKey {
            prefix_len: RangeKey::FIXED_BITS + 16,
            address: key.address,
            protocol: key.protocol,
            zero: 0,
            port: key.port,
        };
        if let Some(found) = env.range(&key) {
            return Some(found);
        }
    }
    key.port = Port::NONE;
    if let Some(found) = env.front_end(settings, &key) {
        return Some(all_ports(found, packet));
    }
    if settings.flags & settings_flags::PREFIXES == 0 {
        return None;
    }
    let mut key = PrefixKey {
        prefix_len: PrefixKey::FIXED_BITS + 128,
        port: packet.key.destination_port,
        protocol: packet.key.protocol,
        zero: 0,
        address: packet.key.destination,
    };
    if let Some(found) = env.prefix(&key) {
        // Katran leaves the port out for blocks of addresses, whether it is theirs or not.
        if found.flags & vip::KATRAN_HASH != 0 {
            packet.key.destination_port = Port::NONE;
        }
        return Some(found);
    }
    key.port = Port::NONE;
    env.prefix(&key).map(|found| all_ports(found, packet))
}

/// A VIP that takes all ports doesn't tell flows apart by them.
#[inline(always)]
fn all_ports<T: core::ops::Deref<Target = FrontEnd>>(found: T, packet: &mut Packet) -> T {
    if found.flags & (vip::DESTINATION_PORT_ONLY | vip::HASH_ALL_PORTS) == 0 {
        packet.key.destination_port = Port::NONE;
    }
    found
}
