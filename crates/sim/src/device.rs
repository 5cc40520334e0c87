//! The node's own interfaces, by which it reaches the outside.

use std::net::IpAddr;

use abi::Address;
use abi::endpoint::Device as Row;
use bpf_vm::{Interface, Neighbour, Route, World};
use ipnet::IpNet;

use crate::node::Endpoint;

/// An interface as a real node would have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    pub name: String,
    /// The node's addresses there. What lies in their networks is reached by it, all else by the
    /// first interface.
    pub addresses: Vec<IpNet>,
}

/// An interface of the simulated node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    pub ifindex: u32,
    pub mac: [u8; 6],
    pub addresses: Vec<IpNet>,
}

/// Whoever is next on the way out.
pub const GATEWAY: [u8; 6] = [2, 0x5c, 0xeb, 0xff, 0, 1];
/// The devices' numbers begin here, below those of endpoints.
const FIRST: u32 = 11;
const MTU: u32 = 1500;

impl Device {
    pub(crate) fn all(settings: &[Outside], host: &[IpAddr]) -> Vec<Self> {
        let only = Outside {
            name: "outside".to_owned(),
            addresses: host.iter().map(|address| IpNet::from(*address)).collect(),
        };
        let settings = if settings.is_empty() { std::slice::from_ref(&only) } else { settings };
        let device = |(number, outside): (u8, &Outside)| Self {
            name: outside.name.clone(),
            ifindex: FIRST + u32::from(number),
            mac: [2, 0x5c, 0xeb, 0xfe, 0, number],
            addresses: outside.addresses.clone(),
        };
        (0..90).zip(settings).map(device).collect()
    }

    /// What map `devices` says of it.
    pub(crate) fn row(&self) -> Row {
        let mut row = Row { v4: Address::NONE, v6: Address::NONE, mtu: 1500, flags: 0 };
        for network in &self.addresses {
            match network.addr() {
                IpAddr::V4(ip) if row.v4 == Address::NONE => {
                    row.v4 = Address::from_v4(ip.octets());
                }
                IpAddr::V6(ip) if row.v6 == Address::NONE => {
                    row.v6 = Address::from_v6(ip.octets());
                }
                _ => {}
            }
        }
        row
    }
}

/// The device by which an address outside is reached.
pub(crate) fn towards(devices: &[Device], to: IpAddr) -> usize {
    let covering = |device: &Device| {
        let covering = device.addresses.iter().filter(|network| network.contains(&to));
        covering.map(IpNet::prefix_len).max()
    };
    let best = devices.iter().enumerate().filter_map(|(at, d)| Some((covering(d)?, at)));
    best.max_by_key(|(prefix, at)| (*prefix, usize::MAX - at)).map_or(0, |(_, at)| at)
}

/// Routes, interfaces and neighbours, as programs may ask for them.
pub(crate) fn world(devices: &[Device], endpoints: &[Endpoint]) -> World {
    let mut world = World { forwarding: true, ..World::default() };
    for endpoint in endpoints {
        let Endpoint { ifindex, host_mac, workload_mac, .. } = *endpoint;
        world.interfaces.push(Interface { ifindex, mac: host_mac, mtu: MTU });
        for address in &endpoint.addresses {
            let length = if address.is_ipv4() { 32 } else { 128 };
            world.routes.push(Route::unicast(*address, length, ifindex));
            world.neighbours.push(Neighbour { address: *address, ifindex, mac: workload_mac });
        }
    }
    for device in devices {
        let Device { ifindex, mac, .. } = *device;
        world.interfaces.push(Interface { ifindex, mac, mtu: MTU });
        for network in &device.addresses {
            world.routes.push(Route::unicast(network.network(), network.prefix_len(), ifindex));
        }
    }
    if let Some(first) = devices.first() {
        for any in [IpNet::from(IpAddr::from([0u8; 4])), IpNet::from(IpAddr::from([0u8; 16]))] {
            world.routes.push(Route::unicast(any.addr(), 0, first.ifindex));
        }
    }
    world
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_narrowest_network_or_the_first() {
        let outside = |name: &str, address: &str| Outside {
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
        };
        let settings = [outside("a", "192.0.2.1/24"), outside("b", "198.51.100.1/24")];
        let devices = Device::all(&settings, &[]);
        let check = |to: &str, expected: usize| {
            assert_eq!(towards(&devices, to.parse().unwrap()), expected, "{to}");
        };
        check("192.0.2.7", 0);
        check("198.51.100.7", 1);
        check("203.0.113.7", 0);
        check("2001:db8::1", 0);
        assert_eq!(Device::all(&[], &["192.0.2.1".parse().unwrap()])[0].name, "outside");
    }
}
