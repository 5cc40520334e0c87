//! A link between any two namespaces, for example two nodes, with what lies beyond it.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use host::link::{Mac, VethPair};
use host::route::Route;
use host::{NetNamespace, Netlink};
use ipnet::IpNet;

use crate::outside::{LINK_MTU, block_on, wait_for};

/// One end of a link.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    pub netns: &'a NetNamespace,
    pub interface: &'a str,
    pub addresses: [IpAddr; 2],
    /// What is reached by the other end.
    pub beyond: &'a [&'a str],
}

/// Makes the link, which is in use when this returns.
pub fn connect(near: End<'_>, far: End<'_>) -> Result<()> {
    block_on(async {
        let pair = VethPair {
            host_name: near.interface,
            host_mac: Mac::random()?,
            namespace: far.netns,
            name: far.interface,
            mac: Mac::random()?,
            mtu: LINK_MTU,
        };
        Netlink::connect(near.netns)?.create_veth(&pair).await?;
        for end in [near, far] {
            let netlink = Netlink::connect(end.netns)?;
            let index = netlink.link_named(end.interface).await?.context("no such link")?.index;
            for address in end.addresses {
                let length = if address.is_ipv4() { 24 } else { 64 };
                netlink.ensure_address(index, IpNet::new(address, length)?).await?;
            }
            netlink.set_link_up(index).await?;
        }
        Ok(())
    })?;
    for (end, other) in [(near, far), (far, near)] {
        block_on(lead(end, other.addresses))?;
        wait_for(end.netns, other.addresses)?;
    }
    Ok(())
}

async fn lead(end: End<'_>, gateways: [IpAddr; 2]) -> Result<()> {
    let netlink = Netlink::connect(end.netns)?;
    let index = netlink.link_named(end.interface).await?.context("no such link")?.index;
    for destination in end.beyond {
        let destination: IpNet = destination.parse()?;
        let is_v4 = destination.addr().is_ipv4();
        let gateway = gateways.into_iter().find(|gateway| gateway.is_ipv4() == is_v4);
        let gateway = gateway.context("an end without an address of the family")?;
        let route = Route::default_via(index, gateway);
        netlink.ensure_route(&Route { destination, ..route }).await?;
    }
    Ok(())
}
