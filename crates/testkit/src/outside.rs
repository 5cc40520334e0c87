//! What a node is connected to: namespaces behind interfaces of its own.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use host::link::{Mac, VethPair};
use host::route::Route;
use host::{NetNamespace, Netlink};
use ipnet::IpNet;

use crate::{Node, Workload};

/// A machine on a link of its own to the node, which is its router.
#[derive(Debug)]
pub struct Neighbour {
    /// Its namespace and cgroup; no workload for the agent.
    pub machine: Workload,
    /// The node's interface to it, `outN`, and the node's addresses there.
    pub interface: String,
    pub router: [IpAddr; 2],
    pub addresses: [IpAddr; 2],
}

const LINK_MTU: u32 = 1500;

impl Neighbour {
    /// `link` tells links of one node apart; interface and addresses follow from it.
    pub fn connect(node: &Node, name: &str, link: u8) -> Result<Self> {
        let machine = node.workload("outside", name)?;
        let interface = format!("out{link}");
        let v4 = |host| IpAddr::from(Ipv4Addr::new(198, 18, link, host));
        let v6 = |host| IpAddr::from(Ipv6Addr::new(0x2001, 0x2, 0, link.into(), 0, 0, 0, host));
        let (router, addresses) = ([v4(1), v6(1)], [v4(2), v6(2)]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let near = Netlink::connect(&node.place().netns)?;
            let far = Netlink::connect(&machine.place.netns)?;
            near.create_veth(&VethPair {
                host_name: &interface,
                host_mac: Mac::random()?,
                namespace: &machine.place.netns,
                name: "eth0",
                mac: Mac::random()?,
                mtu: LINK_MTU,
            })
            .await?;
            let near_link = near.link_named(&interface).await?.context("no near side")?.index;
            let far_link = far.link_named("eth0").await?.context("no far side")?.index;
            for (netlink, link, own) in [(&near, near_link, router), (&far, far_link, addresses)] {
                for address in own {
                    let length = if address.is_ipv4() { 24 } else { 64 };
                    netlink.ensure_address(link, IpNet::new(address, length)?).await?;
                }
                netlink.set_link_up(link).await?;
            }
            for gateway in router {
                far.ensure_route(&Route::default_via(far_link, gateway)).await?;
            }
            anyhow::Ok(())
        })?;
        wait_for(&machine.place.netns, router)?;
        Ok(Self { machine, interface, router, addresses })
    }
}

/// The kernel takes a link into use some time after it has been set up, on a loaded machine more than
/// a second. Until then nobody is found at its IPv6 addresses.
fn wait_for(namespace: &NetNamespace, router: [IpAddr; 2]) -> Result<()> {
    const DISCARD: u16 = 9;
    const PATIENCE: Duration = Duration::from_secs(20);
    namespace.run(move || {
        for address in router {
            let started = Instant::now();
            loop {
                let target = SocketAddr::new(address, DISCARD);
                match TcpStream::connect_timeout(&target, Duration::from_secs(1)) {
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => break,
                    other => ensure!(started.elapsed() < PATIENCE, "{target}: {other:?}"),
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    })?
}
