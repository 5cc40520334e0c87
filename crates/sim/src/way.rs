//! A packet's way through the node.

use std::net::IpAddr;

use abi::drop_reason::DropReason;
use abi::event::{FlowEvent, FlowKind};
use abi::maps;
use bpf_vm::context::Skb;
use bpf_vm::{Packet, ProgramHandle, Redirect};
use zerocopy::FromBytes as _;

use crate::{Endpoint, Error, Node, stack};

/// Who sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The endpoint of that number in [`Node::endpoints`].
    Endpoint(usize),
    /// The host itself, or somebody whose packet the host hands on.
    Host,
}

/// A packet from its sender to where it ended up.
#[derive(Clone, Debug)]
pub struct Way {
    pub steps: Vec<Step>,
    pub fate: Fate,
    /// The packet as it arrived, or as it was when it was dropped.
    pub frame: Vec<u8>,
    /// What the programs told of it.
    pub events: Vec<FlowEvent>,
}

/// One run of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub program: &'static str,
    /// The endpoint whose interface it was, by its number in [`Node::endpoints`].
    pub endpoint: usize,
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
    /// Out of the node, to an address that is not its own.
    Left,
    /// By a program; it says why.
    Dropped(Option<DropReason>),
    /// By the host's stack: no hop was left.
    NoHops,
}

/// `linux/pkt_cls.h`: what the node's programs answer.
const TC_ACT_SHOT: i32 = 2;
const TC_ACT_REDIRECT: i32 = 7;
/// Between two packets of a real node lie no fewer nanoseconds.
const INTERVAL: u64 = 1_000;

impl Node {
    /// Sends a packet, which begins with its Ethernet header.
    pub fn send(&mut self, from: From, frame: &[u8]) -> Result<Way, Error> {
        self.advance(INTERVAL)?;
        let mut steps = Vec::new();
        let (fate, frame) = match from {
            From::Endpoint(endpoint) => self.leave(endpoint, frame, &mut steps)?,
            From::Host => self.hand_on(frame, 0, None, &mut steps)?,
        };
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
        Ok(Way { steps, fate, frame, events })
    }

    /// From an endpoint's interface into the host.
    fn leave(
        &self,
        endpoint: usize,
        frame: &[u8],
        steps: &mut Vec<Step>,
    ) -> Result<(Fate, Vec<u8>), Error> {
        let ifindex = self.endpoints[endpoint].ifindex;
        let context = Skb { ifindex, ingress_ifindex: ifindex, ..Skb::default() };
        let program = ("from_endpoint", &self.from_endpoint);
        let (step, mark) = self.step(program, endpoint, frame, context)?;
        let (action, after, redirect) = (step.action, step.after.clone(), step.redirect.clone());
        steps.push(step);
        match (action, redirect) {
            (TC_ACT_SHOT, _) => Ok((Fate::Dropped(None), after)),
            (TC_ACT_REDIRECT, Some(Redirect::Peer { ifindex })) => {
                let to = self.endpoints.iter().position(|endpoint| endpoint.ifindex == ifindex);
                Ok((to.map_or(Fate::Left, Fate::Delivered), after))
            }
            (TC_ACT_REDIRECT, _) => Ok((Fate::Left, after)),
            _ => self.hand_on(&after, mark, Some(ifindex), steps),
        }
    }

    /// Through the host's stack.
    fn hand_on(
        &self,
        frame: &[u8],
        mark: u32,
        came_in: Option<u32>,
        steps: &mut Vec<Step>,
    ) -> Result<(Fate, Vec<u8>), Error> {
        let Some((_, to)) = stack::addresses(frame) else {
            return Ok((Fate::Host, frame.to_vec()));
        };
        if self.is_for_host(to) {
            return Ok((Fate::Host, frame.to_vec()));
        }
        let Some(endpoint) = self.endpoints.iter().position(|e| e.addresses.contains(&to)) else {
            return Ok((Fate::Left, frame.to_vec()));
        };
        let Endpoint { ifindex, host_mac, workload_mac, .. } = self.endpoints[endpoint];
        let Some(forwarded) = stack::forward(frame, host_mac, workload_mac) else {
            return Ok((Fate::NoHops, frame.to_vec()));
        };
        let ingress_ifindex = came_in.unwrap_or(1);
        let context = Skb { ifindex, ingress_ifindex, mark, ..Skb::default() };
        let program = ("to_endpoint", &self.to_endpoint);
        let (step, _) = self.step(program, endpoint, &forwarded, context)?;
        let (action, after) = (step.action, step.after.clone());
        steps.push(step);
        match action {
            TC_ACT_SHOT => Ok((Fate::Dropped(None), after)),
            _ => Ok((Fate::Delivered(endpoint), after)),
        }
    }

    fn is_for_host(&self, to: IpAddr) -> bool {
        let is_link_local = match to {
            IpAddr::V4(to) => to.is_link_local() || to.is_multicast() || to.is_broadcast(),
            IpAddr::V6(to) => to.is_unicast_link_local() || to.is_multicast(),
        };
        is_link_local || self.host_addresses.contains(&to)
    }

    fn step(
        &self,
        (name, program): (&'static str, &ProgramHandle),
        endpoint: usize,
        frame: &[u8],
        context: Skb,
    ) -> Result<(Step, u32), Error> {
        let mut packet = Packet::new(frame).map_err(bpf_vm::RuntimeError::from)?;
        let (ingress_ifindex, mark_before) = (context.ingress_ifindex, context.mark);
        let outcome = program.run_skb(&mut packet, &context)?;
        let mark = outcome.skb.as_ref().map_or(0, |skb| skb.mark);
        let step = Step {
            program: name,
            endpoint,
            ingress_ifindex,
            mark: mark_before,
            action: outcome.action(),
            redirect: outcome.redirect,
            before: frame.to_vec(),
            after: packet.bytes(),
        };
        Ok((step, mark))
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
