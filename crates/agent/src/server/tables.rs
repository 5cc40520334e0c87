//! Endpoints, services and identities as messages.

use crate::node::Node;
use abi::identity::RESERVED;
use api::v1;
use datapath::{Endpoint, State};
use model::{Algorithm, ContainerRuntime, Labels, ObjectName, Place, Protocol, Selector};
use policy::Identity;
use services::{BackendView, FrontEndKind, FrontEndView, PortView, ServiceView};
use std::net::IpAddr;

pub fn endpoints(node: &mut Node, namespace: &str, selector: &Selector) -> Vec<v1::Endpoint> {
    let wanted: Vec<Endpoint> = node
        .datapath
        .endpoints()
        .filter(|endpoint| {
            (namespace.is_empty() || *endpoint.workload.name.namespace == *namespace)
                && selector.matches(&endpoint.workload.labels)
        })
        .cloned()
        .collect();
    let mut messages: Vec<v1::Endpoint> = wanted.iter().map(|one| endpoint(node, one)).collect();
    messages.sort_by_key(|endpoint| endpoint.id);
    messages
}

pub fn endpoint(node: &mut Node, endpoint: &Endpoint) -> v1::Endpoint {
    let name = &endpoint.workload.name;
    let policy = node.datapath.policy_mut().endpoint(name);
    let identity = node.datapath.policy().endpoint_identity(name);
    let root = node.datapath.cgroup_root();
    let cgroup = endpoint.cgroup.as_deref().map(|path| path.strip_prefix(root).unwrap_or(path));
    let interface = endpoint.interface.as_ref();
    let restricted = |rule_set: Option<u32>| {
        rule_set.is_some_and(|rule_set| rule_set != abi::endpoint::UNRESTRICTED)
    };
    v1::Endpoint {
        id: endpoint.id,
        namespace: name.namespace.to_string(),
        workload: name.name.to_string(),
        labels: endpoint.workload.labels.0.clone().into_iter().collect(),
        identity: identity.unwrap_or_default(),
        addresses: endpoint.addresses.iter().map(IpAddr::to_string).collect(),
        interface: interface.map(|interface| interface.host_name.clone()).unwrap_or_default(),
        ifindex: interface.map(|interface| interface.host_index).unwrap_or_default(),
        place: place(&endpoint.workload.place),
        cgroup: cgroup.map(|path| path.display().to_string()).unwrap_or_default(),
        state: match endpoint.state {
            State::Waiting => v1::endpoint::State::Waiting,
            State::Ready => v1::endpoint::State::Ready,
            State::Failed => v1::endpoint::State::Failed,
        }
        .into(),
        ingress_restricted: restricted(policy.as_ref().map(|policy| policy.ingress)),
        egress_restricted: restricted(policy.as_ref().map(|policy| policy.egress)),
        message: endpoint.message.clone(),
        attachment: endpoint.attachment(node.datapath.programs().hook()),
    }
}

fn place(place: &Place) -> String {
    match place {
        Place::Netns { path, .. } => format!("netns {}", path.display()),
        Place::Cgroup { path } => format!("cgroup {}", path.display()),
        Place::SystemdUnit { unit } => format!("unit {unit}"),
        Place::Container { runtime, name, labels } => {
            let runtime = match runtime {
                ContainerRuntime::Docker => "docker",
                ContainerRuntime::Podman => "podman",
                ContainerRuntime::Containerd => "containerd",
            };
            match name {
                Some(name) => format!("{runtime} container {name}"),
                None => format!("{runtime} container with {labels}"),
            }
        }
    }
}

/// Front-ends of the services whose name `wanted` accepts.
pub fn services(node: &Node, wanted: impl Fn(&ObjectName) -> bool) -> Vec<v1::Service> {
    let services = node.datapath.services().list();
    services.filter(|service| wanted(&service.name)).flat_map(|one| front_ends(&one)).collect()
}

fn front_ends(service: &ServiceView) -> Vec<v1::Service> {
    let front_end = |at: Option<&FrontEndView>, port: &PortView| {
        let same_family =
            |backend: &IpAddr| at.is_none_or(|at| at.address.is_ipv4() == backend.is_ipv4());
        let backends = port.backends.iter().filter(|backend| same_family(&backend.address));
        v1::Service {
            namespace: service.name.namespace.to_string(),
            name: service.name.name.to_string(),
            port_name: port.name.clone(),
            address: at.map(|at| at.address.to_string()).unwrap_or_default(),
            port: at.map_or(port.port, |at| at.port).into(),
            protocol: port.protocol.name().to_ascii_lowercase(),
            algorithm: match service.algorithm {
                Algorithm::Random => "random".to_owned(),
                Algorithm::Maglev => "maglev".to_owned(),
            },
            backends: backends.map(backend).collect(),
            kind: match at.map(|at| at.kind) {
                Some(FrontEndKind::ClusterIp) => "ClusterIP",
                Some(FrontEndKind::ExternalIp) => "ExternalIP",
                Some(FrontEndKind::LoadBalancer) => "LoadBalancer",
                Some(FrontEndKind::NodePort) => "NodePort",
                Some(FrontEndKind::HostPort) => "HostPort",
                None => "",
            }
            .to_owned(),
        }
    };
    let of_port = |port: &PortView| -> Vec<v1::Service> {
        if port.front_ends.is_empty() {
            return vec![front_end(None, port)];
        }
        port.front_ends.iter().map(|at| front_end(Some(at), port)).collect()
    };
    service.ports.iter().flat_map(of_port).collect()
}

fn backend(backend: &BackendView) -> v1::Backend {
    let workload =
        |part: fn(&ObjectName) -> String| backend.workload.as_ref().map(part).unwrap_or_default();
    let state = match backend.ready {
        true => v1::backend::State::Active,
        false => v1::backend::State::Terminating,
    };
    v1::Backend {
        address: backend.address.to_string(),
        port: backend.port.into(),
        namespace: workload(|name| name.namespace.to_string()),
        workload: workload(|name| name.name.to_string()),
        state: state.into(),
    }
}

/// Backends of a service, over all its ports.
pub fn backends_of(node: &Node, name: &ObjectName) -> usize {
    let view = node.datapath.services().view(name);
    view.map_or(0, |view| view.ports.iter().map(|port| port.backends.len()).sum())
}

/// A backend of the service's port, if it has any.
pub fn first_backend(
    node: &Node,
    name: &ObjectName,
    port: u16,
    protocol: Protocol,
) -> Option<(IpAddr, u16)> {
    let view = node.datapath.services().view(name)?;
    let port = view.ports.iter().find(|it| it.port == port && it.protocol == protocol)?;
    port.backends.first().map(|backend| (backend.address, backend.port))
}

pub fn identities(node: &Node, selector: &Selector) -> Vec<v1::Identity> {
    let policy = node.datapath.policy();
    let reserved = RESERVED.iter().map(|(number, name)| (*number, Identity::Reserved(name)));
    let others = policy.identities().map(|(number, identity)| (number, identity.clone()));
    reserved
        .chain(others)
        .filter(|(_, identity)| match identity {
            Identity::Workload(labels) => selector.matches(&labels.labels),
            _ => selector.matches(&Labels::default()),
        })
        .map(|(number, identity)| self::identity(node, number, &identity))
        .collect()
}

pub fn identity(node: &Node, number: u32, identity: &Identity) -> v1::Identity {
    let endpoints = node.datapath.endpoints().filter(|endpoint| {
        node.datapath.policy().endpoint_identity(&endpoint.workload.name) == Some(number)
    });
    let mut message = v1::Identity {
        number,
        endpoints: endpoints.map(|endpoint| endpoint.id).collect(),
        ..Default::default()
    };
    match identity {
        Identity::Reserved(name) => message.name = (*name).to_owned(),
        Identity::Block(block) => message.name = block.to_string(),
        Identity::Workload(labels) => {
            message.namespace = labels.namespace.to_string();
            message.labels = labels.labels.0.clone().into_iter().collect();
        }
    }
    message
}
