//! Endpoints whose place, interface or programs are not what they should be.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::manifest::{labels, network_policy};
use testkit::probe::{Probe, Target, Transport, Verdict};
use testkit::{Binaries, Node, Plan, Pod, require_root};

const WINDOW: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(10);

fn start() -> Node {
    Node::start(Binaries::built().unwrap()).unwrap()
}

fn plan(name: &str) -> Plan<'_> {
    Plan { namespace: "shop", name, ports: &[80, 81], sockets: true }
}

/// The endpoint of shop/`name` as the agent tells it, once it is as `wanted`.
#[track_caller]
fn endpoint(node: &Node, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let list = node.skep().json(&["endpoint", "list"]).unwrap();
        let found = list.as_array().unwrap().iter().find(|found| found["workload"] == name);
        if let Some(found) = found.filter(|found| wanted(found)) {
            return found.clone();
        }
        assert!(Instant::now() < deadline, "{name} in {list}");
        sleep(Duration::from_millis(50));
    }
}

fn is_ready(endpoint: &Value) -> bool {
    endpoint["message"].as_str().unwrap_or_default().is_empty()
}

fn says(endpoint: &Value, words: &str) -> bool {
    endpoint["message"].as_str().unwrap_or_default().contains(words)
}

fn addresses(endpoint: &Value) -> Vec<IpAddr> {
    let all = endpoint["addresses"].as_array().into_iter().flatten();
    all.map(|address| address.as_str().unwrap().parse().unwrap()).collect()
}

#[track_caller]
fn check(probe: &mut Probe, address: IpAddr, port: u16, by: Option<&str>) {
    let target = Target::new(Transport::Tcp, address, port);
    let window = if by.is_some() { PATIENCE } else { WINDOW };
    let verdict = probe.probe_one(&target, window).unwrap().verdict;
    let expect = by.map_or(Verdict::Silent, |name| Verdict::Answered(name.into()));
    assert_eq!(verdict, expect, "{} ► {target:?}", probe.name());
}

fn only_port(port: u16) -> Value {
    let spec = json!({
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"ports": [{"protocol": "TCP", "port": port}]}],
    });
    network_policy(("shop", "web"), spec)
}

/// A namespace that can't be opened just now is not one that is gone: what the workload has stays,
/// with the policy of the hour, also over a restart of the agent.
#[test]
fn a_place_that_is_not_known_just_now() {
    require_root!();
    let mut node = start();
    let [mut client] = Pod::apply(&node, [plan("client")]).unwrap();
    let web = node.workload("shop", "web").unwrap();
    let mut probe = Probe::start(&node.binaries().probe, &web.place, "shop/web").unwrap();
    probe.serve(Transport::Tcp, 80).unwrap();
    probe.serve(Transport::Tcp, 81).unwrap();
    let path = node.folder().join("web");
    symlink(web.place.netns.path(), &path).unwrap();
    let mut manifest = web.manifest(&labels([("app", "web")]), &[], &[]);
    manifest["spec"]["runs"]["netns"] = json!(path);
    node.skep().apply(&[manifest, only_port(80)]).unwrap();
    let known = endpoint(&node, "web", is_ready);
    let address = addresses(&known)[0];
    check(&mut client.probe, address, 80, Some("shop/web"));
    check(&mut client.probe, address, 81, None);

    let point_to = |target: &Path| {
        fs::remove_file(&path).unwrap();
        symlink(target, &path).unwrap();
    };
    // To itself: too many levels of symbolic links.
    point_to(&path);
    let unknown = endpoint(&node, "web", |web| says(web, "stays in force"));
    assert_eq!(addresses(&unknown), addresses(&known), "{unknown}");
    check(&mut client.probe, address, 80, Some("shop/web"));
    node.skep().apply(&[only_port(81)]).unwrap();
    check(&mut client.probe, address, 81, Some("shop/web"));
    check(&mut client.probe, address, 80, None);

    node.kill_agent().unwrap();
    node.start_agent().unwrap();
    let after = endpoint(&node, "web", |web| says(web, "stays in force"));
    assert_eq!(addresses(&after), addresses(&known), "{after}");
    check(&mut client.probe, address, 81, Some("shop/web"));
    check(&mut client.probe, address, 80, None);
    node.skep().apply(&[only_port(80)]).unwrap();
    check(&mut client.probe, address, 80, Some("shop/web"));
    check(&mut client.probe, address, 81, None);

    point_to(web.place.netns.path());
    assert_eq!(endpoint(&node, "web", is_ready), known, "nothing was made anew");
    // Surely gone.
    point_to(Path::new("/nowhere"));
    let gone = endpoint(&node, "web", |web| says(web, "no network namespace"));
    assert_eq!(addresses(&gone), Vec::<IpAddr>::new());
    let target = Target::new(Transport::Tcp, address, 80);
    let verdict = client.probe.probe_one(&target, WINDOW).unwrap().verdict;
    // The node may know already that there is no way.
    assert!(matches!(verdict, Verdict::Silent | Verdict::Failed(_)), "{verdict:?}");
    // Also after a start of the agent at which it wasn't known.
    point_to(web.place.netns.path());
    endpoint(&node, "web", is_ready);
    node.kill_agent().unwrap();
    point_to(&path);
    node.start_agent().unwrap();
    check(&mut client.probe, address, 80, Some("shop/web"));
    point_to(Path::new("/nowhere"));
    endpoint(&node, "web", |web| says(web, "no network namespace"));
    let links = fs::read_dir(node.bpffs().join("links")).unwrap().count();
    assert_eq!(links, 11, "the client's: two on its interface, nine on its cgroup");
}

/// An interface someone else made, with these addresses inside.
fn theirs(node: &Node, workload: &testkit::Workload, addresses: &[&str]) {
    let outside = format!("th-{}", workload.name);
    let run = |place: &testkit::Place, words: &str| {
        let output = place.output(place.command("ip").args(words.split(' '))).unwrap();
        assert!(output.status.success(), "{words}: {output:?}");
    };
    let name = workload.place.netns.path().file_name().unwrap().to_str().unwrap();
    run(node.place(), &format!("link add {outside} type veth peer name eth0 netns {name}"));
    run(node.place(), &format!("link set {outside} up"));
    for address in addresses {
        run(node.place(), &format!("route replace {address} dev {outside}"));
        run(&workload.place, &format!("address add {address} dev eth0"));
    }
    run(&workload.place, "link set eth0 up");
}

/// Who may change an interface doesn't thereby become another workload, or the node.
#[test]
fn addresses_of_an_interface_that_was_there() {
    require_root!();
    let node = start();
    let [client] = Pod::apply(&node, [plan("client")]).unwrap();
    let thief = node.workload("shop", "thief").unwrap();
    let stolen = client.v4.to_string();
    let node_own = testkit::node::NODE_V4.to_string();
    theirs(&node, &thief, &["172.20.0.2"]);
    for address in [&stolen, &node_own] {
        let mut ip = thief.place.command("ip");
        ip.args(["address", "add", &format!("{address}/32"), "dev", "eth0"]);
        assert!(thief.place.output(&mut ip).unwrap().status.success());
    }
    node.skep().apply(&[thief.manifest(&labels([("app", "thief")]), &[], &[])]).unwrap();
    let found = endpoint(&node, "thief", |thief| says(thief, "taken by workload shop/client"));
    assert!(says(&found, &format!("{node_own} is the node's own address")), "{found}");
    assert_eq!(addresses(&found), ["172.20.0.2".parse::<IpAddr>().unwrap()], "{found}");
    let victim = endpoint(&node, "client", is_ready);
    assert_eq!(addresses(&victim), client.addresses(), "{victim}");

    // A list says which are meant.
    let listed = node.workload("shop", "listed").unwrap();
    theirs(&node, &listed, &["10.244.0.200", "172.20.0.3"]);
    let wanted: [IpAddr; 2] = ["10.244.0.200".parse().unwrap(), "172.20.0.4".parse().unwrap()];
    node.skep().apply(&[listed.manifest(&labels([]), &wanted, &[])]).unwrap();
    let found = endpoint(&node, "listed", |listed| says(listed, "doesn't have 172.20.0.4"));
    assert_eq!(addresses(&found), wanted[..1], "{found}");
    node.skep().apply(&[listed.manifest(&labels([]), &wanted[..1], &[])]).unwrap();
    assert_eq!(addresses(&endpoint(&node, "listed", is_ready)), wanted[..1]);
    let again = node.workload("shop", "again").unwrap();
    node.skep().apply(&[again.manifest(&labels([]), &wanted[..1], &[])]).unwrap();
    endpoint(&node, "again", |again| says(again, "taken by workload shop/listed"));
}

/// Programs that somebody takes away are put back, and that is told.
#[test]
fn programs_that_are_taken_away() {
    require_root!();
    let node = start();
    let [mut client, web] = Pod::apply(&node, [plan("client"), plan("web")]).unwrap();
    node.skep().apply(&[only_port(80)]).unwrap();
    check(&mut client.probe, web.v4, 81, None);
    // A link without its pin has nobody who holds it.
    let links = fs::read_dir(node.bpffs().join("links")).unwrap();
    let taken: Vec<_> = links.map(|link| link.unwrap()).collect();
    assert_eq!(taken.len(), 2 * 11);
    for link in &taken {
        fs::remove_file(link.path()).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while !taken.iter().all(|link| link.path().exists()) {
        assert!(Instant::now() < deadline, "{}", node.agent_log());
        sleep(Duration::from_millis(50));
    }
    endpoint(&node, "client", is_ready);
    endpoint(&node, "web", is_ready);
    check(&mut client.probe, web.v4, 80, Some("shop/web"));
    check(&mut client.probe, web.v4, 81, None);
    let status = node.skep().json(&["status"]).unwrap();
    for program in status["programs"].as_array().unwrap() {
        let name = program["name"].as_str().unwrap();
        if name.ends_with("_outside") || name == "shortcut" {
            // No service is open to the outside, and nobody has asked for acceleration.
            assert!(program["attached"].is_null() && program["wanted"].is_null(), "{program}");
            continue;
        }
        assert_eq!(program["attached"], 2, "{program}");
        assert_eq!(program["wanted"], 2, "{program}");
        assert!(says(program, "taken away 2 times"), "{program}");
    }
}

/// Maps that were made anew, and an agent killed before it could pin programs: the next one takes
/// no programs that use the old maps, and swaps them once the new maps are filled.
#[test]
fn programs_go_with_their_maps() {
    require_root!();
    let mut node = start();
    let [mut client, web] = Pod::apply(&node, [plan("client"), plan("web")]).unwrap();
    node.skep().apply(&[only_port(80)]).unwrap();
    let target = Target::new(Transport::Tcp, web.v4, 80);
    client.probe.begin_steady(&target, Duration::from_millis(5)).unwrap();
    node.kill_agent().unwrap();
    for pin in fs::read_dir(node.bpffs().join("maps")).unwrap() {
        fs::remove_file(pin.unwrap().path()).unwrap();
    }
    node.start_agent().unwrap();
    sleep(Duration::from_millis(500));
    let report = client.probe.steady().unwrap();
    assert_eq!(report.broken, None, "{report:?}");
    assert_eq!(report.failures, Vec::<String>::new(), "{report:?}");
    assert!(report.exchanges > 50 && report.longest_gap_ms < 1_000, "{report:?}");
    check(&mut client.probe, web.v4, 81, None);
    node.skep().apply(&[only_port(81)]).unwrap();
    check(&mut client.probe, web.v4, 81, Some("shop/web"));
    check(&mut client.probe, web.v4, 80, None);
}

/// Addresses come and go with the manifest, and an endpoint that may not have its address has
/// nothing.
#[test]
fn addresses_change_hands() {
    require_root!();
    let node = start();
    let [client] = Pod::apply(&node, [plan("client")]).unwrap();
    let [mover, next] = ["mover", "next"].map(|name| node.workload("shop", name).unwrap());
    let apply = |workload: &testkit::Workload, addresses: &[IpAddr]| {
        node.skep().apply(&[workload.manifest(&labels([]), addresses, &[])]).unwrap();
    };
    apply(&mover, &[]);
    let given = addresses(&endpoint(&node, "mover", is_ready));
    assert_eq!(given.len(), 2);
    let own: IpAddr = "172.20.0.9".parse().unwrap();
    apply(&mover, &[own]);
    assert_eq!(addresses(&endpoint(&node, "mover", is_ready)), [own]);
    apply(&next, &given);
    assert_eq!(addresses(&endpoint(&node, "next", is_ready)), given);

    let links = || fs::read_dir(node.bpffs().join("links")).unwrap().count();
    assert_eq!(links(), 3 * 11);
    apply(&mover, &[client.v4]);
    let refused = endpoint(&node, "mover", |mover| says(mover, "taken by workload shop/client"));
    assert_eq!(addresses(&refused), Vec::<IpAddr>::new());
    assert_eq!(links(), 2 * 11, "its programs are gone with its interface");
    let mut ip = mover.place.command("ip");
    ip.args(["-o", "link"]);
    let inside = mover.place.output(&mut ip).unwrap();
    assert!(!String::from_utf8_lossy(&inside.stdout).contains("eth0"), "{inside:?}");
    let node_own = IpAddr::from(testkit::node::NODE_V4);
    apply(&mover, &[node_own]);
    endpoint(&node, "mover", |mover| says(mover, "the node's own address"));
}
