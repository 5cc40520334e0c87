//! What a service has in the tables besides its front-ends: members and source ranges.

use super::Changes;
use abi::Address;
use abi::service::{MemberKey, Present, SourceRangeKey};
use ipnet::IpNet;
use model::ObjectName;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The entries of one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Of {
    pub members: BTreeSet<MemberKey>,
    pub source_ranges: HashSet<SourceRangeKey>,
}

/// The entries of all services. No two have one in common: each names the service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    by_service: BTreeMap<ObjectName, Of>,
    /// Of services that are gone.
    left: Vec<Of>,
    pub members: usize,
    pub source_ranges: usize,
}

const PRESENT: Present = 1;

impl Extras {
    pub fn of(&self, name: &ObjectName) -> (usize, usize) {
        self.by_service.get(name).map_or((0, 0), |of| (of.members.len(), of.source_ranges.len()))
    }

    pub fn set(&mut self, name: &ObjectName, new: Of, changes: &mut Changes) {
        let old = self.by_service.remove(name).unwrap_or_default();
        changes.add_members.extend(new.members.difference(&old.members).map(|key| (*key, PRESENT)));
        let added = new.source_ranges.difference(&old.source_ranges);
        changes.add_source_ranges.extend(added.map(|key| (*key, PRESENT)));
        changes.remove_members.extend(old.members.difference(&new.members));
        changes.remove_source_ranges.extend(old.source_ranges.difference(&new.source_ranges));
        self.members += new.members.len();
        self.source_ranges += new.source_ranges.len();
        self.members -= old.members.len();
        self.source_ranges -= old.source_ranges.len();
        if new != Of::default() {
            self.by_service.insert(name.clone(), new);
        }
    }

    /// Takes effect with [`collect`](Self::collect).
    pub fn remove(&mut self, name: &ObjectName) {
        self.left.extend(self.by_service.remove(name));
    }

    /// Before anything is set: a service may have come back.
    pub fn collect(&mut self, changes: &mut Changes) {
        for of in std::mem::take(&mut self.left) {
            self.members -= of.members.len();
            self.source_ranges -= of.source_ranges.len();
            changes.remove_members.extend(of.members);
            changes.remove_source_ranges.extend(of.source_ranges);
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Of> {
        self.by_service.values()
    }
}

pub(crate) fn source_range(service: u32, range: &IpNet) -> SourceRangeKey {
    // IPv4 addresses are the last 32 of 128 bits.
    let skipped = if range.addr().is_ipv4() { 96 } else { 0 };
    let prefix_len = u32::BITS + skipped + u32::from(range.prefix_len());
    SourceRangeKey { prefix_len, service, address: Address::from(range.network()) }
}
