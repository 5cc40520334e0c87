use super::*;
use crate::ground::{node, privileged};
use crate::neighbour::Neighbour;
use crate::route::Route;

#[test]
fn random_hardware_addresses() {
    let (one, two) = (Mac::random().unwrap(), Mac::random().unwrap());
    assert_ne!(one, two);
    for mac in [one, two] {
        assert_eq!(mac.0[0] & 0x03, 0x02, "unicast and locally administered: {mac}");
    }
    assert_eq!(Mac([2, 0, 0xff, 1, 0x10, 0xa]).to_string(), "02:00:ff:01:10:0a");
}

#[test]
fn names() {
    for name in ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "sixteen-letters!"] {
        assert!(matches!(checked_name(name), Err(Error::InterfaceName { .. })), "{name:?}");
    }
    for name in ["eth0", "fifteen-letters", "eth0.100"] {
        assert_eq!(checked_name(name).unwrap(), name);
    }
}

/// A pair `a` in the node and `b` in a workload, the node's side up.
async fn pair(node: &Netlink) -> (Netlink, Link, Link) {
    let namespace = NetNamespace::unnamed().unwrap();
    let mac = Mac::random().unwrap();
    let (host_name, name) = ("a", "b");
    let pair = VethPair { host_name, host_mac: mac, namespace: &namespace, name, mac, mtu: 1400 };
    node.create_veth(&pair).await.unwrap();
    let workload = Netlink::connect(&namespace).unwrap();
    let (inside, ours) = node.host_side_of(&workload, "b").await.unwrap();
    node.set_link_up(ours.index).await.unwrap();
    workload.set_link_up(inside.index).await.unwrap();
    (workload, inside, ours)
}

#[tokio::test]
async fn a_pair_and_its_sides() {
    if !privileged("a_pair_and_its_sides") {
        return;
    }
    let node = node();
    let (workload, inside, ours) = pair(&node).await;
    assert_eq!((ours.name.as_str(), ours.mtu, ours.peer), ("a", 1400, Some(inside.index)));
    assert_eq!((inside.name.as_str(), inside.mtu, inside.peer), ("b", 1400, Some(ours.index)));
    assert!(ours.is_veth() && !ours.up && !ours.loopback);
    let now = node.link_named("a").await.unwrap().unwrap();
    assert_eq!(now, Link { up: true, ..ours.clone() });
    assert_eq!(node.link_indexed(ours.index).await.unwrap(), Some(now.clone()));
    assert_eq!(node.links().await.unwrap().iter().filter(|link| **link == now).count(), 1);
    assert!(node.peer_is_in(&now, workload.namespace()).await.unwrap());
    assert!(!node.peer_is_in(&now, &NetNamespace::unnamed().unwrap()).await.unwrap());

    assert_eq!(node.link_named("none").await.unwrap(), None);
    assert_eq!(node.link_indexed(4711).await.unwrap(), None);
    let missing = node.host_side_of(&workload, "none").await;
    assert!(matches!(missing, Err(Error::LinkMissing { .. })), "{missing:?}");
    assert!(node.delete_link(ours.index).await.unwrap());
    assert!(!node.delete_link(ours.index).await.unwrap());
    assert_eq!(workload.link_named("b").await.unwrap(), None, "both sides are gone");
}

#[tokio::test]
async fn ensured_things_are_listed_and_deleted() {
    if !privileged("ensured_things_are_listed_and_deleted") {
        return;
    }
    let node = node();
    let (_workload, _, ours) = pair(&node).await;
    let interface = ours.index;
    for net in ["10.1.2.3/24", "fd00:1::3/64"] {
        let net = net.parse().unwrap();
        assert!(node.ensure_address(interface, net).await.unwrap());
        assert!(!node.ensure_address(interface, net).await.unwrap());
        let listed = node.addresses(Some(interface)).await.unwrap();
        let found = listed.iter().find(|found| found.net == net).unwrap();
        assert!(!found.link_scope && !found.unusable, "{found:?}");
        assert!(node.addresses(None).await.unwrap().contains(found));
    }
    let routes = [
        Route::to_host(interface, "10.9.0.1".parse().unwrap()),
        Route::to_host(interface, "fd00:9::1".parse().unwrap()),
        Route::default_via(interface, "169.254.1.1".parse().unwrap()),
        Route::default_via(interface, "fe80::1".parse().unwrap()),
    ];
    for route in &routes {
        assert!(node.ensure_route(route).await.unwrap(), "{route}");
        assert!(!node.ensure_route(route).await.unwrap(), "{route}");
    }
    let listed = node.routes(interface).await.unwrap();
    let ours: Vec<&Route> = listed.iter().filter(|route| route.ours).collect();
    assert_eq!(ours.len(), routes.len(), "{listed:?}");
    for route in &routes {
        assert!(node.delete_route(route).await.unwrap(), "{route}");
        assert!(!node.delete_route(route).await.unwrap(), "{route}");
    }
    let of_kernel = node.routes(interface).await.unwrap();
    assert!(of_kernel.iter().all(|route| !route.ours) && !of_kernel.is_empty(), "{of_kernel:?}");

    for address in ["10.9.0.1", "fd00:9::1"] {
        let address = address.parse().unwrap();
        let one = Neighbour { interface, address, mac: Mac([2, 0, 0, 0, 0, 1]) };
        let other = Neighbour { mac: Mac([2, 0, 0, 0, 0, 2]), ..one };
        assert!(node.ensure_neighbour(&one).await.unwrap());
        assert!(!node.ensure_neighbour(&one).await.unwrap());
        assert!(node.ensure_neighbour(&other).await.unwrap());
        assert_eq!(node.neighbours(interface).await.unwrap(), [other]);
        assert!(node.delete_neighbour(&other).await.unwrap());
        assert!(!node.delete_neighbour(&other).await.unwrap());
    }
    for net in ["10.1.2.3/24", "fd00:1::3/64"] {
        let net = net.parse().unwrap();
        assert!(node.delete_address(interface, net).await.unwrap());
        assert!(!node.delete_address(interface, net).await.unwrap());
    }
}

#[tokio::test]
async fn errors_say_what_was_tried() {
    if !privileged("errors_say_what_was_tried") {
        return;
    }
    let node = node();
    let route = Route::to_host(4711, "10.9.0.1".parse().unwrap());
    let error = node.ensure_route(&route).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not make route to 10.9.0.1/32 through interface 4711: \
         No such device (os error 19)"
    );
    assert!(!node.delete_route(&route).await.unwrap());
    assert_eq!(node.routes(4711).await.unwrap(), []);
    assert_eq!(node.neighbours(4711).await.unwrap(), []);
    assert!(node.ensure_address(4711, "10.1.1.1/32".parse().unwrap()).await.is_err());
}
