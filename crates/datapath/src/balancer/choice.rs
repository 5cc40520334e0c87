//! Which backend a flow would get, and why: the program's own parts over what the maps hold.

use super::Balancer;
use crate::Result;
use abi::balancer::{FlowKey, FrontEnd, frontend_flags, slot};
use abi::{Address, Port};
use dataplane::balancer::{Packet, hash, packet_flags};
use ipnet::IpNet;
use model::Protocol;
use services::balancer::{BackendKey, VipView};
use std::net::SocketAddr;
use zerocopy::FromZeros as _;

#[derive(Clone, Debug)]
pub struct Choice {
    pub vip: VipView,
    pub slot: u32,
    /// Number and backend; `None` if the packet would be dropped.
    pub backend: Option<(u32, BackendKey)>,
    /// How it came about, step by step.
    pub steps: Vec<String>,
}

impl Balancer {
    /// What a packet of that flow, not its first, would get. `None` if the destination is no VIP.
    pub fn choose(
        &self,
        source: SocketAddr,
        destination: SocketAddr,
        protocol: Protocol,
    ) -> Result<Option<Choice>> {
        let Some((vip, matched)) = self.vip_for(destination, protocol) else { return Ok(None) };
        let Some((front_end, rings)) = self.compiler.front_end(&vip.key) else { return Ok(None) };
        let mut steps = vec![matched];
        let all_ports = vip.key.ports.is_empty();
        let packet = packet(&front_end, all_ports, source, destination, protocol);
        let mut choice = Choice { vip, slot: 0, backend: None, steps: Vec::new() };
        if front_end.ring_len == 0 {
            steps.push("no backend takes new flows: dropped, counted as no-backend".to_owned());
            choice.steps = steps;
            return Ok(Some(choice));
        }
        choice.slot = hash::slot(&front_end, &packet);
        let word = rings.current.get(choice.slot as usize).copied().unwrap_or(0);
        let mut number = u32::from(word & slot::BACKEND);
        steps.push(format!(
            "the flow's hash leads to slot {} of {}, owned by {}",
            choice.slot,
            front_end.ring_len,
            self.backend_name(number)
        ));
        let kept = front_end.flags & frontend_flags::KEEP_ALL != 0 || word & slot::MOVED != 0;
        if word & slot::MOVED != 0 {
            let at = hash::previous_slot(&front_end, &packet) as usize;
            let previous = rings.previous.get(at).copied().unwrap_or(0);
            let open = host::process::boot_time()?.as_nanos() < front_end.window_end_ns.into();
            steps.push(match (open, previous) {
                (true, 0) => "the slot has moved; who had it before is gone".to_owned(),
                (true, previous) => {
                    let name = self.backend_name(previous.into());
                    number = previous.into();
                    format!("the slot has moved: a flow from before the change stays with {name}")
                }
                (false, _) => {
                    "the slot has moved some time ago; flows that stayed are remembered".to_owned()
                }
            });
        }
        if kept {
            match self.remembered(&packet.key)? {
                Some(backend) => {
                    steps.push(format!("the flow is remembered: {}", self.backend_name(backend)));
                    number = backend;
                }
                None => steps.push("the flow is not remembered".to_owned()),
            }
        }
        for (bit, what) in [
            (frontend_flags::SOURCE_ROUTING, "a source route for the client goes before the ring"),
            (frontend_flags::QUIC, "a server id in the QUIC connection id goes before the ring"),
            (frontend_flags::TCP_SERVER_ID, "a server id in a TCP option goes before the ring"),
            (
                frontend_flags::UDP_STABLE_ROUTING,
                "a server id before the payload goes before the ring",
            ),
        ] {
            if front_end.flags & bit != 0 {
                steps.push(format!("of the packet itself, {what}"));
            }
        }
        choice.backend = self.compiler.backend_of_number(number).map(|key| (number, key));
        if choice.backend.is_none() {
            steps.push("there is no such backend: dropped".to_owned());
        }
        choice.steps = steps;
        Ok(Some(choice))
    }

    /// In the program's order: the port, a range, all ports of the address, then blocks, the longest
    /// first and with the port before those without.
    fn vip_for(&self, destination: SocketAddr, protocol: Protocol) -> Option<(VipView, String)> {
        let port = destination.port();
        let rank = |vip: &VipView| {
            if vip.key.protocol != protocol || !vip.key.block.contains(&destination.ip()) {
                return None;
            }
            let range =
                vip.key.ports.iter().find(|range| (range.first..=range.last).contains(&port));
            let by = match range {
                Some(range) if range.first == range.last => 0,
                Some(_) if vip.key.is_block() => 0,
                Some(_) => 1,
                None if vip.key.ports.is_empty() => 2,
                None => return None,
            };
            // With the port goes before all ports, whatever the block's length.
            let width = vip.key.block.max_prefix_len() - vip.key.block.prefix_len();
            Some((vip.key.is_block(), by, width))
        };
        let views = self.views();
        let (rank, vip) =
            views.into_iter().filter_map(|vip| Some((rank(&vip)?, vip))).min_by_key(|it| it.0)?;
        let by = match (rank, vip.key.block) {
            ((false, 0, _), _) => "the address and port are".to_owned(),
            ((false, 1, _), _) => "the address and a range of ports are".to_owned(),
            ((false, _, _), _) => "the address, with all ports, is".to_owned(),
            (_, IpNet::V4(_) | IpNet::V6(_)) => format!("the block {} is", vip.key.block),
        };
        let step = format!("{by} of VIP {} ({})", vip.title, vip.origin);
        Some((vip, step))
    }

    fn backend_name(&self, number: u32) -> String {
        match self.compiler.backend_of_number(number) {
            Some(key) => key.address.to_string(),
            None => "nobody".to_owned(),
        }
    }

    fn remembered(&self, key: &FlowKey) -> Result<Option<u32>> {
        let Some(loaded) = &self.loaded else { return Ok(None) };
        Ok(loaded.tables.flows.get(key)?.map(|flow| flow.backend))
    }
}

/// The packet as the program has it when it chooses: without what the VIP doesn't look at.
fn packet(
    front_end: &FrontEnd,
    all_ports: bool,
    source: SocketAddr,
    destination: SocketAddr,
    protocol: Protocol,
) -> Packet {
    let flag = |bit: u32| front_end.flags & bit != 0;
    let mut packet = Packet::new_zeroed();
    packet.key = FlowKey {
        source: source.ip().into(),
        destination: destination.ip().into(),
        source_port: Port::new(source.port()),
        destination_port: Port::new(destination.port()),
        protocol: protocol.number(),
        zero: [0; 3],
    };
    packet.protocol = protocol.number();
    packet.source_port = packet.key.source_port;
    if source.is_ipv6() {
        packet.flags |= packet_flags::V6;
    }
    if flag(frontend_flags::NO_SOURCE_PORT) {
        packet.key.source_port = Port::NONE;
    }
    if all_ports && !flag(frontend_flags::DESTINATION_PORT_ONLY | frontend_flags::HASH_ALL_PORTS) {
        packet.key.destination_port = Port::NONE;
    }
    if flag(frontend_flags::DESTINATION_PORT_ONLY) {
        packet.key.source_port = packet.key.destination_port;
        packet.key.source = Address::NONE;
    }
    packet
}
