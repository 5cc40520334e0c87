//! Numbers that must outlive the agent, as text for its store.

use crate::identity::IdentityLabels;
use crate::peer::PeerAttributes;
use ipnet::IpNet;
use model::{NamedPort, Protocol};
use std::sync::Arc;

/// A key and a value to keep: `identity/256`, `peer/300`, `port-set/<hash>` and the like.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub key: String,
    pub value: String,
}

/// A record, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remembered {
    Workload(u32, Arc<IdentityLabels>),
    Block(u32, IpNet),
    Peer(u32, Arc<PeerAttributes>),
    /// Exceptions to ids by content: which kind of id, the hash, the id.
    Exception(IdKind, u128, u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdKind {
    Rule,
    RuleSet,
    PortSet,
}

impl IdKind {
    const ALL: [(IdKind, &str); 3] =
        [(IdKind::Rule, "rule"), (IdKind::RuleSet, "rule-set"), (IdKind::PortSet, "port-set")];

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

// Labels hold neither newlines nor tabs; what comes from elsewhere is refused by `parse`.
impl Remembered {
    pub fn key(&self) -> String {
        match self {
            Remembered::Workload(number, _) => identity_key(*number),
            Remembered::Block(number, _) => identity_key(*number),
            Remembered::Peer(number, _) => peer_key(*number),
            Remembered::Exception(kind, hash, _) => format!("{}/{hash:032x}", kind.name()),
        }
    }

    pub fn record(&self) -> Record {
        let value = match self {
            Remembered::Workload(_, labels) => labels.texts().join("\n"),
            Remembered::Block(_, block) => format!("cidr:{block}"),
            Remembered::Peer(_, attributes) => {
                let mut lines = vec![format!("identity {}", attributes.identity)];
                lines.extend(attributes.blocks.iter().map(|block| format!("block {block}")));
                lines.extend(
                    attributes
                        .ports
                        .iter()
                        .map(|port| format!("port {} {} {}", port.protocol, port.port, port.name)),
                );
                lines.join("\n")
            }
            Remembered::Exception(_, _, id) => id.to_string(),
        };
        Record { key: self.key(), value }
    }

    pub fn parse(record: &Record) -> Option<Remembered> {
        let (kind, name) = record.key.split_once('/')?;
        match kind {
            "identity" => {
                let number = name.parse().ok()?;
                if let Some(block) = record.value.strip_prefix("cidr:") {
                    return Some(Remembered::Block(number, block.parse().ok()?));
                }
                let labels = IdentityLabels::from_texts(record.value.lines())?;
                Some(Remembered::Workload(number, Arc::new(labels)))
            }
            "peer" => {
                Some(Remembered::Peer(name.parse().ok()?, Arc::new(parse_peer(&record.value)?)))
            }
            _ => {
                let (kind, _) = IdKind::ALL.into_iter().find(|(_, text)| *text == kind)?;
                let hash = u128::from_str_radix(name, 16).ok()?;
                Some(Remembered::Exception(kind, hash, record.value.parse().ok()?))
            }
        }
    }
}

pub(crate) fn identity_key(number: u32) -> String {
    format!("identity/{number}")
}

pub(crate) fn peer_key(number: u32) -> String {
    format!("peer/{number}")
}

fn parse_peer(text: &str) -> Option<PeerAttributes> {
    let mut attributes = PeerAttributes { identity: 0, blocks: Vec::new(), ports: Vec::new() };
    for line in text.lines() {
        match line.split_once(' ')? {
            ("identity", number) => attributes.identity = number.parse().ok()?,
            ("block", block) => attributes.blocks.push(block.parse().ok()?),
            ("port", port) => {
                let mut parts = port.splitn(3, ' ');
                let protocol = parts.next()?;
                let protocol = Protocol::ALL.into_iter().find(|p| p.name() == protocol)?;
                let port = parts.next()?.parse().ok()?;
                let name = parts.next()?.to_owned();
                attributes.ports.push(NamedPort { name, protocol, port });
            }
            _ => return None,
        }
    }
    Some(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;

    fn check(remembered: Remembered, key: &str, value: &str) {
        let record = remembered.record();
        assert_eq!((record.key.as_str(), record.value.as_str()), (key, value));
        assert_eq!(Remembered::parse(&record), Some(remembered));
    }

    #[test]
    fn records_round_trip() {
        let labels = IdentityLabels {
            namespace: "shop".into(),
            namespace_labels: Labels::default(),
            labels: Labels::from_iter([("app", "web")]),
        };
        check(
            Remembered::Workload(256, Arc::new(labels)),
            "identity/256",
            "k8s:app=web\nk8s:io.kubernetes.pod.namespace=shop",
        );
        let block: IpNet = "10.0.0.0/8".parse().unwrap();
        check(Remembered::Block(1 << 24, block), "identity/16777216", "cidr:10.0.0.0/8");
        let http = NamedPort { name: "http".into(), protocol: Protocol::Tcp, port: 80 };
        check(
            Remembered::Peer(
                300,
                Arc::new(PeerAttributes { identity: 256, blocks: vec![block], ports: vec![http] }),
            ),
            "peer/300",
            "identity 256\nblock 10.0.0.0/8\nport TCP 80 http",
        );
        check(
            Remembered::Exception(IdKind::RuleSet, 10, 77),
            "rule-set/0000000000000000000000000000000a",
            "77",
        );
        for (key, value) in [("", ""), ("identity/x", "a"), ("peer/1", "what"), ("odd/1", "1")] {
            let record = Record { key: key.into(), value: value.into() };
            assert_eq!(Remembered::parse(&record), None);
        }
    }
}
