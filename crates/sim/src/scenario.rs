//! Packets in a few words of YAML.

use std::net::IpAddr;

use ipnet::IpNet;
use model::ObjectName;
use serde::Deserialize;
use wire::build::Frame;

use crate::{Call, CallKind, Error, From, Node, Outside};

/// What is sent, in order.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    #[serde(default)]
    pub node: About,
    pub packets: Vec<Packet>,
}

/// What the node is like.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Its own addresses, beside those of its devices.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// The interfaces by which it reaches the outside.
    #[serde(default)]
    pub devices: Vec<DeviceWords>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceWords {
    pub name: String,
    /// With or without the length of the network's prefix.
    #[serde(default)]
    pub addresses: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packet {
    /// A workload (`shop/client`) or an address outside of the node.
    pub from: String,
    /// A workload, a service (`service:shop/web`) or an address.
    pub to: String,
    #[serde(default)]
    pub protocol: Protocol,
    /// Of the destination.
    #[serde(default)]
    pub port: u16,
    /// Of the source; one after the other from 40000 on unless set.
    pub source_port: Option<u16>,
    /// Of TCP, such as `SYN` or `ACK,FIN`.
    #[serde(default = "syn")]
    pub flags: String,
    #[serde(default)]
    pub payload: String,
    /// Over IPv6 where both ends have it.
    #[serde(default)]
    pub ipv6: bool,
    /// The process of the workload that sends it, by a call on a socket: a service's address is
    /// then translated at the socket.
    pub process: Option<String>,
    /// That call; without it TCP connects and UDP names the peer each time.
    pub call: Option<CallWord>,
    /// Whoever gets it answers.
    #[serde(default)]
    pub answer: bool,
    #[serde(default = "one")]
    pub count: u32,
    /// What should become of it.
    pub expect: Option<Expected>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallWord {
    Connect,
    Sendmsg,
}

/// A packet's end, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    Delivered,
    Dropped,
    /// Out of the node.
    Left,
    /// To the node itself.
    Host,
}

impl Expected {
    pub fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Dropped => "dropped",
            Self::Left => "left",
            Self::Host => "host",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Icmp,
}

fn one() -> u32 {
    1
}

fn syn() -> String {
    "SYN".to_owned()
}

impl Scenario {
    pub fn parse(text: &str) -> Result<Self, Error> {
        serde_saphyr::from_str(text).map_err(|error| {
            let said = error.to_string();
            Error::Scenario(said.strip_prefix("error: ").unwrap_or(&said).to_owned())
        })
    }
}

impl DeviceWords {
    pub fn device(&self) -> Result<Outside, Error> {
        let parse = |text: &String| {
            network(text).ok_or_else(|| {
                Error::Scenario(format!("device {}: `{text}` is no address", self.name))
            })
        };
        let addresses = self.addresses.iter().map(parse).collect::<Result<_, Error>>()?;
        Ok(Outside { name: self.name.clone(), addresses })
    }
}

/// An address with or without the length of its network's prefix.
pub fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

const FIRST_PORT: u16 = 40_000;
const FLAGS: [(&str, u8); 6] =
    [("FIN", 1), ("SYN", 2), ("RST", 4), ("PSH", 8), ("ACK", 16), ("URG", 32)];

impl Packet {
    /// The frames that it stands for, with their sender. `number` counts the scenario's packets.
    pub fn frames(&self, node: &Node, number: usize) -> Result<Vec<(From, Vec<u8>)>, Error> {
        let wrong = |reason: String| Error::Packet { packet: number + 1, reason };
        let (from, sources) = self.sender(node).map_err(wrong)?;
        let destinations = self.receiver(node).map_err(wrong)?;
        let pair = sources.iter().find_map(|source| {
            let same =
                |to: &&IpAddr| to.is_ipv6() == source.is_ipv6() && source.is_ipv6() == self.ipv6;
            Some((*source, *destinations.iter().find(same)?))
        });
        let family = if self.ipv6 { "IPv6" } else { "IPv4" };
        let (source, destination) =
            pair.ok_or_else(|| wrong(format!("not both ends have an address of {family}")))?;
        let flags = self.tcp_flags().map_err(wrong)?;
        let frame = |count: u32| {
            let port = self.source_port.unwrap_or_else(|| {
                FIRST_PORT.wrapping_add((number as u32).wrapping_add(count) as u16 % 20_000)
            });
            let frame = Frame::between(source, destination);
            let frame = match from {
                From::Endpoint(endpoint) => {
                    let endpoint = &node.endpoints()[endpoint];
                    frame.macs(endpoint.workload_mac, endpoint.host_mac)
                }
                From::Device(device) => {
                    frame.macs(crate::device::GATEWAY, node.devices()[device].mac)
                }
                From::Host => frame,
            };
            let echo = [port.to_be_bytes(), [0, 1]].concat();
            let rest = [echo[0], echo[1], echo[2], echo[3]];
            let frame = match (self.protocol, self.ipv6) {
                (Protocol::Tcp, _) => frame.tcp(port, self.port, flags),
                (Protocol::Udp, _) => frame.udp(port, self.port),
                (Protocol::Icmp, false) => frame.icmp(8, 0, rest),
                (Protocol::Icmp, true) => frame.icmpv6(128, 0, rest),
            };
            (from, frame.payload(self.payload.as_bytes()).build())
        };
        Ok((0..self.count).map(frame).collect())
    }

    /// The call on a socket that it is sent by.
    pub fn call(&self) -> Option<Call> {
        if self.process.is_none() && self.call.is_none() {
            return None;
        }
        let kind = match (self.call, self.protocol) {
            (Some(CallWord::Connect), _) | (None, Protocol::Tcp) => CallKind::Connect,
            (Some(CallWord::Sendmsg), _) | (None, _) => CallKind::Send,
        };
        let process = self.process.clone().unwrap_or_else(|| "process".to_owned());
        Some(Call { kind, process })
    }

    fn sender(&self, node: &Node) -> Result<(From, Vec<IpAddr>), String> {
        if let Ok(address) = self.from.parse::<IpAddr>() {
            return Ok((From::of(address, node), vec![address]));
        }
        let name = name(&self.from);
        let position = node.endpoints().iter().position(|endpoint| endpoint.name == name);
        let position = position.ok_or_else(|| format!("there is no workload {name}"))?;
        Ok((From::Endpoint(position), node.endpoints()[position].addresses.clone()))
    }

    fn receiver(&self, node: &Node) -> Result<Vec<IpAddr>, String> {
        if let Ok(address) = self.to.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        if let Some(service) = self.to.strip_prefix("service:") {
            let name = name(service);
            let addresses = node.service_addresses.get(&name);
            return addresses.cloned().ok_or_else(|| format!("there is no service {name}"));
        }
        let name = name(&self.to);
        let endpoint = node.endpoints().iter().find(|endpoint| endpoint.name == name);
        Ok(endpoint.ok_or_else(|| format!("there is no workload {name}"))?.addresses.clone())
    }

    fn tcp_flags(&self) -> Result<u8, String> {
        let mut bits = 0;
        for word in self.flags.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let known = FLAGS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
            let (_, bit) = known.ok_or_else(|| format!("`{word}` is no flag of TCP"))?;
            bits |= bit;
        }
        Ok(bits)
    }
}

/// `namespace/name`; a bare name is of namespace `default`.
fn name(text: &str) -> ObjectName {
    match text.split_once('/') {
        Some((namespace, name)) => ObjectName::new(namespace, name),
        None => ObjectName::new("default", text),
    }
}

/// What the receiver of a frame answers: the same with its ends exchanged. TCP acknowledges, an
/// echo is replied to.
pub fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let headers = crate::headers(frame)?;
    let (source, destination) = (headers.source, headers.destination);
    let (is_v4, protocol) = (source.is_ipv4(), headers.protocol);
    let length = if is_v4 { usize::from(frame.get(14)? & 0xf) * 4 } else { 40 };
    let transport = frame.get(14 + length..)?;
    let [source_mac, destination_mac] = headers.macs;
    let back = Frame::between(destination, source).macs(destination_mac, source_mac);
    let back = match (protocol, is_v4) {
        (6, _) => {
            let (from, to) = headers.ports?;
            // A SYN is answered by SYN and ACK, all else by ACK, the end by the end.
            back.tcp(to, from, headers.tcp_flags? & 0b11 | 16)
        }
        (17, _) => {
            let (from, to) = headers.ports?;
            back.udp(to, from).payload(transport.get(8..)?)
        }
        (1, true) if transport.first()? == &8 => {
            back.icmp(0, 0, transport.get(4..8)?.try_into().ok()?).payload(transport.get(8..)?)
        }
        (58, false) if transport.first()? == &128 => {
            back.icmpv6(129, 0, transport.get(4..8)?.try_into().ok()?).payload(transport.get(8..)?)
        }
        _ => return None,
    };
    Some(back.build())
}
