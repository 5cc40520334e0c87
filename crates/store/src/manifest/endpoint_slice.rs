//! EndpointSlice, `discovery.k8s.io/v1`.

use super::metadata::{Metadata, well_formed};
use super::node::Node;
use super::reader::{Fields, Reader};
use super::selector::{one_of, protocol, unicast};
use super::syntax;
use crate::diagnostic::Severity;
use model::{EndpointSlice, SliceEndpoint, SlicePort};

/// Names the service, in the slice's own namespace.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// `None` after an error, and for a slice of names (FQDN).
pub fn read(
    reader: &mut Reader,
    metadata: Option<Metadata>,
    object: &mut Fields,
) -> Option<EndpointSlice> {
    let family = object.required(reader, "addressType").and_then(|node| {
        Some((node, one_of(reader, node, "addressType", &["IPv4", "IPv6", "FQDN"])?))
    });
    if let Some((node, "FQDN")) = family {
        reader
            .report(Severity::Note, node.place, "an EndpointSlice of type FQDN is left alone")
            .label("Skep sends to addresses only");
        return None;
    }
    let endpoints = match object.optional("endpoints") {
        Some(node) => reader.items(node, "endpoints"),
        None => Some(&[][..]),
    };
    let endpoints: Vec<_> = endpoints?
        .iter()
        .filter_map(|node| endpoint(reader, node, family.map(|(_, family)| family)))
        .collect();
    let ports = match object.optional("ports") {
        Some(node) => reader.items(node, "ports"),
        None => Some(&[][..]),
    };
    let ports: Vec<_> = ports?.iter().filter_map(|node| port(reader, node)).collect();
    let metadata = metadata?;
    Some(EndpointSlice {
        service: metadata.labels.value(SERVICE_NAME_LABEL).map(str::to_owned),
        name: metadata.name,
        endpoints,
        ports,
        origin: metadata.origin,
    })
}

fn endpoint(reader: &mut Reader, node: &Node, family: Option<&str>) -> Option<SliceEndpoint> {
    let mut fields = reader.fields(node, "endpoints[]")?;
    let addresses = fields.required(reader, "addresses");
    let mut ready = true;
    let mut serving = None;
    let mut terminating = false;
    if let Some(node) = fields.optional("conditions")
        && let Some(mut conditions) = reader.fields(node, "conditions")
    {
        let mut flag = |reader: &mut Reader, name| {
            conditions.optional(name).and_then(|node| reader.flag(node, name))
        };
        ready = flag(reader, "ready").unwrap_or(true);
        serving = flag(reader, "serving");
        terminating = flag(reader, "terminating").unwrap_or(false);
        conditions.finish(reader);
    }
    let mut name = |reader: &mut Reader, name| {
        fields.optional(name).and_then(|node| reader.text(node, name)).map(str::to_owned)
    };
    let node_name = name(reader, "nodeName");
    let zone = name(reader, "zone");
    let (mut for_zones, mut for_nodes) = (Vec::new(), Vec::new());
    if let Some(node) = fields.optional("hints")
        && let Some(mut hints) = reader.fields(node, "hints")
    {
        for_zones = names(reader, &mut hints, "forZones");
        for_nodes = names(reader, &mut hints, "forNodes");
        hints.finish(reader);
    }
    fields.ignore(&["deprecatedTopology", "hostname", "targetRef"]);
    fields.finish(reader);
    let addresses_node = addresses?;
    let addresses = reader.items(addresses_node, "addresses")?;
    let mut first = None;
    for node in addresses {
        let Some(address) = unicast(reader, node, "addresses[]") else { continue };
        let found = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        if family.is_some_and(|family| family != found) {
            reader.error(node.place, format_args!("{address} is not of the slice's `addressType`"));
        }
        first = first.or(Some(address));
    }
    if addresses.is_empty() {
        reader.error(addresses_node.place, "an endpoint needs an address");
    }
    // All addresses of one endpoint lead to the same place, and clients use the first.
    Some(SliceEndpoint {
        address: first?,
        ready,
        serving: serving.unwrap_or(ready),
        terminating,
        node: node_name,
        zone,
        for_zones,
        for_nodes,
    })
}

/// A list of mappings with a `name` each.
fn names(reader: &mut Reader, fields: &mut Fields, list: &'static str) -> Vec<String> {
    let items = fields.optional(list).and_then(|node| reader.items(node, list));
    let mut found = Vec::new();
    for item in items.unwrap_or_default() {
        let Some(mut item) = reader.fields(item, list) else { continue };
        if let Some(name) = item.required(reader, "name").and_then(|node| reader.text(node, "name"))
        {
            found.push(name.to_owned());
        }
        item.finish(reader);
    }
    found
}

fn port(reader: &mut Reader, node: &Node) -> Option<SlicePort> {
    let mut fields = reader.fields(node, "ports[]")?;
    let name = match fields.optional("name") {
        Some(node) => reader.text(node, "name").and_then(|name| {
            let form = if name.is_empty() { Ok(()) } else { syntax::label(name) };
            well_formed(reader, node, "port name", form)?;
            Some(name.to_owned())
        }),
        None => Some(String::new()),
    };
    let protocol = protocol(reader, &mut fields);
    let port = match fields.optional("port") {
        Some(node) => reader.port(node, "port"),
        None => {
            reader
                .warn(node.place, "a port without a number is not supported yet")
                .label("it would mean all ports; it is left out");
            None
        }
    };
    fields.ignore(&["appProtocol"]);
    fields.finish(reader);
    Some(SlicePort { name: name?, protocol: protocol?, port: port? })
}
