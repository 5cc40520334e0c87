//! Workloads for tests: applied to the agent, each with a probe that serves ports.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::manifest::{Labels, labels};
use crate::probe::{Probe, Target, Transport};
use crate::{Node, Workload};

/// What [`Pod::apply`] makes. Its label is `app=NAME` without a number at the end, so that `web-1`
/// and `web-2` are both `app=web`.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    /// Served over TCP and UDP.
    pub ports: &'a [u16],
    /// Whether the agent is told of its cgroup, so that sockets in it are translated. Otherwise
    /// packets are.
    pub sockets: bool,
}

#[derive(Debug)]
pub struct Pod {
    pub workload: Workload,
    pub probe: Probe,
    pub v4: IpAddr,
    pub v6: IpAddr,
    /// As it was applied.
    pub manifest: Value,
}

impl Pod {
    /// Makes the pods, applies them in one go, with addresses of the node's pools, and returns them
    /// in their order.
    pub fn apply<const N: usize>(node: &Node, plans: [Plan<'_>; N]) -> Result<[Self; N]> {
        let mut made = Vec::new();
        for plan in &plans {
            let workload = node.workload(plan.namespace, plan.name)?;
            let name = workload.full_name();
            let mut probe = Probe::start(&node.binaries().probe, &workload.place, &name)?;
            for port in plan.ports {
                probe.serve(Transport::Tcp, *port)?;
                probe.serve(Transport::Udp, *port)?;
            }
            let mut manifest = workload.manifest(&label(plan.name), &[], &[]);
            if !plan.sockets
                && let Some(runs) = manifest["spec"]["runs"].as_object_mut()
            {
                runs.remove("cgroup");
            }
            made.push((workload, probe, manifest));
        }
        let manifests: Vec<Value> = made.iter().map(|(_, _, manifest)| manifest.clone()).collect();
        node.skep().apply(&manifests)?;
        let endpoints = node.skep().json(&["endpoint", "list"])?;
        let mut pods = Vec::new();
        for (workload, probe, manifest) in made {
            let addresses = addresses(&endpoints, &workload).unwrap_or_default();
            let of_family = |v4: bool| {
                let found = addresses.iter().copied().find(|address| address.is_ipv4() == v4);
                found.with_context(|| format!("{} in {endpoints}", workload.full_name()))
            };
            let (v4, v6) = (of_family(true)?, of_family(false)?);
            pods.push(Self { workload, probe, v4, v6, manifest });
        }
        pods.try_into().ok().context("as many pods as plans")
    }

    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4, self.v6]
    }

    pub fn tcp(&self, port: u16) -> [Target; 2] {
        self.addresses().map(|address| Target::new(Transport::Tcp, address, port))
    }

    pub fn udp(&self, port: u16) -> [Target; 2] {
        self.addresses().map(|address| Target::new(Transport::Udp, address, port))
    }
}

fn label(name: &str) -> Labels {
    let app = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
    labels([("app", app)])
}

fn addresses(endpoints: &Value, workload: &Workload) -> Option<Vec<IpAddr>> {
    let own = |endpoint: &&Value| {
        endpoint["workload"] == workload.name && endpoint["namespace"] == workload.namespace
    };
    let endpoint = endpoints.as_array()?.iter().find(own)?;
    let addresses = endpoint["addresses"].as_array()?;
    Some(addresses.iter().filter_map(|address| address.as_str()?.parse().ok()).collect())
}
