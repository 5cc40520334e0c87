//! Fragments follow their first: it has the ports, and leaves them behind for the others.

use super::Env;
use super::parse::{Packet, flags};
use abi::conntrack::{FragmentKey, FragmentPorts};

/// False if the first was not seen.
#[inline(never)]
pub fn resolve(env: &impl Env, packet: &mut Packet) -> bool {
    let key = FragmentKey {
        source: packet.key.source,
        destination: packet.key.destination,
        id: packet.fragment,
        protocol: packet.protocol,
        zero: [0; 3],
    };
    if packet.flags & flags::LATER_FRAGMENT == 0 {
        let (source_port, destination_port) = (packet.key.source_port, packet.key.destination_port);
        env.insert_fragment(&key, &FragmentPorts { source_port, destination_port });
        return true;
    }
    let Some(ports) = env.fragment(&key) else {
        return false;
    };
    packet.key.source_port = ports.source_port;
    packet.source_port = ports.source_port;
    packet.key.destination_port = ports.destination_port;
    true
}
