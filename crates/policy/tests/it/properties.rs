//! Random histories of objects: after every change the published tables say what the documentation
//! says, and between any two writes of a policy's change each direction says the old or the new.
//! (A workload that changes is asked about at two places, as subject and as peer; it has no such
//! promise.)

use crate::kernel::Kernel;
use crate::naive::World;
use model::{
    Labels, NamedPort, NetworkPolicy, ObjectName, Operator, Origin, PolicyPeer, PolicyPort,
    PolicyRule, PortMatch, Protocol, Requirement, Selector,
};
use policy::{Change, Compiler, EndpointInput, Party, Record};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::net::IpAddr;

const ADDRESSES: [&str; 9] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.1.1",
    "10.1.0.1",
    "fd00::1",
    "fd00::2",
    "fd00:1::1",
    "192.0.2.1",
    "2001:db8::1",
];
/// As those above from 192.0.2.1 on, never a workload's.
const WORKLOAD_ADDRESSES: usize = 7;
const BLOCKS: [&str; 8] = [
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.0.0.1/32",
    "10.0.1.0/24",
    "fd00::/16",
    "fd00::/64",
];
const PORTS: [u16; 5] = [53, 80, 81, 8080, 40000];
const NAMES: [&str; 2] = ["http", "dns"];
const NAMESPACES: [&str; 3] = ["n0", "n1", "n2"];

fn addresses() -> Vec<IpAddr> {
    ADDRESSES.iter().map(|text| text.parse().unwrap()).collect()
}

fn labels() -> impl Strategy<Value = Labels> {
    subsequence(vec![("app", "a"), ("app", "b"), ("tier", "x"), ("tier", "y")], 0..=3)
        .prop_map(Labels::from_iter)
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let values = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect::<Vec<_>>();
    (select(vec!["app", "tier"]), subsequence(vec!["a", "b", "x", "y"], 1..=2), 0..5).prop_map(
        move |(key, wanted, kind)| Requirement {
            key: key.to_owned(),
            operator: match kind {
                0 | 1 => Operator::In(values(wanted)),
                2 => Operator::NotIn(values(wanted)),
                3 => Operator::Exists,
                _ => Operator::DoesNotExist,
            },
        },
    )
}

fn selector() -> impl Strategy<Value = Selector> {
    prop::collection::vec(requirement(), 0..=2).prop_map(|requirements| Selector { requirements })
}

fn peer() -> impl Strategy<Value = PolicyPeer> {
    prop_oneof![
        (prop::option::of(selector()), selector())
            .prop_map(|(namespaces, workloads)| PolicyPeer::Workloads { namespaces, workloads }),
        (select(BLOCKS.to_vec()), subsequence(BLOCKS.to_vec(), 0..=2)).prop_map(
            |(block, except)| PolicyPeer::Block {
                block: block.parse().unwrap(),
                except: except.iter().map(|net| net.parse().unwrap()).collect(),
            }
        ),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(Protocol::ALL.to_vec())
}

fn port() -> impl Strategy<Value = PolicyPort> {
    let port = prop_oneof![
        Just(PortMatch::Any),
        select(PORTS.to_vec()).prop_map(|port| PortMatch::Range(port, port)),
        (select(PORTS.to_vec()), 0..30_000u16)
            .prop_map(|(first, more)| PortMatch::Range(first, first.saturating_add(more))),
        select(NAMES.to_vec()).prop_map(|name| PortMatch::Name(name.to_owned())),
    ];
    (protocol(), port).prop_map(|(protocol, port)| PolicyPort { protocol, port })
}

fn rules() -> impl Strategy<Value = Option<Vec<PolicyRule>>> {
    let rule = (prop::collection::vec(peer(), 0..=2), prop::collection::vec(port(), 0..=2))
        .prop_map(|(peers, ports)| PolicyRule { peers, ports, origin: Origin::new("f", 3, 1) });
    prop::option::of(prop::collection::vec(rule, 0..=2))
}

fn name(prefix: &'static str) -> impl Strategy<Value = ObjectName> {
    (select(NAMESPACES.to_vec()), 0..2).prop_map(move |(namespace, number)| {
        ObjectName::new(namespace, format!("{prefix}{number}"))
    })
}

fn network_policy() -> impl Strategy<Value = NetworkPolicy> {
    (name("p"), selector(), rules(), rules()).prop_map(|(name, subjects, ingress, egress)| {
        NetworkPolicy { name, subjects, ingress, egress, origin: Origin::new("f", 1, 1) }
    })
}

fn named_port() -> impl Strategy<Value = NamedPort> {
    (select(NAMES.to_vec()), protocol(), select(PORTS.to_vec()))
        .prop_map(|(name, protocol, port)| NamedPort { name: name.to_owned(), protocol, port })
}

fn endpoint() -> impl Strategy<Value = EndpointInput> {
    let ports = prop::collection::vec(named_port(), 0..=2);
    let own = subsequence(addresses()[..WORKLOAD_ADDRESSES].to_vec(), 0..=2);
    (name("w"), labels(), own, ports, prop::bool::weighted(0.8)).prop_map(
        |(name, labels, addresses, ports, enforced)| EndpointInput {
            name,
            labels,
            addresses,
            ports,
            enforced,
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => network_policy().prop_map(Change::SetPolicy),
        1 => name("p").prop_map(Change::RemovePolicy),
        4 => endpoint().prop_map(Change::SetEndpoint),
        1 => name("w").prop_map(Change::RemoveEndpoint),
        1 => (select(NAMESPACES.to_vec()), labels())
            .prop_map(|(name, labels)| Change::SetNamespace(name.into(), labels)),
        1 => select(NAMESPACES.to_vec()).prop_map(|name| Change::RemoveNamespace(name.into())),
        1 => subsequence(addresses(), 0..=1).prop_map(Change::SetHostAddresses),
    ]
}

fn note(world: &mut World, change: &Change) {
    match change.clone() {
        Change::SetPolicy(policy) => {
            world.policies.retain(|old| old.name != policy.name);
            world.policies.push(policy);
        }
        Change::RemovePolicy(name) => world.policies.retain(|old| old.name != name),
        Change::SetEndpoint(input) => {
            world.workloads.retain(|old| old.name != input.name);
            world.workloads.push(input);
        }
        Change::RemoveEndpoint(name) => world.workloads.retain(|old| old.name != name),
        Change::SetNamespace(name, labels) => {
            world.namespaces.insert(name.to_string(), labels);
        }
        Change::RemoveNamespace(name) => drop(world.namespaces.remove(&*name)),
        Change::SetHostAddresses(hosts) => world.hosts = hosts,
    }
}

/// Every verdict of every direction.
fn verdicts(kernel: &Kernel) -> Vec<bool> {
    let mut verdicts = Vec::new();
    for subject in addresses() {
        for peer in addresses().into_iter().filter(|peer| *peer != subject) {
            for (protocol, port) in [(6, 80), (6, 8080), (17, 53), (132, 40000)] {
                for ingress in [false, true] {
                    verdicts.push(kernel.one_way(subject, peer, ingress, protocol, port));
                }
            }
        }
    }
    verdicts
}

/// A compiler that starts with everything there, as after a restart.
fn restarted(world: &World, kernel: &Kernel) -> Compiler {
    let records = kernel.records.iter();
    let records = records.map(|(key, value)| Record { key: key.clone(), value: value.clone() });
    let mut compiler = Compiler::restore(records).unwrap();
    compiler.set_host_addresses(world.hosts.clone());
    for policy in world.policies.iter().rev() {
        compiler.set_policy(policy);
    }
    for (name, labels) in &world.namespaces {
        compiler.set_namespace(name.as_str(), labels.clone());
    }
    for workload in &world.workloads {
        compiler.set_endpoint(workload.clone());
    }
    compiler.take_changes();
    compiler
}

/// Few enough for every run; PROPTEST_CASES asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(96)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn tables_say_what_the_documentation_says(
        changes in prop::collection::vec(change(), 1..16),
    ) {
        let mut world = World::default();
        let mut compiler = Compiler::new();
        let mut kernel = Kernel::default();
        kernel.apply(&compiler.take_changes());
        for change in changes {
            note(&mut world, &change);
            compiler.change(change.clone());
            let sizes = compiler.sizes();
            let changes = compiler.take_changes();

            let of_policy = matches!(change, Change::SetPolicy(_) | Change::RemovePolicy(_));
            let before = verdicts(&kernel);
            let mut after = kernel.clone();
            after.apply(&changes);
            let wanted = verdicts(&after);
            let (mut peak, mut ports) = (0, 0);
            for write in kernel.writes(&changes) {
                kernel.write(write);
                peak = peak.max(kernel.tables.peers.len());
                ports = ports.max(kernel.tables.ports.len());
                if of_policy {
                    for ((now, old), new) in verdicts(&kernel).iter().zip(&before).zip(&wanted) {
                        prop_assert!(now == old || now == new, "between writes of {change:?}");
                    }
                }
            }
            prop_assert!(
                peak <= sizes.peers && ports <= sizes.ports,
                "{peak} peers, {ports} ports, {sizes:?}"
            );
            kernel = after;
            check_against_naive(&world, &kernel, &mut compiler)?;
        }
        // Blocks that are not named any more leave with the next change.
        kernel.apply(&compiler.take_changes());
        kernel.apply(&compiler.take_changes());
        prop_assert!(compiler.take_changes().is_empty());
        prop_assert_eq!(&kernel.tables, &compiler.tables());
        prop_assert_eq!(&kernel.tables, &restarted(&world, &kernel).tables());
        check_against_naive(&world, &kernel, &mut compiler)?;
    }
}

fn check_against_naive(
    world: &World,
    kernel: &Kernel,
    compiler: &mut Compiler,
) -> Result<(), TestCaseError> {
    for from in addresses() {
        for to in addresses().into_iter().filter(|to| *to != from) {
            for protocol in Protocol::ALL {
                for port in PORTS {
                    let expected = world.allows(from, to, protocol, port);
                    let number = protocol.number();
                    let found = kernel.allows(from, to, number, port);
                    prop_assert_eq!(found, expected, "{} > {}:{}/{}", from, to, port, protocol);
                }
            }
            let explanation = compiler
                .explain(&Party::Address(from), &Party::Address(to), Protocol::Tcp.number(), 80)
                .unwrap();
            let expected = world.allows(from, to, Protocol::Tcp, 80);
            prop_assert_eq!(explanation.allowed, expected, "{}", explanation);
            let verdict = compiler.verdict(from, to, Protocol::Tcp.number(), 80);
            prop_assert_eq!(verdict.allowed, expected);
        }
    }
    Ok(())
}
