//! Which backends each port of a service has.

use super::{Compiler, selector};
use crate::backends::BackendKey;
use model::{ObjectName, Protocol, Service, ServicePort, TargetPort};
use std::collections::BTreeMap;

/// Backends with the workload that each belongs to, if it is known; in order.
pub(crate) type Joined = BTreeMap<BackendKey, Option<ObjectName>>;

impl Compiler {
    /// Backends of both families.
    pub(crate) fn join(&self, service: &Service, port: &ServicePort) -> Joined {
        let mut joined = Joined::new();
        self.join_slices(service, port, &mut joined);
        self.join_workloads(service, port, &mut joined);
        joined
    }

    fn join_workloads(&self, service: &Service, port: &ServicePort, joined: &mut Joined) {
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
            let numbers: Vec<u16> = match &port.target {
                TargetPort::Number(number) => vec![*number],
                TargetPort::Name(name) => workload
                    .ports
                    .iter()
                    .filter(|named| named.name == *name && named.protocol == port.protocol)
                    .map(|named| named.port)
                    .take(1)
                    .collect(),
            };
            for number in numbers {
                for address in &workload.addresses {
                    let key = backend(*address, number, port.protocol);
                    joined.insert(key, Some(workload.name.clone()));
                }
            }
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
                for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
                    joined.insert(backend(endpoint.address, number, port.protocol), None);
                }
            }
        }
    }
}

fn backend(address: std::net::IpAddr, port: u16, protocol: Protocol) -> BackendKey {
    BackendKey { address: address.to_canonical(), port, protocol: protocol.number() }
}
