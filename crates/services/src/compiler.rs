//! The compiler: objects in, changes of tables out.

mod extras;
mod front_ends;
mod health;
mod host_ports;
mod join;
mod output;

pub use front_ends::{FrontEndKind, NodeInput};
pub use health::HealthCheck;
pub use host_ports::workload as workload_of_host_ports;

use self::extras::Extras;
use crate::backends::Backends;
use crate::ring::RingAllocator;
use abi::service::{Backend, MemberKey, Present, RingBlock, ServiceKey, SourceRangeKey, scope};
use abi::{Address, Port};
use model::content_id::{ContentHash, ContentIds};
use model::{
    EndpointSlice, HostPort, Kind, Labels, NamedPort, ObjectName, ObjectRef, Origin, Protocol,
    Service,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A workload, as far as services are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadInput {
    pub name: ObjectName,
    pub labels: Labels,
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<NamedPort>,
    pub host_ports: Vec<HostPort>,
    pub origin: Origin,
}

/// Entries that the maps can hold, or that they do; `ring` counts blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub services: usize,
    pub ring: u32,
    pub backends: usize,
    pub members: usize,
    pub source_ranges: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        use abi::maps::capacity;
        Capacity {
            services: capacity::SERVICES as usize,
            ring: capacity::RING,
            backends: capacity::BACKENDS as usize,
            members: capacity::MEMBERS as usize,
            source_ranges: capacity::SOURCE_RANGES as usize,
        }
    }
}

/// What the maps of services hold or should hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    pub services: HashMap<ServiceKey, abi::service::Service>,
    pub ring: BTreeMap<u32, RingBlock>,
    pub backends: BTreeMap<u32, Backend>,
    pub members: BTreeSet<MemberKey>,
    pub source_ranges: HashSet<SourceRangeKey>,
}

/// What to change since the last time, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    pub add_backends: Vec<(u32, Backend)>,
    /// By block.
    pub add_ring: Vec<(u32, RingBlock)>,
    pub add_members: Vec<(MemberKey, Present)>,
    pub add_source_ranges: Vec<(SourceRangeKey, Present)>,
    pub set_services: Vec<(ServiceKey, abi::service::Service)>,
    pub remove_services: Vec<ServiceKey>,
    pub remove_members: Vec<MemberKey>,
    pub remove_source_ranges: Vec<SourceRangeKey>,
    pub remove_backends: Vec<u32>,
    /// Backends that services no longer have, with the service's id. Sockets that were translated
    /// to them go on sending there unless they are closed.
    pub departed: Vec<(u32, Backend)>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

/// The service and port that an id in a table or an event stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRef {
    pub service: ObjectName,
    /// Empty if the port has no name.
    pub port_name: String,
    pub port: u16,
    pub protocol: Protocol,
}

/// `shop/web:http`, or with the number if the port has no name.
impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.port_name.is_empty() {
            write!(f, "{}:{}", self.service, self.port)
        } else {
            write!(f, "{}:{}", self.service, self.port_name)
        }
    }
}

/// Something that keeps a service from working as written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error(
        "{address}:{port}/{protocol} belongs to {} ({winner_origin}); {} ({loser_origin}) does not \
         answer there: give it another address or port",
        host_ports::title(winner),
        host_ports::title(loser)
    )]
    Conflict {
        address: IpAddr,
        port: u16,
        protocol: Protocol,
        winner: ObjectName,
        winner_origin: Origin,
        loser: ObjectName,
        loser_origin: Origin,
    },
    #[error(
        "{} ({origin}) keeps its former backends: map `{table}` is full ({capacity} entries)",
        host_ports::title(service)
    )]
    Full { service: ObjectName, origin: Origin, table: &'static str, capacity: usize },
}

#[derive(Clone, Debug)]
struct Entry {
    source: Arc<Service>,
    /// Ids by position of the port.
    ids: Vec<u32>,
}

/// A front-end as the kernel has it.
#[derive(Clone, Debug)]
struct FrontEnd {
    value: abi::service::Service,
    blocks: u32,
    backends: Vec<u32>,
    /// Of the ring's slots.
    content: u128,
}

#[derive(Clone, Debug)]
pub struct Compiler {
    capacity: Capacity,
    node: NodeInput,
    services: BTreeMap<ObjectName, Entry>,
    /// Services by a label that their selector requires: namespace, key, value.
    selecting: HashMap<(Arc<str>, String, String), BTreeSet<ObjectName>>,
    slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    slices_of: HashMap<ObjectName, BTreeSet<ObjectName>>,
    workloads: BTreeMap<ObjectName, WorkloadInput>,
    workloads_with: HashMap<(Arc<str>, String, String), BTreeSet<ObjectName>>,
    /// Services that want a front-end.
    claims: HashMap<ServiceKey, BTreeSet<ObjectName>>,
    contested: BTreeSet<ObjectName>,
    dirty: BTreeSet<ObjectName>,
    /// Front-ends that may have lost their last service.
    orphans: Vec<ServiceKey>,
    front_ends: HashMap<ServiceKey, FrontEnd>,
    backends: Backends,
    ring: RingAllocator,
    ids: ContentIds,
    references: HashMap<u32, ServiceRef>,
    extras: Extras,
    full: BTreeMap<ObjectName, Problem>,
}

impl Default for Compiler {
    fn default() -> Self {
        Compiler::new(Capacity::default())
    }
}

impl Problem {
    /// The object that doesn't work as written.
    pub fn object(&self) -> ObjectRef {
        let (Problem::Conflict { loser: name, .. } | Problem::Full { service: name, .. }) = self;
        match host_ports::workload(name) {
            Some(name) => ObjectRef { kind: Kind::Workload, name },
            None => ObjectRef { kind: Kind::Service, name: name.clone() },
        }
    }
}

impl Compiler {
    pub fn new(capacity: Capacity) -> Self {
        Compiler {
            capacity,
            node: NodeInput::default(),
            services: BTreeMap::new(),
            selecting: HashMap::new(),
            slices: BTreeMap::new(),
            slices_of: HashMap::new(),
            workloads: BTreeMap::new(),
            workloads_with: HashMap::new(),
            claims: HashMap::new(),
            contested: BTreeSet::new(),
            dirty: BTreeSet::new(),
            orphans: Vec::new(),
            front_ends: HashMap::new(),
            backends: Backends::default(),
            ring: RingAllocator::new(capacity.ring),
            ids: ContentIds::default(),
            references: HashMap::new(),
            extras: Extras::default(),
            full: BTreeMap::new(),
        }
    }

    /// Says which node this is. Every service may depend on it.
    pub fn set_node(&mut self, node: NodeInput) {
        if self.node == node {
            return;
        }
        let services: Vec<Arc<Service>> =
            self.services.values().map(|entry| entry.source.clone()).collect();
        for service in &services {
            self.withdraw_claims(service);
        }
        self.node = node;
        for service in &services {
            self.claim(service);
        }
        self.dirty.extend(services.iter().map(|service| service.name.clone()));
    }

    /// A service that is shared stays so.
    pub fn set_service<S>(&mut self, service: &S)
    where
        S: Clone + Into<Arc<Service>>,
    {
        let service: Arc<Service> = service.clone().into();
        let name = &service.name;
        if let Some(old) = self.services.get(name) {
            if old.source == service {
                return;
            }
            self.withdraw(name);
        }
        let mut ids = Vec::new();
        for port in &service.ports {
            let mut hash = ContentHash::new("service");
            hash.text(&name.namespace);
            hash.text(&name.name);
            hash.text(&port.name);
            let (id, _) = self.ids.allocate(hash.finish());
            let reference = ServiceRef {
                service: name.clone(),
                port_name: port.name.clone(),
                port: port.port,
                protocol: port.protocol,
            };
            self.references.insert(id, reference);
            ids.push(id);
        }
        if let Some(label) = selector_label(&service) {
            self.selecting.entry(label).or_default().insert(name.clone());
        }
        self.claim(&service);
        self.dirty.insert(name.clone());
        self.services.insert(name.clone(), Entry { source: service, ids });
    }

    pub fn remove_service(&mut self, name: &ObjectName) {
        self.withdraw(name);
        self.services.remove(name);
        self.extras.remove(name);
        self.dirty.remove(name);
        self.full.remove(name);
    }

    /// Takes back what the service as it was has claimed.
    fn withdraw(&mut self, name: &ObjectName) {
        let Some(entry) = self.services.get(name) else { return };
        let (source, ids) = (entry.source.clone(), entry.ids.clone());
        for id in ids {
            self.ids.release(id);
            self.references.remove(&id);
        }
        if let Some(label) = selector_label(&source) {
            remove_from(&mut self.selecting, label, name);
        }
        self.withdraw_claims(&source);
    }

    fn claim(&mut self, service: &Service) {
        for key in keys(service, &self.node) {
            self.claims.entry(key).or_default().insert(service.name.clone());
            self.claims_changed(key);
        }
    }

    fn withdraw_claims(&mut self, service: &Service) {
        for key in keys(service, &self.node) {
            remove_from(&mut self.claims, key, &service.name);
            self.claims_changed(key);
            self.orphans.push(key);
        }
        self.contested.remove(&service.name);
    }

    fn claims_changed(&mut self, key: ServiceKey) {
        let Some(names) = self.claims.get(&key) else { return };
        self.dirty.extend(names.iter().cloned());
        if names.len() > 1 {
            self.contested.extend(names.iter().cloned());
        }
    }

    /// A slice that is shared stays so.
    pub fn set_endpoint_slice<S>(&mut self, slice: &S)
    where
        S: Clone + Into<Arc<EndpointSlice>>,
    {
        let slice: Arc<EndpointSlice> = slice.clone().into();
        if self.slices.get(&slice.name) == Some(&slice) {
            return;
        }
        self.remove_endpoint_slice(&slice.name);
        if let Some(service) = service_of(&slice) {
            self.slices_of.entry(service.clone()).or_default().insert(slice.name.clone());
            self.mark_dirty(service);
        }
        self.slices.insert(slice.name.clone(), slice);
    }

    pub fn remove_endpoint_slice(&mut self, name: &ObjectName) {
        let Some(slice) = self.slices.remove(name) else { return };
        if let Some(service) = service_of(&slice) {
            remove_from(&mut self.slices_of, service.clone(), name);
            self.mark_dirty(service);
        }
    }

    pub fn set_workload(&mut self, workload: WorkloadInput) {
        if self.workloads.get(&workload.name) == Some(&workload) {
            return;
        }
        self.forget_workload(&workload.name);
        for label in labels_of(&workload) {
            self.workloads_with.entry(label).or_default().insert(workload.name.clone());
        }
        self.mark_selecting(&workload);
        self.set_host_ports(&workload);
        self.workloads.insert(workload.name.clone(), workload);
    }

    pub fn remove_workload(&mut self, name: &ObjectName) {
        self.forget_workload(name);
        self.keep_host_ports(name, &BTreeSet::new());
    }

    fn forget_workload(&mut self, name: &ObjectName) {
        let Some(workload) = self.workloads.remove(name) else { return };
        for label in labels_of(&workload) {
            remove_from(&mut self.workloads_with, label, name);
        }
        self.mark_selecting(&workload);
    }

    fn mark_selecting(&mut self, workload: &WorkloadInput) {
        for label in labels_of(workload) {
            let Some(names) = self.selecting.get(&label) else { continue };
            let matching = names.iter().filter(|name| {
                self.services.get(*name).and_then(|entry| selector(&entry.source)).is_some_and(
                    |wanted| wanted.0.iter().all(|(k, v)| workload.labels.value(k) == Some(v)),
                )
            });
            self.dirty.extend(matching.cloned());
        }
    }

    fn mark_dirty(&mut self, service: ObjectName) {
        if self.services.contains_key(&service) {
            self.dirty.insert(service);
        }
    }

    /// What a service id in a table or an event stands for.
    pub fn service(&self, id: u32) -> Option<&ServiceRef> {
        self.references.get(&id)
    }
}

/// An empty selector selects nothing, as if it were missing (Kubernetes, ServiceSpec).
fn selector(service: &Service) -> Option<&Labels> {
    service.selector.as_ref().filter(|labels| !labels.0.is_empty())
}

fn selector_label(service: &Service) -> Option<(Arc<str>, String, String)> {
    // The last label: the first is often one that many share (app.kubernetes.io/...).
    let (key, value) = selector(service)?.0.last_key_value()?;
    Some((service.name.namespace.clone(), key.clone(), value.clone()))
}

fn labels_of(workload: &WorkloadInput) -> Vec<(Arc<str>, String, String)> {
    let namespace = &workload.name.namespace;
    let labels = workload.labels.0.iter();
    labels.map(|(key, value)| (namespace.clone(), key.clone(), value.clone())).collect()
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectName> {
    let name: &str = slice.service.as_ref()?;
    Some(ObjectName::new(slice.name.namespace.clone(), name))
}

fn front_end_key(address: IpAddr, port: u16, protocol: Protocol) -> ServiceKey {
    ServiceKey {
        address: Address::from(address.to_canonical()),
        port: Port::new(port),
        protocol: protocol.number(),
        scope: scope::INSIDE,
    }
}

fn keys(service: &Service, node: &NodeInput) -> Vec<ServiceKey> {
    let ports = service.ports.iter();
    ports.flat_map(|port| front_ends::wanted(service, port, node)).map(|it| it.key).collect()
}

fn remove_from<K: std::hash::Hash + Eq>(
    map: &mut HashMap<K, BTreeSet<ObjectName>>,
    key: K,
    name: &ObjectName,
) {
    if let Some(names) = map.get_mut(&key) {
        names.remove(name);
        if names.is_empty() {
            map.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
