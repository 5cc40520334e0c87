//! Workload, `skep.dev/v1`: the one kind of Skep's own here.

use super::metadata::{Metadata, well_formed};
use super::node::{Node, Scalar, Value};
use super::reader::{Fields, Reader};
use super::selector::{address, one_of, port_name, protocol, shorten, unicast};
use super::syntax;
use model::{AddressRequest, ContainerRuntime, HostPort, Labels, NamedPort, Place, Workload};
use std::net::IpAddr;
use std::path::PathBuf;

/// Where `ip netns` keeps network namespaces.
const NETNS_FOLDER: &str = "/run/netns";
const DEFAULT_INTERFACE: &str = "eth0";

pub fn read(
    reader: &mut Reader,
    metadata: Option<Metadata>,
    object: &mut Fields,
) -> Option<Workload> {
    let spec = object.required(reader, "spec")?;
    let mut fields = reader.fields(spec, "spec")?;
    let place = fields.required(reader, "runs").and_then(|node| runs(reader, node));
    let interface = match fields.optional("interface") {
        Some(node) => reader.text(node, "interface").and_then(|name| {
            well_formed(reader, node, "interface name", syntax::interface(name))?;
            Some(name)
        }),
        None => Some(DEFAULT_INTERFACE),
    };
    let addresses = addresses(reader, fields.optional("addresses"));
    let ports = ports(reader, fields.optional("ports"));
    fields.finish(reader);
    let metadata = metadata?;
    let (ports, host_ports) = ports?;
    Some(Workload {
        name: metadata.name,
        labels: metadata.labels,
        place: place?,
        interface: interface?.to_owned(),
        addresses: addresses?,
        ports,
        host_ports,
        origin: metadata.origin,
    })
}

fn runs(reader: &mut Reader, node: &Node) -> Option<Place> {
    let mut fields = reader.fields(node, "runs")?;
    let netns = fields.optional("netns");
    let container = fields.optional("container");
    let unit = fields.optional("systemdUnit");
    let cgroup = fields.optional("cgroup");
    let before = reader.diagnostics.len();
    fields.finish(reader);
    let place = match (netns, container, unit, cgroup) {
        (Some(netns), None, None, cgroup) => {
            let path = netns_path(reader, netns);
            let cgroup = match cgroup {
                Some(node) => Some(path_of(reader, node, "cgroup")?),
                None => None,
            };
            Place::Netns { path: path?, cgroup }
        }
        (None, Some(node), None, None) => container_place(reader, node)?,
        (None, None, Some(node), None) => Place::SystemdUnit { unit: unit_name(reader, node)? },
        (None, None, None, Some(node)) => Place::Cgroup { path: path_of(reader, node, "cgroup")? },
        (None, None, None, None) => {
            if reader.diagnostics.len() == before {
                reader
                    .error(node.place, "`runs` doesn't say where the workload runs")
                    .help("give one of netns, container, systemdUnit, cgroup");
            }
            return None;
        }
        _ => {
            reader
                .error(node.place, "`runs` names more than one place")
                .help("give one of netns, container, systemdUnit, cgroup; only netns and cgroup go together");
            return None;
        }
    };
    Some(place)
}

fn path_text<'n>(reader: &mut Reader, node: &'n Node, name: &str) -> Option<&'n str> {
    let text = reader.text(node, name)?;
    let climbs = text.split('/').any(|part| part == "..");
    if text.is_empty() || climbs || text.chars().any(char::is_control) {
        reader
            .error(node.place, format_args!("`{name}` is not a usable path"))
            .help("give it without `..` and control characters");
        return None;
    }
    Some(text)
}

fn path_of(reader: &mut Reader, node: &Node, name: &str) -> Option<PathBuf> {
    path_text(reader, node, name).map(PathBuf::from)
}

fn netns_path(reader: &mut Reader, node: &Node) -> Option<PathBuf> {
    let text = path_text(reader, node, "netns")?;
    if text.starts_with('/') {
        return Some(PathBuf::from(text));
    }
    if text.contains('/') {
        reader
            .error(node.place, "`netns` is a relative path")
            .help(format_args!("give an absolute path, or the name of a file in {NETNS_FOLDER}"));
        return None;
    }
    Some(PathBuf::from(NETNS_FOLDER).join(text))
}

fn container_place(reader: &mut Reader, node: &Node) -> Option<Place> {
    let mut fields = reader.fields(node, "container")?;
    let runtime = fields.required(reader, "runtime").and_then(|node| {
        Some(match one_of(reader, node, "runtime", &["docker", "podman", "containerd"])? {
            "docker" => ContainerRuntime::Docker,
            "podman" => ContainerRuntime::Podman,
            _ => ContainerRuntime::Containerd,
        })
    });
    let name_node = fields.optional("name");
    let name = match name_node {
        Some(node) => Some(reader.text(node, "name")?.to_owned()),
        None => None,
    };
    // Containers' labels have no fixed syntax.
    let labels_node = fields.optional("labels");
    let mut labels = Labels::default();
    for entry in labels_node.and_then(|node| reader.mapping(node, "labels")).unwrap_or_default() {
        if let Some(value) = reader.text(&entry.value, &shorten(&entry.key)) {
            labels.0.insert(entry.key.to_string(), value.to_owned());
        }
    }
    fields.finish(reader);
    if name.as_deref().unwrap_or_default().is_empty() && labels.0.is_empty() {
        reader.error(node.place, "`container` needs `name` or `labels` to find it by");
        return None;
    }
    Some(Place::Container { runtime: runtime?, name, labels })
}

fn unit_name(reader: &mut Reader, node: &Node) -> Option<String> {
    let unit = reader.text(node, "systemdUnit")?;
    let named = unit.rsplit_once('.').is_some_and(|(name, kind)| {
        !name.is_empty() && matches!(kind, "service" | "scope" | "slice")
    });
    if !named || unit.contains('/') || unit.chars().any(|c| c.is_control() || c == ' ') {
        reader
            .error(node.place, "`systemdUnit` must be the full name of a service, scope or slice")
            .help("write it like nginx.service");
        return None;
    }
    Some(unit.to_owned())
}

fn addresses(reader: &mut Reader, node: Option<&Node>) -> Option<AddressRequest> {
    let Some(node) = node else { return Some(AddressRequest::Auto) };
    if let Some(Scalar::Text("auto")) = node.scalar() {
        return Some(AddressRequest::Auto);
    }
    let Value::Sequence(items) = &node.value else {
        reader.error(node.place, "`addresses` must be `auto` or a list of IP addresses");
        return None;
    };
    let mut fixed = Vec::new();
    for item in items.iter() {
        let address = unicast(reader, item, "addresses[]")?;
        if fixed.contains(&address) {
            reader.error(item.place, format_args!("{address} is given twice"));
        }
        fixed.push(address);
    }
    if fixed.is_empty() {
        reader
            .error(node.place, "`addresses` is an empty list")
            .help("write auto, or leave it out, to get addresses from the node's pool");
        return None;
    }
    Some(AddressRequest::Fixed(fixed))
}

fn ports(reader: &mut Reader, node: Option<&Node>) -> Option<(Vec<NamedPort>, Vec<HostPort>)> {
    let mut ports: Vec<NamedPort> = Vec::new();
    let mut host_ports: Vec<HostPort> = Vec::new();
    let Some(node) = node else { return Some((ports, host_ports)) };
    for item in reader.items(node, "ports")? {
        let Some(mut fields) = reader.fields(item, "ports[]") else { continue };
        let host_port = host_port(reader, &mut fields);
        // A port that nothing refers to by name may go without one.
        let name = match host_port {
            Some(None) => fields.required(reader, "name"),
            _ => fields.optional("name"),
        };
        let name = name.map(|node| port_name(reader, node, "name"));
        let port = fields.required(reader, "port").and_then(|node| reader.port(node, "port"));
        let protocol = protocol(reader, &mut fields);
        fields.finish(reader);
        let (Some(host_port), Some(port), Some(protocol)) = (host_port, port, protocol) else {
            continue;
        };
        let name = match name {
            Some(Some(name)) => Some(name),
            Some(None) => continue,
            None => None,
        };
        if let Some((host_port, address)) = host_port {
            let name = name.clone().unwrap_or_default();
            if host_ports.iter().any(|other| {
                (other.protocol, other.host_port) == (protocol, host_port)
                    && (other.address.is_none() || address.is_none() || other.address == address)
            }) {
                reader.error(
                    item.place,
                    format_args!("`hostPort` {host_port}/{protocol} is given twice"),
                );
            }
            host_ports.push(HostPort { name, protocol, address, host_port, port });
        }
        let Some(name) = name else { continue };
        // Several protocols may share a name, as DNS does with TCP and UDP.
        if ports.iter().any(|other| other.name == name && other.protocol == protocol) {
            reader.error(item.place, format_args!("port name `{name}` is given twice"));
        }
        ports.push(NamedPort { name, protocol, port });
    }
    Some((ports, host_ports))
}

/// `hostPort` and `hostIP`; `Some(None)` without them.
fn host_port(reader: &mut Reader, fields: &mut Fields) -> Option<Option<(u16, Option<IpAddr>)>> {
    let address_node = fields.optional("hostIP");
    let Some(node) = fields.optional("hostPort") else {
        if let Some(node) = address_node {
            reader.error(node.place, "`hostIP` without `hostPort`").help("add one, or remove it");
            return None;
        }
        return Some(None);
    };
    let port = reader.port(node, "hostPort");
    let address = match address_node {
        Some(node) if node.scalar() == Some(Scalar::Text("")) => None,
        Some(node) => match address(reader, node, "hostIP")? {
            any if any.is_unspecified() => None,
            _ => Some(unicast(reader, node, "hostIP")?),
        },
        None => None,
    };
    Some(Some((port?, address)))
}
