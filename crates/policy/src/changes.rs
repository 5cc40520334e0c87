//! What comes out of the compiler: images of the kernel's tables, and what to change in them.

use crate::record::Record;
use abi::endpoint::{AddressInfo, AddressKey};
use abi::policy::{PeerKey, PortKey, Rule};
use model::ObjectName;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// What the maps `addresses`, `peers` and `ports` should hold, and each endpoint's part of map
/// `endpoints`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    pub addresses: HashMap<AddressKey, AddressInfo>,
    pub peers: HashMap<PeerKey, u32>,
    pub ports: HashMap<PortKey, Rule>,
    pub endpoints: BTreeMap<ObjectName, EndpointPolicy>,
}

/// What map `endpoints` has to say of an endpoint's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPolicy {
    pub identity: u32,
    /// Addresses may be in different CIDR blocks, so each has its own peer.
    pub peers: BTreeMap<IpAddr, u32>,
    /// Rule sets; 0 where nothing restricts.
    pub ingress: u32,
    pub egress: u32,
}

/// What to change since the last time, in the order of the fields: first `remember` (store), then
/// the additions, then the flips, then the policy epoch, and the removals last.
///
/// Between any two writes the tables give either the old or the new verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub remember: Vec<Record>,
    pub add_ports: Vec<(PortKey, Rule)>,
    pub add_peers: Vec<(PeerKey, u32)>,
    /// New or changed.
    pub set_addresses: Vec<(AddressKey, AddressInfo)>,
    pub set_endpoints: Vec<(ObjectName, EndpointPolicy)>,
    pub remove_endpoints: Vec<ObjectName>,
    pub remove_addresses: Vec<AddressKey>,
    pub remove_peers: Vec<PeerKey>,
    pub remove_ports: Vec<PortKey>,
    /// Keys of records.
    pub forget: Vec<String>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

/// Entries that tables need. While a change is under way both old and new are held; that most is
/// what is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub addresses: usize,
    pub peers: usize,
    pub ports: usize,
}

/// Entries that the maps can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub addresses: usize,
    pub peers: usize,
    pub ports: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        use abi::maps::capacity;
        Capacity {
            addresses: capacity::ADDRESSES as usize,
            peers: capacity::PEERS as usize,
            ports: capacity::PORTS as usize,
        }
    }
}
