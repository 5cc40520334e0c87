//! Map `endpoints`: one row per address of each endpoint that has an interface.

use crate::endpoints::{Endpoint, Endpoints};
use abi::Address;
use abi::endpoint::{Endpoint as Row, flags};
use bpf_kernel::{Error, Table};
use model::ObjectName;
use policy::EndpointPolicy;
use std::collections::HashMap;
use std::net::IpAddr;
use tables::Difference;

/// What the map holds, by workload.
#[derive(Debug, Default)]
pub struct EndpointRows {
    held: HashMap<Address, Row>,
}

impl EndpointRows {
    /// Takes over what an earlier agent wrote.
    pub fn adopt(table: &Table<Address, Row>) -> Result<Self, Error> {
        Ok(EndpointRows { held: table.entries()?.into_iter().collect() })
    }

    /// The rows that should be there.
    pub fn wanted(
        endpoints: &Endpoints,
        mut policy_of: impl FnMut(&ObjectName) -> Option<EndpointPolicy>,
    ) -> HashMap<Address, Row> {
        let rows = endpoints
            .iter()
            .filter_map(|endpoint| Some(rows_of(endpoint, &policy_of(&endpoint.workload.name)?)));
        rows.flatten().collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, Row)> {
        self.held.iter().map(|(address, row)| (IpAddr::from(*address), *row))
    }

    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// What brings the map to these rows.
    pub fn difference(&self, wanted: HashMap<Address, Row>) -> Difference<Address, Row> {
        Difference::between(self.held.iter().map(|(key, row)| (*key, *row)).collect(), wanted)
    }

    /// It was written.
    pub fn note(&mut self, written: &Difference<Address, Row>) {
        for address in &written.remove {
            self.held.remove(address);
        }
        self.held.extend(written.set.iter().copied());
    }
}

fn rows_of(endpoint: &Endpoint, policy: &EndpointPolicy) -> Vec<(Address, Row)> {
    let Some(interface) = &endpoint.interface else { return Vec::new() };
    let row = |peer: u32| Row {
        id: endpoint.id,
        ifindex: interface.host_index,
        identity: policy.identity,
        peer,
        ingress: policy.ingress,
        egress: policy.egress,
        workload_mac: interface.workload_mac.0,
        host_mac: interface.host_mac.0,
        // Made or adopted, it is a veth whose other end is in the workload's namespace.
        flags: flags::REDIRECT_PEER,
    };
    let addresses = endpoint.addresses.iter().filter_map(|address| {
        policy.peers.get(address).map(|peer| (Address::from(*address), row(*peer)))
    });
    addresses.collect()
}
