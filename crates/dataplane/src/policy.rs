//! The policy verdict of one flow.
//!
//! First match wins:
//! 1. An endpoint and itself, through a service: allowed.
//! 2. Egress, if the source is local: to the node is allowed; an endpoint without a rule set is
//!    unrestricted; else its rule set decides about the peer at the destination.
//! 3. Ingress, if the destination is local: the same about the peer at the source.
//!
//! A rule set gives the peer's port set, or that of any peer; neither means denied, and so does the
//! empty one. The port set gives the rule of the longest matching prefix; none means denied.
//! Semantics: Kubernetes NetworkPolicy; "traffic to and from the node where a Pod is running is
//! always allowed".

use crate::conntrack::Entry;
use crate::env::Env;
use crate::flow::Tuple;
use abi::conntrack::conn_flags;
use abi::drop_reason::DropReason;
use abi::endpoint::{AddressInfo, AddressKey, Endpoint, UNRESTRICTED};
use abi::event::Direction;
use abi::identity;
use abi::policy::{ANY_PEER, EMPTY_PORT_SET, NO_RULE, PeerKey, PortKey, rule_flags};
use abi::{Address, Port};
use core::hint::black_box;
use wire::ip::protocol;

/// Decides the flow whose first packet has `tuple` (after translation). Writes into `entry` who the
/// ends are, which rules allowed it, and who denies it and why. False if it is denied.
#[inline(never)]
pub fn decide<E: Env>(env: &E, tuple: &Tuple, entry: &Entry) -> bool {
    let Ends { source, destination, from, to } = identify(env, tuple, entry);
    entry.egress_rule.set(NO_RULE);
    entry.ingress_rule.set(NO_RULE);
    entry.denied.set(0);
    if entry.has(conn_flags::HAIRPIN) {
        // The source in the tuple stands for the destination itself.
        entry.initiator_identity.set(to.identity);
        entry.initiator_endpoint.set(entry.responder_endpoint.get());
        return true;
    }
    let port = policy_port(tuple, entry.icmp_type.get());
    if let Some(endpoint) = &source
        && endpoint.egress != UNRESTRICTED
        && to.identity != identity::HOST
    {
        let (rule, denied) = rules(env, endpoint.egress, to.peer, tuple.protocol, port);
        entry.egress_rule.set(rule);
        if denied != 0 {
            entry.denied.set(denied);
            entry.denied_direction.set(Direction::Egress as u8);
            return false;
        }
    }
    if let Some(endpoint) = &destination
        && endpoint.ingress != UNRESTRICTED
        && from.identity != identity::HOST
    {
        let (rule, denied) = rules(env, endpoint.ingress, from.peer, tuple.protocol, port);
        entry.ingress_rule.set(rule);
        if denied != 0 {
            entry.denied.set(denied);
            entry.denied_direction.set(Direction::Ingress as u8);
            return false;
        }
    }
    true
}

#[allow(missing_debug_implementations, reason = "what the environment holds may not be printable")]
/// Both ends of a flow: the endpoint, if it is local, and what policies know of it.
pub struct Ends<'a, E: Env + 'a> {
    source: Option<E::Held<'a, Endpoint>>,
    destination: Option<E::Held<'a, Endpoint>>,
    from: AddressInfo,
    to: AddressInfo,
}

/// Finds out who the ends are and writes it into `entry`.
#[inline(always)]
pub fn identify<'a, E: Env>(env: &'a E, tuple: &Tuple, entry: &Entry) -> Ends<'a, E> {
    let source = env.endpoint(&tuple.source);
    let destination = env.endpoint(&tuple.destination);
    let from = match &source {
        Some(endpoint) => AddressInfo { identity: endpoint.identity, peer: endpoint.peer },
        None => info(env, tuple.source),
    };
    let to = match &destination {
        Some(endpoint) => AddressInfo { identity: endpoint.identity, peer: endpoint.peer },
        None => info(env, tuple.destination),
    };
    entry.initiator_identity.set(from.identity);
    entry.responder_identity.set(to.identity);
    entry.initiator_endpoint.set(source.as_ref().map_or(0, |endpoint| endpoint.id));
    entry.responder_endpoint.set(destination.as_ref().map_or(0, |endpoint| endpoint.id));
    Ends { source, destination, from, to }
}

/// True if the address is one of the node's own.
#[inline(always)]
pub fn is_host(env: &impl Env, address: Address) -> bool {
    // Without the box the compiler asks at once whether there is an entry and what it says, and so
    // reads a register that nothing has written if there is none, which the verifier refuses.
    black_box(info(env, address).identity) == identity::HOST
}

/// What policies compare with their ports.
#[inline(always)]
fn policy_port(tuple: &Tuple, icmp_type: u8) -> Port {
    match tuple.protocol {
        protocol::ICMP | protocol::ICMPV6 => Port::new(u16::from(icmp_type)),
        _ => tuple.destination_port,
    }
}

#[inline(always)]
fn info(env: &impl Env, address: Address) -> AddressInfo {
    match env.address(&AddressKey::exact(address)) {
        Some(info) => info,
        None => AddressInfo { identity: identity::WORLD, peer: identity::WORLD },
    }
}

/// The rule that decides, and the reason of a denial or 0.
#[inline(always)]
fn rules(env: &impl Env, rule_set: u32, peer: u32, protocol: u8, port: Port) -> (u32, u8) {
    const DEFAULT: (u32, u8) = (NO_RULE, DropReason::PolicyDefault as u8);
    let port_set = match env.port_set(&PeerKey { rule_set, peer }) {
        Some(port_set) => port_set,
        None => match env.port_set(&PeerKey { rule_set, peer: ANY_PEER }) {
            Some(port_set) => port_set,
            None => return DEFAULT,
        },
    };
    if port_set == EMPTY_PORT_SET {
        return DEFAULT;
    }
    match env.rule(&PortKey::exact(port_set, protocol, port)) {
        None => DEFAULT,
        Some(rule) if rule.flags & rule_flags::DENY != 0 => {
            (rule.id, DropReason::PolicyDenied as u8)
        }
        Some(rule) => (rule.id, 0),
    }
}
