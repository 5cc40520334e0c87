//! Manifests as JSON values, which are YAML too.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};

pub type Labels = BTreeMap<String, String>;

/// Labels from pairs.
pub fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Documents as one stream.
pub fn stream(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("---\n{document}\n")).collect()
}

pub fn namespace(name: &str, labels: &Labels) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// A named port of a workload: name, protocol (`TCP`), number.
pub type Port = (String, String, u16);

/// A workload in a network namespace; no addresses means `auto`.
pub fn workload(
    (namespace, name): (&str, &str),
    labels: &Labels,
    (netns, cgroup): (&Path, &Path),
    addresses: &[IpAddr],
    ports: &[Port],
) -> Value {
    let addresses = if addresses.is_empty() { json!("auto") } else { json!(addresses) };
    let ports: Vec<Value> = ports
        .iter()
        .map(|(name, protocol, port)| json!({"name": name, "protocol": protocol, "port": port}))
        .collect();
    json!({
        "apiVersion": "skep.dev/v1",
        "kind": "Workload",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {
            "runs": {"netns": netns, "cgroup": cgroup},
            "addresses": addresses,
            "ports": ports,
        },
    })
}

/// A ClusterIP service: ports are (name, protocol, port, target port).
pub fn service(
    (namespace, name): (&str, &str),
    selector: &Labels,
    addresses: &[IpAddr],
    ports: &[(&str, &str, u16, u16)],
) -> Value {
    let ports: Vec<Value> = ports
        .iter()
        .map(|(name, protocol, port, target)| {
            json!({"name": name, "protocol": protocol, "port": port, "targetPort": target})
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "clusterIP": addresses.first(),
            "clusterIPs": addresses,
            "selector": selector,
            "ports": ports,
        },
    })
}

/// An EndpointSlice of a service, named also after its family (`IPv4`, `IPv6`).
pub fn endpoint_slice(
    (namespace, name): (&str, &str),
    service: &str,
    family: &str,
    endpoints: &[Value],
    ports: Value,
) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": format!("{name}-{}", family.to_lowercase()),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports,
    })
}

pub fn network_policy((namespace, name): (&str, &str), spec: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    })
}

/// What an object is called: kind, namespace (empty if it has none), name.
pub fn name_of(document: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &document["metadata"];
    (text(&document["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}
