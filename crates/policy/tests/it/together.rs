//! Many changes at once.

use crate::kernel::Kernel;
use model::{
    Labels, NetworkPolicy, ObjectName, Origin, PolicyPeer, PolicyPort, PolicyRule, PortMatch,
    Protocol, Selector,
};
use policy::{Capacity, Change, Compiler, EndpointInput, PolicyError};
use std::net::{IpAddr, Ipv4Addr};

fn endpoint() -> Change {
    Change::SetEndpoint(EndpointInput {
        name: ObjectName::new("shop", "web"),
        labels: Labels::from_iter([("app", "web")]),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))],
        ports: Vec::new(),
        enforced: true,
    })
}

/// Lets one block reach some ports of the endpoint.
fn policy(number: u8, last_port: u16) -> Change {
    let origin = Origin::new("test.yaml", 1, 1);
    let block = format!("192.0.{number}.0/24").parse().unwrap();
    let rule = PolicyRule {
        peers: vec![PolicyPeer::Block { block, except: Vec::new() }],
        ports: vec![PolicyPort { protocol: Protocol::Tcp, port: PortMatch::Range(80, last_port) }],
        origin: origin.clone(),
    };
    Change::SetPolicy(NetworkPolicy {
        name: ObjectName::new("shop", format!("p{number}")),
        subjects: Selector::everything(),
        ingress: Some(vec![rule]),
        egress: None,
        origin,
    })
}

#[test]
fn changes_together_give_what_they_give_one_by_one() {
    let changes: Vec<Change> =
        std::iter::once(endpoint()).chain((0..20).map(|number| policy(number, 81))).collect();
    let capacity = Capacity { addresses: 1000, peers: 1000, ports: 1000 };
    let (mut together, mut single) = (Compiler::new(), Compiler::new());
    let (mut kernel, mut other) = (Kernel::default(), Kernel::default());
    for change in &changes {
        single.apply(change.clone(), &capacity).unwrap();
        other.apply(&single.take_changes());
    }
    assert!(together.apply_all(changes, &capacity).iter().all(Result::is_ok));
    let taken = together.take_changes();
    assert!(taken.remove_peers.is_empty(), "no version in between was made");
    kernel.apply(&taken);
    assert_eq!(kernel.tables, together.tables());
    // Peers are numbered in order of their births, so what is compared is how many there are.
    other.apply(&single.take_changes());
    let count = |tables: &policy::Tables| tables.peers.len();
    assert_eq!(count(&kernel.tables), count(&other.tables));
}

#[test]
fn only_what_does_not_fit_is_refused() {
    let capacity = Capacity { addresses: 1000, peers: 1000, ports: 12 };
    let mut compiler = Compiler::new();
    let changes = vec![endpoint(), policy(1, 81), policy(2, 65534), policy(3, 81)];
    let results = compiler.apply_all(changes, &capacity);
    let refused: Vec<bool> = results.iter().map(Result::is_err).collect();
    assert_eq!(refused, [false, false, true, false], "{results:?}");
    assert!(matches!(&results[2], Err(PolicyError::TooLarge { table: "ports", .. })));
    let mut kernel = Kernel::default();
    kernel.apply(&compiler.take_changes());
    assert_eq!(kernel.tables, compiler.tables());
    let allowed = |compiler: &mut Compiler, block: u8| {
        let from = IpAddr::V4(Ipv4Addr::new(192, 0, block, 1));
        let to = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        compiler.verdict(from, to, 6, 80).allowed
    };
    assert_eq!([1, 2, 3].map(|block| allowed(&mut compiler, block)), [true, false, true]);
}
