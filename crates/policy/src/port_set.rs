//! Rules that apply to one peer, flattened so that the longest matching prefix is the verdict.

use crate::rule::{Action, Tier};
use abi::policy::{NO_RULE, PortKey, Rule, rule_flags};

/// Ports that one rule decides about, for one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortRule {
    pub tier: Tier,
    pub priority: u32,
    pub action: Action,
    pub id: u32,
    /// None is every protocol, and then the range is whole.
    pub protocol: Option<u8>,
    pub first: u16,
    pub last: u16,
    /// The rule names peers, rather than being open to all.
    pub specific: bool,
}

impl PortRule {
    fn is_whole(&self) -> bool {
        self.first == 0 && self.last == u16::MAX
    }

    pub fn covers(&self, protocol: Option<u8>, first: u16, last: u16) -> bool {
        (self.protocol.is_none() || self.protocol == protocol)
            && self.first <= first
            && last <= self.last
    }

    fn precedence(&self) -> (Tier, u32, Action, u32, bool, u32) {
        let width =
            u32::from(self.last - self.first) + if self.protocol.is_none() { 1 << 16 } else { 0 };
        (self.tier, self.priority, self.action, width, !self.specific, self.id)
    }
}

/// An entry of map `ports` without its port set. In order of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PortEntry {
    pub prefix_len: u32,
    pub protocol: u8,
    pub port: u16,
    pub rule: u32,
    pub flags: u32,
}

impl PortEntry {
    pub fn key(&self, port_set: u32) -> PortKey {
        let port = abi::Port::new(self.port);
        PortKey { prefix_len: self.prefix_len, port_set, protocol: self.protocol, zero: 0, port }
    }

    pub fn value(&self) -> Rule {
        Rule { id: self.rule, flags: self.flags }
    }
}

/// What stands where nothing applies: a denial, given by absence.
const ABSENT: Rule = Rule { id: NO_RULE, flags: rule_flags::DENY };

pub(crate) fn flatten(rules: &mut [PortRule], default_deny: bool) -> Vec<PortEntry> {
    rules.sort_by_key(PortRule::precedence);
    let decide = |protocol, first, last| decide(rules, default_deny, protocol, first, last);
    let mut entries = Vec::new();

    let every_protocol = decide(None, 0, u16::MAX);
    if every_protocol != ABSENT {
        entries.push(entry(PortKey::PORT_SET_BITS, 0, 0, every_protocol));
    }
    // Where the verdict may change, by protocol.
    let mut starts: Vec<(u8, u16)> = Vec::with_capacity(3 * rules.len());
    for rule in rules.iter() {
        let Some(protocol) = rule.protocol else { continue };
        starts.extend([(protocol, 0), (protocol, rule.first)]);
        starts.extend(rule.last.checked_add(1).map(|next| (protocol, next)));
    }
    starts.sort_unstable();
    starts.dedup();
    for starts in starts.chunk_by(|a, b| a.0 == b.0) {
        let protocol = starts[0].0;
        // The verdict of rules about the whole protocol; ranges that differ from it are nested.
        let whole = decide_whole(rules, default_deny, protocol);
        if whole != every_protocol {
            entries.push(entry(PortKey::PROTOCOL_BITS, protocol, 0, whole));
        }
        let mut ranges: Vec<(u16, u16, Rule)> = Vec::new();
        for (position, &(_, first)) in starts.iter().enumerate() {
            let last = starts.get(position + 1).map_or(u16::MAX, |(_, next)| next - 1);
            let verdict = decide(Some(protocol), first, last);
            match ranges.last_mut() {
                Some(previous) if previous.2 == verdict => previous.1 = last,
                _ => ranges.push((first, last, verdict)),
            }
        }
        for (first, last, verdict) in ranges {
            if verdict != whole {
                for (port, bits) in prefixes(first, last) {
                    entries.push(entry(PortKey::PROTOCOL_BITS + bits, protocol, port, verdict));
                }
            }
        }
    }
    entries.sort();
    entries
}

/// The verdict for one port, without making a port set.
pub(crate) fn verdict(rules: &mut [PortRule], default_deny: bool, protocol: u8, port: u16) -> Rule {
    rules.sort_by_key(PortRule::precedence);
    decide(rules, default_deny, Some(protocol), port, port)
}

fn entry(prefix_len: u32, protocol: u8, port: u16, rule: Rule) -> PortEntry {
    PortEntry { prefix_len, protocol, port, rule: rule.id, flags: rule.flags }
}

fn decide_whole(rules: &[PortRule], default_deny: bool, protocol: u8) -> Rule {
    let whole = rules.iter().filter(|rule| rule.is_whole());
    first_match(whole, default_deny, Some(protocol), 0, u16::MAX)
}

fn decide(
    rules: &[PortRule],
    default_deny: bool,
    protocol: Option<u8>,
    first: u16,
    last: u16,
) -> Rule {
    first_match(rules.iter(), default_deny, protocol, first, last)
}

fn first_match<'a>(
    rules: impl Iterator<Item = &'a PortRule>,
    default_deny: bool,
    protocol: Option<u8>,
    first: u16,
    last: u16,
) -> Rule {
    let mut passed = None;
    for rule in rules.filter(|rule| rule.covers(protocol, first, last)) {
        if passed == Some(rule.tier) {
            continue;
        }
        if rule.tier == Tier::Baseline && default_deny {
            break;
        }
        match rule.action {
            Action::Allow => return Rule { id: rule.id, flags: 0 },
            Action::Deny => return Rule { id: rule.id, flags: rule_flags::DENY },
            Action::Pass => passed = Some(rule.tier),
        }
    }
    if default_deny { ABSENT } else { Rule { id: NO_RULE, flags: 0 } }
}

/// The fewest (port, prefix bits) that cover the range exactly.
fn prefixes(first: u16, last: u16) -> Vec<(u16, u32)> {
    let mut prefixes = Vec::new();
    let (mut next, end) = (u32::from(first), u32::from(last) + 1);
    while next < end {
        let aligned = next.trailing_zeros().min(16);
        let fits = (end - next).ilog2();
        let bits = aligned.min(fits);
        prefixes.push((next as u16, 16 - bits));
        next += 1 << bits;
    }
    prefixes
}

#[cfg(test)]
mod tests;
