//! The node: endpoints with addresses, compiled tables, the objects with their maps.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use abi::endpoint::{Endpoint as Row, flags};
use abi::state::{State, Timeouts, state_flags};
use abi::{Address, maps};
use bpf_object::Object;
use bpf_vm::{Clock, Engine, Instance, ProgramHandle, Runtime};
use ipnet::{Ipv4Net, Ipv6Net};
use model::{AddressRequest, Model, ObjectName};
use policy::{Change, EndpointInput};
use services::{NodeInput, WorkloadInput};
use tables::{Maps, node};

use crate::balancer::Balancer;
use crate::device::{self, Device, Outside};
use crate::socket::Sockets;
use crate::vm_maps::VmMaps;
use crate::{BOOT, Error};

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
    /// Its interfaces, whose addresses are its own, too. Without any there is one, `outside`, with
    /// the addresses above.
    pub devices: Vec<Outside>,
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
            devices: Vec::new(),
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
    pub(crate) from_outside: ProgramHandle,
    pub(crate) to_outside: ProgramHandle,
    pub(crate) sockets: Sockets,
    balancer: Option<Balancer>,
    pub(crate) devices: Vec<Device>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) policy: policy::Compiler,
    pub(crate) services: services::Compiler,
    pub(crate) host_addresses: BTreeSet<IpAddr>,
    pub(crate) service_addresses: BTreeMap<ObjectName, Vec<IpAddr>>,
}

/// The interfaces' numbers begin here, so that none is the loopback's.
const FIRST_INTERFACE: u32 = 101;

impl Node {
    pub fn new(model: &Model, settings: &Settings) -> Result<Self, Error> {
        let devices = Device::all(&settings.devices, &settings.host_addresses);
        let mut settings = settings.clone();
        for address in devices.iter().flat_map(|device| &device.addresses) {
            if !settings.host_addresses.contains(&address.addr()) {
                settings.host_addresses.push(address.addr());
            }
        }
        let settings = &settings;
        let endpoints = endpoints(model, settings)?;
        let (mut policy, services) = compile(model, settings, &endpoints)?;
        let runtime = Runtime::builder()
            .clock(Clock::Manual(BOOT))
            .seed(settings.seed)
            .engine(settings.engine)
            .world(device::world(&devices, &endpoints))
            .build();
        let object = Object::parse(objects::ENDPOINT)
            .map_err(|error| Error::Object { object: "endpoint", reason: error.to_string() })?;
        let instance = runtime.load(&object)?;
        fill(&endpoints, &devices, &mut policy, &services, &VmMaps(&instance))?;
        let service_addresses = model
            .services
            .iter()
            .map(|(name, service)| (name.clone(), service.cluster_ips.clone()))
            .collect();
        Ok(Self {
            from_endpoint: instance.program("from_endpoint")?,
            to_endpoint: instance.program("to_endpoint")?,
            from_outside: instance.program("from_outside")?,
            to_outside: instance.program("to_outside")?,
            sockets: Sockets::load(&runtime, &instance)?,
            balancer: balancer(model, settings, &devices, &endpoints)?,
            runtime,
            instance,
            endpoints,
            devices,
            policy,
            services,
            host_addresses: settings.host_addresses.iter().copied().collect(),
            service_addresses,
        })
    }

    /// Fills somebody else's maps with the same tables.
    pub fn fill<M: Maps>(&mut self, to: &M) -> Result<(), M::Error> {
        fill(&self.endpoints, &self.devices, &mut self.policy, &self.services, to)
    }

    /// The node's own interfaces.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The device by which an address outside is reached, and by which its packets come.
    pub fn device_towards(&self, address: IpAddr) -> usize {
        device::towards(&self.devices, address)
    }

    /// Whether an address is the node's own.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.host_addresses.contains(&address)
    }

    /// The edge balancer's programs, if the manifests have load balancers.
    pub fn balancer(&self) -> Option<&Balancer> {
        self.balancer.as_ref()
    }

    pub(crate) fn balancer_at(&self, device: usize) -> Option<&Balancer> {
        let name = &self.devices.get(device)?.name;
        self.balancer.as_ref().filter(|balancer| balancer.is_at(name))
    }

    /// Whether the node's own interfaces have programs: while a service is open to the outside.
    pub(crate) fn serves_outside(&self) -> bool {
        self.services.serves_outside()
    }

    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The endpoint that has an address.
    pub fn endpoint_at(&self, address: IpAddr) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.addresses.contains(&address))
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
        let balancer = self.balancer.as_ref().map(Balancer::runtime);
        for runtime in [&self.runtime].into_iter().chain(balancer) {
            runtime.advance(nanoseconds).map(drop).map_err(|source| {
                let program = "a timer".to_owned();
                Error::Runtime(bpf_vm::RuntimeError::Fault { program, source })
            })?;
        }
        Ok(())
    }
}

/// As the agent's first commit leaves the maps.
fn fill<M: Maps>(
    endpoints: &[Endpoint],
    devices: &[Device],
    policy: &mut policy::Compiler,
    services: &services::Compiler,
    to: &M,
) -> Result<(), M::Error> {
    let tables = policy.tables();
    let rows: HashMap<Address, Row> = endpoints
        .iter()
        .filter_map(|endpoint| Some((endpoint, tables.endpoints.get(&endpoint.name)?)))
        .flat_map(|(endpoint, policy)| {
            let row = |peer: u32| Row {
                id: endpoint.id,
                ifindex: endpoint.ifindex,
                identity: policy.identity,
                peer,
                ingress: policy.ingress,
                egress: policy.egress,
                workload_mac: endpoint.workload_mac,
                host_mac: endpoint.host_mac,
                flags: flags::REDIRECT_PEER,
            };
            endpoint.addresses.iter().filter_map(move |address| {
                Some((Address::from(*address), row(*policy.peers.get(address)?)))
            })
        })
        .collect();
    let state = State {
        abi_version: abi::ABI_VERSION,
        policy_epoch: 1,
        flags: state_flags::REDIRECT_PEER,
        // Every event is to be seen.
        flow_events_per_second: 0,
        drop_events_per_second: 0,
        timeouts: Timeouts::DEFAULT,
        zero: 0,
    };
    let differences = node::Differences::find(to, tables, services.tables(), rows)?;
    node::write(to, &differences.changes(Some(&state)))?;
    let rows = devices.iter().map(|device| (device.ifindex, device.row()));
    let rows: Vec<_> = rows.filter(|_| services.serves_outside()).collect();
    to.insert_all(maps::DEVICES, &rows)
}

/// Flows that the edge balancer's table takes.
const FLOWS: u32 = 65_536;

fn balancer(
    model: &Model,
    settings: &Settings,
    devices: &[Device],
    endpoints: &[Endpoint],
) -> Result<Option<Balancer>, Error> {
    if model.load_balancers.is_empty() {
        return Ok(None);
    }
    let mut balancer = Balancer::load(None, FLOWS, settings.engine, settings.seed)?;
    balancer.runtime().set_world(device::world(devices, endpoints));
    balancer.apply(model.load_balancers.values().cloned()).map_err(Error::LoadBalancer)?;
    Ok(Some(balancer))
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
        ..NodeInput::default()
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
            host_ports: workload.host_ports.clone(),
            origin: workload.origin.clone(),
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
