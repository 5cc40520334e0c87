//! Host ports: ports of the node that lead to one workload.
//!
//! Each is served as a service of its own with that workload alone: at the address it names, or at
//! all of the node's. Such a service has a name that no manifest can give: `workload/NAME`, with
//! `@ADDRESS` if it is at that address only. It is no [`Service`] to users, and isn't among them.

use super::{Compiler, WorkloadInput};
use model::{HostPort, ObjectName, Service, ServicePort, TargetPort};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

const PREFIX: &str = "workload/";

fn name_of(workload: &ObjectName, address: Option<IpAddr>) -> ObjectName {
    let at = address.map(|address| format!("@{address}")).unwrap_or_default();
    ObjectName::new(workload.namespace.clone(), format!("{PREFIX}{}{at}", workload.name))
}

/// The workload whose host ports a service of this name stands for.
pub fn workload(service: &ObjectName) -> Option<ObjectName> {
    let name = service.name.strip_prefix(PREFIX)?;
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    Some(ObjectName::new(service.namespace.clone(), name))
}

/// What has the front-ends of a service of this name, for messages to people.
pub(crate) fn title(service: &ObjectName) -> String {
    match workload(service) {
        Some(workload) => format!("host port of workload {workload}"),
        None => format!("service {service}"),
    }
}

impl Compiler {
    /// Gives the workload's host ports their services. One without addresses, as in the node's own
    /// network, needs none.
    pub(super) fn set_host_ports(&mut self, workload: &WorkloadInput) {
        let mut by_address: BTreeMap<Option<IpAddr>, Vec<&HostPort>> = BTreeMap::new();
        for port in &workload.host_ports {
            by_address.entry(port.address).or_default().push(port);
        }
        if workload.addresses.is_empty() {
            by_address.clear();
        }
        let mut wanted = BTreeSet::new();
        for (address, ports) in by_address {
            let service = Service {
                external_ips: address.into_iter().collect(),
                ports: ports.into_iter().map(service_port).collect(),
                ..Service::new(name_of(&workload.name, address), workload.origin.clone())
            };
            wanted.insert(service.name.clone());
            // The workload may have other addresses now, though its ports are the same.
            self.dirty.insert(service.name.clone());
            self.set_service(&Arc::new(service));
        }
        self.keep_host_ports(&workload.name, &wanted);
    }

    /// Removes those of the workload's services that aren't wanted.
    pub(super) fn keep_host_ports(&mut self, workload: &ObjectName, wanted: &BTreeSet<ObjectName>) {
        let first = name_of(workload, None);
        let gone: Vec<ObjectName> = self
            .services
            .range(&first..)
            .map(|(name, _)| name)
            .take_while(|name| {
                name.namespace == first.namespace && name.name.starts_with(&*first.name)
            })
            // Another workload's name may begin with this one's.
            .filter(|name| self::workload(name).as_ref() == Some(workload))
            .filter(|name| !wanted.contains(name))
            .cloned()
            .collect();
        for name in gone {
            self.remove_service(&name);
        }
    }

    /// Services that come of a workload's host ports.
    pub fn services_of_workload(&self, workload: &ObjectName) -> Vec<ObjectName> {
        let ports = self.workloads.get(workload).into_iter().flat_map(|it| &it.host_ports);
        let names: BTreeSet<ObjectName> =
            ports.map(|port| name_of(workload, port.address)).collect();
        names.into_iter().filter(|name| self.services.contains_key(name)).collect()
    }
}

fn service_port(port: &HostPort) -> ServicePort {
    // The number of the port that is asked: at an external address the service's own, at the
    // node's the node port.
    let node_port = port.address.is_none().then_some(port.host_port);
    let name = match port.name.as_str() {
        "" => format!("{}-{}", port.host_port, port.protocol.name().to_ascii_lowercase()),
        name => name.to_owned(),
    };
    ServicePort {
        name,
        protocol: port.protocol,
        port: port.host_port,
        target: TargetPort::Number(port.port),
        node_port,
    }
}
