use std::time::Duration;

use super::*;
use crate::ground::{node, output, privileged};

/// The first change that `wanted` picks.
async fn until<T>(watch: &mut Watch, wanted: impl Fn(&Change) -> Option<T>) -> T {
    let found = async {
        loop {
            let change = watch.next().await.expect("the stream goes on");
            if let Some(found) = wanted(&change) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), found).await.expect("the change is told")
}

#[tokio::test]
async fn changes_are_told() {
    if !privileged("changes_are_told") {
        return;
    }
    let node = node();
    let mut watch = Watch::open(node.namespace()).unwrap();
    let mut other = Watch::open(&NetNamespace::unnamed().unwrap()).unwrap();

    output(node.namespace(), "ip link add v0 type veth peer name v1");
    let link = until(&mut watch, |change| match change {
        Change::Link(link) if link.name == "v0" => Some(link.clone()),
        _ => None,
    })
    .await;
    assert!(link.is_veth());
    for net in ["10.1.2.3/24", "fd00:1::3/64"] {
        let net = net.parse().unwrap();
        node.ensure_address(link.index, net).await.unwrap();
        until(&mut watch, |change| match change {
            Change::Address(address) if address.net == net => Some(()),
            _ => None,
        })
        .await;
        node.delete_address(link.index, net).await.unwrap();
        until(&mut watch, |change| match change {
            Change::AddressGone(address) if address.net == net => Some(()),
            _ => None,
        })
        .await;
    }
    node.delete_link(link.index).await.unwrap();
    until(&mut watch, |change| match change {
        Change::LinkGone(gone) if gone.index == link.index => Some(()),
        _ => None,
    })
    .await;
    let told = tokio::time::timeout(Duration::from_millis(50), other.next()).await;
    assert!(told.is_err(), "another namespace's changes are not told: {told:?}");
}

#[tokio::test]
async fn own_addresses_are_those_others_can_use() {
    if !privileged("own_addresses_are_those_others_can_use") {
        return;
    }
    let node = node();
    output(node.namespace(), "ip link add v0 type veth peer name v1");
    let v0 = node.link_named("v0").await.unwrap().unwrap().index;
    node.set_link_up(v0).await.unwrap();
    for net in ["10.1.2.3/24", "169.254.1.1/32", "fd00:1::3/64", "fe80::1/64"] {
        node.ensure_address(v0, net.parse().unwrap()).await.unwrap();
    }
    node.ensure_address(1, "10.9.9.9/32".parse().unwrap()).await.unwrap();
    let expect: Vec<IpAddr> =
        ["10.1.2.3", "10.9.9.9", "fd00:1::3"].iter().map(|ip| ip.parse().unwrap()).collect();
    assert_eq!(own_addresses(&node).await.unwrap(), expect);
}
