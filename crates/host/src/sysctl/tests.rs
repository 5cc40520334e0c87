use super::*;
use crate::ground::{output, privileged};

#[test]
fn settings_are_those_of_the_namespace() {
    if !privileged("settings_are_those_of_the_namespace") {
        return;
    }
    let (one, other) = (NetNamespace::unnamed().unwrap(), NetNamespace::unnamed().unwrap());
    let loose = ("ipv4/conf/lo/rp_filter".to_owned(), "2");
    let changed = ensure(&one, std::slice::from_ref(&loose)).unwrap();
    assert_eq!(changed, ["ipv4/conf/lo/rp_filter = 2"]);
    assert_eq!(ensure(&one, std::slice::from_ref(&loose)).unwrap(), Vec::<String>::new());
    assert_eq!(read(&one, &loose.0).unwrap(), "2");
    assert_ne!(read(&other, &loose.0).unwrap(), "2");
    let error = read(&one, "ipv4/conf/none/rp_filter").unwrap_err();
    assert!(error.to_string().contains("/proc/sys/net/ipv4/conf/none/rp_filter"), "{error}");
}

#[test]
fn forwarding_keeps_router_advertisements() {
    if !privileged("forwarding_keeps_router_advertisements") || !has_ipv6() {
        return;
    }
    let node = NetNamespace::unnamed().unwrap();
    output(&node, "ip link add v0 type veth peer name v1");
    output(&node, "sysctl -q -w net.ipv6.conf.v0.accept_ra=1 net.ipv6.conf.v1.accept_ra=0");
    ensure_forwarding(&node).unwrap();
    assert_eq!(ensure_forwarding(&node).unwrap(), Vec::<String>::new());
    for (setting, expect) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv6/conf/v0/accept_ra", "2"),
        ("ipv6/conf/v1/accept_ra", "0"),
    ] {
        assert_eq!(read(&node, setting).unwrap(), expect, "{setting}");
    }
}
