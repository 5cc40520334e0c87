//! What a balancer before the nodes asks of each: has it backends of its own?

use super::Compiler;
use model::{ObjectName, Origin, TrafficPolicy};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A service with a port at which the node answers that (`healthCheckNodePort`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    pub service: ObjectName,
    pub origin: Origin,
    pub port: u16,
    /// Endpoints on this node that are ready, by family: IPv4, IPv6.
    pub local: [usize; 2],
}

impl Compiler {
    /// All services with such a port, by name.
    pub fn health_checks(&self) -> Vec<HealthCheck> {
        let services = self.services.values().map(|entry| &entry.source);
        let checked = services.filter_map(|service| {
            let port = service.health_check_port?;
            if service.external_traffic != TrafficPolicy::Local {
                return None;
            }
            let ready: BTreeSet<IpAddr> = service
                .ports
                .iter()
                .flat_map(|port| self.join(service, port))
                .filter(|(_, candidate)| candidate.ready && candidate.is_local(&self.node))
                .map(|(key, _)| key.address)
                .collect();
            let v4 = ready.iter().filter(|address| address.is_ipv4()).count();
            Some(HealthCheck {
                service: service.name.clone(),
                origin: service.origin.clone(),
                port,
                local: [v4, ready.len() - v4],
            })
        });
        checked.collect()
    }
}
