//! Load balancers to tables: one transaction at a time.
//!
//! [`Compiler::compile`] looks at all objects and at what is known of backends, and says what has
//! to be written so that all VIPs go from the old state to the new one. It either fits as a whole
//! or changes nothing. Rings are never rewritten: new ones go into free blocks, and VIPs whose
//! backends are the same, and were, share one.

mod output;
mod spec;
mod tables;

pub use tables::{Adopted, Capacity, Change, Changes, Rows, Used};

use super::check::{CheckTarget, Health};
use super::keys::VipKey;
use super::roles::{Condition, FULL, Role, roles};
use super::rows::BackendKey;
use super::view::{BackendView, VipView};
use ipnet::IpNet;
use model::load_balancer::{Backend, Edge, PortRange, Vip};
use model::{LoadBalancer, ObjectName, Origin};
use output::{Settled, State, VipState};
use spec::RingSpec;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Debug)]
pub struct Compiler {
    objects: BTreeMap<ObjectName, Arc<LoadBalancer>>,
    drained: BTreeSet<IpAddr>,
    health: HashMap<CheckTarget, Health>,
    /// Marks that health checks through the encapsulation put on their packets.
    marks: BTreeMap<CheckTarget, u32>,
    capacity: Capacity,
    state: State,
}

/// What keeps the objects from coming into force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{what} are full: {capacity} is the most that this node takes")]
    Full { what: &'static str, capacity: u32 },
}

/// An object that can't come into force beside others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub object: ObjectName,
    pub origin: Origin,
    pub message: String,
}

impl Compiler {
    pub fn new(capacity: Capacity) -> Self {
        Compiler {
            objects: BTreeMap::new(),
            drained: BTreeSet::new(),
            health: HashMap::new(),
            marks: BTreeMap::new(),
            state: State::new(&capacity),
            capacity,
        }
    }

    /// Begins from what maps hold, whoever wrote it: an earlier agent, or this one when it was
    /// stopped half-way.
    pub fn begin_from(&mut self, held: Adopted) {
        self.state = State::new(&self.capacity);
        self.state.adopt(held);
    }

    /// Says how large the maps are. To be followed by [`begin_from`](Self::begin_from).
    pub fn resize(&mut self, capacity: Capacity) {
        self.state = State::new(&capacity);
        self.capacity = capacity;
    }

    pub fn set(&mut self, balancer: Arc<LoadBalancer>) {
        self.objects.insert(balancer.name.clone(), balancer);
    }

    pub fn remove(&mut self, name: &ObjectName) {
        self.objects.remove(name);
    }

    pub fn get(&self, name: &ObjectName) -> Option<&Arc<LoadBalancer>> {
        self.objects.get(name)
    }

    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Takes new flows from a backend, of all VIPs, or gives them back; false if it was so before.
    pub fn drain(&mut self, backend: IpAddr, drained: bool) -> bool {
        match drained {
            true => self.drained.insert(backend),
            false => self.drained.remove(&backend),
        }
    }

    pub fn drained(&self) -> &BTreeSet<IpAddr> {
        &self.drained
    }

    /// Notes what a health check found; false if it is nothing new.
    pub fn set_health(&mut self, target: &CheckTarget, health: Health) -> bool {
        self.health.insert(target.clone(), health) != Some(health)
    }

    pub fn health(&self, target: &CheckTarget) -> Health {
        self.health.get(target).copied().unwrap_or_default()
    }

    /// What is to be checked. The rest is forgotten.
    pub fn check_targets(&mut self) -> BTreeSet<CheckTarget> {
        let targets: BTreeSet<CheckTarget> =
            self.vips().flat_map(|(_, vip)| CheckTarget::all_of(vip)).collect();
        self.health.retain(|target, _| targets.contains(target));
        targets
    }

    /// Marks that lead the packets of these checks to their backends. Takes effect with the next
    /// compilation.
    pub fn set_marks(&mut self, marks: BTreeMap<CheckTarget, u32>) {
        self.marks = marks;
    }

    /// What all VIPs have in common.
    pub fn edge(&self) -> Option<&Edge> {
        self.in_force().next().map(|object| &object.edge)
    }

    /// Objects that agree with the first of them, and whose VIPs no other in force has before.
    fn in_force(&self) -> impl Iterator<Item = &Arc<LoadBalancer>> + Clone {
        self.judged().filter_map(|(object, refused)| refused.is_none().then_some(object))
    }

    /// Objects that are not in force, and why.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let conflict = |(object, refused): (&Arc<LoadBalancer>, Option<String>)| {
            let (object, origin) = (object.name.clone(), object.origin.clone());
            refused.map(|message| Conflict { object, origin, message })
        };
        self.judged().filter_map(conflict).collect()
    }

    /// All objects, in order, with what keeps them from coming into force.
    fn judged(&self) -> impl Iterator<Item = (&Arc<LoadBalancer>, Option<String>)> + Clone {
        let first = self.objects.values().next();
        let is_alone = self.objects.len() < 2;
        // Ranges of ports by their last, with the first.
        let mut taken: BTreeMap<(u8, IpNet, u16), (u16, &ObjectName)> = BTreeMap::new();
        self.objects.values().map(move |object| {
            if let Some(first) = first.filter(|first| first.edge != object.edge) {
                let message = format!(
                    "it doesn't agree with LoadBalancer {} ({}) on what holds for the whole node \
                     (all of `spec` but `vips`)",
                    first.name, first.origin
                );
                return (object, Some(message));
            }
            if is_alone {
                return (object, None);
            }
            let conflict = object.vips.iter().find_map(|vip| {
                let (protocol, block) = (vip.protocol.number(), vip.block);
                let holder = ports(vip).find_map(|range| {
                    let mut behind = taken.range((protocol, block, range.first)..);
                    let ((_, _, _), (first, holder)) =
                        behind.next().filter(|((p, b, _), _)| (*p, *b) == (protocol, block))?;
                    (*first <= range.last).then_some(*holder)
                })?;
                let title = VipKey::of(vip).title();
                Some(format!("LoadBalancer {holder} has {title} already"))
            });
            if conflict.is_none() {
                for vip in &object.vips {
                    let (protocol, block) = (vip.protocol.number(), vip.block);
                    taken.extend(
                        ports(vip).map(|range| {
                            ((protocol, block, range.last), (range.first, &object.name))
                        }),
                    );
                }
            }
            (object, conflict)
        })
    }

    fn vips(&self) -> impl Iterator<Item = (&Arc<LoadBalancer>, &Vip)> + Clone {
        self.in_force().flat_map(|object| object.vips.iter().map(move |vip| (object, vip)))
    }

    fn condition(&self, vip: &Vip, backend: &Backend) -> Condition {
        let health = CheckTarget::of(vip, backend)
            .and_then(|target| self.health.get(&target).copied())
            .unwrap_or_default();
        Condition {
            drained: self.drained.contains(&backend.address),
            healthy: health.healthy,
            share: health.share,
        }
    }

    fn roles(&self, edge: &Edge, vip: &Vip) -> Vec<Role> {
        roles(vip, edge.zone.as_deref(), |backend| self.condition(vip, backend))
    }

    /// What brings the tables from what they hold to what the objects want. On a refusal nothing
    /// has changed.
    pub fn compile(&mut self, now_ns: u64) -> Result<Changes, Refusal> {
        self.transact(now_ns, HashMap::new())
    }

    fn transact(&mut self, now_ns: u64, settled: Settled) -> Result<Changes, Refusal> {
        let mut next = self.state.begin(settled);
        let Some(edge) = self.edge().cloned() else {
            let (changes, state) = next.finish(None, std::iter::empty())?;
            self.state = state;
            return Ok(changes);
        };
        // Numbers in order of first use.
        let vips: Vec<(&Arc<LoadBalancer>, &Vip)> = self.vips().collect();
        let mut roles_of = Vec::with_capacity(vips.len());
        for (_, vip) in &vips {
            let roles = self.roles(&edge, vip);
            for (backend, role) in vip.backends.iter().zip(&roles) {
                let dead = matches!(role, Role::Dead(_));
                next.use_backend(BackendKey::of(vip, backend), dead)?;
            }
            roles_of.push(roles);
        }
        for server in &edge.server_ids {
            next.server_id(&edge, server)?;
        }
        for route in &edge.source_routes {
            next.source_route(&edge, route)?;
        }
        for mark in edge.probes.iter().flat_map(|probes| &probes.marks) {
            next.mark(mark.mark, BackendKey::plain(&edge, mark.backend))?;
        }
        for (target, mark) in &self.marks {
            let key = vips.iter().find_map(|(_, vip)| {
                let mut backends = vip.backends.iter();
                let found = backends
                    .find(|backend| CheckTarget::of(vip, backend).as_ref() == Some(target))?;
                Some(BackendKey::of(vip, found))
            });
            if let Some(key) = key {
                next.mark(*mark, key)?;
            }
        }
        next.adopt_vips(vips.iter().map(|(_, vip)| *vip));
        let vips_and_roles = || vips.iter().map(|(_, vip)| *vip).zip(&roles_of);
        let specs: Vec<RingSpec> =
            vips_and_roles().map(|(vip, roles)| next.spec(&edge, vip, roles)).collect();
        next.make_rings(vips.iter().map(|(_, vip)| *vip).zip(&specs));
        for ((vip, roles), spec) in vips_and_roles().zip(specs) {
            next.vip(&edge, vip, roles, spec, now_ns)?;
        }
        let (changes, state) = next.finish(Some(&edge), vips.iter().map(|(_, vip)| *vip))?;
        self.state = state;
        Ok(changes)
    }

    /// Clears slots of which no remembered flow is left: `is_in_use` says whether the flow table
    /// has a flow of a VIP's slot. Gives what to write.
    pub fn settle(
        &mut self,
        now_ns: u64,
        is_in_use: impl Fn(u32, usize) -> bool,
    ) -> Result<Changes, Refusal> {
        let settled = self.state.settled(now_ns, is_in_use);
        match settled.is_empty() {
            true => Ok(Changes::default()),
            false => self.transact(now_ns, settled),
        }
    }

    /// VIPs of which slots have moved and whose window is over: number, ring length.
    pub fn unsettled(&self, now_ns: u64) -> Vec<(u32, usize)> {
        self.state.unsettled(now_ns)
    }

    pub fn used(&self) -> Used {
        self.state.used()
    }

    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// Titles of VIPs that have the backend.
    pub fn vips_with(&self, backend: IpAddr) -> Vec<String> {
        let having =
            self.vips().filter(|(_, vip)| vip.backends.iter().any(|it| it.address == backend));
        having.map(|(_, vip)| VipKey::of(vip).title()).collect()
    }

    /// Everything about every VIP.
    pub fn views(&self) -> Vec<VipView> {
        let Some(edge) = self.edge() else { return Vec::new() };
        self.vips().map(|(object, vip)| self.view(edge, object, vip)).collect()
    }

    fn view(&self, edge: &Edge, object: &LoadBalancer, vip: &Vip) -> VipView {
        let key = VipKey::of(vip);
        let state = self.state.vip(&key);
        let roles = self.roles(edge, vip);
        let backends = vip.backends.iter().zip(roles).map(|(backend, role)| {
            let number = self.state.backend(&BackendKey::of(vip, backend));
            let target = CheckTarget::of(vip, backend);
            BackendView {
                address: backend.address,
                port: backend.port,
                number,
                weight: backend.weight,
                share: target.as_ref().map_or(FULL, |target| self.health(target).share),
                zone: backend.zone.clone(),
                role,
                slots: state.zip(number).map_or(0, |(state, number)| state.slots_of(number)),
                checked: target,
                line: backend.line,
            }
        });
        VipView {
            number: state.map(|state| state.number),
            title: key.title(),
            key,
            object: object.name.clone(),
            origin: Origin { line: vip.line, ..object.origin.clone() },
            delivery: vip.delivery,
            keep: vip.keep,
            ring_len: state.map_or(0, |state| state.front_end.ring_len),
            moved: state.map_or(0, VipState::moved),
            window_end_ns: state.map_or(0, VipState::window_end_ns),
            backends: backends.collect(),
        }
    }

    /// The rings of a VIP as they are in force, and its front-end.
    pub fn front_end(
        &self,
        key: &VipKey,
    ) -> Option<(abi::balancer::FrontEnd, &super::transition::Rings)> {
        self.state.vip(key).map(|state| (state.front_end, state.rings()))
    }

    pub fn settings(&self) -> Option<abi::balancer::Settings> {
        self.state.settings()
    }

    /// The backend that has the number.
    pub fn backend_of_number(&self, number: u32) -> Option<BackendKey> {
        self.state.backend_of_number(number)
    }
}

/// A VIP's ports, to find two with the same. All that no other has are like one that nobody uses.
fn ports(vip: &Vip) -> impl Iterator<Item = PortRange> {
    let others = vip.ports.is_empty().then_some(PortRange { first: 0, last: 0 });
    vip.ports.iter().copied().chain(others)
}
