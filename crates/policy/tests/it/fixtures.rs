//! The published NetworkPolicy truth tables: every probe between different pods.

use crate::kernel::Kernel;
use flate2::read::GzDecoder;
use model::{
    Labels, NamedPort, NetworkPolicy, ObjectName, Operator, Origin, PolicyPeer, PolicyPort,
    PolicyRule, PortMatch, Protocol, Requirement, Selector,
};
use policy::{Compiler, EndpointInput};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::PathBuf;

fn fixtures() -> PathBuf {
    match std::env::var_os("SKEP_FIXTURES") {
        Some(path) => path.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures"),
    }
}

#[test]
fn published_truth_tables_agree() {
    let path = fixtures().join("networkpolicy/cases.jsonl.gz");
    let Ok(file) = std::fs::File::open(&path) else {
        println!("skipped: no fixtures at {} (set SKEP_FIXTURES)", path.display());
        return;
    };
    // One compiler for all steps, so that every step is an incremental change.
    let mut compiler = Compiler::new();
    let mut kernel = Kernel::default();
    let (mut policies, mut pods) = (BTreeSet::new(), BTreeSet::new());
    let (mut steps, mut probes) = (0, 0);
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let step: Value = serde_json::from_str(&line.unwrap()).unwrap();
        for (name, labels) in step["namespaces"].as_object().unwrap() {
            compiler.set_namespace(name.as_str(), labels_of(labels));
        }
        let inputs: Vec<_> = list(&step["pods"]).iter().map(endpoint).collect();
        let wanted: Vec<_> = list(&step["policies"]).iter().map(network_policy).collect();
        let names: BTreeSet<_> = inputs.iter().map(|input| input.name.clone()).collect();
        pods.difference(&names).for_each(|name| compiler.remove_endpoint(name));
        pods = names;
        let names: BTreeSet<_> = wanted.iter().map(|policy| policy.name.clone()).collect();
        policies.difference(&names).for_each(|name| compiler.remove_policy(name));
        policies = names;
        inputs.iter().cloned().for_each(|input| compiler.set_endpoint(input));
        wanted.iter().for_each(|policy| compiler.set_policy(policy));
        kernel.apply(&compiler.take_changes());
        kernel.apply(&compiler.take_changes());
        assert_eq!(kernel.tables, compiler.tables());

        let address = |name: &Value| {
            let (namespace, name) = name.as_str().unwrap().split_once('/').unwrap();
            let name = ObjectName::new(namespace, name);
            inputs.iter().find(|input| input.name == name).unwrap().addresses[0]
        };
        for verdict in list(&step["verdicts"]) {
            let (from, to) = (address(&verdict["F"]), address(&verdict["T"]));
            if from == to {
                continue;
            }
            let (protocol, port) = verdict["P"].as_str().unwrap().split_once('/').unwrap();
            let (protocol, port) = (protocol_of(protocol), port.parse().unwrap());
            let allowed = kernel.allows(from, to, protocol.number(), port);
            let expected = verdict["C"] == ".";
            assert_eq!(allowed, expected, "case {} step {}: {verdict}", step["case"], step["step"]);
            probes += 1;
        }
        steps += 1;
    }
    println!("{steps} steps, {probes} probes agree");
    assert_eq!(steps, 180);
    assert!(probes > 70_000);
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn labels_of(value: &Value) -> Labels {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(key, value)| (key.as_str(), value.as_str().unwrap())).collect()
}

fn protocol_of(name: &str) -> Protocol {
    Protocol::ALL.into_iter().find(|protocol| protocol.name() == name).unwrap()
}

fn endpoint(pod: &Value) -> EndpointInput {
    let name = ObjectName::new(pod["Namespace"].as_str().unwrap(), pod["Name"].as_str().unwrap());
    let ports = list(&pod["Containers"]).iter().map(|container| NamedPort {
        name: container["PortName"].as_str().unwrap().to_owned(),
        protocol: protocol_of(container["Protocol"].as_str().unwrap()),
        port: container["Port"].as_u64().unwrap() as u16,
    });
    EndpointInput {
        name,
        labels: labels_of(&pod["Labels"]),
        addresses: vec![pod["IP"].as_str().unwrap().parse::<IpAddr>().unwrap()],
        ports: ports.collect(),
        enforced: true,
    }
}

fn selector(value: &Value) -> Selector {
    let mut selector = Selector::labels(&labels_of(&value["matchLabels"]));
    for expression in list(&value["matchExpressions"]) {
        let values = list(&expression["values"]);
        let values = values.iter().map(|value| value.as_str().unwrap().to_owned()).collect();
        let operator = match expression["operator"].as_str().unwrap() {
            "In" => Operator::In(values),
            "NotIn" => Operator::NotIn(values),
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => panic!("operator {other}"),
        };
        let key = expression["key"].as_str().unwrap().to_owned();
        selector.requirements.push(Requirement { key, operator });
    }
    selector
}

fn network_policy(value: &Value) -> NetworkPolicy {
    let spec = &value["spec"];
    let types: Vec<&str> =
        list(&spec["policyTypes"]).iter().map(|name| name.as_str().unwrap()).collect();
    let ingress = types.is_empty() || types.contains(&"Ingress");
    let egress = types.contains(&"Egress") || types.is_empty() && !list(&spec["egress"]).is_empty();
    let rules = |rules: &Value, key: &str| list(rules).iter().map(|r| rule(r, key)).collect();
    let name = &value["metadata"];
    NetworkPolicy {
        name: ObjectName::new(name["namespace"].as_str().unwrap(), name["name"].as_str().unwrap()),
        subjects: selector(&spec["podSelector"]),
        ingress: ingress.then(|| rules(&spec["ingress"], "from")),
        egress: egress.then(|| rules(&spec["egress"], "to")),
        origin: Origin::new("case", 1, 1),
    }
}

fn rule(value: &Value, key: &str) -> PolicyRule {
    let peers = list(&value[key]).iter().map(|peer| match peer.get("ipBlock") {
        Some(block) if !block.is_null() => PolicyPeer::Block {
            block: block["cidr"].as_str().unwrap().parse().unwrap(),
            except: list(&block["except"])
                .iter()
                .map(|net| net.as_str().unwrap().parse().unwrap())
                .collect(),
        },
        _ => PolicyPeer::Workloads {
            namespaces: Some(&peer["namespaceSelector"])
                .filter(|value| !value.is_null())
                .map(selector),
            workloads: selector(&peer["podSelector"]),
        },
    });
    let ports = list(&value["ports"]).iter().map(|port| PolicyPort {
        protocol: protocol_of(port["protocol"].as_str().unwrap_or("TCP")),
        port: match (&port["port"], port["endPort"].as_u64()) {
            (Value::Null, _) => PortMatch::Any,
            (Value::String(name), _) => PortMatch::Name(name.clone()),
            (number, end) => {
                let first = number.as_u64().unwrap();
                PortMatch::Range(first as u16, end.unwrap_or(first) as u16)
            }
        },
    });
    PolicyRule { peers: peers.collect(), ports: ports.collect(), origin: Origin::new("case", 1, 1) }
}
