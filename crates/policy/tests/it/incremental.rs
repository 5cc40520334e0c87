//! Changes touch what they must and nothing else; what does not fit is refused.

use crate::kernel::Kernel;
use model::{
    Labels, NetworkPolicy, ObjectName, Origin, PolicyPeer, PolicyPort, PolicyRule, PortMatch,
    Protocol, Selector,
};
use policy::{Capacity, Change, Changes, Compiler, EndpointInput, PolicyError, Record};

fn workload(number: u8, app: &str) -> EndpointInput {
    EndpointInput {
        name: ObjectName::new("shop", format!("w{number}")),
        labels: Labels::from_iter([("app", app)]),
        addresses: vec![format!("10.0.0.{number}").parse().unwrap()],
        ports: Vec::new(),
        enforced: true,
    }
}

fn policy(name: &str, from: PolicyPeer, ports: std::ops::RangeInclusive<u16>) -> NetworkPolicy {
    let origin = Origin::new("shop.yaml", 1, 1);
    let port = PortMatch::Range(*ports.start(), *ports.end());
    NetworkPolicy {
        name: ObjectName::new("shop", name),
        subjects: Selector::everything(),
        ingress: Some(vec![PolicyRule {
            peers: vec![from],
            ports: vec![PolicyPort { protocol: Protocol::Tcp, port }],
            origin: origin.clone(),
        }]),
        egress: None,
        origin,
    }
}

fn from_app(app: &str) -> PolicyPeer {
    let workloads = Selector::labels(&Labels::from_iter([("app", app)]));
    PolicyPeer::Workloads { namespaces: None, workloads }
}

#[test]
fn changes_are_small() {
    let mut compiler = Compiler::new();
    for number in 1..=40 {
        compiler.set_endpoint(workload(number, &format!("app{number}")));
    }
    compiler.set_policy(&policy("p", from_app("app1"), 80..=80));
    compiler.take_changes();

    // One rule set is shared by all forty.
    compiler.set_endpoint(workload(50, "app1"));
    let changes = compiler.take_changes();
    assert_eq!((changes.set_addresses.len(), changes.set_endpoints.len()), (1, 1));
    assert!(changes.add_peers.is_empty() && changes.add_ports.is_empty());
    assert!(changes.remember.is_empty(), "app1 has its numbers: {:?}", changes.remember);

    // The same again is nothing.
    compiler.set_endpoint(workload(50, "app1"));
    compiler.set_policy(&policy("p", from_app("app1"), 80..=80));
    assert!(compiler.take_changes().is_empty());

    // Put and taken back is nothing.
    compiler.set_policy(&policy("q", from_app("app2"), 81..=81));
    compiler.remove_policy(&ObjectName::new("shop", "q"));
    let changes = compiler.take_changes();
    assert!(changes.set_endpoints.is_empty() && changes.add_peers.is_empty(), "{changes:?}");
}

#[test]
fn too_large_is_refused_and_leaves_no_trace() {
    let mut compiler = Compiler::new();
    for number in 1..=10 {
        compiler.set_endpoint(workload(number, "web"));
    }
    compiler.set_policy(&policy("p", from_app("web"), 80..=80));
    let mut kernel = Kernel::default();
    kernel.apply(&compiler.take_changes());
    let before = compiler.sizes();

    let capacity = Capacity { addresses: 100, peers: 100, ports: 10 };
    // The range needs many prefixes; the blocks would be entries of `addresses`.
    let block = PolicyPeer::Block { block: "10.0.0.0/8".parse().unwrap(), except: Vec::new() };
    for large in [policy("p", block, 1..=65534), policy("q", from_app("web"), 1..=65534)] {
        let refused = compiler.apply(Change::SetPolicy(large), &capacity);
        assert!(
            matches!(refused, Err(PolicyError::TooLarge { table: "ports", capacity: 10, .. })),
            "{refused:?}"
        );
        assert_eq!(compiler.sizes(), before);
        // The block's identity keeps its number; nothing goes to the kernel.
        let changes = compiler.take_changes();
        let unsent = Changes { remember: changes.remember.clone(), ..Changes::default() };
        assert_eq!(changes, unsent);
        assert_eq!(compiler.tables(), kernel.tables);
    }
    let small = policy("q", from_app("db"), 81..=81);
    compiler.apply(Change::SetPolicy(small), &capacity).unwrap();
    assert!(!compiler.take_changes().is_empty());
}

#[test]
fn a_restarted_compiler_gives_the_same_numbers() {
    let mut compiler = Compiler::new();
    let mut kernel = Kernel::default();
    for (number, app) in [(1, "a"), (2, "b"), (3, "c")] {
        compiler.set_endpoint(workload(number, app));
        kernel.apply(&compiler.take_changes());
    }
    compiler.remove_endpoint(&ObjectName::new("shop", "w1"));
    compiler.set_policy(&policy("p", from_app("c"), 80..=80));
    kernel.apply(&compiler.take_changes());

    let records = kernel.records.iter();
    let records = records.map(|(key, value)| Record { key: key.clone(), value: value.clone() });
    let mut restarted = Compiler::restore(records).unwrap();
    restarted.set_policy(&policy("p", from_app("c"), 80..=80));
    restarted.set_endpoint(workload(3, "c"));
    restarted.set_endpoint(workload(2, "b"));
    assert_eq!(restarted.tables(), kernel.tables);
    assert_eq!(restarted.endpoint_identity(&ObjectName::new("shop", "w3")), Some(258));
    // The label set of the workload that went is let go of.
    assert_eq!(restarted.forget_unused(), ["identity/256"]);

    let bad = Record { key: "identity/1".into(), value: "x".into() };
    assert!(matches!(Compiler::restore([bad]), Err(PolicyError::BadRecord { .. })));
}
