//! `healthCheckNodePort`.

use super::world::{diagnostics, get, web, world};
use serde_json::{Value, json};
use std::net::{IpAddr, TcpListener};
use testkit::gate::Feature;
use testkit::{eventually, require_kernel, require_root};

const PORT: u16 = 32123;

fn checked(port: u16) -> Value {
    web(|service| {
        service["spec"]["externalTrafficPolicy"] = json!("Local");
        service["spec"]["healthCheckNodePort"] = json!(port);
    })
}

#[test]
fn a_balancer_sees_whether_the_node_has_endpoints() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let world = world();
    let everybody = world.everybody();
    world.apply(checked(PORT), &everybody);
    let client = &world.client.0.machine.place;
    let check = |address: IpAddr, status: u16, endpoints: u64| {
        let answer = get(client, address, PORT, "/").unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
        let weight = format!("x-load-balancing-endpoint-weight: {endpoints}");
        assert!(answer.head.lines().any(|line| line == weight), "{answer:?}");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let expected = json!({
            "service": {"namespace": "shop", "name": "web"},
            "localEndpoints": endpoints,
            "serviceProxyHealthy": true,
        });
        assert_eq!(body, expected);
    };
    // A workload and the node itself; not the one elsewhere.
    for address in world.client.0.router {
        check(address, 200, 2);
    }
    let far = world.everybody().remove(1);
    world.apply(checked(PORT), &[far]);
    for address in world.client.0.router {
        check(address, 503, 0);
    }
    // Nobody answers for a service that is the cluster's.
    world.apply(web(|_| {}), &everybody);
    eventually("the port is closed", || get(client, world.client.0.router[0], PORT, "/").is_err());
}

#[test]
fn a_port_that_is_taken_is_told_and_tried_again() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let world = world();
    let taken = PORT + 1;
    let other = world.node.place().netns.run(move || TcpListener::bind(("0.0.0.0", taken)));
    let other = other.unwrap().unwrap();
    world.apply(checked(taken), &world.everybody());
    let told = format!("`healthCheckNodePort` {taken} is not served");
    assert!(diagnostics(&world.node).contains(&told), "{}", diagnostics(&world.node));
    drop(other);
    eventually("it is served", || !diagnostics(&world.node).contains(&told));
    let address = world.client.0.router[0];
    let answer = get(&world.client.0.machine.place, address, taken, "/healthz").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}
