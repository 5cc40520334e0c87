//! Changes out.

use super::extras::{Of, source_range};
use super::front_ends::{self, Wanted};
use super::{
    Capacity, Changes, Compiler, Entry, FrontEnd, Problem, Tables, front_end_key, selector,
};
use crate::backends::BackendKey;
use crate::maglev;
use crate::ring::{blocks_for, cut};
use crate::view::{BackendView, FrontEndView, PortView, ServiceView};
use abi::service::{MemberKey, Service, ServiceKey, scope, service_flags};
use model::content_id::ContentHash;
use model::{Algorithm, ObjectName, Protocol};
use std::net::IpAddr;

impl Compiler {
    /// Takes over what the kernel holds, before any object is known: the first changes are then
    /// the differences, and everything that is right stays in place.
    pub fn adopt(&mut self, existing: Tables) {
        for (id, backend) in &existing.backends {
            self.backends.adopt(*id, backend);
        }
        for (key, value) in existing.services {
            let blocks = blocks_for(value.ring_len as usize);
            let mut slots: Vec<u32> = (value.ring_base..)
                .take(blocks as usize)
                .map_while(|block| existing.ring.get(&block))
                .flat_map(|block| block.backends)
                .collect();
            slots.truncate(value.ring_len as usize);
            // What doesn't hang together is replaced: an empty content is no ring's.
            let whole =
                slots.len() == value.ring_len as usize && self.ring.claim(value.ring_base, blocks);
            let (blocks, content) = if whole { (blocks, hash_slots(&slots)) } else { (0, 0) };
            let front_end = FrontEnd { value, blocks, backends: Vec::new(), content };
            self.front_ends.insert(key, front_end);
            self.orphans.push(key);
        }
    }

    /// What to change in the kernel since the last call. A service whose tables would not fit
    /// stays as it is, and is tried again when it or something about it changes
    /// ([`problems`](Self::problems) names it).
    pub fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        self.extras.collect(&mut changes);
        for key in std::mem::take(&mut self.orphans) {
            if !self.claims.contains_key(&key)
                && let Some(front_end) = self.front_ends.remove(&key)
            {
                self.note_departed(&front_end, &[], &mut changes);
                self.release(&front_end);
                changes.remove_services.push(key);
            }
        }
        for name in std::mem::take(&mut self.dirty) {
            self.full.remove(&name);
            let Some(entry) = self.services.get(&name).cloned() else { continue };
            if let Err(Full { table, capacity }) = self.update(&name, &entry, &mut changes) {
                let origin = entry.source.origin.clone();
                let problem = Problem::Full { service: name.clone(), origin, table, capacity };
                self.full.insert(name, problem);
            }
        }
        let fresh = std::mem::take(&mut self.backends.fresh);
        changes.add_backends = fresh
            .into_iter()
            .filter_map(|id| Some((id, self.backends.find(id)?.value())))
            .collect();
        changes.departed.sort_by_key(|(service, backend)| (*service, BackendKey::from(backend)));
        changes.departed.dedup();
        changes.remove_backends = self.backends.collect();
        // A service that was removed and is back.
        let Changes {
            add_members, add_source_ranges, remove_members, remove_source_ranges, ..
        } = &mut changes;
        remove_members.retain(|key| add_members.iter().all(|(added, _)| added != key));
        remove_source_ranges.retain(|key| add_source_ranges.iter().all(|(added, _)| added != key));
        self.ring.reclaim();
        changes
    }

    fn note_departed(&self, old: &FrontEnd, now: &[u32], changes: &mut Changes) {
        let left = old.backends.iter().filter(|id| !now.contains(id));
        let backends = left.filter_map(|id| self.backends.find(*id));
        changes.departed.extend(backends.map(|key| (old.value.id, key.value())));
    }

    fn release(&mut self, front_end: &FrontEnd) {
        self.ring.release(front_end.value.ring_base, front_end.blocks);
        for id in &front_end.backends {
            self.backends.release(*id);
        }
    }

    fn update(
        &mut self,
        name: &ObjectName,
        entry: &Entry,
        changes: &mut Changes,
    ) -> Result<(), Full> {
        let service = &entry.source;
        let mut of = Of::default();
        for (port, id) in service.ports.iter().zip(&entry.ids) {
            let joined = self.join(service, port);
            let wanted: Vec<Wanted> = front_ends::wanted(service, port, &self.node).collect();
            for wanted in wanted {
                if self.owner(&wanted.key) != Some(name) {
                    continue;
                }
                let backends = front_ends::choose(service, &wanted, &joined, &self.node);
                let ids = self.update_front_end(service, *id, &wanted, &backends, changes)?;
                if service.affinity.is_some() {
                    of.members.extend(ids.map(|backend| MemberKey { service: *id, backend }));
                }
            }
            of.source_ranges.extend(service.source_ranges.iter().map(|it| source_range(*id, it)));
        }
        let (members, ranges) = self.extras.of(name);
        if self.extras.members - members + of.members.len() > self.capacity.members {
            return Err(Full { table: "members", capacity: self.capacity.members });
        }
        let used = self.extras.source_ranges - ranges + of.source_ranges.len();
        if used > self.capacity.source_ranges {
            return Err(Full { table: "source_ranges", capacity: self.capacity.source_ranges });
        }
        self.extras.set(name, of, changes);
        Ok(())
    }

    /// Gives the ids of its backends.
    fn update_front_end(
        &mut self,
        service: &model::Service,
        id: u32,
        wanted: &Wanted,
        backends: &[BackendKey],
        changes: &mut Changes,
    ) -> Result<impl Iterator<Item = u32> + use<>, Full> {
        let key = wanted.key;
        let old = self.front_ends.get(&key).cloned();
        if old.is_none() && self.front_ends.len() >= self.capacity.services {
            return Err(Full { table: "services", capacity: self.capacity.services });
        }
        let new = backends.iter().filter(|key| !self.backends.knows(key)).count();
        if self.backends.len() + new > self.capacity.backends {
            return Err(Full { table: "backends", capacity: self.capacity.backends });
        }
        let ids: Vec<u32> = backends.iter().map(|key| self.backends.use_one(*key)).collect();
        let slots = self.slots(service.algorithm, &ids);
        let flags = wanted.flags
            | match service.algorithm {
                Algorithm::Random => 0,
                Algorithm::Maglev => service_flags::MAGLEV,
            };
        let ring_len = slots.len() as u32;
        let content = hash_slots(&slots);
        let in_place =
            old.as_ref().filter(|old| old.content == content && old.value.ring_len == ring_len);
        let blocks = blocks_for(slots.len());
        let ring_base = match in_place {
            Some(old) => old.value.ring_base,
            None => match self.ring.allocate(blocks) {
                Some(base) => {
                    changes.add_ring.extend((base..).zip(cut(&slots)));
                    base
                }
                None => {
                    ids.iter().for_each(|id| self.backends.release(*id));
                    let capacity = self.capacity.ring as usize;
                    return Err(Full { table: "ring", capacity });
                }
            },
        };
        let affinity_s = service.affinity.unwrap_or(0);
        let value = Service { id, ring_base, ring_len, flags, affinity_s };
        if let Some(old) = &old {
            self.note_departed(old, &ids, changes);
            old.backends.iter().for_each(|id| self.backends.release(*id));
            if in_place.is_none() {
                self.ring.release(old.value.ring_base, old.blocks);
            }
        }
        if old.as_ref().map(|old| old.value) != Some(value) {
            changes.set_services.push((key, value));
        }
        let front_end = FrontEnd { value, blocks, backends: ids.clone(), content };
        self.front_ends.insert(key, front_end);
        Ok(ids.into_iter())
    }

    /// Of the services that claim a front-end, the one that has it already, so that a wrong
    /// manifest breaks nothing; otherwise the first by name.
    fn owner(&self, key: &ServiceKey) -> Option<&ObjectName> {
        let claims = self.claims.get(key)?;
        let holder = self.front_ends.get(key).and_then(|it| self.references.get(&it.value.id));
        holder.and_then(|holder| claims.get(&holder.service)).or_else(|| claims.first())
    }

    fn slots(&self, algorithm: Algorithm, ids: &[u32]) -> Vec<u32> {
        match algorithm {
            Algorithm::Random => ids.to_vec(),
            Algorithm::Maglev => {
                let backends: Vec<_> = ids
                    .iter()
                    .filter_map(|id| Some((*id, self.backends.find(*id)?.value())))
                    .collect();
                maglev::ring(&backends)
            }
        }
    }

    /// Everything that the kernel holds after the changes that were taken.
    pub fn tables(&self) -> Tables {
        let mut tables = Tables::default();
        for (key, front_end) in &self.front_ends {
            tables.services.insert(*key, front_end.value);
            let maglev = front_end.value.flags & service_flags::MAGLEV != 0;
            let algorithm = if maglev { Algorithm::Maglev } else { Algorithm::Random };
            let slots = self.slots(algorithm, &front_end.backends);
            tables.ring.extend((front_end.value.ring_base..).zip(cut(&slots)));
            for id in &front_end.backends {
                if let Some(backend) = self.backends.find(*id) {
                    tables.backends.insert(*id, backend.value());
                }
            }
        }
        for of in self.extras.all() {
            tables.members.extend(&of.members);
            tables.source_ranges.extend(&of.source_ranges);
        }
        tables
    }

    /// Services that don't work as written, and why.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for name in &self.contested {
            let Some(Entry { source, .. }) = self.services.get(name) else { continue };
            for port in &source.ports {
                // Each place once, though it is a front-end for two kinds of traffic.
                let wanted = front_ends::wanted(source, port, &self.node)
                    .filter(|wanted| wanted.key.scope == scope::INSIDE);
                for Wanted { key, address, port: number, .. } in wanted {
                    let Some(winner) = self.owner(&key).filter(|winner| *winner != name) else {
                        continue;
                    };
                    let Some(winning) = self.services.get(winner) else { continue };
                    problems.push(Problem::Conflict {
                        address,
                        port: number,
                        protocol: port.protocol,
                        winner: winner.clone(),
                        winner_origin: winning.source.origin.clone(),
                        loser: name.clone(),
                        loser_origin: source.origin.clone(),
                    });
                }
            }
        }
        problems.extend(self.full.values().cloned());
        problems
    }

    /// Entries in use, of what the maps can hold.
    pub fn used(&self) -> Capacity {
        Capacity {
            services: self.front_ends.len(),
            ring: self.ring.used,
            backends: self.backends.len(),
            members: self.extras.members,
            source_ranges: self.extras.source_ranges,
        }
    }

    /// Whether a workload or a slice, in whatever condition, has the address.
    pub fn is_listed(&self, address: IpAddr) -> bool {
        let of_workload = || self.workloads.values().any(|it| it.addresses.contains(&address));
        let of_slice = || {
            let endpoints = self.slices.values().flat_map(|slice| &slice.endpoints);
            endpoints.into_iter().any(|endpoint| endpoint.address == address)
        };
        of_workload() || of_slice()
    }

    /// Whether any front-end is open to traffic from outside.
    pub fn serves_outside(&self) -> bool {
        self.front_ends.keys().any(|key| key.scope == scope::OUTSIDE)
    }

    /// The service whose front-end this is.
    pub fn front_end(&self, address: IpAddr, port: u16, protocol: Protocol) -> Option<&ObjectName> {
        self.owner(&front_end_key(address, port, protocol))
    }

    /// All services with their backends, by name.
    pub fn list(&self) -> impl Iterator<Item = ServiceView> {
        self.services.values().map(|entry| self.view_of(entry))
    }

    /// One service with its backends.
    pub fn view(&self, name: &ObjectName) -> Option<ServiceView> {
        self.services.get(name).map(|entry| self.view_of(entry))
    }

    /// Ids and names of a service's ports.
    pub fn port_ids(&self, name: &ObjectName) -> impl Iterator<Item = (u32, &str)> {
        self.services.get(name).into_iter().flat_map(|entry| {
            let ports = entry.source.ports.iter();
            entry.ids.iter().copied().zip(ports.map(|port| port.name.as_str()))
        })
    }

    fn view_of(&self, entry: &Entry) -> ServiceView {
        let service = &entry.source;
        let ports = service.ports.iter().zip(&entry.ids).map(|(port, id)| PortView {
            id: *id,
            name: port.name.clone(),
            protocol: port.protocol,
            port: port.port,
            front_ends: front_ends::wanted(service, port, &self.node)
                .filter(|wanted| wanted.key.scope == scope::INSIDE)
                .map(|Wanted { address, port, kind, .. }| FrontEndView { address, port, kind })
                .collect(),
            backends: self
                .join(service, port)
                .into_iter()
                .map(|(key, candidate)| BackendView {
                    address: key.address,
                    port: key.port,
                    workload: candidate.workload,
                    ready: candidate.ready,
                })
                .collect(),
        });
        ServiceView {
            name: service.name.clone(),
            cluster_ips: service.cluster_ips.clone(),
            selector: selector(service).cloned(),
            algorithm: service.algorithm,
            ports: ports.collect(),
            origin: service.origin.clone(),
        }
    }
}

/// A map that would have to hold more than it can.
struct Full {
    table: &'static str,
    capacity: usize,
}

fn hash_slots(slots: &[u32]) -> u128 {
    let mut hash = ContentHash::new("ring");
    hash.word(slots.len() as u64);
    slots.iter().for_each(|id| hash.word(u64::from(*id)));
    hash.finish()
}
