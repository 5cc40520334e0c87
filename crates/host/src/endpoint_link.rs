//! A workload's attachment to the node: the veth Skep makes for it, or the one it already has.
//!
//! What Skep makes looks the same for every workload: each address alone (/32, /128) on the
//! workload's side, default routes through gateways that exist on no interface (169.254.1.1 and
//! fe80::1, standing in the neighbour table with the host side's hardware address), and on the
//! node a route and a neighbour entry per address. So nothing on the link is ever resolved by
//! broadcast, and no subnet is shared between workloads.
//!
//! An interface someone else made (a container runtime, an administrator) is adopted: its host
//! side is found, and nothing about it is changed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::link::{Link, Mac, VethPair};
use crate::neighbour::Neighbour;
use crate::route::Route;
use crate::{Error, NetNamespace, Netlink, Result, sysctl};

/// The workload's IPv4 gateway.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The workload's IPv6 gateway.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The workload's interface, unless the spec says otherwise.
pub const DEFAULT_INTERFACE: &str = "eth0";

/// Names of host sides Skep makes begin so; others are never deleted.
const HOST_PREFIX: &str = "skep";

/// What a workload's attachment has to be.
#[derive(Clone, Debug)]
pub struct Spec {
    pub namespace: NetNamespace,
    /// Name of the interface inside the namespace.
    pub interface: String,
    /// Name of the host side if Skep makes it: [`host_name`] of something that names the workload.
    pub host_name: String,
    /// Addresses of an interface Skep makes. An adopted one keeps its own.
    pub addresses: Vec<IpAddr>,
    pub mtu: u32,
}

/// A workload's attachment as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub host_index: u32,
    pub host_name: String,
    pub host_mac: Mac,
    pub workload_index: u32,
    pub workload_mac: Mac,
    /// The addresses of the workload's side that others can reach it by, sorted.
    pub addresses: Vec<IpAddr>,
    pub origin: Origin,
    /// The namespace's cookie; `None` below Linux 5.14.
    pub netns_cookie: Option<u64>,
    /// What this call changed, in words; empty if all was right.
    pub changes: Vec<String>,
}

/// Who made the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Skep, now or in an earlier life.
    Made,
    /// Someone else.
    Adopted,
}

/// The host side's name for a workload: `skep` and 11 characters that stand for `key`, the same
/// on every run.
pub fn host_name(key: &str) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    // FNV-1a, 64 bits: specified for good, unlike the standard library's hasher.
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = hash ^ (hash >> 32);
    let digit = |place: u32| char::from(DIGITS[(mixed >> (5 * place)) as usize % DIGITS.len()]);
    HOST_PREFIX.chars().chain((0..11).map(digit)).collect()
}

/// Sees to it that the workload is attached as `spec` says. `node` is the connection in the node's
/// own namespace. What is right already isn't touched, so that a restarted agent disturbs no
/// traffic.
///
/// `attach` is called with the host side's number and puts the programs on it that decide about
/// its packets. An interface Skep makes is down and has no routes until that has gone well, and is
/// deleted if it hasn't; one that is there stays as it is.
pub async fn ensure<E: From<Error>>(
    node: &Netlink,
    spec: &Spec,
    attach: impl FnOnce(u32) -> Result<(), E>,
) -> Result<Attached, E> {
    if spec.namespace == *node.namespace() {
        return Err(Error::NodeNamespace { path: spec.namespace.path().to_owned() }.into());
    }
    let workload = Netlink::connect(&spec.namespace)?;
    match workload.link_named(&spec.interface).await? {
        None => make(node, &workload, spec, attach).await,
        Some(inside) => {
            let (inside, ours) = node.host_side_of_link(&workload, inside).await?;
            if ours.name == spec.host_name {
                mend(node, &workload, spec, inside, ours, attach).await
            } else {
                attach(ours.index)?;
                Ok(adopt(&workload, spec, inside, ours).await?)
            }
        }
    }
}

/// Finds how an existing interface is attached, changing nothing; `None` if it isn't there.
pub async fn find(node: &Netlink, spec: &Spec) -> Result<Option<Attached>> {
    if spec.namespace == *node.namespace() {
        return Err(Error::NodeNamespace { path: spec.namespace.path().to_owned() });
    }
    let workload = Netlink::connect(&spec.namespace)?;
    let Some(inside) = workload.link_named(&spec.interface).await? else { return Ok(None) };
    let (inside, ours) = node.host_side_of_link(&workload, inside).await?;
    adopt(&workload, spec, inside, ours).await.map(Some)
}

/// Deletes the interface pair Skep made with this host side, and with it its addresses, routes and
/// neighbour entries. False if there is none, or it isn't one of Skep's.
pub async fn remove(node: &Netlink, host_name: &str) -> Result<bool> {
    if !is_ours(host_name) {
        return Ok(false);
    }
    match node.link_named(host_name).await? {
        Some(link) if link.is_veth() => node.delete_link(link.index).await,
        _ => Ok(false),
    }
}

/// The host sides Skep made that are there now: a restarted agent removes those it no longer
/// wants.
pub async fn made(node: &Netlink) -> Result<Vec<Link>> {
    let mut links = node.links().await?;
    links.retain(|link| link.is_veth() && is_ours(&link.name));
    Ok(links)
}

fn is_ours(host_name: &str) -> bool {
    host_name.len() == HOST_PREFIX.len() + 11 && host_name.starts_with(HOST_PREFIX)
}

async fn make<E: From<Error>>(
    node: &Netlink,
    workload: &Netlink,
    spec: &Spec,
    attach: impl FnOnce(u32) -> Result<(), E>,
) -> Result<Attached, E> {
    if spec.addresses.is_empty() {
        return Err(E::from(Error::NoAddress {
            interface: spec.interface.clone(),
            namespace: spec.namespace.path().to_owned(),
        }));
    }
    if !is_ours(&spec.host_name) {
        return Err(Error::HostName { name: spec.host_name.clone() }.into());
    }
    let mut changes = Vec::new();
    if let Some(stale) = node.link_named(&spec.host_name).await? {
        // Left over from a namespace of the same workload that the kernel hasn't torn down yet, or
        // the workload renamed its side.
        if !stale.is_veth() {
            return Err(Error::LinkTaken { name: stale.name }.into());
        }
        node.delete_link(stale.index).await?;
        changes.push(format!("stale {} deleted", stale.name));
    }
    let pair = VethPair {
        host_name: &spec.host_name,
        host_mac: Mac::random()?,
        namespace: &spec.namespace,
        name: &spec.interface,
        mac: Mac::random()?,
        mtu: spec.mtu,
    };
    node.create_veth(&pair).await?;
    changes.push(format!("{} made", spec.host_name));
    let furnished = async {
        let missing = |interface: &str, at: &Netlink| Error::LinkMissing {
            interface: interface.to_owned(),
            namespace: at.namespace().path().to_owned(),
        };
        let inside = workload.link_named(&spec.interface).await?;
        let inside = inside.ok_or_else(|| missing(&spec.interface, workload))?;
        let ours = node.link_named(&spec.host_name).await?;
        let ours = ours.ok_or_else(|| missing(&spec.host_name, node))?;
        mend(node, workload, spec, inside, ours, attach).await
    };
    match furnished.await {
        Ok(attached) => {
            changes.extend(attached.changes);
            Ok(Attached { changes, ..attached })
        }
        Err(error) => {
            // Half an attachment would be taken for a whole one by whoever looks at the
            // namespace; the error above is the one to report.
            let _ = remove(node, &spec.host_name).await;
            Err(error)
        }
    }
}

/// Brings a pair of Skep's to what `spec` says, part by part: up and routed only with programs.
async fn mend<E: From<Error>>(
    node: &Netlink,
    workload: &Netlink,
    spec: &Spec,
    inside: Link,
    ours: Link,
    attach: impl FnOnce(u32) -> Result<(), E>,
) -> Result<Attached, E> {
    let mut changes = Vec::new();
    let host_mac = mac_of(&ours)?;
    let workload_mac = mac_of(&inside)?;
    let v6 = spec.addresses.iter().any(IpAddr::is_ipv6);

    if v6 && !sysctl::has_ipv6() {
        return Err(Error::NoIpv6 { namespace: spec.namespace.path().to_owned() }.into());
    }
    changes.extend(sysctl::ensure_forwarding(node.namespace())?);
    changes.extend(sysctl::ensure(node.namespace(), &host_settings(&ours.name, v6))?);
    if v6 {
        changes.extend(sysctl::ensure(workload.namespace(), &workload_settings(&inside.name))?);
    }
    for (side, link) in [(node, &ours), (workload, &inside)] {
        if link.mtu != spec.mtu {
            side.set_mtu(link.index, spec.mtu).await?;
            changes.push(format!("{} MTU {}", link.name, spec.mtu));
        }
    }
    mend_addresses(workload, spec, &inside, &mut changes).await?;
    attach(ours.index)?;
    // The host side first: then the workload's has its carrier at once.
    for (side, link) in [(node, &ours), (workload, &inside)] {
        if !link.up {
            side.set_link_up(link.index).await?;
            changes.push(format!("{} up", link.name));
        }
    }
    if workload.link_indexed(1).await?.is_some_and(|lo| lo.loopback && !lo.up) {
        workload.set_link_up(1).await?;
        changes.push("lo up".into());
    }

    let gateways = gateways(&spec.addresses);
    let neighbour = |interface, mac| move |address| Neighbour { interface, address, mac };
    mend_neighbours(
        workload,
        inside.index,
        gateways.iter().copied().map(neighbour(inside.index, host_mac)).collect(),
        &mut changes,
    )
    .await?;
    mend_neighbours(
        node,
        ours.index,
        spec.addresses.iter().copied().map(neighbour(ours.index, workload_mac)).collect(),
        &mut changes,
    )
    .await?;
    let routes = gateways.iter().map(|gateway| Route::default_via(inside.index, *gateway));
    mend_routes(workload, inside.index, routes.collect(), &mut changes).await?;
    let routes = spec.addresses.iter().map(|address| Route::to_host(ours.index, *address));
    mend_routes(node, ours.index, routes.collect(), &mut changes).await?;

    let mut addresses = spec.addresses.clone();
    addresses.sort();
    addresses.dedup();
    Ok(Attached {
        host_index: ours.index,
        host_name: ours.name,
        host_mac,
        workload_index: inside.index,
        workload_mac,
        addresses,
        origin: Origin::Made,
        netns_cookie: spec.namespace.cookie()?,
        changes,
    })
}

async fn adopt(workload: &Netlink, spec: &Spec, inside: Link, ours: Link) -> Result<Attached> {
    let found = workload.addresses(Some(inside.index)).await?;
    let mut addresses: Vec<IpAddr> =
        found.iter().filter(|found| !found.link_scope).map(|found| found.net.addr()).collect();
    addresses.sort();
    Ok(Attached {
        host_index: ours.index,
        host_mac: mac_of(&ours)?,
        workload_index: inside.index,
        workload_mac: mac_of(&inside)?,
        addresses,
        origin: if ours.name == spec.host_name { Origin::Made } else { Origin::Adopted },
        host_name: ours.name,
        netns_cookie: spec.namespace.cookie()?,
        changes: Vec::new(),
    })
}

fn mac_of(link: &Link) -> Result<Mac> {
    let malformed = || Error::Malformed {
        path: link.name.clone().into(),
        reason: "a veth without a hardware address of six bytes".into(),
    };
    link.mac.ok_or_else(malformed)
}

fn gateways(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut gateways = Vec::new();
    if addresses.iter().any(IpAddr::is_ipv4) {
        gateways.push(GATEWAY_V4.into());
    }
    if addresses.iter().any(IpAddr::is_ipv6) {
        gateways.push(GATEWAY_V6.into());
    }
    gateways
}

fn host_settings(name: &str, v6: bool) -> Vec<sysctl::Setting<'static>> {
    // Off: an answer comes in here with the address of the service that was asked, and on an
    // interface without an address of its own the kernel drops that even in the loose mode
    // (net/ipv4/fib_frontend.c, __fib_validate_source, Linux 6.18). The programs check sources
    // themselves. The kernel takes the larger of this and the setting for all interfaces; packets
    // with the workload's own address pass either way.
    let mut settings = vec![(format!("ipv4/conf/{name}/rp_filter"), "0")];
    if v6 {
        let v6 = |setting: &str| format!("ipv6/conf/{name}/{setting}");
        settings.extend([
            // No link-local address of the kernel's choice: the link needs none, and its
            // duplicate address detection and multicast reports would only be noise.
            (v6("addr_gen_mode"), "1"),
            (v6("accept_ra"), "0"),
            (v6("accept_dad"), "0"),
            (v6("disable_ipv6"), "0"),
        ]);
    }
    settings
}

fn workload_settings(name: &str) -> [sysctl::Setting<'static>; 3] {
    let v6 = |setting: &str| format!("ipv6/conf/{name}/{setting}");
    [(v6("accept_ra"), "0"), (v6("accept_dad"), "0"), (v6("disable_ipv6"), "0")]
}

async fn mend_addresses(
    workload: &Netlink,
    spec: &Spec,
    inside: &Link,
    changes: &mut Vec<String>,
) -> Result<()> {
    let there = workload.addresses(Some(inside.index)).await?;
    let wanted: Vec<IpNet> = spec.addresses.iter().map(|address| IpNet::from(*address)).collect();
    for net in &wanted {
        let right = there.iter().any(|found| found.net == *net && !found.unusable);
        if right {
            continue;
        }
        workload.delete_address(inside.index, *net).await?;
        workload.ensure_address(inside.index, *net).await?;
        changes.push(format!("{} has {net}", inside.name));
    }
    for found in there.iter().filter(|found| !found.link_scope && !wanted.contains(&found.net)) {
        workload.delete_address(inside.index, found.net).await?;
        changes.push(format!("{} no longer has {}", inside.name, found.net));
    }
    Ok(())
}

async fn mend_neighbours(
    side: &Netlink,
    interface: u32,
    wanted: Vec<Neighbour>,
    changes: &mut Vec<String>,
) -> Result<()> {
    let there = side.neighbours(interface).await?;
    for neighbour in wanted.iter().filter(|neighbour| !there.contains(neighbour)) {
        side.put_neighbour(neighbour).await?;
        changes.push(format!("{} is at {}", neighbour.address, neighbour.mac));
    }
    for stray in there {
        if wanted.iter().all(|wanted| wanted.address != stray.address) {
            side.delete_neighbour(&stray).await?;
            changes.push(format!("{} no longer at {}", stray.address, stray.mac));
        }
    }
    Ok(())
}

/// Routes that others made are left alone, unless they stand where one of ours has to.
async fn mend_routes(
    side: &Netlink,
    interface: u32,
    wanted: Vec<Route>,
    changes: &mut Vec<String>,
) -> Result<()> {
    let there = side.routes(interface).await?;
    for route in wanted.iter().filter(|route| !there.contains(route)) {
        side.put_route(route).await?;
        changes.push(route.to_string());
    }
    for stray in there.iter().filter(|route| route.ours && !wanted.contains(route)) {
        side.delete_route(stray).await?;
        changes.push(format!("no {stray}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
