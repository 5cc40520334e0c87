//! The kernel's maps, typed.

use crate::kernel_maps::Named;
use abi::conntrack::{Connection, FlowKey};
use abi::endpoint::{AddressInfo, AddressKey, Device, Endpoint};
use abi::metrics::Metric;
use abi::policy::{PeerKey, PortKey, Rule};
use abi::service::{Backend, MemberKey, Present, RingBlock, Service, ServiceKey, SourceRangeKey};
use abi::state::State;
use abi::{Address, maps};
use bpf_kernel::{Error, Map, PerCpu, Table};
use std::path::Path;

/// The maps that the datapath reads or writes, opened through their pins.
#[derive(Debug)]
pub struct Tables {
    pub state: Table<u32, State>,
    pub endpoints: Table<Address, Endpoint>,
    pub addresses: Table<AddressKey, AddressInfo>,
    pub peers: Table<PeerKey, u32>,
    pub ports: Table<PortKey, Rule>,
    pub services: Table<ServiceKey, Service>,
    pub ring: Table<u32, RingBlock>,
    pub backends: Table<u32, Backend>,
    pub members: Table<MemberKey, Present>,
    pub source_ranges: Table<SourceRangeKey, Present>,
    pub devices: Table<u32, Device>,
    pub conntrack: Table<FlowKey, Connection>,
    pub metrics: PerCpu<u32, Metric>,
    pub events: Map,
}

impl Tables {
    /// Opens the pins in `dir`; all are there once the objects have been loaded.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Ok(Tables {
            state: Table::open(&dir.join(maps::STATE))?,
            endpoints: Table::open(&dir.join(maps::ENDPOINTS))?,
            addresses: Table::open(&dir.join(maps::ADDRESSES))?,
            peers: Table::open(&dir.join(maps::PEERS))?,
            ports: Table::open(&dir.join(maps::PORTS))?,
            services: Table::open(&dir.join(maps::SERVICES))?,
            ring: Table::open(&dir.join(maps::RING))?,
            backends: Table::open(&dir.join(maps::BACKENDS))?,
            members: Table::open(&dir.join(maps::MEMBERS))?,
            source_ranges: Table::open(&dir.join(maps::SOURCE_RANGES))?,
            devices: Table::open(&dir.join(maps::DEVICES))?,
            conntrack: Table::open(&dir.join(maps::CONNTRACK))?,
            metrics: PerCpu::open(&dir.join(maps::METRICS))?,
            events: Map::open(&dir.join(maps::EVENTS))?,
        })
    }
}

impl Named for Tables {
    fn map(&self, name: &'static str) -> Result<&Map, Error> {
        Ok(match name {
            maps::STATE => self.state.map(),
            maps::ENDPOINTS => self.endpoints.map(),
            maps::ADDRESSES => self.addresses.map(),
            maps::PEERS => self.peers.map(),
            maps::PORTS => self.ports.map(),
            maps::SERVICES => self.services.map(),
            maps::RING => self.ring.map(),
            maps::BACKENDS => self.backends.map(),
            maps::MEMBERS => self.members.map(),
            maps::SOURCE_RANGES => self.source_ranges.map(),
            maps::DEVICES => self.devices.map(),
            maps::CONNTRACK => self.conntrack.map(),
            maps::METRICS => self.metrics.map(),
            maps::EVENTS => &self.events,
            _ => return Err(Error::NotPinned { path: name.into() }),
        })
    }
}
