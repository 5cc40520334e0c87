//! Fragments follow their first: it has the ports, and leaves them behind for the others.

use super::Env;
use super::frame::{Frame, Why};
use super::parse::{Packet, flags};
use abi::balancer::counter;
use abi::conntrack::{FragmentKey, FragmentPorts};

#[inline(never)]
pub fn resolve(env: &impl Env, _: &impl Frame, packet: &mut Packet) -> Result<(), Why> {
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
        return Ok(());
    }
    let Some(ports) = env.fragment(&key) else {
        return Err(Why(counter::DROP_FRAGMENT_UNKNOWN));
    };
    packet.key.source_port = ports.source_port;
    packet.source_port = ports.source_port;
    packet.key.destination_port = ports.destination_port;
    Ok(())
}
