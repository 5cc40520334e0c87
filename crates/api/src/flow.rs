//! Flows in the datapath's terms, and what their parts are called.

use crate::v1::{Direction, DropReason, Flow, FlowKind, Layer4, layer4::Protocol};
use base64::Engine as _;

/// Names a process among all nodes and for all time.
pub fn exec_id(node: &str, start_ns: u64, pid: u32) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{node}:{start_ns}:{pid}"))
}

/// `10.0.0.1:80`, `[2001:db8::1]:80`.
pub fn socket_address(address: &str, port: u32) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

impl From<abi::event::FlowKind> for FlowKind {
    fn from(kind: abi::event::FlowKind) -> Self {
        match kind {
            abi::event::FlowKind::Start => FlowKind::Start,
            abi::event::FlowKind::Reply => FlowKind::Reply,
            abi::event::FlowKind::End => FlowKind::End,
            abi::event::FlowKind::Drop => FlowKind::Drop,
            abi::event::FlowKind::Cut => FlowKind::Cut,
        }
    }
}

impl From<abi::event::Direction> for Direction {
    fn from(direction: abi::event::Direction) -> Self {
        match direction {
            abi::event::Direction::None => Direction::Unknown,
            abi::event::Direction::Ingress => Direction::Ingress,
            abi::event::Direction::Egress => Direction::Egress,
        }
    }
}

impl From<abi::drop_reason::DropReason> for DropReason {
    fn from(reason: abi::drop_reason::DropReason) -> Self {
        // Same numbers, as a test proves for all of them.
        DropReason::try_from(reason as i32).unwrap_or(DropReason::Unknown)
    }
}

impl DropReason {
    /// As users write and see it: `policy-denied`.
    pub fn name(self) -> &'static str {
        match u8::try_from(self as i32).ok().and_then(abi::drop_reason::DropReason::from_number) {
            Some(reason) => reason.name(),
            None => "unknown",
        }
    }

    /// The reason that users call `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = abi::drop_reason::DropReason::ALL.into_iter();
        all.find(|reason| reason.name() == name).map(DropReason::from)
    }
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
            Direction::Unknown => "unknown",
        }
    }
}

impl Layer4 {
    /// From an IP protocol number; ports, or type and code of ICMP, as they apply.
    pub fn new(protocol: u8, ports: (u16, u16), icmp: (u8, u8), flags: u8) -> Self {
        use crate::v1::{Icmp, Sctp, Tcp, TcpFlags, Udp};
        let (source_port, destination_port) = (ports.0.into(), ports.1.into());
        let (r#type, code) = (icmp.0.into(), icmp.1.into());
        let bit = |position: u8| flags >> position & 1 == 1;
        let protocol = match protocol {
            6 => {
                let flags = TcpFlags {
                    fin: bit(0),
                    syn: bit(1),
                    rst: bit(2),
                    psh: bit(3),
                    ack: bit(4),
                    urg: bit(5),
                    ece: bit(6),
                    cwr: bit(7),
                };
                Protocol::Tcp(Tcp { source_port, destination_port, flags: Some(flags) })
            }
            17 => Protocol::Udp(Udp { source_port, destination_port }),
            132 => Protocol::Sctp(Sctp { source_port, destination_port }),
            1 => Protocol::IcmpV4(Icmp { r#type, code }),
            58 => Protocol::IcmpV6(Icmp { r#type, code }),
            other => Protocol::Other(other.into()),
        };
        Layer4 { protocol: Some(protocol) }
    }
}

impl Flow {
    /// `tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, the protocol's number, or nothing if unknown.
    pub fn protocol_name(&self) -> String {
        match self.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
            Some(Protocol::Tcp(_)) => "tcp".into(),
            Some(Protocol::Udp(_)) => "udp".into(),
            Some(Protocol::Sctp(_)) => "sctp".into(),
            Some(Protocol::IcmpV4(_)) => "icmp".into(),
            Some(Protocol::IcmpV6(_)) => "icmpv6".into(),
            Some(Protocol::Other(number)) => number.to_string(),
            None => String::new(),
        }
    }

    /// Source and destination port, where the protocol has them.
    pub fn ports(&self) -> Option<(u32, u32)> {
        match self.l4.as_ref()?.protocol.as_ref()? {
            Protocol::Tcp(tcp) => Some((tcp.source_port, tcp.destination_port)),
            Protocol::Udp(udp) => Some((udp.source_port, udp.destination_port)),
            Protocol::Sctp(sctp) => Some((sctp.source_port, sctp.destination_port)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_reasons_are_those_of_the_datapath() {
        for reason in abi::drop_reason::DropReason::ALL {
            let converted = DropReason::from(reason);
            assert_eq!(converted as i32, reason as i32);
            let name = reason.name().replace('-', "_").to_uppercase();
            assert_eq!(converted.as_str_name(), name);
            assert_eq!(DropReason::from_name(reason.name()), Some(converted));
            assert_eq!(converted.name(), reason.name());
        }
        assert_eq!(DropReason::Unknown.name(), "unknown");
    }

    #[test]
    fn exec_ids_are_base64() {
        assert_eq!(exec_id("n", 12, 3), "bjoxMjoz");
    }

    #[test]
    fn layer4_names_and_ports() {
        let flow = |protocol| Flow {
            l4: Some(Layer4::new(protocol, (1000, 80), (8, 0), 0x12)),
            ..Default::default()
        };
        let names: Vec<String> =
            [6, 17, 132, 1, 58, 47].into_iter().map(|p| flow(p).protocol_name()).collect();
        assert_eq!(names, ["tcp", "udp", "sctp", "icmp", "icmpv6", "47"]);
        assert_eq!(flow(17).ports(), Some((1000, 80)));
        assert_eq!(flow(1).ports(), None);
        let Some(Protocol::Tcp(tcp)) = flow(6).l4.unwrap().protocol else { panic!("not TCP") };
        let flags = tcp.flags.unwrap();
        assert!(flags.syn && flags.ack && !flags.fin && !flags.rst);
    }
}
