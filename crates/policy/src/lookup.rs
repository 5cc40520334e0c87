//! The verdict as the kernel finds it: address to peer, rule set and peer to port set, port set
//! and port to rule.

use crate::peer::HOST_PEER;
use crate::rule::Direction;
use abi::endpoint::{AddressInfo, UNRESTRICTED};
use abi::policy::{NO_RULE, Rule, rule_flags};
use std::net::IpAddr;

/// Whether a new connection is allowed, and which rules decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    /// Rule ids; `NO_RULE` where nothing restricts or nothing allows.
    pub egress: Rule,
    pub ingress: Rule,
}

pub(crate) trait Tables {
    fn peer(&self, address: IpAddr) -> AddressInfo;
    fn rule_set(&self, address: IpAddr, direction: Direction) -> Option<u32>;
    fn port_set(&self, rule_set: u32, peer: u32) -> Option<u32>;
    fn rule(&self, port_set: u32, protocol: u8, port: u16) -> Option<Rule>;
}

pub(crate) fn verdict(
    tables: &impl Tables,
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    port: u16,
) -> Verdict {
    let egress = one_direction(tables, Direction::Egress, from, to, protocol, port);
    let ingress = one_direction(tables, Direction::Ingress, to, from, protocol, port);
    let allows = |rule: Rule| rule.flags & rule_flags::DENY == 0;
    Verdict { allowed: allows(egress) && allows(ingress), egress, ingress }
}

pub(crate) fn one_direction(
    tables: &impl Tables,
    direction: Direction,
    subject: IpAddr,
    peer: IpAddr,
    protocol: u8,
    port: u16,
) -> Rule {
    let unrestricted = Rule { id: NO_RULE, flags: 0 };
    let peer = tables.peer(peer).peer;
    let rule_set = tables.rule_set(subject, direction).unwrap_or(UNRESTRICTED);
    if rule_set == UNRESTRICTED || peer == HOST_PEER {
        return unrestricted;
    }
    tables
        .port_set(rule_set, peer)
        .and_then(|port_set| tables.rule(port_set, protocol, port))
        .unwrap_or(Rule { id: NO_RULE, flags: rule_flags::DENY })
}
