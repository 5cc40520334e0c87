//! The node's own addresses and interfaces, as they change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::channel::mpsc::UnboundedReceiver;
use futures::{Stream, StreamExt};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::MulticastGroup;
use rtnetlink::sys::SocketAddr;

use crate::address::Address;
use crate::link::Link;
use crate::{Error, NetNamespace, Netlink, Result};

/// One change in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An interface appeared, or something about it changed.
    Link(Link),
    LinkGone(Link),
    Address(Address),
    AddressGone(Address),
    /// The kernel had more to tell than the socket could hold: list everything anew.
    Missed,
}

/// A stream of the changes in one namespace since it was opened. Open it before listing what is
/// there, and nothing is missed.
#[derive(Debug)]
pub struct Watch {
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    /// The connection would close without it.
    _handle: rtnetlink::Handle,
    _namespace: NetNamespace,
}

impl Watch {
    /// Has to be called inside a tokio runtime, which then serves the connection.
    pub fn open(namespace: &NetNamespace) -> Result<Self> {
        const GROUPS: [MulticastGroup; 3] =
            [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let runtime = tokio::runtime::Handle::current();
        let opened = namespace.run(|| {
            let _inside = runtime.enter();
            rtnetlink::new_multicast_connection(&GROUPS)
        })?;
        let (connection, handle, messages) =
            opened.map_err(|source| Error::system("open a netlink socket", source))?;
        runtime.spawn(connection);
        Ok(Watch { messages, _handle: handle, _namespace: namespace.clone() })
    }
}

impl Stream for Watch {
    type Item = Change;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change>> {
        loop {
            match self.messages.poll_next_unpin(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some((message, _))) => {
                    if let Some(change) = change_of(message.payload) {
                        return Poll::Ready(Some(change));
                    }
                }
            }
        }
    }
}

fn change_of(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<Change> {
    use RouteNetlinkMessage as M;
    match payload {
        NetlinkPayload::InnerMessage(message) => match message {
            M::NewLink(link) => Some(Change::Link(Link::of_message(&link))),
            M::DelLink(link) => Some(Change::LinkGone(Link::of_message(&link))),
            M::NewAddress(address) => Address::of_message(&address).map(Change::Address),
            M::DelAddress(address) => Address::of_message(&address).map(Change::AddressGone),
            _ => None,
        },
        NetlinkPayload::Overrun(_) => Some(Change::Missed),
        _ => None,
    }
}

/// The addresses by which the node itself can be reached: all of its namespace but loopback and
/// link-local ones, sorted.
pub async fn own_addresses(node: &Netlink) -> Result<Vec<IpAddr>> {
    let found = node.addresses(None).await?;
    let mut addresses: Vec<IpAddr> =
        found.iter().map(|found| found.net.addr()).filter(is_reachable).collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

/// An interface by which others reach the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    pub name: String,
    pub index: u32,
    /// The first of each family that can be reached from elsewhere.
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    pub mtu: u32,
    /// Its hardware addresses are those of Ethernet.
    pub is_ethernet: bool,
    pub is_veth: bool,
}

/// The interfaces of these names, or, without names, those that a default route leaves by.
pub async fn outside(node: &Netlink, names: &[String]) -> Result<Vec<Outside>> {
    let addresses = node.addresses(None).await?;
    let mut found = Vec::new();
    for link in node.links().await? {
        let wanted = match names {
            [] => node
                .routes(link.index)
                .await?
                .iter()
                .any(|route| route.destination.prefix_len() == 0 && route.gateway.is_some()),
            names => names.contains(&link.name),
        };
        if !wanted {
            continue;
        }
        let mut own: Vec<IpAddr> = addresses
            .iter()
            .filter(|address| address.interface == link.index && !address.link_scope)
            .map(|address| address.net.addr())
            .filter(is_reachable)
            .collect();
        own.sort();
        found.push(Outside {
            v4: own.iter().find_map(|address| match address {
                IpAddr::V4(ip) => Some(*ip),
                IpAddr::V6(_) => None,
            }),
            v6: own.iter().find_map(|address| match address {
                IpAddr::V6(ip) => Some(*ip),
                IpAddr::V4(_) => None,
            }),
            index: link.index,
            mtu: link.mtu,
            is_ethernet: link.mac.is_some(),
            is_veth: link.is_veth(),
            name: link.name,
        });
    }
    Ok(found)
}

fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
