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

impl Neighbour {
    /// `link` tells links of one node apart; interface and addresses follow from it.
    pub fn connect(node: &Node, name: &str, link: u8) -> Result<Self> {
        let machine = node.workload("outside", name)?;
        let link = Link::lay(&node.place().netns, &machine.place.netns, link)?;
        link.wait()?;
        Ok(Self::at(machine, link))
    }

    /// Many at once, on links from `first` on. They and the node know each other's hardware addresses
    /// from the beginning.
    pub fn connect_all(node: &Node, names: &[String], first: u8) -> Result<Vec<Self>> {
        let mut laid = Vec::new();
        for (name, number) in names.iter().zip(first..) {
            let machine = node.workload("outside", name)?;
            let link = Link::lay(&node.place().netns, &machine.place.netns, number)?;
            link.introduce()?;
            laid.push((machine, link));
        }
        ensure!(laid.len() == names.len(), "there are fewer links than {} names", names.len());
        laid.into_iter()
            .map(|(machine, link)| {
                link.wait()?;
                Ok(Self::at(machine, link))
            })
            .collect()
    }

    fn at(machine: Workload, link: Link) -> Self {
        let Link { interface, router, addresses, .. } = link;
        Self { machine, interface, router, addresses }
    }
}

/// Two namespaces with a veth pair between them. The far one's name of it is `eth0`, and it sends
/// everything there.
#[derive(Clone, Debug)]
pub struct Link {
    near: NetNamespace,
    far: NetNamespace,
    /// `outN`, in the near namespace.
    pub interface: String,
    /// Addresses of the near end.
    pub router: [IpAddr; 2],
    /// Addresses of the far end.
    pub addresses: [IpAddr; 2],
    /// Of the near and of the far end.
    macs: [Mac; 2],
    indices: [u32; 2],
}

impl Link {
    /// `number` tells links of one near namespace apart.
    pub fn lay(near: &NetNamespace, far: &NetNamespace, number: u8) -> Result<Self> {
        let interface = format!("out{number}");
        let v4 = |host| IpAddr::from(Ipv4Addr::new(198, 18, number, host));
        let v6 = |host| IpAddr::from(Ipv6Addr::new(0x2001, 0x2, 0, number.into(), 0, 0, 0, host));
        let (router, addresses) = ([v4(1), v6(1)], [v4(2), v6(2)]);
        let macs = [Mac::random()?, Mac::random()?];
        let indices = block_on(async {
            let near_end = Netlink::connect(near)?;
            let far_end = Netlink::connect(far)?;
            near_end
                .create_veth(&VethPair {
                    host_name: &interface,
                    host_mac: macs[0],
                    namespace: far,
                    name: "eth0",
                    mac: macs[1],
                    mtu: LINK_MTU,
                })
                .await?;
            let near_link = near_end.link_named(&interface).await?.context("no near side")?.index;
            let far_link = far_end.link_named("eth0").await?.context("no far side")?.index;
            for (netlink, link, own) in
                [(&near_end, near_link, router), (&far_end, far_link, addresses)]
            {
                for address in own {
                    let length = if address.is_ipv4() { 24 } else { 64 };
                    netlink.ensure_address(link, IpNet::new(address, length)?).await?;
                }
                netlink.set_link_up(link).await?;
            }
            for gateway in router {
                far_end.ensure_route(&Route::default_via(far_link, gateway)).await?;
            }
            Ok([near_link, far_link])
        })?;
        let (near, far) = (near.clone(), far.clone());
        Ok(Self { near, far, interface, router, addresses, macs, indices })
    }

    /// Each end knows the other's hardware address without asking.
    pub fn introduce(&self) -> Result<()> {
        block_on(async {
            let ends = [(&self.near, 0, self.addresses), (&self.far, 1, self.router)];
            for (namespace, own, others) in ends {
                let netlink = Netlink::connect(namespace)?;
                for address in others {
                    let (interface, mac) = (self.indices[own], self.macs[1 - own]);
                    let neighbour = host::neighbour::Neighbour { interface, address, mac };
                    netlink.ensure_neighbour(&neighbour).await?;
                }
            }
            Ok(())
        })
    }

    /// From now on the near end sends what is for the destination to the far end.
    pub fn lead(&self, destination: IpAddr) -> Result<()> {
        let family = usize::from(destination.is_ipv6());
        let route = Route {
            interface: self.indices[0],
            destination: IpNet::from(destination),
            gateway: Some(self.addresses[family]),
            ours: true,
        };
        block_on(async {
            Netlink::connect(&self.near)?.ensure_route(&route).await?;
            Ok(())
        })
    }

    /// Until the link is in use.
    pub fn wait(&self) -> Result<()> {
        wait_for(&self.far, self.router)
    }

    /// The near end's hardware address, which is the far end's next hop.
    pub fn router_mac(&self) -> Mac {
        self.macs[0]
    }
}

pub(crate) const LINK_MTU: u32 = 1500;

pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// The kernel takes a link into use some time after it has been set up, on a loaded machine more than
/// a second. Until then nobody is found at its IPv6 addresses.
pub(crate) fn wait_for(namespace: &NetNamespace, router: [IpAddr; 2]) -> Result<()> {
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
