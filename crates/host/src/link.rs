//! Interfaces: what is there, veth pairs, and the host side of a veth inside a namespace.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};

use crate::{Error, NetNamespace, Netlink, Result};

/// One interface as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// `None` where the hardware address isn't six bytes (tunnels).
    pub mac: Option<Mac>,
    pub mtu: u32,
    /// `veth`, `bridge`, …; `None` for physical devices and `lo`.
    pub kind: Option<String>,
    pub up: bool,
    pub loopback: bool,
    /// Index of the other side of a veth, in the namespace of `peer_namespace`.
    pub peer: Option<u32>,
    pub peer_namespace: PeerNamespace,
}

/// Where the other side of a link is, in the kernel's numbering of the namespace that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerNamespace {
    Same,
    Number(i32),
}

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A random unicast, locally administered address.
    pub fn random() -> Result<Self> {
        const SOURCE: &str = "/dev/urandom";
        let mut bytes = [0; 6];
        File::open(SOURCE)
            .and_then(|mut source| source.read_exact(&mut bytes))
            .map_err(|source| Error::file("read", SOURCE, source))?;
        bytes[0] = (bytes[0] & !0x01) | 0x02;
        Ok(Mac(bytes))
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A veth pair to make: one side in the connection's namespace, the other in `namespace`.
#[derive(Clone, Copy, Debug)]
pub struct VethPair<'a> {
    pub host_name: &'a str,
    pub host_mac: Mac,
    pub namespace: &'a NetNamespace,
    pub name: &'a str,
    pub mac: Mac,
    pub mtu: u32,
}

impl Netlink {
    pub async fn links(&self) -> Result<Vec<Link>> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answer = self.dump(|| "list interfaces".into(), message).await?;
        Ok(answer.iter().filter_map(link_of).collect())
    }

    pub async fn link_named(&self, name: &str) -> Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(checked_name(name)?));
        self.one_link(message, || format!("look up interface {name}")).await
    }

    pub async fn link_indexed(&self, index: u32) -> Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.one_link(message, || format!("look up interface {index}")).await
    }

    async fn one_link(
        &self,
        message: LinkMessage,
        what: impl FnOnce() -> String,
    ) -> Result<Option<Link>> {
        match self.ask(what, RouteNetlinkMessage::GetLink(message)).await {
            Ok(answer) => Ok(answer.iter().find_map(link_of)),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a veth pair, the far side at once in its namespace and under its final name. Both
    /// sides are down.
    pub async fn create_veth(&self, pair: &VethPair<'_>) -> Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(checked_name(pair.name)?),
            LinkAttribute::Address(pair.mac.0.to_vec()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::NetNsFd(pair.namespace.as_fd().as_raw_fd()),
        ];
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(checked_name(pair.host_name)?),
            LinkAttribute::Address(pair.host_mac.0.to_vec()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        let what = || {
            let inside = pair.namespace.path().display();
            format!("make veth pair {} and {} in {inside}", pair.host_name, pair.name)
        };
        let message = RouteNetlinkMessage::NewLink(message);
        self.perform(what, message, NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// The MTU to give workloads: the smallest of the devices that lead elsewhere, 1500 if there
    /// is none.
    pub async fn usual_mtu(&self) -> Result<u32> {
        let links = self.links().await?;
        let outward = links.iter().filter(|link| link.up && !link.loopback && !link.is_veth());
        Ok(outward.map(|link| link.mtu).min().unwrap_or(1500))
    }

    pub async fn set_link_up(&self, index: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        let what = || format!("set interface {index} up");
        self.perform(what, RouteNetlinkMessage::SetLink(message), 0).await
    }

    pub async fn set_mtu(&self, index: u32, mtu: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::Mtu(mtu));
        let what = || format!("set the MTU of interface {index} to {mtu}");
        self.perform(what, RouteNetlinkMessage::SetLink(message), 0).await
    }

    /// Deletes an interface (of a veth: both sides); false if there was none.
    pub async fn delete_link(&self, index: u32) -> Result<bool> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let what = || format!("delete interface {index}");
        match self.perform(what, RouteNetlinkMessage::DelLink(message), 0).await {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the other side of `link` (a link of this connection's namespace) is in `there`.
    pub async fn peer_is_in(&self, link: &Link, there: &NetNamespace) -> Result<bool> {
        match link.peer_namespace {
            PeerNamespace::Same => Ok(self.namespace() == there),
            PeerNamespace::Number(number) => Ok(self.number_of(there).await? == Some(number)),
        }
    }

    /// The number this connection's namespace knows another one by, if it has given it one.
    async fn number_of(&self, other: &NetNamespace) -> Result<Option<i32>> {
        let mut message = NsidMessage::default();
        // A file descriptor is never negative.
        message.attributes.push(NsidAttribute::Fd(other.as_fd().as_raw_fd().unsigned_abs()));
        let what = || format!("look up the number of {}", other.path().display());
        let answer = self.ask(what, RouteNetlinkMessage::GetNsId(message)).await?;
        Ok(answer.iter().find_map(|object| match object {
            RouteNetlinkMessage::NewNsId(found) => {
                found.attributes.iter().find_map(|attribute| match attribute {
                    NsidAttribute::Id(number) if *number >= 0 => Some(*number),
                    _ => None,
                })
            }
            _ => None,
        }))
    }

    /// The side in this connection's namespace of the veth `name` inside `workload`'s namespace:
    /// (the workload's side, ours).
    pub async fn host_side_of(&self, workload: &Netlink, name: &str) -> Result<(Link, Link)> {
        let namespace = || workload.namespace().path().to_owned();
        let inside = workload.link_named(name).await?.ok_or_else(|| Error::LinkMissing {
            interface: name.to_owned(),
            namespace: namespace(),
        })?;
        self.host_side_of_link(workload, inside).await
    }

    pub(crate) async fn host_side_of_link(
        &self,
        workload: &Netlink,
        inside: Link,
    ) -> Result<(Link, Link)> {
        let namespace = || workload.namespace().path().to_owned();
        let Some(peer) = inside.peer.filter(|_| inside.is_veth()) else {
            let kind = match inside.kind {
                Some(kind) => kind,
                None if inside.loopback => "loopback".into(),
                None => "physical device".into(),
            };
            return Err(Error::NotVeth { interface: inside.name, namespace: namespace(), kind });
        };
        let elsewhere =
            || Error::PeerElsewhere { interface: inside.name.clone(), namespace: namespace() };
        if !workload.peer_is_in(&inside, self.namespace()).await? {
            return Err(elsewhere());
        }
        match self.link_indexed(peer).await? {
            Some(ours) if ours.is_veth() && ours.peer == Some(inside.index) => Ok((inside, ours)),
            _ => Err(elsewhere()),
        }
    }
}

impl Link {
    pub fn is_veth(&self) -> bool {
        self.kind.as_deref() == Some("veth")
    }

    pub(crate) fn of_message(message: &LinkMessage) -> Self {
        let mut link = Link {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            kind: None,
            up: message.header.flags.contains(LinkFlags::Up),
            loopback: message.header.flags.contains(LinkFlags::Loopback),
            peer: None,
            peer_namespace: PeerNamespace::Same,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => {
                    link.mac = bytes.as_slice().try_into().ok().map(Mac);
                }
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Link(index) => link.peer = Some(*index),
                LinkAttribute::LinkNetNsId(number) => {
                    link.peer_namespace = PeerNamespace::Number(*number);
                }
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        if let LinkInfo::Kind(kind) = info {
                            link.kind = Some(kind.to_string());
                        }
                    }
                }
                _ => {}
            }
        }
        link
    }
}

fn link_of(object: &RouteNetlinkMessage) -> Option<Link> {
    match object {
        RouteNetlinkMessage::NewLink(message) => Some(Link::of_message(message)),
        _ => None,
    }
}

/// The kernel's own rule (`dev_valid_name` in net/core/dev.c, Linux 6.12), with a message.
fn checked_name(name: &str) -> Result<String> {
    let invalid = name.is_empty()
        || name.len() > 15
        || name == "."
        || name == ".."
        || name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace());
    if invalid { Err(Error::InterfaceName { name: name.to_owned() }) } else { Ok(name.to_owned()) }
}

#[cfg(test)]
mod tests;
