//! Permanent neighbour entries: who has which hardware address on a link, told instead of asked.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use crate::address::family_of;
use crate::link::Mac;
use crate::{Netlink, Result};

/// One permanent neighbour entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Neighbour {
    pub interface: u32,
    pub address: IpAddr,
    pub mac: Mac,
}

impl Netlink {
    /// The permanent entries of one interface; those the kernel learnt are left out.
    pub async fn neighbours(&self, interface: u32) -> Result<Vec<Neighbour>> {
        let mut message = NeighbourMessage::default();
        // As a filter the interface is an attribute; the header's field has to be zero.
        message.attributes.push(NeighbourAttribute::IfIndex(interface));
        let what = || format!("list neighbours of interface {interface}");
        let answer = match self.dump(what, RouteNetlinkMessage::GetNeighbour(message)).await {
            Err(error) if error.errno() == Some(libc::ENODEV) => return Ok(Vec::new()),
            answer => answer?,
        };
        let found = answer.iter().filter_map(|object| match object {
            RouteNetlinkMessage::NewNeighbour(message) => of_message(message),
            _ => None,
        });
        Ok(found.filter(|neighbour| neighbour.interface == interface).collect())
    }

    /// Makes a permanent entry, or turns one that is there into it; false if it was there.
    pub async fn ensure_neighbour(&self, neighbour: &Neighbour) -> Result<bool> {
        if self.neighbours(neighbour.interface).await?.contains(neighbour) {
            return Ok(false);
        }
        self.put_neighbour(neighbour).await?;
        Ok(true)
    }

    pub(crate) async fn put_neighbour(&self, neighbour: &Neighbour) -> Result<()> {
        let mut message = message_for(neighbour);
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(neighbour.mac.0.to_vec()));
        let what = || {
            let Neighbour { interface, address, mac } = neighbour;
            format!("make {mac} the neighbour {address} of interface {interface}")
        };
        let message = RouteNetlinkMessage::NewNeighbour(message);
        self.perform(what, message, NLM_F_CREATE | NLM_F_REPLACE).await
    }

    /// Deletes the entry of an address; false if there was none.
    pub async fn delete_neighbour(&self, neighbour: &Neighbour) -> Result<bool> {
        let message = RouteNetlinkMessage::DelNeighbour(message_for(neighbour));
        let what = || {
            let Neighbour { interface, address, .. } = neighbour;
            format!("delete the neighbour {address} of interface {interface}")
        };
        match self.perform(what, message, 0).await {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENODEV)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn message_for(neighbour: &Neighbour) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family_of(neighbour.address);
    message.header.ifindex = neighbour.interface;
    let destination = match neighbour.address {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message
}

fn of_message(message: &NeighbourMessage) -> Option<Neighbour> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                address = Some(IpAddr::V4(*ip));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                address = Some(IpAddr::V6(*ip));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = bytes.as_slice().try_into().ok().map(Mac);
            }
            _ => {}
        }
    }
    Some(Neighbour { interface: message.header.ifindex, address: address?, mac: mac? })
}
