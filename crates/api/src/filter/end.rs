//! One end of a flow, and what a filter wants of it.

use super::FilterError;
use crate::selector;
use crate::v1::{EndFilter, Flow, FlowEnd, Process, SocketAddress};
use ipnet::IpNet;
use model::{Labels, Selector};
use std::net::IpAddr;
use std::ops::RangeInclusive;

#[derive(Clone, Debug, Default)]
pub struct End {
    workloads: Vec<NamePattern>,
    namespaces: Vec<String>,
    selectors: Vec<Selector>,
    identities: Vec<IdentityMatch>,
    blocks: Vec<IpNet>,
    ports: Vec<RangeInclusive<u32>>,
    processes: Vec<String>,
}

/// `namespace/name`, `name`, `namespace/prefix*`, `prefix*`.
#[derive(Clone, Debug)]
pub struct NamePattern {
    namespace: Option<String>,
    name: String,
    prefix: bool,
}

#[derive(Clone, Debug)]
enum IdentityMatch {
    Number(u32),
    Name(&'static str),
}

/// What a flow says of one of its ends.
#[derive(Debug)]
pub struct EndView<'a> {
    end: Option<&'a FlowEnd>,
    address: Option<IpAddr>,
    port: Option<u32>,
    vip: Option<&'a SocketAddress>,
}

impl<'a> EndView<'a> {
    pub fn source(flow: &'a Flow) -> Self {
        EndView {
            end: flow.source.as_ref(),
            address: flow.ip.as_ref().and_then(|ip| ip.source.parse().ok()),
            port: flow.ports().map(|ports| ports.0),
            vip: None,
        }
    }

    pub fn destination(flow: &'a Flow) -> Self {
        EndView {
            end: flow.destination.as_ref(),
            address: flow.ip.as_ref().and_then(|ip| ip.destination.parse().ok()),
            port: flow.ports().map(|ports| ports.1),
            vip: flow.vip.as_ref(),
        }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let vip = self.vip.and_then(|vip| vip.address.parse().ok());
        self.address.into_iter().chain(vip)
    }

    fn ports(&self) -> impl Iterator<Item = u32> {
        self.port.into_iter().chain(self.vip.map(|vip| vip.port))
    }
}

impl End {
    pub fn parse(filter: &EndFilter) -> Result<Self, FilterError> {
        fn all<T>(
            texts: &[String],
            parse: impl Fn(&str) -> Result<T, FilterError>,
        ) -> Result<Vec<T>, FilterError> {
            texts.iter().map(|text| parse(text.trim())).collect()
        }
        Ok(End {
            workloads: all(&filter.workloads, NamePattern::parse)?,
            namespaces: filter.namespaces.clone(),
            selectors: all(&filter.selectors, |text| Ok(selector::parse(text)?))?,
            identities: all(&filter.identities, IdentityMatch::parse)?,
            blocks: all(&filter.addresses, block)?,
            ports: all(&filter.ports, port_range)?,
            processes: filter.processes.clone(),
        })
    }

    /// Whether each wish is met by one of the ends.
    pub fn matches(&self, ends: &[&EndView<'_>]) -> bool {
        fn met<T>(
            wishes: &[T],
            ends: &[&EndView<'_>],
            holds: impl Fn(&T, &EndView<'_>) -> bool,
        ) -> bool {
            wishes.is_empty() || ends.iter().any(|end| wishes.iter().any(|wish| holds(wish, end)))
        }
        met(&self.workloads, ends, |pattern, view| {
            view.end.is_some_and(|end| pattern.matches(&end.namespace, &end.workload))
        }) && met(&self.namespaces, ends, |namespace, view| {
            view.end.is_some_and(|end| end.namespace == *namespace)
        }) && met(&self.selectors, ends, |selector, view| {
            view.end.is_some_and(|end| selector.matches(&Labels(end.labels.clone())))
        }) && met(&self.identities, ends, |identity, view| {
            view.end.is_some_and(|end| identity.matches(end))
        }) && met(&self.blocks, ends, |block, view| {
            view.addresses().any(|address| block.contains(&address))
        }) && met(&self.ports, ends, |ports, view| view.ports().any(|port| ports.contains(&port)))
            && met(&self.processes, ends, |wish, view| {
                let process = view.end.and_then(|end| end.process.as_ref());
                process.is_some_and(|process| is_process(wish, process))
            })
    }
}

impl NamePattern {
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        let (name, prefix) = match name.strip_suffix('*') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let wrong = (name.is_empty() && !prefix)
            || name.contains(['/', '*'])
            || namespace.is_some_and(|namespace| namespace.is_empty() || namespace.contains('*'));
        if wrong {
            return Err(FilterError::Name(text.to_owned()));
        }
        Ok(NamePattern { namespace: namespace.map(str::to_owned), name: name.to_owned(), prefix })
    }

    pub fn matches(&self, namespace: &str, name: &str) -> bool {
        let name_fits = if self.prefix { name.starts_with(&self.name) } else { name == self.name };
        !name.is_empty() && name_fits && self.namespace.as_deref().is_none_or(|n| n == namespace)
    }
}

impl IdentityMatch {
    fn parse(text: &str) -> Result<Self, FilterError> {
        if let Ok(number) = text.parse() {
            return Ok(IdentityMatch::Number(number));
        }
        let mut reserved = abi::identity::RESERVED.iter();
        match reserved.find(|(_, name)| name.eq_ignore_ascii_case(text)) {
            Some((_, name)) => Ok(IdentityMatch::Name(name)),
            None => Err(FilterError::Identity(text.to_owned())),
        }
    }

    fn matches(&self, end: &FlowEnd) -> bool {
        match self {
            IdentityMatch::Number(number) => end.identity == *number,
            IdentityMatch::Name(name) => {
                abi::identity::reserved_name(end.identity) == Some(name)
                    // "world" is also the world of one IP version.
                    || end.identity_name == *name
                    || (*name == "world" && is_world(end.identity))
            }
        }
    }
}

fn is_world(identity: u32) -> bool {
    [abi::identity::WORLD_IPV4, abi::identity::WORLD_IPV6].contains(&identity)
}

fn block(text: &str) -> Result<IpNet, FilterError> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| FilterError::Address(text.to_owned()))
}

fn port_range(text: &str) -> Result<RangeInclusive<u32>, FilterError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first.into()..=last.into()),
        _ => Err(FilterError::Port(text.to_owned())),
    }
}

fn is_process(wish: &str, process: &Process) -> bool {
    match wish.parse::<u32>() {
        Ok(pid) => process.pid == pid,
        Err(_) => process.comm == wish || process.exec_id == wish || process.binary.contains(wish),
    }
}
