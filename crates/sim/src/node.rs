//! The node: endpoints with addresses, compiled tables, the objects with their maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bpf_object::Object;
use bpf_vm::{Clock, Engine, Instance, ProgramHandle, Runtime};
use ipnet::{Ipv4Net, Ipv6Net};
use model::{AddressRequest, Model, ObjectName};
use policy::{Change, EndpointInput};
use services::{NodeInput, WorkloadInput};

use crate::{Error, Image};

/// What a real node would be told, or find out.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node_name: String,
    /// Addresses for workloads with `addresses: auto`, given out in the order of names.
    pub pool_v4: Ipv4Net,
    pub pool_v6: Ipv6Net,
    /// Of workloads that have others than those.
    pub addresses: BTreeMap<ObjectName, Vec<IpAddr>>,
    /// The node's own.
    pub host_addresses: Vec<IpAddr>,
    pub engine: Engine,
    /// What chance begins with: the choice of backends.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node_name: "node".to_owned(),
            pool_v4: Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 24),
            pool_v6: Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 0, 0), 64),
            addresses: BTreeMap::new(),
            host_addresses: Vec::new(),
            engine: Engine::Interpreter,
            seed: 1,
        }
    }
}

/// A workload on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub name: ObjectName,
    /// Its number on the node.
    pub id: u32,
    pub addresses: Vec<IpAddr>,
    /// The interface on the host's side.
    pub ifindex: u32,
    pub workload_mac: [u8; 6],
    pub host_mac: [u8; 6],
}

/// A node without a kernel.
#[derive(Debug)]
pub struct Node {
    pub(crate) runtime: Runtime,
    pub(crate) instance: Instance,
    pub(crate) from_endpoint: ProgramHandle,
    pub(crate) to_endpoint: ProgramHandle,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) policy: policy::Compiler,
    pub(crate) services: services::Compiler,
    pub(crate) host_addresses: BTreeSet<IpAddr>,
    pub(crate) service_addresses: BTreeMap<ObjectName, Vec<IpAddr>>,
    image: Image,
}

/// The interfaces' numbers begin here, so that none is the loopback's.
const FIRST_INTERFACE: u32 = 101;
/// Boot was so long ago, in nanoseconds: times of zero mean never.
const BOOT: u64 = 1_000_000_000_000;

impl Node {
    pub fn new(model: &Model, settings: &Settings) -> Result<Self, Error> {
        let endpoints = endpoints(model, settings)?;
        let (mut policy, services) = compile(model, settings, &endpoints)?;
        let image = Image::compile(&endpoints, &mut policy, &services);
        let runtime = Runtime::builder()
            .clock(Clock::Manual(BOOT))
            .seed(settings.seed)
            .engine(settings.engine)
            .build();
        let object = Object::parse(objects::ENDPOINT)
            .map_err(|error| Error::Object { object: "endpoint", reason: error.to_string() })?;
        let instance = runtime.load(&object)?;
        image.fill(&instance)?;
        let service_addresses = model
            .services
            .iter()
            .map(|(name, service)| (name.clone(), service.cluster_ips.clone()))
            .collect();
        Ok(Self {
            from_endpoint: instance.program("from_endpoint")?,
            to_endpoint: instance.program("to_endpoint")?,
            runtime,
            instance,
            endpoints,
            policy,
            services,
            host_addresses: settings.host_addresses.iter().copied().collect(),
            service_addresses,
            image,
        })
    }

    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The endpoint that has an address.
    pub fn endpoint_at(&self, address: IpAddr) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.addresses.contains(&address))
    }

    /// What the maps held at the start.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// For questions about the policies in force.
    pub fn policy_mut(&mut self) -> &mut policy::Compiler {
        &mut self.policy
    }

    pub fn policy(&self) -> &policy::Compiler {
        &self.policy
    }

    pub fn services(&self) -> &services::Compiler {
        &self.services
    }

    /// Lets time pass.
    pub fn advance(&self, nanoseconds: u64) -> Result<(), Error> {
        self.runtime.advance(nanoseconds).map(drop).map_err(|source| {
            Error::Runtime(bpf_vm::RuntimeError::Fault { program: "a timer".to_owned(), source })
        })
    }
}

fn endpoints(model: &Model, settings: &Settings) -> Result<Vec<Endpoint>, Error> {
    let taken: BTreeSet<IpAddr> = model
        .workloads
        .values()
        .filter_map(|workload| match &workload.addresses {
            AddressRequest::Fixed(addresses) => Some(addresses),
            AddressRequest::Auto => settings.addresses.get(&workload.name),
        })
        .flatten()
        .chain(&settings.host_addresses)
        .copied()
        .collect();
    // The first address of a block is the network's, as on a real node.
    let mut v4 = settings.pool_v4.hosts().filter(|address| !taken.contains(&IpAddr::V4(*address)));
    let mut v6 = settings.pool_v6.hosts().skip(1);
    let mut endpoints = Vec::new();
    for (number, workload) in (0u32..).zip(model.workloads.values()) {
        let given = settings.addresses.get(&workload.name);
        let addresses = match (&workload.addresses, given) {
            (AddressRequest::Fixed(addresses), _) | (_, Some(addresses)) => addresses.clone(),
            (AddressRequest::Auto, None) => {
                let none = || Error::Pool(workload.name.to_string());
                let v4 = v4.next().ok_or_else(none)?;
                let v6 = v6
                    .by_ref()
                    .find(|address| !taken.contains(&IpAddr::V6(*address)))
                    .ok_or_else(none)?;
                vec![v4.into(), v6.into()]
            }
        };
        let [_, _, high, low] = number.to_be_bytes();
        endpoints.push(Endpoint {
            name: workload.name.clone(),
            id: number + 1,
            addresses,
            ifindex: FIRST_INTERFACE + number,
            workload_mac: [2, 0x5c, 0xeb, 1, high, low],
            host_mac: [2, 0x5c, 0xeb, 0, high, low],
        });
    }
    Ok(endpoints)
}

fn compile(
    model: &Model,
    settings: &Settings,
    endpoints: &[Endpoint],
) -> Result<(policy::Compiler, services::Compiler), Error> {
    let mut policy = policy::Compiler::new();
    let mut services = services::Compiler::new(services::Capacity::default());
    policy.set_host_addresses(settings.host_addresses.iter().copied());
    services.set_node(NodeInput {
        name: settings.node_name.clone(),
        zone: None,
        addresses: settings.host_addresses.clone(),
    });
    let mut changes = Vec::new();
    for namespace in model.namespaces.keys() {
        let labels = model.namespace_labels(&namespace.name);
        changes.push(Change::SetNamespace(namespace.name.clone(), labels));
    }
    for (workload, endpoint) in model.workloads.values().zip(endpoints) {
        services.set_workload(WorkloadInput {
            name: workload.name.clone(),
            labels: workload.labels.clone(),
            addresses: endpoint.addresses.clone(),
            ports: workload.ports.clone(),
        });
        changes.push(Change::SetEndpoint(EndpointInput {
            name: workload.name.clone(),
            labels: workload.labels.clone(),
            addresses: endpoint.addresses.clone(),
            ports: workload.ports.clone(),
            enforced: true,
        }));
    }
    for policy in model.network_policies.values() {
        changes.push(Change::SetPolicy(policy.as_ref().clone()));
    }
    policy
        .apply_all(changes, &policy::Capacity::default())
        .into_iter()
        .collect::<Result<(), policy::PolicyError>>()?;
    for service in model.services.values() {
        services.set_service(service);
    }
    for slice in model.endpoint_slices.values() {
        services.set_endpoint_slice(slice);
    }
    // Its tables are those after the changes that were taken.
    drop(services.take_changes());
    Ok((policy, services))
}
