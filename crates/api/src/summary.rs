//! A flow event in one line: [`Flow::summary_text`], which the agent puts in `Flow.summary`.

use crate::text;
use crate::v1::lost_events::Cause;
use crate::v1::{Counters, DropReason, Flow, FlowKind, PolicyRule, Translation, Verdict};
use std::fmt;

impl Flow {
    pub fn summary_text(&self) -> String {
        match self.kind() {
            FlowKind::Start => self.start(),
            FlowKind::Reply => "reply".to_owned(),
            FlowKind::End => self.end(),
            FlowKind::Drop => self.denial(),
            FlowKind::Cut => format!("cut: {}", self.denial()),
            FlowKind::Lost => self.loss(),
            FlowKind::Unknown => self.verdict().as_str_name().to_ascii_lowercase(),
        }
    }

    fn start(&self) -> String {
        let mut text = match self.verdict() {
            Verdict::Forwarded if self.allowed_by.is_empty() => {
                "allowed, no policy restricts it".to_owned()
            }
            Verdict::Forwarded => format!("allowed by {}", list(&self.allowed_by)),
            other => other.as_str_name().to_ascii_lowercase(),
        };
        if let (Some(service), Some(vip)) = (&self.destination_service, &self.vip) {
            let how = match self.translation() {
                Translation::AtSocket => " (at the socket)",
                Translation::InPacket | Translation::None => "",
            };
            text += &format!(", service {}/{} {vip}{how}", service.namespace, service.name);
        }
        text
    }

    fn end(&self) -> String {
        let mut text = "end".to_owned();
        if let (Some(forward), Some(reverse)) = (&self.forward, &self.reverse) {
            text += &format!(", {forward} out, {reverse} back");
        }
        let duration = self.duration.and_then(|duration| duration.try_into().ok());
        if let Some(duration) = duration {
            text += &format!(", {}", text::span(duration));
        }
        text
    }

    fn denial(&self) -> String {
        match self.drop_reason() {
            DropReason::PolicyDefault if self.denied_by.is_empty() => {
                "denied: no rule allows it".to_owned()
            }
            DropReason::PolicyDefault => {
                let names: Vec<String> = self.denied_by.iter().map(PolicyRule::label).collect();
                let places: Vec<String> =
                    self.denied_by.iter().filter_map(PolicyRule::place).collect();
                let places = match places.join(", ") {
                    places if places.is_empty() => places,
                    places => format!(" ({places})"),
                };
                format!("denied: no rule of {} allows it{places}", names.join(" or "))
            }
            DropReason::PolicyDenied if self.denied_by.is_empty() => "denied".to_owned(),
            DropReason::PolicyDenied => format!("denied by {}", list(&self.denied_by)),
            reason => format!("dropped: {}", reason.explanation()),
        }
    }

    fn loss(&self) -> String {
        let lost = self.lost.unwrap_or_default();
        let cause = match lost.cause() {
            Cause::RingBuffer => ": the agent did not keep up with the kernel",
            Cause::Reader => ": this reader did not keep up with the agent",
            Cause::RateLimit => ": held back by the rate limit",
            Cause::Unknown => "",
        };
        let cpu = lost.cpu.map(|cpu| format!(" (CPU {cpu})")).unwrap_or_default();
        format!("{} missing{cause}{cpu}", text::counted(lost.count, "event"))
    }
}

impl DropReason {
    /// In words, for people.
    pub fn explanation(self) -> &'static str {
        match self {
            DropReason::Unknown => "reason unknown",
            DropReason::PolicyDefault => "no rule allows it",
            DropReason::PolicyDenied => "a rule denies it",
            DropReason::SpoofedSource => "the source address is not the sender's",
            DropReason::Malformed => "a header is malformed",
            DropReason::UnsupportedProtocol => "neither IPv4, IPv6 nor ARP",
            DropReason::TooManyExtensions => "too many IPv6 extension headers",
            DropReason::FragmentUnknown => "fragment of a packet whose beginning was not seen",
            DropReason::NoBackend => "the service has no backend",
            DropReason::ConntrackFull => "the connection table is full",
            DropReason::TranslationClash => "another connection has the translated addresses",
            DropReason::RewriteFailed => "the packet could not be rewritten",
            DropReason::TimeExceeded => "the hop limit ran out",
            DropReason::UnrelatedError => "an ICMP error of no known connection",
            DropReason::NoEndpoint => "the endpoint it is for is not known",
            DropReason::SourceNotAdmitted => "the service takes no connections from this source",
            DropReason::NoSourcePort => "no port is left to masquerade with",
        }
    }
}

fn list(rules: &[PolicyRule]) -> String {
    let texts: Vec<String> = rules.iter().map(PolicyRule::to_string).collect();
    texts.join(" and ")
}

impl PolicyRule {
    /// `shop/cache rule 1`, or `shop/cache` for the policy as a whole. People count from 1.
    pub fn label(&self) -> String {
        let mut text = match self.namespace.as_str() {
            "" => self.name.clone(),
            namespace => format!("{namespace}/{}", self.name),
        };
        if let Some(rule) = self.rule {
            text += &format!(" rule {}", u64::from(rule) + 1);
        }
        text
    }

    /// `examples/shop.yaml:46`, if it is known.
    pub fn place(&self) -> Option<String> {
        (!self.file.is_empty() && self.line > 0).then(|| format!("{}:{}", self.file, self.line))
    }
}

/// `shop/cache rule 1 (examples/shop.yaml:46)`.
impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())?;
        match self.place() {
            Some(place) => write!(f, " ({place})"),
            None => Ok(()),
        }
    }
}

/// `12 packets 1.5 KiB`.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", text::counted(self.packets, "packet"), text::bytes(self.bytes))
    }
}

/// `10.0.0.1:80`, `[2001:db8::1]:80`.
impl fmt::Display for crate::v1::SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::flow::socket_address(&self.address, self.port))
    }
}

#[cfg(test)]
mod tests {
    use crate::v1::*;

    fn rule(name: &str, rule: Option<u32>) -> PolicyRule {
        PolicyRule {
            kind: "NetworkPolicy".into(),
            namespace: "shop".into(),
            name: name.into(),
            direction: Direction::Ingress.into(),
            rule,
            file: "examples/shop.yaml".into(),
            line: 46,
        }
    }

    #[test]
    fn every_kind() {
        let start = Flow {
            kind: FlowKind::Start.into(),
            verdict: Verdict::Forwarded.into(),
            ..Default::default()
        };
        let drop = Flow {
            kind: FlowKind::Drop.into(),
            verdict: Verdict::Dropped.into(),
            drop_reason: DropReason::PolicyDefault.into(),
            denied_by: vec![rule("cache", None)],
            ..Default::default()
        };
        let flows = [
            start.clone(),
            Flow {
                allowed_by: vec![rule("client", Some(2)), rule("cache", Some(0))],
                vip: Some(SocketAddress { address: "fd00::10".into(), port: 80 }),
                translation: Translation::AtSocket.into(),
                destination_service: Some(ServiceName {
                    namespace: "shop".into(),
                    name: "web".into(),
                    port_name: String::new(),
                }),
                ..start
            },
            Flow { kind: FlowKind::Reply.into(), ..Default::default() },
            Flow {
                kind: FlowKind::End.into(),
                forward: Some(Counters { packets: 1, bytes: 60 }),
                reverse: Some(Counters { packets: 1200, bytes: 1 << 20 }),
                duration: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
                ..Default::default()
            },
            drop.clone(),
            Flow { kind: FlowKind::Cut.into(), denied_by: Vec::new(), ..drop.clone() },
            Flow {
                drop_reason: DropReason::PolicyDenied.into(),
                denied_by: vec![rule("web", Some(0))],
                ..drop.clone()
            },
            Flow { drop_reason: DropReason::NoBackend.into(), ..drop },
            Flow {
                kind: FlowKind::Lost.into(),
                lost: Some(LostEvents {
                    count: 1204,
                    cpu: Some(1),
                    cause: lost_events::Cause::RingBuffer.into(),
                }),
                ..Default::default()
            },
        ];
        let texts: Vec<String> = flows.iter().map(Flow::summary_text).collect();
        insta::assert_snapshot!(texts.join("\n"), @r#"
        allowed, no policy restricts it
        allowed by shop/client rule 3 (examples/shop.yaml:46) and shop/cache rule 1 (examples/shop.yaml:46), service shop/web [fd00::10]:80 (at the socket)
        reply
        end, 1 packet 60 B out, 1,200 packets 1 MiB back, 1.5 s
        denied: no rule of shop/cache allows it (examples/shop.yaml:46)
        cut: denied: no rule allows it
        denied by shop/web rule 1 (examples/shop.yaml:46)
        dropped: the service has no backend
        1,204 events missing: the agent did not keep up with the kernel (CPU 1)
        "#);
    }
}
