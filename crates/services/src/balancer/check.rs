//! What health checks are made of VIPs, and what they found.

use super::roles::FULL;
use model::load_balancer::{Backend, HealthCheck, HttpProbe, Probe, Vip};
use std::net::IpAddr;

/// One thing to check. Backends of several VIPs whose checks are the same are checked once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckTarget {
    pub check: HealthCheck,
    pub address: IpAddr,
    /// 0 where the probe has none.
    pub port: u16,
    /// For probes that go through the encapsulation, and scripts.
    pub vip: Option<IpAddr>,
}

impl std::hash::Hash for CheckTarget {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.address, self.port, self.vip).hash(state);
    }
}

impl CheckTarget {
    pub fn of(vip: &Vip, backend: &Backend) -> Option<Self> {
        let check = vip.health_check.as_ref()?;
        let own = vip.ports.first().map_or(0, |range| range.first);
        let serves_on = backend.port.unwrap_or(own);
        let port = match &check.probe {
            Probe::Tcp { port } | Probe::Http(HttpProbe { port, .. }) => port.unwrap_or(serves_on),
            Probe::Icmp => 0,
            Probe::Script { .. } => serves_on,
        };
        let names_vip = check.through_encapsulation || matches!(check.probe, Probe::Script { .. });
        Some(CheckTarget {
            check: check.clone(),
            address: backend.address,
            port,
            vip: names_vip.then(|| vip.block.addr()),
        })
    }

    pub fn all_of(vip: &Vip) -> impl Iterator<Item = Self> {
        vip.backends.iter().filter_map(move |backend| CheckTarget::of(vip, backend))
    }
}

/// What checks say of a backend; one that hasn't been checked is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    pub healthy: bool,
    /// Of its weight, in thousandths.
    pub share: u16,
}

impl Default for Health {
    fn default() -> Self {
        Health { healthy: true, share: FULL }
    }
}
