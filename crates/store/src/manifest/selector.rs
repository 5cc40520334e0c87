//! LabelSelector, and what several kinds say about ports and addresses.

use super::metadata::{labels, well_formed};
use super::node::Node;
use super::reader::{Fields, Reader};
use super::suggest::nearest;
use super::syntax;
use model::{Operator, Protocol, Requirement, Selector};
use std::net::IpAddr;

pub fn selector(reader: &mut Reader, node: &Node, name: &str) -> Option<Selector> {
    let mut fields = reader.fields(node, name)?;
    let exact = match fields.optional("matchLabels") {
        Some(node) => labels(reader, node, "matchLabels").map(|labels| Selector::labels(&labels)),
        None => Some(Selector::everything()),
    };
    let mut right = true;
    let mut more = Vec::new();
    if let Some(node) = fields.optional("matchExpressions") {
        match reader.items(node, "matchExpressions") {
            Some(items) => {
                for item in items {
                    match expression(reader, item) {
                        Some(requirement) => more.push(requirement),
                        None => right = false,
                    }
                }
            }
            None => right = false,
        }
    }
    fields.finish(reader);
    let mut selector = exact.filter(|_| right)?;
    selector.requirements.extend(more);
    Some(selector)
}

fn expression(reader: &mut Reader, node: &Node) -> Option<Requirement> {
    let mut fields = reader.fields(node, "matchExpressions[]")?;
    let key = fields.required(reader, "key").and_then(|node| {
        let key = reader.text(node, "key")?;
        well_formed(reader, node, "label key", syntax::label_key(key))?;
        Some(key.to_owned())
    });
    let operator = operator(reader, &mut fields);
    fields.finish(reader);
    Some(Requirement { key: key?, operator: operator? })
}

const OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];

fn operator(reader: &mut Reader, fields: &mut Fields) -> Option<Operator> {
    let node = fields.required(reader, "operator");
    let values_entry = fields.entry("values");
    let values_node = values_entry.map(|entry| &entry.value).filter(|node| !node.is_null());
    let values = match values_node {
        Some(node) => values(reader, node),
        None => Some(Vec::new()),
    };
    let node = node?;
    let operator = one_of(reader, node, "operator", &OPERATORS)?;
    let values = values?;
    let wants_values = matches!(operator, "In" | "NotIn");
    if wants_values == values.is_empty() {
        let place = values_entry.map_or(node.place, |entry| entry.key_place);
        if wants_values {
            reader.error(place, format_args!("operator `{operator}` needs `values`"));
        } else {
            reader
                .error(place, format_args!("operator `{operator}` takes no `values`"))
                .help("remove them, or use In or NotIn");
        }
        return None;
    }
    Some(match operator {
        "In" => Operator::In(values),
        "NotIn" => Operator::NotIn(values),
        "Exists" => Operator::Exists,
        _ => Operator::DoesNotExist,
    })
}

fn values(reader: &mut Reader, node: &Node) -> Option<Vec<String>> {
    let mut values = Vec::new();
    let mut right = true;
    for item in reader.items(node, "values")? {
        match reader.text(item, "values[]") {
            Some(value) => {
                let form = syntax::label_value(value);
                right &= well_formed(reader, item, "label value", form).is_some();
                values.push(value.to_owned());
            }
            None => right = false,
        }
    }
    right.then_some(values)
}

/// A word out of a fixed set.
pub fn one_of<'k>(
    reader: &mut Reader,
    node: &Node,
    name: &str,
    known: &[&'k str],
) -> Option<&'k str> {
    let word = reader.text(node, name)?;
    if let Some(found) = known.iter().find(|known| **known == word) {
        return Some(found);
    }
    let draft = reader.error(node.place, format_args!("`{name}` cannot be `{}`", shorten(word)));
    let draft = match nearest(word, known) {
        Some(near) => draft.label(format_args!("did you mean `{near}`?")),
        None => draft,
    };
    draft.help(format_args!("it is one of {}", known.join(", ")));
    None
}

/// Keeps a message short, whatever was written.
pub fn shorten(word: &str) -> String {
    let mut short: String = word.chars().take(60).collect();
    if short.len() < word.len() {
        short.push('…');
    }
    short
}

/// Field `protocol`; TCP without it.
pub fn protocol(reader: &mut Reader, fields: &mut Fields) -> Option<Protocol> {
    let Some(node) = fields.optional("protocol") else { return Some(Protocol::Tcp) };
    let names = Protocol::ALL.map(Protocol::name);
    let name = one_of(reader, node, "protocol", &names)?;
    Protocol::ALL.into_iter().find(|protocol| protocol.name() == name)
}

pub fn port_name(reader: &mut Reader, node: &Node, name: &str) -> Option<String> {
    let text = reader.text(node, name)?;
    let form = syntax::port_name(text);
    if form.is_err() && text.parse::<u16>().is_ok() {
        reader
            .error(node.place, format_args!("`{name}` in quotes is the name of a port"))
            .help(format_args!("write {text} without quotes"));
        return None;
    }
    well_formed(reader, node, "port name", form)?;
    Some(text.to_owned())
}

pub fn address(reader: &mut Reader, node: &Node, name: &str) -> Option<IpAddr> {
    let text = reader.text(node, name)?;
    let Ok(address) = text.parse::<IpAddr>() else {
        let draft =
            reader.error(node.place, format_args!("`{}` is not an IP address", shorten(text)));
        if text.contains('/') {
            draft.help("give the address without a prefix length");
        }
        return None;
    };
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        reader
            .error(node.place, "an IPv4 address in the form of an IPv6 address")
            .help(format_args!("write {v4}"));
        return None;
    }
    Some(address)
}

/// An address that traffic of one workload can have.
pub fn unicast(reader: &mut Reader, node: &Node, name: &str) -> Option<IpAddr> {
    let address = address(reader, node, name)?;
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let special =
        address.is_unspecified() || address.is_loopback() || address.is_multicast() || link_local;
    if special {
        reader
            .error(node.place, format_args!("{address} cannot be used here"))
            .label("unspecified, loopback, link-local, broadcast or multicast");
        return None;
    }
    Some(address)
}
