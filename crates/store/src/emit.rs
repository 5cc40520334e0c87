//! Objects as manifests: what Skep understood, with every default written out.
//!
//! Emitting works from the object, not from the text it came from: a user sees what is in force,
//! whatever the source. Comments and fields without a meaning to Skep are gone; the text as it was
//! applied is in [`crate::database::Stored`]. What is emitted reads as the same object again.

mod load_balancer;

use crate::manifest::{ALGORITHM_ANNOTATION, FORWARDING_ANNOTATION, SERVICE_NAME_LABEL};
use model::{
    AddressRequest, Algorithm, ContainerRuntime, Distribution, EndpointSlice, HostPort, Labels,
    NetworkPolicy, Object, Operator, Place, PolicyPeer, PolicyPort, PolicyRule, PortMatch,
    Selector, Service, TargetPort, TrafficPolicy, Workload,
};
use serde_json::{Map, Value, json};

/// The manifest as a JSON value, fields in their usual order.
pub fn to_json(object: &Object) -> Value {
    let mut manifest = Map::new();
    manifest.insert("apiVersion".into(), object.kind().api_version().into());
    manifest.insert("kind".into(), object.kind().name().into());
    manifest.insert("metadata".into(), metadata(object));
    match object {
        Object::Namespace(_) => {}
        Object::Workload(workload) => {
            manifest.insert("spec".into(), workload_spec(workload));
        }
        Object::Service(service) => {
            manifest.insert("spec".into(), service_spec(service));
            if !service.load_balancer_ips.is_empty() {
                let ingress: Value = service
                    .load_balancer_ips
                    .iter()
                    .map(|address| json!({"ip": address.to_string()}))
                    .collect();
                manifest.insert("status".into(), json!({"loadBalancer": {"ingress": ingress}}));
            }
        }
        Object::EndpointSlice(slice) => endpoint_slice(&mut manifest, slice),
        Object::NetworkPolicy(policy) => {
            manifest.insert("spec".into(), network_policy_spec(policy));
        }
        Object::LoadBalancer(balancer) => {
            manifest.insert("spec".into(), load_balancer::spec(balancer));
        }
    }
    Value::Object(manifest)
}

/// The manifest as a YAML document, without `---`.
pub fn to_yaml(object: &Object) -> String {
    yaml(&to_json(object))
}

/// Several objects as one JSON value: `kind: List`.
pub fn list<'o>(objects: impl IntoIterator<Item = &'o Object>) -> Value {
    let items: Vec<_> = objects.into_iter().map(to_json).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn metadata(object: &Object) -> Value {
    let name = object.name();
    let mut metadata = Map::new();
    metadata.insert("name".into(), (*name.name).into());
    if !name.namespace.is_empty() {
        metadata.insert("namespace".into(), (*name.namespace).into());
    }
    let labels = match object {
        Object::Namespace(namespace) => namespace.labels.clone(),
        Object::Workload(workload) => workload.labels.clone(),
        Object::EndpointSlice(slice) => {
            slice.service.iter().map(|name| (SERVICE_NAME_LABEL, name.as_str())).collect()
        }
        Object::Service(_) | Object::NetworkPolicy(_) | Object::LoadBalancer(_) => {
            Labels::default()
        }
    };
    if !labels.0.is_empty() {
        metadata.insert("labels".into(), labels_json(&labels));
    }
    if let Object::Service(service) = object {
        let mut annotations = Map::new();
        if service.algorithm == Algorithm::Maglev {
            annotations.insert(ALGORITHM_ANNOTATION.into(), json!("maglev"));
        }
        if let Some(forwarding) = service.forwarding {
            annotations.insert(FORWARDING_ANNOTATION.into(), json!(forwarding.name()));
        }
        if !annotations.is_empty() {
            metadata.insert("annotations".into(), Value::Object(annotations));
        }
    }
    Value::Object(metadata)
}

fn labels_json(labels: &Labels) -> Value {
    labels.0.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
}

fn workload_spec(workload: &Workload) -> Value {
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let runs = match &workload.place {
        Place::Netns { path: netns, cgroup: None } => json!({"netns": path(netns)}),
        Place::Netns { path: netns, cgroup: Some(cgroup) } => {
            json!({"netns": path(netns), "cgroup": path(cgroup)})
        }
        Place::Container { runtime, name, labels } => {
            let runtime = match runtime {
                ContainerRuntime::Docker => "docker",
                ContainerRuntime::Podman => "podman",
                ContainerRuntime::Containerd => "containerd",
            };
            let mut container = json!({"runtime": runtime});
            if let Some(name) = name {
                container["name"] = name.as_str().into();
            }
            if !labels.0.is_empty() {
                container["labels"] = labels_json(labels);
            }
            json!({"container": container})
        }
        Place::SystemdUnit { unit } => json!({"systemdUnit": unit}),
        Place::Cgroup { path: cgroup } => json!({"cgroup": path(cgroup)}),
    };
    let addresses: Value = match &workload.addresses {
        AddressRequest::Auto => "auto".into(),
        AddressRequest::Fixed(addresses) => {
            addresses.iter().map(|address| Value::from(address.to_string())).collect()
        }
    };
    let mut spec = json!({
        "runs": runs,
        "interface": workload.interface,
        "addresses": addresses,
    });
    if !workload.ports.is_empty() || !workload.host_ports.is_empty() {
        spec["ports"] = workload_ports(workload);
    }
    spec
}

fn workload_ports(workload: &Workload) -> Value {
    let named = |port: &HostPort| {
        workload
            .ports
            .iter()
            .any(|it| (&it.name, it.protocol, it.port) == (&port.name, port.protocol, port.port))
    };
    let ports = workload.ports.iter().map(|port| {
        let host_port = workload
            .host_ports
            .iter()
            .find(|it| (&it.name, it.protocol, it.port) == (&port.name, port.protocol, port.port));
        let mut written =
            json!({"name": port.name, "port": port.port, "protocol": port.protocol.name()});
        if let Some(host_port) = host_port {
            write_host_port(&mut written, host_port);
        }
        written
    });
    let unnamed = workload.host_ports.iter().filter(|port| !named(port)).map(|port| {
        let mut written = json!({"port": port.port, "protocol": port.protocol.name()});
        write_host_port(&mut written, port);
        written
    });
    ports.chain(unnamed).collect()
}

fn write_host_port(written: &mut Value, port: &HostPort) {
    written["hostPort"] = port.host_port.into();
    if let Some(address) = port.address {
        written["hostIP"] = address.to_string().into();
    }
}

fn service_spec(service: &Service) -> Value {
    let node_ports = service.ports.iter().any(|port| port.node_port.is_some());
    let kind = match (service.load_balancer_ips.is_empty(), node_ports) {
        (false, _) => "LoadBalancer",
        (true, _) if service.health_check_port.is_some() => "LoadBalancer",
        (true, true) => "NodePort",
        (true, false) => "ClusterIP",
    };
    let mut spec = json!({"type": kind});
    match service.cluster_ips.as_slice() {
        [] => spec["clusterIP"] = "None".into(),
        [first, ..] => {
            spec["clusterIP"] = first.to_string().into();
            spec["clusterIPs"] =
                service.cluster_ips.iter().map(|address| address.to_string()).collect();
        }
    }
    if let Some(selector) = &service.selector {
        spec["selector"] = labels_json(selector);
    }
    if !service.ports.is_empty() {
        spec["ports"] = service
            .ports
            .iter()
            .map(|port| {
                let mut written = Map::new();
                if !port.name.is_empty() {
                    written.insert("name".into(), port.name.as_str().into());
                }
                written.insert("protocol".into(), port.protocol.name().into());
                written.insert("port".into(), port.port.into());
                let target = match &port.target {
                    TargetPort::Number(number) => Value::from(*number),
                    TargetPort::Name(name) => name.as_str().into(),
                };
                written.insert("targetPort".into(), target);
                if let Some(node_port) = port.node_port {
                    written.insert("nodePort".into(), node_port.into());
                }
                Value::Object(written)
            })
            .collect();
    }
    service_traffic(&mut spec, service);
    spec
}

fn service_traffic(spec: &mut Value, service: &Service) {
    let texts = |addresses: &[std::net::IpAddr]| -> Value {
        addresses.iter().map(|address| address.to_string()).collect()
    };
    if !service.external_ips.is_empty() {
        spec["externalIPs"] = texts(&service.external_ips);
    }
    if !service.source_ranges.is_empty() {
        spec["loadBalancerSourceRanges"] =
            service.source_ranges.iter().map(|range| range.to_string()).collect();
    }
    for (name, policy) in [
        ("internalTrafficPolicy", service.internal_traffic),
        ("externalTrafficPolicy", service.external_traffic),
    ] {
        if policy == TrafficPolicy::Local {
            spec[name] = "Local".into();
        }
    }
    match service.distribution {
        Distribution::Even => {}
        Distribution::SameZone => spec["trafficDistribution"] = "PreferSameZone".into(),
        Distribution::SameNode => spec["trafficDistribution"] = "PreferSameNode".into(),
    }
    if let Some(seconds) = service.affinity {
        spec["sessionAffinity"] = "ClientIP".into();
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
    }
    if service.publish_not_ready {
        spec["publishNotReadyAddresses"] = true.into();
    }
    if let Some(port) = service.health_check_port {
        spec["healthCheckNodePort"] = port.into();
    }
}

fn endpoint_slice(manifest: &mut Map<String, Value>, slice: &EndpointSlice) {
    let is_v6 = slice.endpoints.first().is_some_and(|endpoint| endpoint.address.is_ipv6());
    manifest.insert("addressType".into(), if is_v6 { "IPv6" } else { "IPv4" }.into());
    let endpoints = slice.endpoints.iter().map(|endpoint| {
        let mut written = json!({
            "addresses": [endpoint.address.to_string()],
            "conditions": {
                "ready": endpoint.ready,
                "serving": endpoint.serving,
                "terminating": endpoint.terminating,
            },
        });
        for (name, value) in [("nodeName", &endpoint.node), ("zone", &endpoint.zone)] {
            if let Some(value) = value {
                written[name] = value.as_str().into();
            }
        }
        for (name, values) in [("forZones", &endpoint.for_zones), ("forNodes", &endpoint.for_nodes)]
        {
            if !values.is_empty() {
                written["hints"][name] = values.iter().map(|name| json!({"name": name})).collect();
            }
        }
        written
    });
    manifest.insert("endpoints".into(), endpoints.collect());
    let ports = slice.ports.iter().map(
        |port| json!({"name": port.name, "protocol": port.protocol.name(), "port": port.port}),
    );
    manifest.insert("ports".into(), ports.collect());
}

fn network_policy_spec(policy: &NetworkPolicy) -> Value {
    let mut spec = json!({"podSelector": selector(&policy.subjects)});
    let mut types = Vec::new();
    for (name, field, peers, rules) in [
        ("Ingress", "ingress", "from", &policy.ingress),
        ("Egress", "egress", "to", &policy.egress),
    ] {
        if let Some(rules) = rules {
            types.push(name);
            spec[field] = rules.iter().map(|rule| policy_rule(rule, peers)).collect();
        }
    }
    spec["policyTypes"] = types.into();
    spec
}

fn policy_rule(rule: &PolicyRule, peers_field: &str) -> Value {
    let mut written = Map::new();
    if !rule.peers.is_empty() {
        written.insert(peers_field.into(), rule.peers.iter().map(policy_peer).collect());
    }
    if !rule.ports.is_empty() {
        written.insert("ports".into(), rule.ports.iter().map(policy_port).collect());
    }
    Value::Object(written)
}

fn policy_peer(peer: &PolicyPeer) -> Value {
    match peer {
        PolicyPeer::Workloads { namespaces: None, workloads } => {
            json!({"podSelector": selector(workloads)})
        }
        PolicyPeer::Workloads { namespaces: Some(namespaces), workloads } => {
            json!({"namespaceSelector": selector(namespaces), "podSelector": selector(workloads)})
        }
        PolicyPeer::Block { block, except } => {
            let mut written = json!({"cidr": block.to_string()});
            if !except.is_empty() {
                written["except"] = except.iter().map(|hole| hole.to_string()).collect();
            }
            json!({"ipBlock": written})
        }
    }
}

fn policy_port(port: &PolicyPort) -> Value {
    let mut written = json!({"protocol": port.protocol.name()});
    match &port.port {
        PortMatch::Any => {}
        PortMatch::Range(first, last) => {
            written["port"] = (*first).into();
            if last != first {
                written["endPort"] = (*last).into();
            }
        }
        PortMatch::Name(name) => written["port"] = name.as_str().into(),
    }
    written
}

/// `matchLabels` for what came from there: requirements of one value, at the beginning, in the
/// order of their keys. So a selector reads back with its requirements in the same order.
fn selector(selector: &Selector) -> Value {
    let mut labels = Map::new();
    let mut expressions: Vec<Value> = Vec::new();
    let mut last = None;
    for requirement in &selector.requirements {
        let key = requirement.key.as_str();
        let (operator, values) = match &requirement.operator {
            Operator::In(values)
                if values.len() == 1 && expressions.is_empty() && last < Some(key) =>
            {
                last = Some(key);
                labels.insert(key.into(), values[0].as_str().into());
                continue;
            }
            Operator::In(values) => ("In", values.as_slice()),
            Operator::NotIn(values) => ("NotIn", values.as_slice()),
            Operator::Exists => ("Exists", &[][..]),
            Operator::DoesNotExist => ("DoesNotExist", &[][..]),
        };
        let mut expression = json!({"key": key, "operator": operator});
        if !values.is_empty() {
            expression["values"] = values.into();
        }
        expressions.push(expression);
    }
    let mut written = Map::new();
    if !labels.is_empty() {
        written.insert("matchLabels".into(), Value::Object(labels));
    }
    if !expressions.is_empty() {
        written.insert("matchExpressions".into(), expressions.into());
    }
    Value::Object(written)
}

/// A JSON value as block YAML. Text is quoted unless it is plainly a word, so that no reader takes
/// it for a number, a boolean or a date.
fn yaml(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => yaml_fields(&mut text, fields, 0, false),
        Value::Array(items) if !items.is_empty() => yaml_items(&mut text, items, 0),
        _ => {
            text.push_str(&yaml_scalar(value));
            text.push('\n');
        }
    }
    text
}

/// `inline`: the first field stands behind a dash on the line begun.
fn yaml_fields(text: &mut String, fields: &Map<String, Value>, indent: usize, inline: bool) {
    for (position, (key, value)) in fields.iter().enumerate() {
        if position > 0 || !inline {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str(&yaml_word(key));
        text.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                yaml_fields(text, inner, indent + 2, false);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                yaml_items(text, items, indent);
            }
            scalar => {
                text.push(' ');
                text.push_str(&yaml_scalar(scalar));
                text.push('\n');
            }
        }
    }
}

fn yaml_items(text: &mut String, items: &[Value], indent: usize) {
    for item in items {
        text.push_str(&" ".repeat(indent));
        text.push_str("- ");
        match item {
            Value::Object(fields) if !fields.is_empty() => {
                yaml_fields(text, fields, indent + 2, true);
            }
            // JSON is YAML; no manifest of ours has lists in lists.
            item => {
                text.push_str(&yaml_scalar(item));
                text.push('\n');
            }
        }
    }
}

fn yaml_scalar(value: &Value) -> String {
    match value {
        Value::String(word) => yaml_word(word),
        other => other.to_string(),
    }
}

fn yaml_word(word: &str) -> String {
    let plain = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&word.to_ascii_lowercase().as_str());
    let is_address = word.parse::<std::net::Ipv4Addr>().is_ok();
    if plain || is_address { word.to_owned() } else { Value::from(word).to_string() }
}

#[cfg(test)]
mod tests;
