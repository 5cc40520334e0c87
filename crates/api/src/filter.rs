//! Which flows a filter lets through. `observe.proto` says what each field means.

mod end;
#[cfg(test)]
mod tests;

use crate::selector::SelectorError;
use crate::v1::{self, Flow, FlowKind, ObserveRequest};
use end::{End, EndView, NamePattern};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error(transparent)]
    Selector(#[from] SelectorError),
    #[error("`{0}` is not a workload or service: write namespace/name, or name for any namespace")]
    Name(String),
    #[error(
        "`{0}` is not an identity: write its number, or the name of a reserved one such as world"
    )]
    Identity(String),
    #[error("`{0}` is not an address or block: write for example 10.0.0.1 or 10.0.0.0/8")]
    Address(String),
    #[error("`{0}` is not a port from 0 to 65535 or a range such as 8000-8100")]
    Port(String),
    #[error("`{0}` is not a protocol: write tcp, udp, sctp, icmp, icmpv4, icmpv6 or its number")]
    Protocol(String),
}

/// The filters of one request, parsed.
#[derive(Clone, Debug, Default)]
pub struct FlowFilters {
    allow: Vec<Filter>,
    deny: Vec<Filter>,
}

impl FlowFilters {
    pub fn parse(request: &ObserveRequest) -> Result<Self, FilterError> {
        let all = |list: &[v1::FlowFilter]| list.iter().map(Filter::parse).collect();
        let allow: Result<_, FilterError> = all(&request.allow);
        Ok(FlowFilters { allow: allow?, deny: all(&request.deny)? })
    }

    /// Times (`since`, `until`) are for the caller.
    pub fn matches(&self, flow: &Flow) -> bool {
        if flow.kind() == FlowKind::Lost {
            return true;
        }
        (self.allow.is_empty() || self.allow.iter().any(|filter| filter.matches(flow)))
            && !self.deny.iter().any(|filter| filter.matches(flow))
    }
}

#[derive(Clone, Debug)]
struct Filter {
    either: End,
    from: End,
    to: End,
    protocols: Vec<Protocol>,
    verdicts: Vec<i32>,
    kinds: Vec<i32>,
    drop_reasons: Vec<i32>,
    services: Vec<NamePattern>,
    directions: Vec<i32>,
}

/// By the name that [`Flow::protocol_name`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Protocol {
    Named(&'static str),
    /// ICMP of either version.
    AnyIcmp,
    Number(u8),
}

impl Filter {
    fn parse(filter: &v1::FlowFilter) -> Result<Self, FilterError> {
        let end = |end: &Option<v1::EndFilter>| match end {
            Some(end) => End::parse(end),
            None => Ok(End::default()),
        };
        Ok(Filter {
            either: end(&filter.either)?,
            from: end(&filter.from)?,
            to: end(&filter.to)?,
            protocols: filter
                .protocols
                .iter()
                .map(|text| Protocol::parse(text))
                .collect::<Result<_, _>>()?,
            verdicts: filter.verdicts.clone(),
            kinds: filter.kinds.clone(),
            drop_reasons: filter.drop_reasons.clone(),
            services: filter
                .services
                .iter()
                .map(|text| NamePattern::parse(text))
                .collect::<Result<_, _>>()?,
            directions: filter.directions.clone(),
        })
    }

    fn matches(&self, flow: &Flow) -> bool {
        fn listed<T: PartialEq>(list: &[T], value: &T) -> bool {
            list.is_empty() || list.contains(value)
        }
        let (source, destination) = (EndView::source(flow), EndView::destination(flow));
        listed(&self.verdicts, &flow.verdict)
            && listed(&self.kinds, &flow.kind)
            && listed(&self.drop_reasons, &flow.drop_reason)
            && listed(&self.directions, &flow.direction)
            && (self.protocols.is_empty() || {
                let name = flow.protocol_name();
                self.protocols.iter().any(|protocol| protocol.matches(&name))
            })
            && (self.services.is_empty() || {
                let both = [&flow.source_service, &flow.destination_service];
                both.into_iter().flatten().any(|service| {
                    self.services.iter().any(|name| name.matches(&service.namespace, &service.name))
                })
            })
            && self.from.matches(&[&source])
            && self.to.matches(&[&destination])
            && self.either.matches(&[&source, &destination])
    }
}

impl Protocol {
    fn parse(text: &str) -> Result<Self, FilterError> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Named("tcp"),
            "udp" => Protocol::Named("udp"),
            "sctp" => Protocol::Named("sctp"),
            "icmp" => Protocol::AnyIcmp,
            "icmpv4" => Protocol::Named("icmp"),
            "icmpv6" => Protocol::Named("icmpv6"),
            number => match number.parse() {
                Ok(1) => Protocol::Named("icmp"),
                Ok(6) => Protocol::Named("tcp"),
                Ok(17) => Protocol::Named("udp"),
                Ok(58) => Protocol::Named("icmpv6"),
                Ok(132) => Protocol::Named("sctp"),
                Ok(other) => Protocol::Number(other),
                Err(_) => return Err(FilterError::Protocol(text.to_owned())),
            },
        })
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Protocol::Named(wanted) => *wanted == name,
            Protocol::AnyIcmp => name == "icmp" || name == "icmpv6",
            Protocol::Number(number) => name.parse() == Ok(*number),
        }
    }
}
