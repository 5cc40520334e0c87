use std::time::Instant;

use super::*;
use crate::ground::{exchange, node, output, privileged};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn spec(name: &str, addresses: &[&str]) -> Spec {
    Spec {
        namespace: NetNamespace::unnamed().unwrap(),
        interface: DEFAULT_INTERFACE.into(),
        host_name: host_name(name),
        addresses: addresses.iter().map(|address| ip(address)).collect(),
        mtu: 1500,
    }
}

/// With nothing to attach.
async fn ensure(node: &Netlink, spec: &Spec) -> Result<Attached> {
    super::ensure(node, spec, |_| Ok(())).await
}

#[test]
fn host_names() {
    // Written down, because a restarted or upgraded agent has to find what it made.
    assert_eq!(host_name("shop/web-1"), host_name("shop/web-1"));
    assert_ne!(host_name("shop/web-1"), host_name("shop/web-2"));
    for key in ["", "shop/web-1", "a/b"] {
        assert_eq!(host_name(key).len(), 15, "{key}");
        assert!(is_ours(&host_name(key)));
    }
    assert!(!is_ours("skep0") && !is_ours("eth0"));
}

#[tokio::test]
async fn two_workloads_reach_each_other_and_the_node() {
    if !privileged("two_workloads_reach_each_other_and_the_node") {
        return;
    }
    let node = node();
    node.ensure_address(1, "10.9.9.9/32".parse().unwrap()).await.unwrap();
    node.ensure_address(1, "fd99::9/128".parse().unwrap()).await.unwrap();
    let one = spec("one", &["10.244.7.1", "fd00:7::1"]);
    let two = spec("two", &["10.244.7.2", "fd00:7::2"]);
    let attached = ensure(&node, &one).await.unwrap();
    ensure(&node, &two).await.unwrap();
    assert_eq!(attached.origin, Origin::Made);
    assert_eq!(attached.host_name, one.host_name);
    assert_eq!(attached.addresses, one.addresses);
    assert_eq!(attached.netns_cookie, one.namespace.cookie().unwrap());
    assert_ne!(attached.host_mac, attached.workload_mac);

    let (a, b, n) = (&one.namespace, &two.namespace, node.namespace());
    for (from, to, to_address, seen) in [
        (a, b, "10.244.7.2", "10.244.7.1"),
        (b, a, "10.244.7.1", "10.244.7.2"),
        (a, b, "fd00:7::2", "fd00:7::1"),
        (n, a, "10.244.7.1", "10.9.9.9"),
        (n, a, "fd00:7::1", "fd99::9"),
        (a, n, "10.9.9.9", "10.244.7.1"),
        (b, n, "fd99::9", "fd00:7::2"),
    ] {
        let peer = exchange(from, to, ip(to_address));
        assert_eq!(peer.ok(), Some(ip(seen)), "to {to_address}");
    }

    // As iproute2 sees it.
    let inside = output(a, "ip -o address show dev eth0");
    assert!(inside.contains("10.244.7.1/32") && inside.contains("fd00:7::1/128"), "{inside}");
    assert!(!inside.contains("tentative fd00"), "{inside}");
    let routes = output(a, "ip route");
    assert!(routes.contains("default via 169.254.1.1 dev eth0") && routes.contains("onlink"));
    assert!(output(a, "ip -6 route").contains("default via fe80::1 dev eth0"));
    let neighbours = output(a, "ip neighbour");
    let gateway = format!("169.254.1.1 dev eth0 lladdr {} PERMANENT", attached.host_mac);
    assert!(neighbours.contains(&gateway), "{neighbours}");
}

#[tokio::test]
async fn ensuring_again_changes_nothing() {
    if !privileged("ensuring_again_changes_nothing") {
        return;
    }
    let node = node();
    let spec = spec("again", &["10.244.7.1", "fd00:7::1"]);
    let first = ensure(&node, &spec).await.unwrap();
    assert!(!first.changes.is_empty());
    let again = ensure(&node, &spec).await.unwrap();
    assert_eq!(again, Attached { changes: Vec::new(), ..first.clone() });
    assert_eq!(find(&node, &spec).await.unwrap(), Some(again));
    let made: Vec<u32> = made(&node).await.unwrap().iter().map(|link| link.index).collect();
    assert_eq!(made, [first.host_index]);

    assert!(remove(&node, &spec.host_name).await.unwrap());
    assert!(!remove(&node, &spec.host_name).await.unwrap());
    assert_eq!(find(&node, &spec).await.unwrap(), None);
    assert!(output(&spec.namespace, "ip -br link").lines().all(|line| line.starts_with("lo")));
}

/// What `damage` (commands, `n` in the node or `w` in the workload) breaks is mended by the next
/// call, and the call after that finds nothing to do.
async fn check_mended(damage: &[(char, &str)]) {
    let node = node();
    let spec = spec("mended", &["10.244.7.1", "fd00:7::1"]);
    let first = ensure(&node, &spec).await.unwrap();
    node.ensure_address(1, "10.9.9.9/32".parse().unwrap()).await.unwrap();
    node.ensure_address(1, "fd99::9/128".parse().unwrap()).await.unwrap();
    for (side, command) in damage {
        let namespace = if *side == 'n' { node.namespace() } else { &spec.namespace };
        output(namespace, &command.replace("HOST", &spec.host_name));
    }
    let mended = ensure(&node, &spec).await.unwrap();
    assert!(!mended.changes.is_empty(), "{damage:?}");
    assert_eq!(mended.host_index, first.host_index, "the interface was kept");
    let after = ensure(&node, &spec).await.unwrap();
    assert_eq!(after.changes, Vec::<String>::new(), "{damage:?}");
    for address in ["10.244.7.1", "fd00:7::1"] {
        let peer = exchange(node.namespace(), &spec.namespace, ip(address));
        assert!(peer.is_ok(), "{damage:?}: {address}: {peer:?}");
    }
    let inside = output(&spec.namespace, "ip -o address show dev eth0 scope global");
    assert_eq!(inside.lines().count(), 2, "{inside}");
}

#[tokio::test]
async fn what_is_wrong_is_mended() {
    if !privileged("what_is_wrong_is_mended") {
        return;
    }
    check_mended(&[('w', "ip link set eth0 down")]).await;
    check_mended(&[('n', "ip link set HOST down")]).await;
    check_mended(&[('w', "ip address flush dev eth0")]).await;
    check_mended(&[('w', "ip address add 10.244.9.9/24 dev eth0")]).await;
    check_mended(&[('w', "ip route del default"), ('w', "ip -6 route del default")]).await;
    check_mended(&[('w', "ip route replace default dev eth0")]).await;
    check_mended(&[('n', "ip route del 10.244.7.1"), ('n', "ip -6 route del fd00:7::1")]).await;
    check_mended(&[('n', "ip route add 10.244.9.9 dev HOST proto 115")]).await;
    let wrong = "ip neighbour replace 10.244.7.1 lladdr 02:00:00:00:00:01 dev HOST nud permanent";
    check_mended(&[('n', wrong)]).await;
    check_mended(&[('w', "ip neighbour del fe80::1 dev eth0")]).await;
    check_mended(&[('n', "ip neighbour add 10.1.1.1 lladdr 02:00:00:00:00:01 dev HOST")]).await;
    check_mended(&[('w', "ip link set eth0 mtu 1400"), ('n', "ip link set HOST mtu 1400")]).await;
    check_mended(&[('n', "sysctl -q -w net.ipv4.ip_forward=0")]).await;
    check_mended(&[('n', "sysctl -q -w net.ipv6.conf.all.forwarding=0")]).await;
    check_mended(&[('w', "sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=1")]).await;
}

#[tokio::test]
async fn changed_addresses_replace_the_old() {
    if !privileged("changed_addresses_replace_the_old") {
        return;
    }
    let node = node();
    let mut spec = spec("changed", &["10.244.7.1", "fd00:7::1"]);
    ensure(&node, &spec).await.unwrap();
    spec.addresses = vec![ip("10.244.7.5")];
    let attached = ensure(&node, &spec).await.unwrap();
    assert_eq!(attached.addresses, spec.addresses);
    let index = attached.host_index;
    let routes = node.routes(index).await.unwrap();
    assert_eq!(routes.iter().filter(|route| route.ours).count(), 1, "{routes:?}");
    assert_eq!(node.neighbours(index).await.unwrap().len(), 1);
    let inside = output(&spec.namespace, "ip -o address show dev eth0 scope global");
    assert_eq!(inside.lines().count(), 1, "{inside}");
}

#[tokio::test]
async fn an_existing_interface_is_adopted_and_left_alone() {
    if !privileged("an_existing_interface_is_adopted_and_left_alone") {
        return;
    }
    let node = node();
    let spec = spec("adopted", &["10.244.7.1"]);
    let pair = VethPair {
        host_name: "theirs",
        host_mac: Mac::random().unwrap(),
        namespace: &spec.namespace,
        name: "eth0",
        mac: Mac::random().unwrap(),
        mtu: 1400,
    };
    node.create_veth(&pair).await.unwrap();
    output(&spec.namespace, "ip address add 172.17.0.2/16 dev eth0");
    output(&spec.namespace, "ip link set eth0 up");
    let before = output(&spec.namespace, "ip address show dev eth0");

    let attached = ensure(&node, &spec).await.unwrap();
    assert_eq!(attached.origin, Origin::Adopted);
    assert_eq!(attached.host_name, "theirs");
    assert_eq!(attached.host_mac, pair.host_mac);
    assert_eq!(attached.workload_mac, pair.mac);
    assert_eq!(attached.addresses, [ip("172.17.0.2")]);
    assert_eq!(attached.changes, Vec::<String>::new());
    assert_eq!(output(&spec.namespace, "ip address show dev eth0"), before);
    assert!(!remove(&node, "theirs").await.unwrap(), "only what Skep made is deleted");
    assert_eq!(made(&node).await.unwrap(), []);
}

#[tokio::test]
async fn what_cannot_be_attached_is_named() {
    if !privileged("what_cannot_be_attached_is_named") {
        return;
    }
    let node = node();
    let good = spec("refused", &["10.244.7.1"]);

    let of_node = Spec { namespace: node.namespace().clone(), ..good.clone() };
    assert!(matches!(ensure(&node, &of_node).await, Err(Error::NodeNamespace { .. })));

    let loopback = Spec { interface: "lo".into(), ..good.clone() };
    let error = ensure(&node, &loopback).await.unwrap_err();
    assert!(matches!(&error, Error::NotVeth { kind, .. } if kind == "loopback"), "{error}");

    let nothing = Spec { addresses: Vec::new(), ..good.clone() };
    assert!(matches!(ensure(&node, &nothing).await, Err(Error::NoAddress { .. })));

    let unnamed = Spec { host_name: "web-1".into(), ..good.clone() };
    assert!(matches!(ensure(&node, &unnamed).await, Err(Error::HostName { .. })));

    let long = Spec { interface: "an-interface-name-too-long".into(), ..good.clone() };
    assert!(matches!(ensure(&node, &long).await, Err(Error::InterfaceName { .. })));

    // A veth between the workload and a third namespace.
    let third = Netlink::connect(&NetNamespace::unnamed().unwrap()).unwrap();
    let mac = Mac::random().unwrap();
    let elsewhere = VethPair {
        host_name: "far",
        host_mac: mac,
        namespace: &good.namespace,
        name: "eth0",
        mac,
        mtu: 1500,
    };
    third.create_veth(&elsewhere).await.unwrap();
    let error = ensure(&node, &good).await.unwrap_err();
    assert!(matches!(error, Error::PeerElsewhere { .. }), "{error}");
}

#[tokio::test]
async fn a_stale_host_side_is_replaced() {
    if !privileged("a_stale_host_side_is_replaced") {
        return;
    }
    let node = node();
    let first = spec("stale", &["10.244.7.1"]);
    let before = ensure(&node, &first).await.unwrap();
    // The workload's namespace was made anew while the old one still lives.
    let second = spec("stale", &["10.244.7.1"]);
    let after = ensure(&node, &second).await.unwrap();
    assert_ne!(before.host_index, after.host_index);
    node.ensure_address(1, "10.9.9.9/32".parse().unwrap()).await.unwrap();
    assert!(exchange(node.namespace(), &second.namespace, ip("10.244.7.1")).is_ok());
}

#[tokio::test]
async fn a_namespace_that_ends_takes_its_attachment_along() {
    if !privileged("a_namespace_that_ends_takes_its_attachment_along") {
        return;
    }
    let node = node();
    let spec = spec("ending", &["10.244.7.1", "fd00:7::1"]);
    ensure(&node, &spec).await.unwrap();
    ensure(&node, &spec).await.unwrap();
    // The last user of the namespace: nothing of `ensure` may still hold it.
    drop(spec);
    for _ in 0..200 {
        if made(&node).await.unwrap().is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the namespace is still alive");
}

#[tokio::test]
async fn many_at_once() {
    if !privileged("many_at_once") {
        return;
    }
    let node = node();
    let specs: Vec<Spec> = (1..=30)
        .map(|n| spec(&format!("m{n}"), &[&format!("10.244.8.{n}"), &format!("fd00:8::{n}")]))
        .collect();
    let start = Instant::now();
    let attached = futures::future::join_all(specs.iter().map(|spec| ensure(&node, spec))).await;
    println!("30 attached at once in {:?}", start.elapsed());
    assert!(attached.iter().all(Result::is_ok), "{attached:?}");
    for (spec, before) in specs.iter().zip(attached) {
        let after = ensure(&node, spec).await.unwrap();
        assert_eq!(after, Attached { changes: Vec::new(), ..before.unwrap() });
    }
    let (first, last) = (&specs[0].namespace, &specs[29].namespace);
    assert!(exchange(first, last, ip("10.244.8.30")).is_ok());
}

#[tokio::test]
async fn attaching_is_quick() {
    if !privileged("attaching_is_quick") {
        return;
    }
    let node = node();
    let mut made = Vec::new();
    let mut again = Vec::new();
    for n in 1..=20 {
        let spec = spec(&format!("w{n}"), &[&format!("10.244.7.{n}"), &format!("fd00:7::{n}")]);
        let start = Instant::now();
        ensure(&node, &spec).await.unwrap();
        made.push(start.elapsed());
        let start = Instant::now();
        ensure(&node, &spec).await.unwrap();
        again.push(start.elapsed());
    }
    made.sort();
    again.sort();
    println!("attach: median {:?}; again, nothing to do: median {:?}", made[10], again[10]);
    // Twenty times what it takes on an idle machine; a sanity bound, not the promise.
    assert!(made[10].as_millis() < 500, "{made:?}");
}

/// What `ip` shows of the node's side when the programs are attached, and then the way they fail.
async fn ensure_failing(node: &Netlink, spec: &Spec) -> (String, Error) {
    let mut seen = String::new();
    let done = super::ensure(node, spec, |index| {
        let link = output(node.namespace(), "ip -o link");
        let link = link.lines().find(|line| line.starts_with(&format!("{index}: ")));
        seen = format!("{}{}", link.unwrap(), output(node.namespace(), "ip route"));
        Err(Error::LinkTaken { name: "no programs".into() })
    });
    let error = done.await.unwrap_err();
    (seen, error)
}

#[tokio::test]
async fn nothing_is_up_before_the_programs_are_attached() {
    if !privileged("nothing_is_up_before_the_programs_are_attached") {
        return;
    }
    let node = node();
    let spec = spec("unguarded", &["10.244.7.1", "fd00:7::1"]);
    let (seen, error) = ensure_failing(&node, &spec).await;
    assert!(matches!(error, Error::LinkTaken { .. }), "{error}");
    assert!(seen.contains(&spec.host_name) && seen.contains("state DOWN"), "{seen}");
    assert!(!seen.contains("UP") && !seen.contains("10.244.7.1"), "no route yet: {seen}");
    assert_eq!(made(&node).await.unwrap(), [], "deleted again");

    // One that is right is neither taken down nor deleted.
    let first = ensure(&node, &spec).await.unwrap();
    let (seen, _) = ensure_failing(&node, &spec).await;
    assert!(seen.contains("UP") && seen.contains("10.244.7.1"), "{seen}");
    let after = ensure(&node, &spec).await.unwrap();
    assert_eq!(after, Attached { changes: Vec::new(), ..first });
}
