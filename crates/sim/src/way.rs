//! A packet's way through the node.

use std::net::IpAddr;

use abi::drop_reason::DropReason;
use abi::event::{FlowEvent, FlowKind};
use abi::maps;
use bpf_vm::context::Skb;
use bpf_vm::{Packet, ProgramHandle, Redirect};
use zerocopy::FromBytes as _;

use crate::balancer::Balanced;
use crate::device::GATEWAY;
use crate::socket::SocketCall;
use crate::{Endpoint, Error, Node, stack};

/// Who sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The endpoint of that number in [`Node::endpoints`].
    Endpoint(usize),
    /// Somebody outside, by the device of that number in [`Node::devices`].
    Device(usize),
    /// The host itself.
    Host,
}

impl From {
    /// Whoever has an address.
    pub fn of(address: IpAddr, node: &Node) -> Self {
        let endpoint = node.endpoints().iter().position(|e| e.addresses.contains(&address));
        match endpoint {
            Some(endpoint) => Self::Endpoint(endpoint),
            None if node.is_own(address) => Self::Host,
            None => Self::Device(node.device_towards(address)),
        }
    }
}

/// A packet from its sender to where it ended up.
#[derive(Clone, Debug)]
pub struct Way {
    /// What was translated at the sender's socket, before there was a packet, and at the
    /// receiver's, once it had come.
    pub calls: Vec<SocketCall>,
    /// What the edge balancer did, where it was asked.
    pub balanced: Option<Balanced>,
    pub steps: Vec<Step>,
    pub fate: Fate,
    /// The packet as it arrived, or as it was when it was dropped.
    pub frame: Vec<u8>,
    /// What the programs told of it.
    pub events: Vec<FlowEvent>,
}

/// Whose interface it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// By its number in [`Node::endpoints`].
    Endpoint(usize),
    /// By its number in [`Node::devices`].
    Device(usize),
}

/// One run of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub program: &'static str,
    pub place: Place,
    /// The interface that the packet came to the node by, and the mark that it had.
    pub ingress_ifindex: u32,
    pub mark: u32,
    /// What the program returned.
    pub action: i32,
    pub redirect: Option<Redirect>,
    pub before: Vec<u8>,
    pub after: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// To the endpoint of that number in [`Node::endpoints`].
    Delivered(usize),
    /// To the node itself: its stack answers (neighbours too).
    Host,
    /// Out of the node, by the device of that number in [`Node::devices`].
    Left(usize),
    /// By a program; it says why.
    Dropped(Option<DropReason>),
    /// By the edge balancer, which counts why.
    Balanced,
    /// By the host's stack: no hop was left.
    NoHops,
    /// By the host's stack: there is no such interface.
    NoInterface,
}

/// `linux/pkt_cls.h`: what the node's programs answer.
const TC_ACT_SHOT: i32 = 2;
const TC_ACT_REDIRECT: i32 = 7;
/// Between two packets of a real node lie no fewer nanoseconds.
const INTERVAL: u64 = 1_000;
/// The loopback's, for packets of the host itself.
const LOOPBACK: u32 = 1;

/// A packet on its way, and what it has met so far.
struct Journey<'a> {
    node: &'a Node,
    balanced: Option<Balanced>,
    steps: Vec<Step>,
}

type Ended = Result<(Fate, Vec<u8>), Error>;

impl Node {
    /// Sends a packet, which begins with its Ethernet header.
    pub fn send(&mut self, from: From, frame: &[u8]) -> Result<Way, Error> {
        self.advance(INTERVAL)?;
        let mut journey = Journey { node: self, balanced: None, steps: Vec::new() };
        let (fate, frame) = match from {
            From::Endpoint(endpoint) => journey.leave(endpoint, frame)?,
            From::Device(device) => journey.enter(device, frame)?,
            From::Host => journey.hand_on(frame, 0, None)?,
        };
        let Journey { balanced, steps, .. } = journey;
        let mut events = Vec::new();
        let map = self.instance.map(maps::EVENTS).ok_or(Error::NoMap(maps::EVENTS))?;
        for record in map.records() {
            if let Ok((event, _)) = FlowEvent::read_from_prefix(&record) {
                events.push(event);
            }
        }
        let fate = match fate {
            Fate::Dropped(None) => Fate::Dropped(reason(&events)),
            other => other,
        };
        let calls = match fate {
            Fate::Delivered(endpoint) => self.received(endpoint, &frame)?,
            _ => Vec::new(),
        };
        Ok(Way { calls, balanced, steps, fate, frame, events })
    }

    fn is_for_host(&self, to: IpAddr) -> bool {
        let is_link_local = match to {
            IpAddr::V4(to) => to.is_link_local() || to.is_multicast() || to.is_broadcast(),
            IpAddr::V6(to) => to.is_unicast_link_local() || to.is_multicast(),
        };
        is_link_local || self.host_addresses.contains(&to)
    }
}

impl Journey<'_> {
    /// From an endpoint's interface into the host.
    fn leave(&mut self, endpoint: usize, frame: &[u8]) -> Ended {
        let ifindex = self.node.endpoints[endpoint].ifindex;
        let socket = self.node.socket_of(endpoint, frame);
        let context = Skb { ifindex, ingress_ifindex: ifindex, socket, ..Skb::default() };
        let program = ("from_endpoint", &self.node.from_endpoint);
        let (action, mark) = self.step(program, Place::Endpoint(endpoint), frame, context)?;
        self.act(action, mark, ifindex)
    }

    /// From outside by a device into the host.
    fn enter(&mut self, device: usize, frame: &[u8]) -> Ended {
        let mut frame = frame.to_vec();
        if let Some(balancer) = self.node.balancer_at(device) {
            let (balanced, fate) = balancer.balance(device, &frame)?;
            frame.clone_from(&balanced.after);
            self.balanced = Some(balanced);
            if let Some(fate) = fate {
                return Ok((fate, frame));
            }
        }
        let ifindex = self.node.devices[device].ifindex;
        if !self.node.serves_outside() {
            return self.hand_on(&frame, 0, Some(ifindex));
        }
        let context = Skb { ifindex, ingress_ifindex: ifindex, ..Skb::default() };
        let program = ("from_outside", &self.node.from_outside);
        let (action, mark) = self.step(program, Place::Device(device), &frame, context)?;
        self.act(action, mark, ifindex)
    }

    /// What the last program said of a packet that came in by an interface.
    fn act(&mut self, action: i32, mark: u32, came_in: u32) -> Ended {
        let last = self.steps.last().map(|step| (step.after.clone(), step.redirect.clone()));
        let (frame, redirect) = last.unwrap_or_default();
        match (action, redirect) {
            (TC_ACT_SHOT, _) => Ok((Fate::Dropped(None), frame)),
            (TC_ACT_REDIRECT, Some(Redirect::Peer { ifindex })) => {
                let to = self.node.endpoints.iter().position(|e| e.ifindex == ifindex);
                Ok((to.map_or(Fate::NoInterface, Fate::Delivered), frame))
            }
            (
                TC_ACT_REDIRECT,
                Some(Redirect::Neighbour { ifindex, .. } | Redirect::Interface { ifindex, .. }),
            ) => self.go_out(ifindex, frame, mark, came_in),
            (TC_ACT_REDIRECT, _) => Ok((Fate::NoInterface, frame)),
            _ => self.hand_on(&frame, mark, Some(came_in)),
        }
    }

    /// Through the host's stack.
    fn hand_on(&mut self, frame: &[u8], mark: u32, came_in: Option<u32>) -> Ended {
        let Some((_, to)) = stack::addresses(frame) else {
            return Ok((Fate::Host, frame.to_vec()));
        };
        if self.node.is_for_host(to) {
            return Ok((Fate::Host, frame.to_vec()));
        }
        let endpoint = self.node.endpoints.iter().position(|e| e.addresses.contains(&to));
        let device = self.node.device_towards(to);
        let (ifindex, macs) = match endpoint {
            Some(endpoint) => {
                let Endpoint { ifindex, host_mac, workload_mac, .. } =
                    self.node.endpoints[endpoint];
                (ifindex, (host_mac, workload_mac))
            }
            None => (self.node.devices[device].ifindex, (self.node.devices[device].mac, GATEWAY)),
        };
        let own = came_in.is_none() && endpoint.is_none();
        let forwarded = match own {
            // The host's own packets have made no hop yet.
            true => Some(stack::readdress(frame, macs.0, macs.1)),
            false => stack::forward(frame, macs.0, macs.1),
        };
        let Some(forwarded) = forwarded else { return Ok((Fate::NoHops, frame.to_vec())) };
        self.go_out(ifindex, forwarded, mark, came_in.unwrap_or(LOOPBACK))
    }

    /// Out of the host by an interface, to an endpoint or out of the node.
    fn go_out(&mut self, ifindex: u32, frame: Vec<u8>, mark: u32, came_in: u32) -> Ended {
        let context = Skb { ifindex, ingress_ifindex: came_in, mark, ..Skb::default() };
        let endpoint = self.node.endpoints.iter().position(|e| e.ifindex == ifindex);
        let device = self.node.devices.iter().position(|d| d.ifindex == ifindex);
        let frame = match device {
            Some(device) => stack::readdress(&frame, self.node.devices[device].mac, GATEWAY),
            None => frame,
        };
        let (program, place, fate) = match (endpoint, device) {
            (Some(endpoint), _) => {
                let program = ("to_endpoint", &self.node.to_endpoint);
                (program, Place::Endpoint(endpoint), Fate::Delivered(endpoint))
            }
            (None, Some(device)) if self.node.serves_outside() => {
                let program = ("to_outside", &self.node.to_outside);
                (program, Place::Device(device), Fate::Left(device))
            }
            (None, Some(device)) => return Ok((Fate::Left(device), frame)),
            (None, None) => return Ok((Fate::NoInterface, frame)),
        };
        let (action, _) = self.step(program, place, &frame, context)?;
        let after = self.steps.last().map(|step| step.after.clone()).unwrap_or_default();
        match action {
            TC_ACT_SHOT => Ok((Fate::Dropped(None), after)),
            _ => Ok((fate, after)),
        }
    }

    /// One program's action, and the mark that it left.
    fn step(
        &mut self,
        (name, program): (&'static str, &ProgramHandle),
        place: Place,
        frame: &[u8],
        context: Skb,
    ) -> Result<(i32, u32), Error> {
        let mut packet = Packet::new(frame).map_err(bpf_vm::RuntimeError::from)?;
        let (ingress_ifindex, mark_before) = (context.ingress_ifindex, context.mark);
        let outcome = program.run_skb(&mut packet, &context)?;
        let mark = outcome.skb.as_ref().map_or(0, |skb| skb.mark);
        let action = outcome.action();
        self.steps.push(Step {
            program: name,
            place,
            ingress_ifindex,
            mark: mark_before,
            action,
            redirect: outcome.redirect,
            before: frame.to_vec(),
            after: packet.bytes(),
        });
        Ok((action, mark))
    }
}

impl Way {
    /// The number of the rule that decided, of the egress and the ingress policy; 0 if none did.
    pub fn rules(&self) -> (u32, u32) {
        let last = self.events.last();
        last.map_or((0, 0), |event| (event.egress_rule, event.ingress_rule))
    }
}

fn reason(events: &[FlowEvent]) -> Option<DropReason> {
    let is_drop = |event: &&FlowEvent| {
        matches!(FlowKind::from_number(event.kind), Some(FlowKind::Drop | FlowKind::Cut))
    };
    events.iter().rev().find(is_drop).and_then(|event| DropReason::from_number(event.reason))
}
