//! Services and policies in number, as manifests for Skep and as rules for nftables.
//!
//! One of each is on the path that is measured; the others are about other addresses. Policies all
//! select the server: rule `i` lets one block of addresses reach one port.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use testkit::manifest::{labels, network_policy};

use crate::traffic::PORTS;

/// Where the service on the path answers.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
pub const NAMESPACE: &str = "bench";
pub const SERVER: &str = "server";

/// The block and port of policy `number` (which is not on the path).
fn block(number: usize) -> (String, u16) {
    let [.., high, low] = (number as u32).to_be_bytes();
    (format!("172.{}.{low}.0/24", 64 + high), 10_000 + (number % 50_000) as u16)
}

/// Address of service `number` and of its backend (neither is on the path).
fn service(number: usize) -> (Ipv4Addr, Ipv4Addr) {
    let [.., high, low] = (number as u32).to_be_bytes();
    (Ipv4Addr::new(10, 97, high, low), Ipv4Addr::new(172, 20, high, low))
}

/// `count` services and `count` policies, of which the first are on the path.
pub fn manifests(count: usize, clients: &[Ipv4Addr]) -> Vec<Value> {
    let mut documents = Vec::new();
    if count == 0 {
        return documents;
    }
    let ports: Vec<Value> = PORTS
        .iter()
        .map(|port| json!({"name": format!("p{port}"), "port": port, "targetPort": port}))
        .collect();
    documents.push(service_of("on-path", VIP, json!(ports), Some(json!({"app": SERVER}))));
    let blocks: Vec<Value> =
        clients.iter().map(|client| json!({"ipBlock": {"cidr": format!("{client}/32")}})).collect();
    let ports: Vec<Value> = PORTS.iter().map(|port| json!({"port": port})).collect();
    documents.push(allow("on-path", json!(blocks), json!(ports)));
    for number in 1..count {
        let name = format!("other-{number}");
        let (vip, backend) = service(number);
        let ports = json!([{"name": "web", "port": 80, "targetPort": 8080}]);
        documents.push(service_of(&name, vip, ports, None));
        documents.push(slice(&name, &[backend]));
        let (block, port) = block(number);
        documents.push(allow(
            &name,
            json!([{"ipBlock": {"cidr": block}}]),
            json!([{"port": port}]),
        ));
    }
    documents
}

pub fn service_of(name: &str, vip: Ipv4Addr, ports: Value, selector: Option<Value>) -> Value {
    let mut spec = json!({"clusterIP": vip, "clusterIPs": [vip], "ports": ports});
    if let Some(selector) = selector {
        spec["selector"] = selector;
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": spec,
    })
}

/// Backends of a service, at port 8080.
pub fn slice(service: &str, backends: &[Ipv4Addr]) -> Value {
    let endpoints: Vec<Value> =
        backends.iter().map(|address| json!({"addresses": [address]})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": NAMESPACE,
            "name": format!("{service}-1"),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
    })
}

fn allow(name: &str, from: Value, ports: Value) -> Value {
    network_policy(
        (NAMESPACE, name),
        json!({
            "podSelector": {"matchLabels": labels([("app", SERVER)])},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": from, "ports": ports}],
        }),
    )
}

/// How nftables is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A chain with a rule each, as kube-proxy's iptables mode and most firewalls have it. The
    /// rule on the path stands in the middle.
    Chain,
    /// Verdict and translation maps, as kube-proxy's nftables mode has it.
    Map,
}

/// The same services and policies for `nft -f`. Established connections pass first, so that rules
/// cost the first packet only.
pub fn nftables(count: usize, form: Form, clients: &[Ipv4Addr], server: Ipv4Addr) -> String {
    let mut allowed: Vec<(String, u16)> = (1..count).map(block).collect();
    let mut translated: Vec<(Ipv4Addr, u16, Ipv4Addr, u16)> = (1..count)
        .map(|number| {
            let (vip, backend) = service(number);
            (vip, 80, backend, 8080)
        })
        .collect();
    let middle = allowed.len() / 2;
    for port in PORTS {
        translated.insert(middle, (VIP, port, server, port));
        for client in clients {
            allowed.insert(middle, (format!("{client}/32"), port));
        }
    }
    let mut text = String::from("table ip bench {\n");
    let (mut filter, mut nat) = (String::new(), String::new());
    match form {
        Form::Chain => {
            for (block, port) in &allowed {
                // Writing to a `String` does not fail.
                let _ = writeln!(
                    filter,
                    "    ip saddr {block} ip daddr {server} tcp dport {port} accept"
                );
            }
            for (vip, port, backend, target) in &translated {
                let _ =
                    writeln!(nat, "    ip daddr {vip} tcp dport {port} dnat to {backend}:{target}");
            }
        }
        Form::Map => {
            text += "  map allowed {\n    type ipv4_addr . ipv4_addr . inet_service : verdict\n    \
                     flags interval\n    elements = {\n";
            for (block, port) in &allowed {
                let _ = writeln!(text, "      {block} . {server} . {port} : accept,");
            }
            text += "    }\n  }\n  map services {\n    type ipv4_addr . inet_service : ipv4_addr \
                     . inet_service\n    elements = {\n";
            for (vip, port, backend, target) in &translated {
                let _ = writeln!(text, "      {vip} . {port} : {backend} . {target},");
            }
            text += "    }\n  }\n";
            filter += "    ip saddr . ip daddr . tcp dport vmap @allowed\n";
            nat += "    dnat ip to ip daddr . tcp dport map @services\n";
        }
    }
    let _ = write!(
        text,
        "  chain forward {{\n    type filter hook forward priority 0; policy drop;\n    \
         ct state established,related accept\n{filter}  }}\n  chain prerouting {{\n    \
         type nat hook prerouting priority -100; policy accept;\n{nat}  }}\n}}\n"
    );
    text
}
