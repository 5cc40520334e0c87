//! Routes of the main table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::address::family_of;
use crate::{Netlink, Result};

/// Marks the routes Skep made, as other daemons mark theirs (`ip route` shows `proto 115`).
pub const PROTOCOL: u8 = 115;

/// One unicast route with one next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    pub interface: u32,
    pub destination: IpNet,
    /// `None`: the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// Made by Skep.
    pub ours: bool,
}

impl Route {
    /// To one address on the link itself.
    pub fn to_host(interface: u32, address: IpAddr) -> Self {
        Route { interface, destination: IpNet::from(address), gateway: None, ours: true }
    }

    /// To everything of the gateway's address family. The gateway is taken to be on the link,
    /// whatever the interface's own addresses.
    pub fn default_via(interface: u32, gateway: IpAddr) -> Self {
        let everything = match gateway {
            IpAddr::V4(_) => IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0),
            IpAddr::V6(_) => IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0),
        };
        Route { interface, destination: everything, gateway: Some(gateway), ours: true }
    }
}

impl Netlink {
    /// The unicast routes of the main table that leave through one interface.
    pub async fn routes(&self, interface: u32) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            message.header.table = RouteHeader::RT_TABLE_MAIN;
            message.attributes.push(RouteAttribute::Oif(interface));
            let what = || format!("list routes through interface {interface}");
            let answer = match self.dump(what, RouteNetlinkMessage::GetRoute(message)).await {
                Ok(answer) => answer,
                // A kernel without IPv6.
                Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => continue,
                // The strict filter names an interface that is gone.
                Err(error) if error.errno() == Some(libc::ENODEV) => continue,
                Err(error) => return Err(error),
            };
            let found = answer.iter().filter_map(|object| match object {
                RouteNetlinkMessage::NewRoute(message) => of_message(message),
                _ => None,
            });
            routes.extend(found.filter(|route| route.interface == interface));
        }
        Ok(routes)
    }

    /// Makes a route, in place of one to the same destination with the same metric; false if it
    /// was there.
    pub async fn ensure_route(&self, route: &Route) -> Result<bool> {
        if self.routes(route.interface).await?.contains(route) {
            return Ok(false);
        }
        self.put_route(route).await?;
        Ok(true)
    }

    pub(crate) async fn put_route(&self, route: &Route) -> Result<()> {
        let message = RouteNetlinkMessage::NewRoute(message_for(route));
        let what = || format!("make {route}");
        self.perform(what, message, NLM_F_CREATE | NLM_F_REPLACE).await
    }

    /// Deletes a route; false if there was none.
    pub async fn delete_route(&self, route: &Route) -> Result<bool> {
        let mut message = message_for(route);
        if !route.ours {
            message.header.protocol = RouteProtocol::Unspec;
        }
        message.header.scope = RouteScope::NoWhere;
        let what = || format!("delete {route}");
        match self.perform(what, RouteNetlinkMessage::DelRoute(message), 0).await {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno(), Some(libc::ESRCH | libc::ENODEV)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "route to {} through interface {}", self.destination, self.interface)?;
        match self.gateway {
            Some(gateway) => write!(f, " via {gateway}"),
            None => Ok(()),
        }
    }
}

fn message_for(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family_of(route.destination.addr());
    header.destination_prefix_length = route.destination.prefix_len();
    header.table = RouteHeader::RT_TABLE_MAIN;
    header.protocol = RouteProtocol::from(PROTOCOL);
    header.kind = RouteType::Unicast;
    header.scope = match route.gateway {
        Some(_) => RouteScope::Universe,
        None => RouteScope::Link,
    };
    message.attributes.push(RouteAttribute::Oif(route.interface));
    if route.destination.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route.destination.network().into()));
    }
    if let Some(gateway) = route.gateway {
        message.header.flags |= RouteFlags::Onlink;
        message.attributes.push(RouteAttribute::Gateway(gateway.into()));
    }
    message
}

fn of_message(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    if header.kind != RouteType::Unicast || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut interface = None;
    let mut gateway = None;
    let mut destination = None;
    let mut table = u32::from(header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip_of(address),
            RouteAttribute::Destination(address) => destination = ip_of(address),
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return None;
    }
    let destination = destination.unwrap_or(match header.address_family {
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    });
    Some(Route {
        interface: interface?,
        destination: IpNet::new(destination, header.destination_prefix_length).ok()?,
        gateway,
        ours: u8::from(header.protocol) == PROTOCOL,
    })
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}
