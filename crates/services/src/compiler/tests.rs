use super::*;
use crate::maglev;
use crate::ring::blocks_for;
use abi::service::service_flags;
use model::{
    Algorithm, Distribution, Forwarding, ServicePort, SliceEndpoint, SlicePort, TargetPort,
    TrafficPolicy,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// The kernel's maps, as changes leave them.
#[derive(Clone, Default)]
struct Kernel(Tables);

impl Kernel {
    /// Applies a change in its order. After every write, every service leads to backends that are
    /// there.
    fn apply(&mut self, changes: &Changes) {
        for (id, backend) in &changes.add_backends {
            assert_eq!(self.0.backends.insert(*id, *backend), None);
        }
        let in_use: BTreeSet<u32> = self.0.services.values().flat_map(blocks_of).collect();
        for (block, value) in &changes.add_ring {
            assert!(!in_use.contains(block), "block {block} is written while in use");
            self.0.ring.insert(*block, *value);
        }
        self.check();
        self.0.members.extend(changes.add_members.iter().map(|(key, _)| *key));
        self.0.source_ranges.extend(changes.add_source_ranges.iter().map(|(key, _)| *key));
        for (key, value) in &changes.set_services {
            self.0.services.insert(*key, *value);
            self.check();
        }
        for key in &changes.remove_services {
            assert!(self.0.services.remove(key).is_some());
        }
        for key in &changes.remove_members {
            assert!(self.0.members.remove(key));
        }
        for key in &changes.remove_source_ranges {
            assert!(self.0.source_ranges.remove(key));
        }
        for id in &changes.remove_backends {
            assert!(self.0.backends.remove(id).is_some());
        }
        self.check();
        let in_use: BTreeSet<u32> = self.0.services.values().flat_map(blocks_of).collect();
        self.0.ring.retain(|block, _| in_use.contains(block));
    }

    fn check(&self) {
        for service in self.0.services.values() {
            assert!(self.slots(service).iter().all(|id| self.0.backends.contains_key(id)));
        }
    }

    fn slots(&self, service: &abi::service::Service) -> Vec<u32> {
        let blocks = blocks_of(service).flat_map(|block| self.0.ring[&block].backends);
        blocks.take(service.ring_len as usize).collect()
    }

    /// `address:port` of every backend that the front-end leads to.
    fn backends(&self, front_end: &str) -> Option<Vec<String>> {
        let front_end: std::net::SocketAddr = front_end.parse().unwrap();
        let key = front_end_key(front_end.ip(), front_end.port(), Protocol::Tcp);
        self.0.services.contains_key(&key).then(|| self.backends_of(&key))
    }

    fn backends_of(&self, key: &ServiceKey) -> Vec<String> {
        let slots: BTreeSet<u32> = self.slots(&self.0.services[key]).into_iter().collect();
        let texts = slots.iter().map(|id| {
            let backend = self.0.backends[id];
            format!("{}:{}", backend.address, backend.port)
        });
        let mut texts: Vec<_> = texts.collect();
        texts.sort();
        texts
    }
}

const NOTHING: Capacity =
    Capacity { services: 0, ring: 0, backends: 0, members: 0, source_ranges: 0 };

fn blocks_of(service: &abi::service::Service) -> impl Iterator<Item = u32> + use<> {
    (service.ring_base..).take(blocks_for(service.ring_len as usize) as usize)
}

fn service(name: &str, addresses: &[&str], target: TargetPort) -> Service {
    Service {
        cluster_ips: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        selector: Some(Labels::from_iter([("app", name)])),
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            target,
            node_port: None,
        }],
        ..Service::new(ObjectName::new("shop", name), Origin::new(format!("{name}.yaml"), 3, 1))
    }
}

fn workload(name: &str, app: &str, addresses: &[&str], http: u16) -> WorkloadInput {
    WorkloadInput {
        name: ObjectName::new("shop", name),
        labels: Labels::from_iter([("app", app)]),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ports: vec![NamedPort { name: "http".into(), protocol: Protocol::Tcp, port: http }],
        host_ports: Vec::new(),
        origin: Origin::new(format!("{name}.yaml"), 1, 1),
    }
}

fn named() -> TargetPort {
    TargetPort::Name("http".into())
}

fn check(kernel: &Kernel, front_end: &str, expect: &[&str]) {
    assert_eq!(
        kernel.backends(front_end).as_deref(),
        Some(&expect.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
    );
}

#[test]
fn workloads_by_label_family_and_port_name() {
    let mut compiler = Compiler::default();
    let mut kernel = Kernel::default();
    compiler.set_service(&service("web", &["10.96.0.10", "fd00:96::a"], named()));
    kernel.apply(&compiler.take_changes());
    check(&kernel, "10.96.0.10:80", &[]);

    compiler.set_workload(workload("web-1", "web", &["10.0.0.1", "fd00::1"], 8080));
    compiler.set_workload(workload("web-2", "web", &["10.0.0.2"], 9090));
    compiler.set_workload(workload("other", "db", &["10.0.0.3"], 80));
    kernel.apply(&compiler.take_changes());
    check(&kernel, "10.96.0.10:80", &["10.0.0.1:8080", "10.0.0.2:9090"]);
    check(&kernel, "[fd00:96::a]:80", &["fd00::1:8080"]);

    let key = front_end_key("10.96.0.10".parse().unwrap(), 80, Protocol::Tcp);
    let id = kernel.0.services[&key].id;
    assert_eq!(compiler.service(id).unwrap().to_string(), "shop/web:http");
    let view = compiler.list().next().unwrap();
    assert_eq!(view.ports[0].backends.len(), 3);
    assert_eq!(view.ports[0].backends[0].workload.as_ref().unwrap().to_string(), "shop/web-1");

    compiler.set_workload(workload("web-2", "not-web", &["10.0.0.2"], 9090));
    kernel.apply(&compiler.take_changes());
    check(&kernel, "10.96.0.10:80", &["10.0.0.1:8080"]);
    compiler.remove_service(&ObjectName::new("shop", "web"));
    kernel.apply(&compiler.take_changes());
    assert!(kernel.0 == Tables::default());
    assert_eq!(compiler.used(), NOTHING);
}

#[test]
fn slices_join_by_port_name_and_readiness() {
    let mut compiler = Compiler::default();
    let mut kernel = Kernel::default();
    let without_selector =
        Service { selector: None, ..service("web", &["10.96.0.10"], TargetPort::Number(80)) };
    compiler.set_service(&without_selector);
    let endpoint = |address: &str, ready| SliceEndpoint {
        ready,
        serving: ready,
        ..SliceEndpoint::ready(address.parse().unwrap())
    };
    let port = |name: &str, port| SlicePort { name: name.into(), protocol: Protocol::Tcp, port };
    let slice = EndpointSlice {
        name: ObjectName::new("shop", "web-abc"),
        service: Some("web".into()),
        endpoints: vec![endpoint("10.1.0.1", true), endpoint("10.1.0.2", false)],
        ports: vec![port("http", 8080), port("metrics", 9100)],
        origin: Origin::new("slice.yaml", 1, 1),
    };
    compiler.set_endpoint_slice(&slice);
    kernel.apply(&compiler.take_changes());
    check(&kernel, "10.96.0.10:80", &["10.1.0.1:8080"]);
    compiler.remove_endpoint_slice(&slice.name);
    kernel.apply(&compiler.take_changes());
    check(&kernel, "10.96.0.10:80", &[]);

    // Headless: listed, but no front-end.
    compiler.set_service(&Service { cluster_ips: Vec::new(), ..without_selector });
    kernel.apply(&compiler.take_changes());
    assert!(kernel.0.services.is_empty());
    assert_eq!(compiler.list().count(), 1);
}

#[test]
fn conflicts_name_both_and_the_one_that_has_it_wins() {
    let mut compiler = Compiler::default();
    let mut kernel = Kernel::default();
    compiler.set_workload(workload("a-1", "a", &["10.0.0.1"], 80));
    compiler.set_workload(workload("b-1", "b", &["10.0.0.2"], 80));
    compiler.set_service(&service("b", &["10.96.0.10"], named()));
    kernel.apply(&compiler.take_changes());
    check(&kernel, "10.96.0.10:80", &["10.0.0.2:80"]);
    compiler.set_service(&service("a", &["10.96.0.10"], named()));
    kernel.apply(&compiler.take_changes());
    check(&kernel, "10.96.0.10:80", &["10.0.0.2:80"]);
    let problems = compiler.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[0].to_string(),
        "10.96.0.10:80/TCP belongs to service shop/b (b.yaml:3); service shop/a (a.yaml:3) does \
         not answer there: give it another address or port"
    );
    compiler.remove_service(&ObjectName::new("shop", "b"));
    kernel.apply(&compiler.take_changes());
    check(&kernel, "10.96.0.10:80", &["10.0.0.1:80"]);
    assert!(compiler.problems().is_empty());
}

#[test]
fn a_full_map_keeps_the_former_backends() {
    let mut compiler =
        Compiler::new(Capacity { services: 2, ring: 2, backends: 3, ..Capacity::default() });
    let mut kernel = Kernel::default();
    compiler.set_service(&service("a", &["10.96.0.10"], named()));
    for number in 1..=3 {
        let address = format!("10.0.0.{number}");
        compiler.set_workload(workload(&format!("a-{number}"), "a", &[&address], 80));
    }
    kernel.apply(&compiler.take_changes());
    compiler.set_workload(workload("a-4", "a", &["10.0.0.4"], 80));
    kernel.apply(&compiler.take_changes());
    assert!(matches!(compiler.problems()[..], [Problem::Full { table: "backends", .. }]));
    assert_eq!(kernel.backends("10.96.0.10:80").unwrap().len(), 3);

    let maglev = Service { algorithm: Algorithm::Maglev, ..service("a", &["10.96.0.10"], named()) };
    compiler.remove_workload(&ObjectName::new("shop", "a-4"));
    compiler.set_service(&maglev);
    kernel.apply(&compiler.take_changes());
    assert!(matches!(compiler.problems()[..], [Problem::Full { table: "ring", .. }]));
    assert_eq!(kernel.backends("10.96.0.10:80").unwrap().len(), 3);
    compiler.set_service(&service("a", &["10.96.0.10"], named()));
    kernel.apply(&compiler.take_changes());
    assert!(compiler.problems().is_empty());
}

#[test]
fn one_change_touches_its_own_entries_only() {
    let mut compiler = Compiler::default();
    for number in 0..50 {
        let (name, address) = (format!("s{number}"), format!("10.96.0.{number}"));
        compiler.set_service(&service(&name, &[&address], named()));
        compiler.set_workload(workload(&name, &name, &[&format!("10.0.0.{number}")], 80));
    }
    compiler.take_changes();
    compiler.set_workload(workload("more", "s7", &["10.0.1.1"], 80));
    let changes = compiler.take_changes();
    let counts = (changes.add_backends.len(), changes.add_ring.len(), changes.set_services.len());
    assert_eq!(counts, (1, 1, 1));
    assert!(changes.remove_services.is_empty() && changes.remove_backends.is_empty());
    assert!(compiler.take_changes().is_empty());
}

fn check_traffic(service: &Service, slice: &[SliceEndpoint], expected: &[(&str, u8, &[&str])]) {
    let mut compiler = Compiler::default();
    compiler.set_node(NodeInput {
        name: "here".into(),
        zone: Some("a".into()),
        addresses: vec!["192.0.2.1".parse().unwrap()],
        ..NodeInput::default()
    });
    compiler.set_service(service);
    compiler.set_endpoint_slice(&EndpointSlice {
        name: ObjectName::new("shop", "web-1"),
        service: Some("web".into()),
        endpoints: slice.to_vec(),
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
        origin: Origin::new("slice.yaml", 1, 1),
    });
    let mut kernel = Kernel::default();
    kernel.apply(&compiler.take_changes());
    let mut found: Vec<(String, u8, Vec<String>)> = Vec::new();
    for key in kernel.0.services.keys() {
        let at = std::net::SocketAddr::new(IpAddr::from(key.address), key.port.number());
        let backends = kernel.backends_of(key).into_iter();
        let last = backends.map(|it| it.rsplit('.').next().unwrap().replace(":8080", ""));
        found.push((at.to_string(), key.scope, last.collect()));
    }
    found.sort();
    let mut wanted: Vec<(String, u8, Vec<String>)> = expected
        .iter()
        .map(|(at, scope, backends)| {
            (at.to_string(), *scope, backends.iter().map(|it| it.to_string()).collect())
        })
        .collect();
    wanted.sort();
    assert_eq!(found, wanted);
}

/// Five endpoints, of which the last two end.
fn endpoints() -> Vec<SliceEndpoint> {
    let endpoint = |last: u8, node: &str, zone: &str| SliceEndpoint {
        node: Some(node.into()),
        zone: Some(zone.into()),
        ..SliceEndpoint::ready([10, 1, 0, last].into())
    };
    let ending = |endpoint| SliceEndpoint { ready: false, terminating: true, ..endpoint };
    vec![
        endpoint(1, "here", "a"),
        endpoint(2, "there", "a"),
        endpoint(3, "far", "b"),
        ending(endpoint(4, "here", "a")),
        ending(endpoint(5, "far", "b")),
    ]
}

fn exposed() -> Service {
    let mut service = service("web", &["10.96.0.10"], named());
    service.external_ips = vec!["198.51.100.1".parse().unwrap()];
    service.load_balancer_ips = vec!["198.51.100.2".parse().unwrap()];
    service.ports[0].node_port = Some(30080);
    service
}

const ALL: &[&str] = &["1", "2", "3"];
const HERE: &[&str] = &["1"];

#[test]
fn traffic_policies_say_which_backends() {
    let (inside, outside) = (scope::INSIDE, scope::OUTSIDE);
    let check = |service: &Service, slice: &[SliceEndpoint], internal, external| {
        check_traffic(
            service,
            slice,
            &[
                ("10.96.0.10:80", inside, internal),
                ("198.51.100.1:80", inside, ALL),
                ("198.51.100.1:80", outside, external),
                ("198.51.100.2:80", inside, ALL),
                ("198.51.100.2:80", outside, external),
                ("192.0.2.1:30080", inside, ALL),
                ("192.0.2.1:30080", outside, external),
            ],
        );
    };
    let local = TrafficPolicy::Local;
    check(&exposed(), &endpoints(), ALL, ALL);
    check(&Service { internal_traffic: local, ..exposed() }, &endpoints(), HERE, ALL);
    check(&Service { external_traffic: local, ..exposed() }, &endpoints(), ALL, HERE);
    // The one that is ready has gone elsewhere: the one that ends goes on serving.
    let mut moved = endpoints();
    moved[0].node = Some("there".into());
    let both = Service { internal_traffic: local, external_traffic: local, ..exposed() };
    check(&both, &moved, &["4"], &["4"]);
}

#[test]
fn close_backends_are_preferred() {
    let check = |distribution, slice: &[SliceEndpoint], expected: &[&str]| {
        let service = Service { distribution, ..service("web", &["10.96.0.10"], named()) };
        check_traffic(&service, slice, &[("10.96.0.10:80", scope::INSIDE, expected)]);
    };
    check(Distribution::Even, &endpoints(), ALL);
    check(Distribution::SameZone, &endpoints(), &["1", "2"]);
    check(Distribution::SameNode, &endpoints(), HERE);
    // Nobody is near.
    let far: Vec<_> = endpoints().into_iter().filter(|it| it.node == Some("far".into())).collect();
    check(Distribution::SameZone, &far, &["3"]);
    check(Distribution::SameNode, &far, &["3"]);
    let mut hinted = endpoints();
    for (endpoint, zone) in hinted.iter_mut().zip(["b", "a", "a", "a", "a"]) {
        endpoint.for_zones = vec![zone.into()];
    }
    check(Distribution::Even, &hinted, &["2", "3"]);
    check(Distribution::SameZone, &hinted, &["2", "3"]);
    hinted[1].for_zones.clear();
    check(Distribution::Even, &hinted, ALL);
}

#[test]
fn endings_serve_only_while_nobody_is_ready() {
    let check = |slice: &[SliceEndpoint], publish_not_ready, expected: &[&str]| {
        let service = Service { publish_not_ready, ..service("web", &["10.96.0.10"], named()) };
        check_traffic(&service, slice, &[("10.96.0.10:80", scope::INSIDE, expected)]);
    };
    let ending = endpoints().split_off(3);
    check(&ending, false, &["4", "5"]);
    let mut silent = ending.clone();
    silent[1].serving = false;
    check(&silent, false, &["4"]);
    silent[0].terminating = false;
    check(&silent, false, &[]);
    check(&silent, true, &["4", "5"]);
}

#[test]
fn affinity_and_source_ranges_have_entries_of_their_own() {
    let mut compiler = Compiler::default();
    let mut kernel = Kernel::default();
    compiler.set_workload(workload("web-1", "web", &["10.0.0.1", "fd00::1"], 80));
    let service = Service {
        affinity: Some(60),
        source_ranges: vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        ..exposed()
    };
    compiler.set_service(&service);
    kernel.apply(&compiler.take_changes());
    let (members, ranges) = (&kernel.0.members, &kernel.0.source_ranges);
    assert_eq!((members.len(), ranges.len()), (1, 2));
    let mut lengths: Vec<u32> = ranges.iter().map(|range| range.prefix_len - 32).collect();
    lengths.sort();
    assert_eq!(lengths, [32, 120]);
    let ranged = |key: &ServiceKey| kernel.0.services[key].flags & service_flags::SOURCE_RANGES;
    for key in kernel.0.services.keys() {
        let balanced = IpAddr::from(key.address) == service.load_balancer_ips[0];
        assert_eq!(ranged(key) != 0, balanced);
        assert_eq!(kernel.0.services[key].affinity_s, 60);
    }
    // What leaves is named, once, with its service.
    compiler.set_workload(workload("web-1", "web", &["10.0.0.3", "fd00::1"], 80));
    let changes = compiler.take_changes();
    let left: Vec<String> =
        changes.departed.iter().map(|(_, backend)| backend.address.to_string()).collect();
    assert_eq!(left, ["10.0.0.1"]);
    assert!(compiler.is_listed("10.0.0.3".parse().unwrap()));
    assert!(!compiler.is_listed("10.0.0.1".parse().unwrap()));
    kernel.apply(&changes);
    // Removed and back in one change: nothing is lost.
    compiler.remove_service(&service.name);
    compiler.set_service(&service);
    kernel.apply(&compiler.take_changes());
    assert_eq!((kernel.0.members.len(), kernel.0.source_ranges.len()), (1, 2));
    compiler.remove_service(&service.name);
    kernel.apply(&compiler.take_changes());
    assert_eq!((kernel.0.members.len(), kernel.0.source_ranges.len()), (0, 0));
    assert_eq!(compiler.used(), NOTHING);
}

/// What the service says counts before what the node does; only what comes from outside returns
/// directly, and only if all nodes' backends may be chosen.
#[test]
fn direct_return_is_asked_for() {
    use Forwarding::{DirectReturn, Hybrid, Masquerade};
    let of_both = |protocol| ServicePort { protocol, ..exposed().ports[0].clone() };
    for (node, own, policy, tcp, udp) in [
        (Masquerade, None, TrafficPolicy::Cluster, false, false),
        (DirectReturn, None, TrafficPolicy::Cluster, true, true),
        (Hybrid, None, TrafficPolicy::Cluster, true, false),
        (Masquerade, Some(DirectReturn), TrafficPolicy::Cluster, true, true),
        (DirectReturn, Some(Masquerade), TrafficPolicy::Cluster, false, false),
        (DirectReturn, None, TrafficPolicy::Local, false, false),
    ] {
        let mut compiler = Compiler::default();
        let mut kernel = Kernel::default();
        compiler.set_node(NodeInput {
            addresses: vec!["192.0.2.1".parse().unwrap()],
            forwarding: node,
            ..NodeInput::default()
        });
        compiler.set_service(&Service {
            ports: vec![of_both(Protocol::Tcp), of_both(Protocol::Udp)],
            forwarding: own,
            external_traffic: policy,
            ..exposed()
        });
        kernel.apply(&compiler.take_changes());
        let outside = |key: &&ServiceKey| key.scope == scope::OUTSIDE;
        assert!(kernel.0.services.keys().any(|key| key.port.number() == 30080 && outside(&key)));
        for (key, value) in &kernel.0.services {
            let direct = value.flags & service_flags::DIRECT_RETURN != 0;
            let is_tcp = key.protocol == Protocol::Tcp.number();
            let expected = outside(&key) && if is_tcp { tcp } else { udp };
            assert_eq!(direct, expected, "{node:?} {own:?} {policy:?} {key:?}");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Service(usize, Vec<usize>, bool),
    RemoveService(usize),
    Workload(usize, usize, Vec<usize>),
    RemoveWorkload(usize),
}

const FRONT_ENDS: [&str; 3] = ["10.96.0.1", "10.96.0.2", "fd00:96::1"];
const WORKLOAD_ADDRESSES: [&str; 4] = ["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"];

fn step() -> impl Strategy<Value = Step> {
    let apps = 0..3usize;
    prop_oneof![
        3 => (apps.clone(), subsequence(vec![0, 1, 2], 0..=2), any::<bool>())
            .prop_map(|(app, addresses, maglev)| Step::Service(app, addresses, maglev)),
        1 => apps.clone().prop_map(Step::RemoveService),
        4 => (0..5usize, apps, subsequence(vec![0, 1, 2, 3], 1..=3))
            .prop_map(|(name, app, addresses)| Step::Workload(name, app, addresses)),
        1 => select((0..5usize).collect::<Vec<_>>()).prop_map(Step::RemoveWorkload),
    ]
}

fn take(compiler: &mut Compiler, step: &Step) {
    let name = |prefix: &str, number: usize| ObjectName::new("shop", format!("{prefix}{number}"));
    match step {
        Step::Service(app, addresses, maglev) => {
            let addresses: Vec<_> = addresses.iter().map(|index| FRONT_ENDS[*index]).collect();
            let service = service(&format!("s{app}"), &addresses, named());
            let algorithm = if *maglev { Algorithm::Maglev } else { Algorithm::Random };
            compiler.set_service(&Service { algorithm, ..service });
        }
        Step::RemoveService(app) => compiler.remove_service(&name("s", *app)),
        Step::Workload(number, app, addresses) => {
            let addresses: Vec<_> =
                addresses.iter().map(|index| WORKLOAD_ADDRESSES[*index]).collect();
            let (name, app) = (format!("w{number}"), format!("s{app}"));
            compiler.set_workload(workload(&name, &app, &addresses, 8080 + *number as u16 % 2));
        }
        Step::RemoveWorkload(number) => compiler.remove_workload(&name("w", *number)),
    }
}

/// Which service had an address after the change before.
type Holders = HashMap<IpAddr, ObjectName>;

/// What the objects ask for, read directly.
fn check_against_objects(compiler: &Compiler, kernel: &Kernel, holders: &mut Holders) {
    for address in FRONT_ENDS {
        let ip: IpAddr = address.parse().unwrap();
        let front_end = std::net::SocketAddr::new(ip, 80).to_string();
        let claims: Vec<&Entry> = compiler
            .services
            .values()
            .filter(|entry| entry.source.cluster_ips.contains(&ip))
            .collect();
        let holder =
            claims.iter().find(|entry| holders.get(&ip) == Some(&entry.source.name)).copied();
        let owner = holder.or(claims.first().copied());
        match owner {
            Some(owner) => holders.insert(ip, owner.source.name.clone()),
            None => holders.remove(&ip),
        };
        let expected = owner.map(|owner| {
            let wanted = owner.source.selector.as_ref().unwrap();
            let mut backends: Vec<String> = compiler
                .workloads
                .values()
                .filter(|workload| workload.labels == *wanted)
                .flat_map(|workload| {
                    let port = workload.ports[0].port;
                    workload.addresses.iter().map(move |address| (*address, port))
                })
                .filter(|(address, _)| address.is_ipv4() == ip.is_ipv4())
                .map(|(address, port)| format!("{address}:{port}"))
                .collect();
            backends.sort();
            backends.dedup();
            backends
        });
        assert_eq!(kernel.backends(&front_end), expected, "{front_end}");
        if let Some(owner) = owner {
            let key = front_end_key(ip, 80, Protocol::Tcp);
            let service = kernel.0.services[&key];
            let maglev = owner.source.algorithm == Algorithm::Maglev;
            assert_eq!(service.flags & service_flags::MAGLEV != 0, maglev);
            let backends = expected.unwrap().len();
            let slots = match maglev {
                true if backends > 0 => maglev::size(backends) as usize,
                _ => backends,
            };
            assert_eq!(service.ring_len as usize, slots);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn histories(steps in prop::collection::vec(step(), 1..30)) {
        let mut compiler = Compiler::default();
        let mut kernel = Kernel::default();
        let mut holders = Holders::default();
        for (position, step) in steps.iter().enumerate() {
            take(&mut compiler, step);
            // Sometimes several steps make one change.
            if position % 3 != 1 {
                kernel.apply(&compiler.take_changes());
                check_against_objects(&compiler, &kernel, &mut holders);
            }
        }
        kernel.apply(&compiler.take_changes());
        prop_assert!(compiler.tables() == kernel.0);
        prop_assert_eq!(compiler.used().ring as usize, kernel.0.ring.len());

        // After a restart with the same objects nothing changes.
        let mut restarted = Compiler::default();
        restarted.adopt(kernel.0.clone());
        for entry in compiler.services.values() {
            restarted.set_service(&entry.source);
        }
        for workload in compiler.workloads.values() {
            restarted.set_workload(workload.clone());
        }
        let changes = restarted.take_changes();
        prop_assert!(changes.is_empty(), "{:?}", changes);
        // And with none of them everything goes.
        let mut emptied = Compiler::default();
        emptied.adopt(kernel.0.clone());
        kernel.apply(&emptied.take_changes());
        prop_assert!(kernel.0 == Tables::default());
        prop_assert_eq!(emptied.used(), NOTHING);
    }
}

#[test]
fn host_ports_are_at_the_nodes_addresses_or_at_one() {
    let mut compiler = Compiler::default();
    let mut kernel = Kernel::default();
    compiler.set_node(NodeInput {
        name: "here".into(),
        zone: None,
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        ..NodeInput::default()
    });
    let host_port = |host_port: u16, address: Option<&str>| HostPort {
        name: String::new(),
        protocol: Protocol::Tcp,
        address: address.map(|text| text.parse().unwrap()),
        host_port,
        port: 8080,
    };
    let mut web = workload("web", "web", &["10.0.0.1", "fd00::1"], 8080);
    web.host_ports = vec![host_port(80, None), host_port(81, Some("198.51.100.1"))];
    compiler.set_workload(web.clone());
    kernel.apply(&compiler.take_changes());
    check(&kernel, "192.0.2.1:80", &["10.0.0.1:8080"]);
    check(&kernel, "[2001:db8::1]:80", &["fd00::1:8080"]);
    check(&kernel, "198.51.100.1:81", &["10.0.0.1:8080"]);
    assert_eq!(kernel.backends("192.0.2.1:81"), None);
    assert!(compiler.serves_outside());
    let kinds: BTreeSet<_> = compiler
        .list()
        .flat_map(|service| service.ports)
        .flat_map(|port| port.front_ends)
        .map(|front_end| front_end.kind == FrontEndKind::HostPort)
        .collect();
    assert_eq!(kinds, BTreeSet::from([true]));

    // Another workload wants the same; the one that has it keeps it.
    let mut other = workload("api", "api", &["10.0.0.2"], 8080);
    other.host_ports = vec![host_port(80, None)];
    compiler.set_workload(other);
    kernel.apply(&compiler.take_changes());
    check(&kernel, "192.0.2.1:80", &["10.0.0.1:8080"]);
    let problems = compiler.problems();
    let told = problems[0].to_string();
    assert!(told.contains("belongs to host port of workload shop/web (web.yaml:1"), "{told}");
    assert!(told.contains("host port of workload shop/api (api.yaml:1"), "{told}");
    let name = ObjectName::new("shop", "api");
    assert_eq!(problems[0].object(), ObjectRef { kind: Kind::Workload, name });

    // Its address changes, then it has none, then it goes.
    web.addresses = vec!["10.0.0.9".parse().unwrap()];
    compiler.set_workload(web.clone());
    kernel.apply(&compiler.take_changes());
    check(&kernel, "192.0.2.1:80", &["10.0.0.9:8080"]);
    check(&kernel, "[2001:db8::1]:80", &[]);
    compiler.remove_workload(&web.name);
    kernel.apply(&compiler.take_changes());
    check(&kernel, "192.0.2.1:80", &["10.0.0.2:8080"]);
    assert_eq!(kernel.backends("198.51.100.1:81"), None);
    compiler.remove_workload(&ObjectName::new("shop", "api"));
    kernel.apply(&compiler.take_changes());
    assert_eq!(kernel.0, Tables::default());
}

#[test]
fn a_slice_may_say_that_a_workload_is_not_ready() {
    let mut compiler = Compiler::default();
    let mut kernel = Kernel::default();
    compiler.set_service(&service("web", &["10.96.0.1"], named()));
    compiler.set_workload(workload("web-1", "web", &["10.0.0.1"], 8080));
    compiler.set_workload(workload("web-2", "web", &["10.0.0.2"], 8080));
    let slice = |ready, serving, terminating| EndpointSlice {
        name: ObjectName::new("shop", "web-1"),
        service: Some("web".into()),
        endpoints: vec![SliceEndpoint {
            ready,
            serving,
            terminating,
            ..SliceEndpoint::ready("10.0.0.1".parse().unwrap())
        }],
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
        origin: Origin::new("slice.yaml", 1, 1),
    };
    for (conditions, expected) in [
        (slice(true, true, false), &["10.0.0.1:8080", "10.0.0.2:8080"][..]),
        (slice(false, false, false), &["10.0.0.2:8080"]),
        (slice(false, true, true), &["10.0.0.2:8080"]),
        (slice(false, false, true), &["10.0.0.2:8080"]),
    ] {
        compiler.set_endpoint_slice(&conditions);
        kernel.apply(&compiler.take_changes());
        check(&kernel, "10.96.0.1:80", expected);
    }
    compiler.remove_workload(&ObjectName::new("shop", "web-2"));
    kernel.apply(&compiler.take_changes());
    check(&kernel, "10.96.0.1:80", &[]);
    compiler.set_endpoint_slice(&slice(false, true, true));
    kernel.apply(&compiler.take_changes());
    check(&kernel, "10.96.0.1:80", &["10.0.0.1:8080"]);
}

#[test]
fn health_checks_count_what_is_ready_here() {
    let mut compiler = Compiler::default();
    compiler.set_node(NodeInput { name: "here".into(), ..NodeInput::default() });
    let mut checked = service("web", &["10.96.0.1"], named());
    checked.health_check_port = Some(32000);
    checked.external_traffic = TrafficPolicy::Local;
    compiler.set_service(&checked);
    compiler.set_service(&service("other", &["10.96.0.2"], named()));
    compiler.set_workload(workload("web-1", "web", &["10.0.0.1", "fd00::1"], 8080));
    let endpoint = |address: &str, node: &str, ready| SliceEndpoint {
        ready,
        terminating: !ready,
        node: Some(node.into()),
        ..SliceEndpoint::ready(address.parse().unwrap())
    };
    compiler.set_endpoint_slice(&EndpointSlice {
        name: ObjectName::new("shop", "web-1"),
        service: Some("web".into()),
        endpoints: vec![
            endpoint("192.0.2.1", "here", true),
            endpoint("192.0.2.2", "here", false),
            endpoint("192.0.2.3", "there", true),
        ],
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
        origin: Origin::new("slice.yaml", 1, 1),
    });
    let found: Vec<_> = compiler
        .health_checks()
        .into_iter()
        .map(|it| (it.service.to_string(), it.port, it.local))
        .collect();
    assert_eq!(found, [("shop/web".to_owned(), 32000, [2, 1])]);
}
