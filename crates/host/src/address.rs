//! Addresses of interfaces.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::{Netlink, Result};

/// One address of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    pub interface: u32,
    /// The address with its prefix length; host bits kept.
    pub net: IpNet,
    /// Made by the kernel or meant for this link only: not reachable from elsewhere.
    pub link_scope: bool,
    /// IPv6 duplicate address detection isn't done with it, or found a duplicate.
    pub unusable: bool,
}

impl Netlink {
    /// All addresses of the namespace, or of one interface.
    pub async fn addresses(&self, interface: Option<u32>) -> Result<Vec<Address>> {
        let mut message = AddressMessage::default();
        message.header.index = interface.unwrap_or(0);
        let what = || "list addresses".to_owned();
        let answer = self.dump(what, RouteNetlinkMessage::GetAddress(message)).await?;
        let of_message = |object: &RouteNetlinkMessage| match object {
            RouteNetlinkMessage::NewAddress(message) => Address::of_message(message),
            _ => None,
        };
        // Below Linux 4.20 the dump isn't filtered.
        let wanted = |found: &Address| interface.is_none_or(|index| found.interface == index);
        Ok(answer.iter().filter_map(of_message).filter(wanted).collect())
    }

    /// Gives an interface an address; false if it had it. IPv6 addresses are usable at once, without
    /// duplicate address detection.
    pub async fn ensure_address(&self, interface: u32, net: IpNet) -> Result<bool> {
        let mut message = message_for(interface, net);
        if net.addr().is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        let what = || format!("give interface {interface} address {net}");
        let message = RouteNetlinkMessage::NewAddress(message);
        match self.perform(what, message, NLM_F_CREATE | NLM_F_EXCL).await {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(libc::EEXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes an address from an interface; false if it didn't have it.
    pub async fn delete_address(&self, interface: u32, net: IpNet) -> Result<bool> {
        let message = RouteNetlinkMessage::DelAddress(message_for(interface, net));
        let what = || format!("take address {net} from interface {interface}");
        match self.perform(what, message, 0).await {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

impl Address {
    pub(crate) fn of_message(message: &AddressMessage) -> Option<Self> {
        let mut local = None;
        let mut address = None;
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Flags(all) => flags = *all,
                _ => {}
            }
        }
        // On a point-to-point interface `Address` is the other side's.
        let ip = local.or(address)?;
        Some(Address {
            interface: message.header.index,
            net: IpNet::new(ip, message.header.prefix_len).ok()?,
            link_scope: !matches!(
                message.header.scope,
                AddressScope::Universe | AddressScope::Site
            ),
            unusable: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
        })
    }
}

fn message_for(interface: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = interface;
    message.header.family = family_of(net.addr());
    message.header.prefix_len = net.prefix_len();
    message.attributes =
        vec![AddressAttribute::Local(net.addr()), AddressAttribute::Address(net.addr())];
    message
}

pub(crate) fn family_of(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
