//! Which backends each port of a service has.

use super::front_ends::NodeInput;
use super::{Compiler, WorkloadInput, host_ports, selector};
use crate::backends::BackendKey;
use model::{ObjectName, Protocol, Service, ServicePort, SliceEndpoint, TargetPort};
use std::collections::BTreeMap;

/// Backends that may get traffic, in order.
pub(crate) type Joined = BTreeMap<BackendKey, Candidate>;

/// What speaks for and against a backend.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidate {
    /// The workload of this node that it is, if it is known.
    pub workload: Option<ObjectName>,
    /// Otherwise it ends but still serves.
    pub ready: bool,
    /// A slice says that it can't take connections; it is no backend, whoever else names it.
    refused: bool,
    pub node: Option<String>,
    pub zone: Option<String>,
    pub for_zones: Vec<String>,
    pub for_nodes: Vec<String>,
}

impl Candidate {
    pub fn is_local(&self, node: &NodeInput) -> bool {
        self.workload.is_some() || self.node.as_ref() == Some(&node.name)
    }
}

impl Compiler {
    /// Backends of both families.
    pub(crate) fn join(&self, service: &Service, port: &ServicePort) -> Joined {
        let mut joined = Joined::new();
        self.join_slices(service, port, &mut joined);
        self.join_workloads(service, port, &mut joined);
        joined.retain(|_, candidate| !candidate.refused);
        joined
    }

    fn join_workloads(&self, service: &Service, port: &ServicePort, joined: &mut Joined) {
        if let Some(name) = host_ports::workload(&service.name) {
            self.join_workload(self.workloads.get(&name), port, joined);
            return;
        }
        let Some(wanted) = selector(service) else { return };
        let sets = wanted.0.iter().map(|(key, value)| {
            let label = (service.name.namespace.clone(), key.clone(), value.clone());
            self.workloads_with.get(&label)
        });
        // The smallest set; none if a label is nobody's.
        let Some(sets) = sets.collect::<Option<Vec<_>>>() else { return };
        let Some(names) = sets.into_iter().min_by_key(|names| names.len()) else { return };
        for workload in names.iter().filter_map(|name| self.workloads.get(name)) {
            if !wanted.0.iter().all(|(key, value)| workload.labels.value(key) == Some(value)) {
                continue;
            }
            self.join_workload(Some(workload), port, joined);
        }
    }

    fn join_workload(
        &self,
        workload: Option<&WorkloadInput>,
        port: &ServicePort,
        joined: &mut Joined,
    ) {
        let Some(workload) = workload else { return };
        let number = match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => workload
                .ports
                .iter()
                .find(|named| named.name == *name && named.protocol == port.protocol)
                .map(|named| named.port),
        };
        let Some(number) = number else { return };
        for address in &workload.addresses {
            let key = backend(*address, number, port.protocol);
            // What a slice says of it holds still.
            let known = joined
                .entry(key)
                .or_insert_with(|| Candidate { ready: true, ..Candidate::default() });
            known.workload = Some(workload.name.clone());
        }
    }

    fn join_slices(&self, service: &Service, port: &ServicePort, joined: &mut Joined) {
        let Some(names) = self.slices_of.get(&service.name) else { return };
        for slice in names.iter().filter_map(|name| self.slices.get(name)) {
            let ports = slice
                .ports
                .iter()
                .filter(|slice| slice.name == port.name && slice.protocol == port.protocol);
            for number in ports.map(|port| port.port) {
                for endpoint in &slice.endpoints {
                    let candidate = candidate(endpoint, service.publish_not_ready);
                    let key = backend(endpoint.address, number, port.protocol);
                    // An address may be in two slices while it moves: ready in one is ready.
                    let known = joined.entry(key).or_insert_with(|| candidate.clone());
                    if candidate.ready || (known.refused && !candidate.refused) {
                        *known = candidate;
                    }
                }
            }
        }
    }
}

fn candidate(endpoint: &SliceEndpoint, publish_not_ready: bool) -> Candidate {
    let ready = endpoint.ready || publish_not_ready;
    Candidate {
        workload: None,
        ready,
        refused: !(ready || endpoint.serving && endpoint.terminating),
        node: endpoint.node.clone(),
        zone: endpoint.zone.clone(),
        for_zones: endpoint.for_zones.clone(),
        for_nodes: endpoint.for_nodes.clone(),
    }
}

fn backend(address: std::net::IpAddr, port: u16, protocol: Protocol) -> BackendKey {
    BackendKey { address: address.to_canonical(), port, protocol: protocol.number() }
}
