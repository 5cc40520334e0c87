use super::*;
use crate::v1::*;
use std::collections::BTreeMap;

fn flow() -> Flow {
    Flow {
        kind: FlowKind::Drop.into(),
        verdict: Verdict::Dropped.into(),
        drop_reason: DropReason::PolicyDefault.into(),
        direction: Direction::Ingress.into(),
        ip: Some(Ip { source: "10.0.0.7".into(), destination: "10.0.0.9".into(), version: 4 }),
        l4: Some(Layer4::new(6, (51514, 8080), (0, 0), 2)),
        vip: Some(SocketAddress { address: "10.96.0.10".into(), port: 80 }),
        source: Some(FlowEnd {
            identity: 300,
            namespace: "shop".into(),
            workload: "client-7f4".into(),
            labels: BTreeMap::from([("app".into(), "client".into())]),
            process: Some(Process {
                pid: 4120,
                binary: "/usr/bin/curl".into(),
                comm: "curl".into(),
                exec_id: "bjoxMjoz".into(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        destination: Some(FlowEnd {
            identity: abi::identity::WORLD_IPV4,
            namespace: "shop".into(),
            workload: "web-1".into(),
            ..Default::default()
        }),
        destination_service: Some(ServiceName {
            namespace: "shop".into(),
            name: "web".into(),
            port_name: String::new(),
        }),
        ..Default::default()
    }
}

fn matches(filter: FlowFilter) -> bool {
    let request = ObserveRequest { allow: vec![filter], ..Default::default() };
    FlowFilters::parse(&request).unwrap().matches(&flow())
}

/// Whether the value matches as: either end, source, destination.
fn check(field: fn(&mut EndFilter) -> &mut Vec<String>, value: &str, expect: [bool; 3]) {
    let mut end = EndFilter::default();
    field(&mut end).push(value.to_owned());
    let filters = [
        FlowFilter { either: Some(end.clone()), ..Default::default() },
        FlowFilter { from: Some(end.clone()), ..Default::default() },
        FlowFilter { to: Some(end), ..Default::default() },
    ];
    assert_eq!(filters.map(matches), expect, "{value}");
}

#[test]
fn ends() {
    const SOURCE: [bool; 3] = [true, true, false];
    const DESTINATION: [bool; 3] = [true, false, true];
    const NEITHER: [bool; 3] = [false; 3];
    check(|end| &mut end.workloads, "shop/client-7f4", SOURCE);
    check(|end| &mut end.workloads, "client-*", SOURCE);
    check(|end| &mut end.workloads, "shop/*", [true; 3]);
    check(|end| &mut end.workloads, "web-1", DESTINATION);
    check(|end| &mut end.workloads, "other/web-1", NEITHER);
    check(|end| &mut end.namespaces, "shop", [true; 3]);
    check(|end| &mut end.selectors, "app in (client)", SOURCE);
    check(|end| &mut end.selectors, "app!=client", DESTINATION);
    check(|end| &mut end.identities, "300", SOURCE);
    check(|end| &mut end.identities, "world", DESTINATION);
    check(|end| &mut end.identities, "host", NEITHER);
    check(|end| &mut end.addresses, "10.0.0.7", SOURCE);
    check(|end| &mut end.addresses, "10.96.0.0/16", DESTINATION);
    check(|end| &mut end.addresses, "::/0", NEITHER);
    check(|end| &mut end.ports, "50000-60000", SOURCE);
    check(|end| &mut end.ports, "8080", DESTINATION);
    check(|end| &mut end.ports, "80", DESTINATION);
    check(|end| &mut end.processes, "4120", SOURCE);
    check(|end| &mut end.processes, "curl", SOURCE);
    check(|end| &mut end.processes, "bin/cu", SOURCE);
    check(|end| &mut end.processes, "bjoxMjoz", SOURCE);
    check(|end| &mut end.processes, "412", NEITHER);
}

#[test]
fn fields_of_the_flow() {
    let filter = FlowFilter::default;
    for (protocol, expect) in [("tcp", true), ("TCP", true), ("6", true), ("icmp", false)] {
        assert_eq!(matches(FlowFilter { protocols: vec![protocol.into()], ..filter() }), expect);
    }
    assert!(matches(FlowFilter { verdicts: vec![Verdict::Dropped.into()], ..filter() }));
    assert!(!matches(FlowFilter { verdicts: vec![Verdict::Forwarded.into()], ..filter() }));
    assert!(!matches(FlowFilter { kinds: vec![FlowKind::Start.into()], ..filter() }));
    assert!(!matches(FlowFilter { directions: vec![Direction::Egress.into()], ..filter() }));
    assert!(!matches(FlowFilter { drop_reasons: vec![1, 2], kinds: vec![1], ..filter() }));
    assert!(matches(FlowFilter { services: vec!["shop/web".into()], ..filter() }));
    assert!(!matches(FlowFilter { services: vec!["x/web".into()], ..filter() }));
}

#[test]
fn denial_wins_and_loss_is_always_told() {
    let all = FlowFilter::default();
    let request = ObserveRequest { deny: vec![all], ..Default::default() };
    let filters = FlowFilters::parse(&request).unwrap();
    assert!(!filters.matches(&flow()));
    assert!(filters.matches(&Flow { kind: FlowKind::Lost.into(), ..Default::default() }));
    assert!(FlowFilters::default().matches(&Flow::default()));
}

#[test]
fn nonsense_is_refused() {
    let refused = |end: EndFilter| {
        let filter = FlowFilter { to: Some(end), ..Default::default() };
        let request = ObserveRequest { allow: vec![filter], ..Default::default() };
        FlowFilters::parse(&request).unwrap_err().to_string()
    };
    let one = |text: &str| vec![text.to_owned()];
    let default = EndFilter::default;
    let texts = [
        refused(EndFilter { workloads: one("a/b/c"), ..default() }),
        refused(EndFilter { addresses: one("10.0.0"), ..default() }),
        refused(EndFilter { ports: one("90-80"), ..default() }),
        refused(EndFilter { identities: one("wrold"), ..default() }),
        refused(EndFilter { selectors: one("="), ..default() }),
    ];
    insta::assert_snapshot!(texts.join("\n"), @r#"
    `a/b/c` is not a workload or service: write namespace/name, or name for any namespace
    `10.0.0` is not an address or block: write for example 10.0.0.1 or 10.0.0.0/8
    `90-80` is not a port from 0 to 65535 or a range such as 8000-8100
    `wrold` is not an identity: write its number, or the name of a reserved one such as world
    `=` is not a label selector: the key is missing; write for example app=web,tier in (a,b),!old
    "#);
}
