use super::{check, one};
use crate::emit;
use model::load_balancer::*;
use model::{LoadBalancer, Object};
use std::sync::Arc;

fn with_spec(spec: &str) -> String {
    format!("apiVersion: skep.dev/v1\nkind: LoadBalancer\nmetadata: {{name: edge}}\nspec:\n{spec}")
}

fn balancer(spec: &str) -> Arc<LoadBalancer> {
    match one(&with_spec(spec)) {
        Object::LoadBalancer(balancer) => balancer,
        other => panic!("{other:?}"),
    }
}

/// One VIP with these fields besides what it needs.
fn vip(fields: &str) -> Vip {
    let text = format!(
        "  delivery: {{masquerade: {{ipv4: 10.0.0.9}}}}
  zone: a
  vips:
  - {{address: 192.0.2.1, ports: 80, backends: [{{address: 10.0.0.1}}], {fields}}}"
    );
    balancer(&text).vips[0].clone()
}

#[test]
fn defaults() {
    let read = balancer("  vips: [{address: 192.0.2.1, ports: 80, backends: []}]");
    assert_eq!(read.edge, Edge::default());
    let one = &read.vips[0];
    assert_eq!(one.block.to_string(), "192.0.2.1/32");
    assert_eq!((one.keep, one.delivery), (Keep::Moved, DeliveryMode::Ipip));
}

#[test]
fn ports_and_addresses() {
    let check = |ports: &str, expect: &[(u16, u16)]| {
        let text = format!("  vips: [{{address: 192.0.2.0/24, ports: {ports}, backends: []}}]");
        let read: Vec<_> =
            balancer(&text).vips[0].ports.iter().map(|it| (it.first, it.last)).collect();
        assert_eq!(read, expect, "{ports}");
    };
    check("all", &[]);
    check("443", &[(443, 443)]);
    check("8000-8100", &[(8000, 8100)]);
    check("[8000-8100, 443, 80]", &[(80, 80), (443, 443), (8000, 8100)]);
}

#[test]
fn checks_of_health() {
    let read = vip("healthCheck: {tcp: , interval: 500ms, slowStart: 1m}").health_check.unwrap();
    assert_eq!(read.probe, Probe::Tcp { port: None });
    assert_eq!((read.interval.as_millis(), read.slow_start.as_secs()), (500, 60));
    let read = vip("healthCheck: {https: {port: 8443, host: a.example, status: 200}}");
    let Probe::Http(http) = read.health_check.unwrap().probe else { panic!("not HTTP") };
    assert_eq!((http.tls, http.status, http.path.as_str()), (true, (200, 200), "/"));
    let read = vip("healthCheck: {script: {command: [/bin/true, -x]}}").health_check.unwrap();
    assert_eq!(read.probe, Probe::Script { command: vec!["/bin/true".into(), "-x".into()] });
    assert_eq!(vip("healthCheck: {icmp: {}}").health_check.unwrap().probe, Probe::Icmp);
}

/// Everything at once, and back again.
#[test]
fn every_field_is_emitted() {
    let text = with_spec(
        "  interfaces: [{name: eth0, attach: generic}, {name: eth1}]
  nextHop: 00:00:de:ad:be:af
  delivery:
    mode: gue
    guePort: 9886
    genevePort: 7000
    geneveVni: 77
    mtu: 9000
    clientMtu: 1500
    sources: {ipv4: 10.0.13.37, ipv6: 'fc00:2307::1337'}
    masquerade: {ipv4: 10.0.0.9, ipv6: 'fc00::9', ports: 61000-62000}
  hashing: {algorithm: katran, version: V1, ringSize: 65537, slots: 1000000}
  flows: {keep: all, table: 1000, idle: 30s}
  serverIds: [{id: 1022, backend: 10.0.0.1}]
  sourceRoutes: [{source: 192.168.0.0/17, backend: 'fc00::2307:1'}]
  decapsulation:
    ipip: true
    gue: true
    destinations: ['fc00:1404::1']
    egress: ['fc00:1405::1']
    strictDestination: true
    at: tc
  probes:
    interface: eth1
    localMac: 00:ff:de:ad:be:af
    marks: [{mark: 1, backend: 10.0.0.1}]
  zone: a
  vips:
  - address: fc00:1::/96
    ports: all
    protocol: UDP
    delivery: nat
    flows: none
    hashOn: destinationPort
    quic: true
    udpStableRouting: true
    udpFlowMigration: true
    sourceRouting: true
    preferZone: true
    newFlowsPerSecond: 1000
    healthCheck:
      http: {port: 80, path: /a, host: b, status: 200-204}
      interval: 1s
      timeout: 500ms
      healthyAfter: 4
      unhealthyAfter: 5
      slowStart: 10s
      throughEncapsulation: true
    backends:
    - {address: 'fc00::1', port: 8080, weight: 7, zone: b, local: true, forgetFlows: true}
    - {address: 10.0.0.1, state: standby, priority: 3}
    - {address: 10.0.0.2, state: down}
    - {address: 10.0.0.3, state: draining}
  - {address: 192.0.2.1, ports: [80, 90-99], tcpServerId: true, hashOn: noSourcePort, backends: []}
",
    );
    let read = one(&text);
    let emitted = emit::to_yaml(&read);
    let again = one(&emitted);
    assert_eq!(emit::to_yaml(&again), emitted);
    // What was said is there, but for the order of fields and the lines.
    let Object::LoadBalancer(read) = read else { panic!("{read:?}") };
    let Object::LoadBalancer(again) = again else { panic!("{again:?}") };
    assert_eq!(read.edge, again.edge);
    let without_lines = |balancer: &LoadBalancer| -> Vec<Vip> {
        let mut vips = balancer.vips.clone();
        for vip in &mut vips {
            vip.line = 0;
            vip.backends.iter_mut().for_each(|backend| backend.line = 0);
        }
        vips
    };
    assert_eq!(without_lines(&read), without_lines(&again));
}

#[test]
fn wrong_values() {
    check!(&with_spec(
        "  nextHop: router
  delivery: {mtu: 100, masquerade: {}}
  hashing: {version: V1, ringSize: 1000}
  flows: {keep: some, idle: 5}
  decapsulation: {}
  vips: [{address: 192.0.2.1, ports: 0, backends: []}]
"), @r"
    error: `router` is not a MAC address
      ┌─ m.yaml:5:12
    5 │   nextHop: router
      │            ^^^^^^
      = write it like 02:00:5e:10:00:01

    error: `mtu` must be a whole number
      ┌─ m.yaml:6:19
    6 │   delivery: {mtu: 100, masquerade: {}}
      │                   ^^^ 1280 to 9216

    error: `masquerade` has no address
      ┌─ m.yaml:6:36
    6 │   delivery: {mtu: 100, masquerade: {}}
      │                                    ^^
      = give ipv4, ipv6 or both: addresses of this host that backends answer to

    error: `version` is of Katran's rings
      ┌─ m.yaml:7:22
    7 │   hashing: {version: V1, ringSize: 1000}
      │                      ^^
      = write algorithm: katran beside it, or remove it

    error: `ringSize` 1000 is not a prime number
      ┌─ m.yaml:7:36
    7 │   hashing: {version: V1, ringSize: 1000}
      │                                    ^^^^
      = usual sizes: 4093, 16381, 65521, 65537, 262139

    error: `keep` cannot be `some`
      ┌─ m.yaml:8:17
    8 │   flows: {keep: some, idle: 5}
      │                 ^^^^
      = it is one of moved, all, none

    error: `idle` is not a duration
      ┌─ m.yaml:8:29
    8 │   flows: {keep: some, idle: 5}
      │                             ^
      = write it like 500ms, 5s or 2m; at most 60m

    error: `decapsulation` takes nothing out
      ┌─ m.yaml:9:18
    9 │   decapsulation: {}
      │                  ^^
      = write ipip: true, gue: true (its port is delivery.guePort), or both

    error: `ports` is not a port
       ┌─ m.yaml:10:38
    10 │   vips: [{address: 192.0.2.1, ports: 0, backends: []}]
       │                                      ^ ports are whole numbers, 1 to 65535
    ");
}

#[test]
fn what_does_not_go_together() {
    check!(&with_spec(
        "  vips:
  - {address: 192.0.2.1, ports: 80, quic: true, backends: [{address: 10.0.0.1, port: 90}]}
  - {address: 192.0.2.1, ports: 70-90, preferZone: true, backends: []}
  - address: 'fc00::1'
    ports: all
    healthCheck: {tcp: {}}
    backends: [{address: 10.0.0.1}, {address: 'fc00::2', priority: 1}, {address: 'fc00::2'}]
  - {address: 'fc00::/64', ports: 1-2000, protocol: SCTP, backendz: []}
  - {address: 192.0.2.3, ports: 80, delivery: nat, backends: [{address: 'fc00::7'}]}
"), @r"
    error: `quic` is for UDP only
      ┌─ m.yaml:6:43
    6 │   - {address: 192.0.2.1, ports: 80, quic: true, backends: [{address: 10.0.0.1, port: 90}]}
      │                                           ^^^^

    error: `port` of a backend is for delivery `nat` only
      ┌─ m.yaml:6:86
    6 │   - {address: 192.0.2.1, ports: 80, quic: true, backends: [{address: 10.0.0.1, port: 90}]}
      │                                                                                      ^^ encapsulated packets keep the VIP's port

    error: `preferZone` without a zone of this balancer
      ┌─ m.yaml:7:52
    7 │   - {address: 192.0.2.1, ports: 70-90, preferZone: true, backends: []}
      │                                                    ^^^^
      = give `zone` beside `vips`

    error: the health check needs a `port`
       ┌─ m.yaml:10:18
    10 │     healthCheck: {tcp: {}}
       │                  ^^^^^^^^^ the VIP has all ports

    error: backend fc00::2 is given twice
       ┌─ m.yaml:11:15
    11 │     backends: [{address: 10.0.0.1}, {address: 'fc00::2', priority: 1}, {address: 'fc00::2'}]
       │               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: 10.0.0.1 cannot serve the IPv6 VIP fc00::1/128
       ┌─ m.yaml:11:26
    11 │     backends: [{address: 10.0.0.1}, {address: 'fc00::2', priority: 1}, {address: 'fc00::2'}]
       │                          ^^^^^^^^ IPv6 packets are not encapsulated in IPv4

    error: `priority` is for backends with `state: standby`
       ┌─ m.yaml:11:68
    11 │     backends: [{address: 10.0.0.1}, {address: 'fc00::2', priority: 1}, {address: 'fc00::2'}]
       │                                                                    ^

    error: a block of addresses takes 1024 ports at most
       ┌─ m.yaml:12:5
    12 │   - {address: 'fc00::/64', ports: 1-2000, protocol: SCTP, backendz: []}
       │     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ these are 2000
       = write ports: all

    error: `protocol` cannot be `SCTP`
       ┌─ m.yaml:12:53
    12 │   - {address: 'fc00::/64', ports: 1-2000, protocol: SCTP, backendz: []}
       │                                                     ^^^^
       = it is one of TCP, UDP

    error: unknown field `backendz`
       ┌─ m.yaml:12:59
    12 │   - {address: 'fc00::/64', ports: 1-2000, protocol: SCTP, backendz: []}
       │                                                           ^^^^^^^^ did you mean `backends`?

    error: fc00::7 has another family than 192.0.2.3/32
       ┌─ m.yaml:13:73
    13 │   - {address: 192.0.2.3, ports: 80, delivery: nat, backends: [{address: 'fc00::7'}]}
       │                                                                         ^^^^^^^^^
       = give delivery.masquerade.ipv6: backends answer to it
    ");
}

#[test]
fn a_backend_is_no_vip() {
    check!(&with_spec(
        "  vips:
  - {address: 192.0.2.1, ports: 80, backends: [{address: 192.0.2.2}, {address: 10.0.0.1}]}
  - {address: 192.0.2.2, ports: 80, backends: [{address: 192.0.2.2, local: true}]}
  - {address: 10.0.0.0/8, ports: 80, backends: [{address: 10.0.0.1}]}
"), @r"
    error: backend 192.0.2.2 is a VIP of this balancer
      ┌─ m.yaml:6:48
    6 │   - {address: 192.0.2.1, ports: 80, backends: [{address: 192.0.2.2}, {address: 10.0.0.1}]}
      │                                                ^^^^^^^^^^^^^^^^^^^^
      = what is sent there comes back here; give the server's own address
    ");
}
