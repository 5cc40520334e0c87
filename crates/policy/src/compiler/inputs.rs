//! Objects in.

use super::{Change, Compiler, Endpoint, EndpointInput, Group, Policy};
use crate::blocks::canonical_address;
use crate::lower;
use crate::record::Remembered;
use crate::rule::{NamespaceSelector, PeerSelector, Rule};
use ipnet::IpNet;
use model::{Labels, NetworkPolicy, ObjectName};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

impl Compiler {
    pub fn set_policy(&mut self, policy: &NetworkPolicy) {
        let name = policy.name.clone();
        let old = self.policies.remove(&name);
        let old_groups = old.map(|old| old.groups).unwrap_or_default();
        let mut groups = Vec::new();
        for group in lower::network_policy(policy) {
            let rules = (0..group.rules.len()).map(|index| self.own_rule(&group, index)).collect();
            groups.push(Group { group, rules });
        }
        // Blocks are counted in before they are counted out, so that a block that stays is never
        // gone in between.
        for block in groups.iter().flat_map(|group| &group.group.rules).flat_map(blocks_of) {
            if self.blocks.add(block) {
                self.refresh_inside(block);
            }
        }
        let kept: BTreeSet<u32> = groups.iter().flat_map(|group| &group.rules).copied().collect();
        self.retire(&old_groups, &kept);

        for group in old_groups.iter().chain(&groups) {
            self.subjects.mark_dirty(&group.group.subjects);
        }
        self.index_policy(&name, &groups);
        self.policies.insert(name, Policy { source: policy.clone(), groups });
    }

    pub fn remove_policy(&mut self, name: &ObjectName) {
        let Some(policy) = self.policies.remove(name) else { return };
        self.retire(&policy.groups, &BTreeSet::new());
        for group in &policy.groups {
            self.subjects.mark_dirty(&group.group.subjects);
        }
        self.index_policy(name, &[]);
    }

    /// Takes rules of a policy's former version out of use, except those that were kept.
    fn retire(&mut self, groups: &[Group], kept: &BTreeSet<u32>) {
        for group in groups {
            for number in group.rules.iter().filter(|number| !kept.contains(number)) {
                self.rules.disown(*number);
                self.fresh.disowned_rules.insert(*number);
            }
            for block in group.group.rules.iter().flat_map(blocks_of) {
                if self.blocks.remove(block) {
                    self.fresh.stale_blocks.insert(block);
                }
            }
        }
    }

    fn index_policy(&mut self, name: &ObjectName, groups: &[Group]) {
        if let Some(names) = self.policies_by_namespace.get_mut(&name.namespace) {
            names.remove(name);
            if names.is_empty() {
                self.policies_by_namespace.remove(&name.namespace);
            }
        }
        self.wide_policies.remove(name);
        for group in groups {
            match &group.group.subjects.namespaces {
                NamespaceSelector::Name(namespace) if *namespace == name.namespace => {
                    let names = self.policies_by_namespace.entry(namespace.clone()).or_default();
                    names.insert(name.clone());
                }
                _ => drop(self.wide_policies.insert(name.clone())),
            }
        }
    }

    pub fn set_namespace(&mut self, name: impl Into<Arc<str>>, labels: Labels) {
        let name = name.into();
        if self.namespaces.get(&name) == Some(&labels) {
            return;
        }
        self.namespaces.insert(name.clone(), labels);
        self.namespace_changed(&name);
    }

    pub fn remove_namespace(&mut self, name: &str) {
        if self.namespaces.remove(name).is_some() {
            self.namespace_changed(name);
        }
    }

    fn namespace_changed(&mut self, name: &str) {
        let names = self.endpoints_by_namespace.get(name).cloned().unwrap_or_default();
        for name in names {
            if let Some(endpoint) = self.endpoints.get(&name) {
                self.set_endpoint(endpoint.input.clone());
            }
        }
    }

    pub fn set_endpoint(&mut self, mut input: EndpointInput) {
        for address in &mut input.addresses {
            *address = canonical_address(*address);
        }
        let name = input.name.clone();
        let labels = self.identity_labels(&name.namespace, &input.labels);
        let (identity, new) = self.identities.workload(labels);
        let Some(labels) = self.identities.labels(identity).cloned() else { return };
        if new {
            self.fresh.remember(Remembered::Workload(identity, labels.clone()));
        }
        let subject =
            input.enforced.then(|| self.subjects.enter(&name, identity, &labels, &input.ports));
        let mut addresses: BTreeSet<IpAddr> = input.addresses.iter().copied().collect();
        for address in &addresses {
            self.addresses.claim(*address, &name);
        }
        let wanted = addresses.clone();
        let old = self.endpoints.insert(name.clone(), Endpoint { input, identity, subject });
        let enforced = subject.is_some() || old.as_ref().is_some_and(|old| old.subject.is_some());
        match old {
            Some(old) => {
                if let Some(old) = old.subject
                    && Some(old) != subject
                {
                    self.subjects.leave(&name, old);
                }
                for address in old.input.addresses {
                    if !wanted.contains(&address) {
                        self.addresses.disclaim(address, &name);
                    }
                    addresses.insert(address);
                }
            }
            None => {
                let names = self.endpoints_by_namespace.entry(name.namespace.clone()).or_default();
                names.insert(name.clone());
            }
        }
        for address in addresses {
            self.refresh(IpNet::from(address));
        }
        if enforced {
            self.fresh.endpoints.insert(name);
        }
    }

    pub fn remove_endpoint(&mut self, name: &ObjectName) {
        let Some(endpoint) = self.endpoints.remove(name) else { return };
        if let Some(names) = self.endpoints_by_namespace.get_mut(&name.namespace) {
            names.remove(name);
            if names.is_empty() {
                self.endpoints_by_namespace.remove(&name.namespace);
            }
        }
        if let Some(subject) = endpoint.subject {
            self.subjects.leave(name, subject);
        }
        for address in endpoint.input.addresses {
            self.addresses.disclaim(address, name);
            self.refresh(IpNet::from(address));
        }
        self.fresh.endpoints.insert(name.clone());
    }

    /// Addresses of the node itself. Policies don't apply to its traffic with local endpoints.
    pub fn set_host_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        let hosts: BTreeSet<_> = addresses.into_iter().map(canonical_address).collect();
        let old = self.addresses.replace_hosts(hosts.clone());
        for address in old.symmetric_difference(&hosts) {
            self.refresh(IpNet::from(*address));
        }
    }

    /// Makes a change as the methods above do, whatever its size.
    pub fn change(&mut self, change: Change) {
        match change {
            Change::SetPolicy(policy) => self.set_policy(&policy),
            Change::RemovePolicy(name) => self.remove_policy(&name),
            Change::SetEndpoint(input) => self.set_endpoint(input),
            Change::RemoveEndpoint(name) => self.remove_endpoint(&name),
            Change::SetNamespace(name, labels) => self.set_namespace(name, labels),
            Change::RemoveNamespace(name) => self.remove_namespace(&name),
            Change::SetHostAddresses(addresses) => self.set_host_addresses(addresses),
        }
    }

    /// The change that takes `change` back.
    pub(super) fn inverse(&self, change: &Change) -> Change {
        match change {
            Change::SetPolicy(NetworkPolicy { name, .. }) | Change::RemovePolicy(name) => {
                match self.policies.get(name) {
                    Some(policy) => Change::SetPolicy(policy.source.clone()),
                    None => Change::RemovePolicy(name.clone()),
                }
            }
            Change::SetEndpoint(EndpointInput { name, .. }) | Change::RemoveEndpoint(name) => {
                match self.endpoints.get(name) {
                    Some(endpoint) => Change::SetEndpoint(endpoint.input.clone()),
                    None => Change::RemoveEndpoint(name.clone()),
                }
            }
            Change::SetNamespace(name, _) | Change::RemoveNamespace(name) => {
                match self.namespaces.get(name) {
                    Some(labels) => Change::SetNamespace(name.clone(), labels.clone()),
                    None => Change::RemoveNamespace(name.clone()),
                }
            }
            Change::SetHostAddresses(_) => {
                Change::SetHostAddresses(self.addresses.hosts().iter().copied().collect())
            }
        }
    }
}

/// Blocks that have to be told apart in map `addresses`.
fn blocks_of(rule: &Rule) -> impl Iterator<Item = IpNet> {
    rule.peers.iter().flat_map(|peer| match peer {
        PeerSelector::Block { block, except } => {
            std::iter::once(*block).chain(except.iter().copied()).collect()
        }
        _ => Vec::new(),
    })
}
