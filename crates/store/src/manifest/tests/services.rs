use super::{check, one};
use model::{
    Algorithm, Distribution, EndpointSlice, Forwarding, Object, Service, TargetPort, TrafficPolicy,
};
use std::sync::Arc;

fn with_spec(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {spec}")
}

fn service(spec: &str) -> Service {
    match one(&with_spec(spec)) {
        Object::Service(service) => Arc::unwrap_or_clone(service),
        other => panic!("{other:?}"),
    }
}

fn slice(text: &str) -> EndpointSlice {
    match one(text) {
        Object::EndpointSlice(slice) => Arc::unwrap_or_clone(slice),
        other => panic!("{other:?}"),
    }
}

#[test]
fn wrong_ports() {
    check!(&with_spec(
        "
  clusterIP: 10.96.0.10
  ports:
  - {name: a, port: 80}
  - {port: 81}
  - {name: a, port: 82}
  - {name: c, port: 80, protocol: TCP}
  - {name: d, port: 83, targetPort: 99999}
  - {name: e, targetPort: 1}
  - {name: f, port: 84, targetPort: \"80\"}
  - {name: g, port: 85, protocol: tcp}
"), @r#"
    error: a Service with several ports needs a `name` for each
      ┌─ m.yaml:8:5
    8 │   - {port: 81}
      │     ^^^^^^^^^^ this one has none

    error: port name `a` is given twice
      ┌─ m.yaml:9:5
    9 │   - {name: a, port: 82}
      │     ^^^^^^^^^^^^^^^^^^^

    error: port 80/TCP is given twice
       ┌─ m.yaml:10:5
    10 │   - {name: c, port: 80, protocol: TCP}
       │     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: `targetPort` is not a port
       ┌─ m.yaml:11:37
    11 │   - {name: d, port: 83, targetPort: 99999}
       │                                     ^^^^^ ports are whole numbers, 1 to 65535

    error: field `port` is missing
       ┌─ m.yaml:12:5
    12 │   - {name: e, targetPort: 1}
       │     ^^^^^^^^^^^^^^^^^^^^^^^^

    error: `targetPort` in quotes is the name of a port
       ┌─ m.yaml:13:37
    13 │   - {name: f, port: 84, targetPort: "80"}
       │                                     ^^^^
       = write 80 without quotes

    error: `protocol` cannot be `tcp`
       ┌─ m.yaml:14:35
    14 │   - {name: g, port: 85, protocol: tcp}
       │                                   ^^^ did you mean `TCP`?
       = it is one of TCP, UDP, SCTP
    "#);
    check!(&with_spec("{clusterIP: 10.96.0.10, ports: []}"), @r"
    error: a Service needs at least one port
      ┌─ m.yaml:4:38
    4 │ spec: {clusterIP: 10.96.0.10, ports: []}
      │                                      ^^
    ");
    check!(&with_spec("{clusterIP: 10.96.0.10}"), @r"
    error: field `ports` is missing
      ┌─ m.yaml:4:7
    4 │ spec: {clusterIP: 10.96.0.10}
      │       ^^^^^^^^^^^^^^^^^^^^^^^
    ");
}

#[test]
fn wrong_addresses() {
    check!(&with_spec("{clusterIP: 10.96.0.300, ports: [{port: 80}]}"), @r"
    error: `10.96.0.300` is not an IP address
      ┌─ m.yaml:4:19
    4 │ spec: {clusterIP: 10.96.0.300, ports: [{port: 80}]}
      │                   ^^^^^^^^^^^
    ");
    check!(&with_spec("{clusterIP: none, ports: [{port: 80}]}"), @r"
    error: `none` is not an IP address
      ┌─ m.yaml:4:19
    4 │ spec: {clusterIP: none, ports: [{port: 80}]}
      │                   ^^^^
    ");
    check!(&with_spec("{clusterIP: 127.0.0.1, ports: [{port: 80}]}"), @r"
    error: 127.0.0.1 cannot be a `clusterIP`
      ┌─ m.yaml:4:19
    4 │ spec: {clusterIP: 127.0.0.1, ports: [{port: 80}]}
      │                   ^^^^^^^^^
    ");
    check!(&with_spec("{clusterIPs: [10.0.0.1, 10.0.0.2], ports: [{port: 80}]}"), @r"
    error: `clusterIPs` has two addresses of one family
      ┌─ m.yaml:4:31
    4 │ spec: {clusterIPs: [10.0.0.1, 10.0.0.2], ports: [{port: 80}]}
      │                               ^^^^^^^^
      = give at most one IPv4 and one IPv6 address
    ");
    check!(&with_spec("{clusterIP: 10.0.0.3, clusterIPs: [10.0.0.1], ports: [{port: 80}]}"), @r"
    error: `clusterIP` is not the first of `clusterIPs`
      ┌─ m.yaml:4:19
    4 │ spec: {clusterIP: 10.0.0.3, clusterIPs: [10.0.0.1], ports: [{port: 80}]}
      │                   ^^^^^^^^
      = make them equal, or remove one of the two fields
    ");
    check!(&with_spec("{clusterIP: \"::ffff:10.0.0.3\", ports: [{port: 80}]}"), @r#"
    error: an IPv4 address in the form of an IPv6 address
      ┌─ m.yaml:4:19
    4 │ spec: {clusterIP: "::ffff:10.0.0.3", ports: [{port: 80}]}
      │                   ^^^^^^^^^^^^^^^^^
      = write 10.0.0.3
    "#);
}

#[test]
fn traffic() {
    let service = service(
        "
  type: LoadBalancer
  clusterIP: 10.96.0.10
  externalIPs: [192.0.2.1]
  loadBalancerIP: 192.0.2.2
  loadBalancerSourceRanges: [192.0.2.0/24]
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 10}}
  internalTrafficPolicy: Local
  externalTrafficPolicy: Local
  publishNotReadyAddresses: true
  trafficDistribution: PreferClose
  ports: [{port: 80, nodePort: 30080}]
status: {loadBalancer: {ingress: [{ip: 192.0.2.2}, {ip: 192.0.2.3}, {ip: 192.0.2.4, ipMode: Proxy}, {hostname: a}]}}
",
    );
    let texts = |addresses: &[std::net::IpAddr]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(texts(&service.external_ips), "192.0.2.1");
    assert_eq!(texts(&service.load_balancer_ips), "192.0.2.2 192.0.2.3");
    assert_eq!(service.source_ranges, ["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(service.affinity, Some(10));
    let local = TrafficPolicy::Local;
    assert_eq!((service.internal_traffic, service.external_traffic), (local, local));
    assert_eq!(service.distribution, Distribution::SameZone);
    assert_eq!(service.ports[0].node_port, Some(30080));
    assert!(service.publish_not_ready);
    // What is emitted is read as the same.
    let Object::Service(again) =
        one(&crate::emit::to_yaml(&Object::Service(service.clone().into())))
    else {
        panic!("a Service is emitted as something else");
    };
    assert_eq!(Service { origin: service.origin.clone(), ..Arc::unwrap_or_clone(again) }, service);
}

#[test]
fn health_check_ports() {
    let check = |spec: &str, expected: Option<u16>| {
        let text = with_spec(&format!("{{clusterIP: 10.96.0.10, ports: [{{port: 80}}], {spec}}}"));
        let Object::Service(service) = one(&text) else { panic!("{spec}") };
        assert_eq!(service.health_check_port, expected, "{spec}");
    };
    let local = "externalTrafficPolicy: Local";
    check(&format!("type: LoadBalancer, {local}, healthCheckNodePort: 31000"), Some(31000));
    check(&format!("type: LoadBalancer, {local}, healthCheckNodePort: 0"), None);
    check(&format!("type: LoadBalancer, {local}"), None);
    // Any node will do for what all nodes serve.
    check("type: LoadBalancer, healthCheckNodePort: 31000", None);
}

#[test]
fn annotations() {
    let with = |annotations: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, annotations: {annotations}}}\n\
             spec: {{type: LoadBalancer, clusterIP: 10.96.0.10, externalIPs: [192.0.2.1], \
             loadBalancerIP: 192.0.2.2, ports: [{{port: 80, nodePort: 30080}}]}}"
        )
    };
    let check = |annotations: &str, expected: [usize; 4]| {
        let Object::Service(service) = one(&with(annotations)) else { panic!("{annotations}") };
        let found = [
            service.cluster_ips.len(),
            service.external_ips.len(),
            service.load_balancer_ips.len(),
            usize::from(service.ports[0].node_port.is_some()),
        ];
        assert_eq!(found, expected, "{annotations}");
    };
    check("{}", [1, 1, 1, 1]);
    check("{skep.dev/answers-at: LoadBalancer}", [0, 0, 1, 0]);
    check("{service.cilium.io/type: 'ClusterIP, NodePort'}", [1, 0, 0, 1]);
    check("{skep.dev/answers-at: ExternalIPs, service.cilium.io/type: NodePort}", [0, 1, 0, 0]);
    check("{example.com/anything: x, service.cilium.io/affinity: local}", [1, 1, 1, 1]);
    check!(&with("{skep.dev/answers-at: Loadbalancer}"), @r"
    error: `skep.dev/answers-at` has something that is no kind of address
      ┌─ m.yaml:3:58
    3 │ metadata: {name: web, annotations: {skep.dev/answers-at: Loadbalancer}}
      │                                                          ^^^^^^^^^^^^
      = give some of ClusterIP, NodePort, LoadBalancer, ExternalIPs, separated by commas
    ");
    check!(&with("{skep.dev/lb-algoritm: maglev}"), @r"
    warning: a Service has no annotation `skep.dev/lb-algoritm`
      ┌─ m.yaml:3:37
    3 │ metadata: {name: web, annotations: {skep.dev/lb-algoritm: maglev}}
      │                                     ^^^^^^^^^^^^^^^^^^^^ did you mean `skep.dev/lb-algorithm`?
      = it has skep.dev/lb-algorithm, skep.dev/answers-at, skep.dev/lb-mode
    ");
}

#[test]
fn services_of_other_proxies_are_left_alone() {
    let label = "service.kubernetes.io/service-proxy-name: mesh";
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, labels: {{{label}}}}}\n\
         spec: {{clusterIP: 10.96.0.10, ports: [{{port: 80}}]}}"
    );
    check!(&text, @r"
    note: Service default/web is left alone
      ┌─ m.yaml:3:18
    3 │ metadata: {name: web, labels: {service.kubernetes.io/service-proxy-name: mesh}}
      │                  ^^^ its label `service.kubernetes.io/service-proxy-name` says that another proxy serves it
    ");
}

#[test]
fn wrong_traffic() {
    check!(&with_spec(
        "
  type: NodePort
  clusterIP: 10.96.0.10
  externalIPs: [127.0.0.1]
  loadBalancerSourceRanges: [192.0.2.1]
  sessionAffinity: clientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 90000}}
  externalTrafficPolicy: local
  healthCheckNodePort: 70000
  trafficDistribution: PreferFar
  ports: [{port: 80}]
"), @r"
    warning: a Service of type NodePort without a `nodePort`
      ┌─ m.yaml:5:9
    5 │   type: NodePort
      │         ^^^^^^^^ its cluster IP is served, nothing else: Skep doesn't choose node ports
      = give its ports a nodePort, usually of 30000 to 32767

    error: 127.0.0.1 cannot be used here
      ┌─ m.yaml:7:17
    7 │   externalIPs: [127.0.0.1]
      │                 ^^^^^^^^^ unspecified, loopback, link-local, broadcast or multicast

    error: `192.0.2.1` is not an address block (CIDR)
      ┌─ m.yaml:8:30
    8 │   loadBalancerSourceRanges: [192.0.2.1]
      │                              ^^^^^^^^^
      = for this one address write 192.0.2.1/32

    error: `sessionAffinity` cannot be `clientIP`
      ┌─ m.yaml:9:20
    9 │   sessionAffinity: clientIP
      │                    ^^^^^^^^ did you mean `ClientIP`?
      = it is one of None, ClientIP

    error: `timeoutSeconds` is not a time
       ┌─ m.yaml:10:54
    10 │   sessionAffinityConfig: {clientIP: {timeoutSeconds: 90000}}
       │                                                      ^^^^^ give whole seconds, 1 to 86400

    error: `externalTrafficPolicy` cannot be `local`
       ┌─ m.yaml:11:26
    11 │   externalTrafficPolicy: local
       │                          ^^^^^ did you mean `Local`?
       = it is one of Cluster, Local

    error: `healthCheckNodePort` is not a port
       ┌─ m.yaml:12:24
    12 │   healthCheckNodePort: 70000
       │                        ^^^^^ ports are whole numbers, 1 to 65535

    error: `trafficDistribution` cannot be `PreferFar`
       ┌─ m.yaml:13:24
    13 │   trafficDistribution: PreferFar
       │                        ^^^^^^^^^
       = it is one of PreferClose, PreferSameZone, PreferSameNode
    ");
    check!(&with_spec("{type: ExternalName, externalName: example.org}"), @r"
    note: a Service of type ExternalName is left alone
      ┌─ m.yaml:4:14
    4 │ spec: {type: ExternalName, externalName: example.org}
      │              ^^^^^^^^^^^^ it is an alias in DNS, which Skep doesn't serve
    ");
    check!(&with_spec("{ports: [{port: 80}]}"), @r"
    warning: Service default/web has no `clusterIP`
      ┌─ m.yaml:4:7
    4 │ spec: {ports: [{port: 80}]}
      │       ^^^^^^^^^^^^^^^^^^^^^ treated as headless: Skep doesn't choose service addresses yet
      = give it a clusterIP, or write clusterIP: None
    ");
}

#[test]
fn wrong_algorithm() {
    check!("apiVersion: v1
kind: Service
metadata: {name: web, annotations: {skep.dev/lb-algorithm: maglef}}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
", @r"
    error: `skep.dev/lb-algorithm` cannot be `maglef`
      ┌─ m.yaml:3:60
    3 │ metadata: {name: web, annotations: {skep.dev/lb-algorithm: maglef}}
      │                                                            ^^^^^^ did you mean `maglev`?
      = it is one of random, maglev
    ");
}

#[test]
fn forwarding() {
    for (name, text, expected) in [
        ("skep.dev/lb-mode", "snat", Some(Forwarding::Masquerade)),
        ("skep.dev/lb-mode", "dsr", Some(Forwarding::DirectReturn)),
        ("skep.dev/lb-mode", "hybrid", Some(Forwarding::Hybrid)),
        ("service.cilium.io/forwarding-mode", "dsr", Some(Forwarding::DirectReturn)),
        ("example.org/lb-mode", "dsr", None),
    ] {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, annotations: {{{name}: {text}}}}}\nspec: {{clusterIP: 10.96.0.10, ports: [{{port: 80}}]}}"
        );
        let Object::Service(service) = one(&text) else { panic!("{text}") };
        assert_eq!(service.forwarding, expected, "{text}");
    }
    check!("apiVersion: v1
kind: Service
metadata: {name: web, annotations: {skep.dev/lb-mode: drs}}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
", @r"
    warning: `skep.dev/lb-mode` cannot be `drs`: the node's `--lb-mode` holds
      ┌─ m.yaml:3:55
    3 │ metadata: {name: web, annotations: {skep.dev/lb-mode: drs}}
      │                                                       ^^^
      = it is one of snat, dsr, hybrid
    ");
}

/// As `kubectl get -o yaml` shows it.
#[test]
fn carried_fields() {
    let service = service(
        "
  allocateLoadBalancerNodePorts: true
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, 'fd00::10']
  externalTrafficPolicy: Cluster
  internalTrafficPolicy: Cluster
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: PreferDualStack
  ports:
  - {appProtocol: http, name: http, nodePort: 30080, port: 80, protocol: TCP, targetPort: http}
  - {name: dns, port: 53, protocol: UDP}
  - {name: zero, port: 54, targetPort: 0}
  selector: {app: web}
  sessionAffinity: None
  type: ClusterIP
status: {loadBalancer: {}}
",
    );
    assert_eq!(service.cluster_ips.len(), 2);
    assert_eq!(service.selector.unwrap().value("app"), Some("web"));
    assert_eq!(service.ports[0].target, TargetPort::Name("http".into()));
    assert_eq!(service.ports[1].target, TargetPort::Number(53));
    assert_eq!(service.ports[2].target, TargetPort::Number(54));
    assert_eq!(service.algorithm, Algorithm::Random);
}

#[test]
fn headless() {
    let service = service("{clusterIP: None, selector: {}}");
    assert!(service.cluster_ips.is_empty() && service.ports.is_empty());
    assert_eq!(service.selector, None);
}

#[test]
fn algorithm() {
    for (name, expect) in [
        ("skep.dev/lb-algorithm", Algorithm::Maglev),
        ("service.cilium.io/lb-algorithm", Algorithm::Maglev),
        ("example.org/lb-algorithm", Algorithm::Random),
    ] {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, annotations: {{{name}: maglev}}}}\nspec: {{clusterIP: 10.96.0.10, ports: [{{port: 80}}]}}"
        );
        let Object::Service(service) = one(&text) else { panic!("not a Service") };
        assert_eq!(service.algorithm, expect, "{name}");
    }
}

#[test]
fn endpoint_slices() {
    let read = slice(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-x7
  namespace: shop
  uid: 8d7f
  labels: {kubernetes.io/service-name: web}
  ownerReferences: [{apiVersion: v1, kind: Service, name: web}]
addressType: IPv4
endpoints:
- addresses: [10.1.0.1, 10.1.0.2]
  nodeName: a
  targetRef: {kind: Pod, name: web-1}
- addresses: [10.1.0.3]
  conditions: {ready: false, serving: true, terminating: true}
- addresses: [10.1.0.4]
  conditions: {ready: false, serving: null}
ports:
- {name: http, port: 8080, protocol: TCP, appProtocol: http}
",
    );
    assert_eq!(read.service.as_deref(), Some("web"));
    let endpoints: Vec<_> = read
        .endpoints
        .iter()
        .map(|e| (e.address.to_string(), e.ready, e.serving, e.terminating))
        .collect();
    assert_eq!(
        endpoints,
        [
            ("10.1.0.1".to_owned(), true, true, false),
            ("10.1.0.3".to_owned(), false, true, true),
            ("10.1.0.4".to_owned(), false, false, false),
        ]
    );
    assert_eq!(read.ports[0].port, 8080);
}

#[test]
fn wrong_slices() {
    check!("apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x7}
addressType: IPv4
endpoints:
- addresses: [\"fd00::1\"]
- addresses: []
- addresses: [127.0.0.1]
- addresses: [10.1.0.1]
  conditions: {redy: true, serving: maybe}
- {}
ports:
- {name: all}
- {port: -1}
", @r#"
    error: fd00::1 is not of the slice's `addressType`
      ┌─ m.yaml:6:15
    6 │ - addresses: ["fd00::1"]
      │               ^^^^^^^^^

    error: an endpoint needs an address
      ┌─ m.yaml:7:14
    7 │ - addresses: []
      │              ^^

    error: 127.0.0.1 cannot be used here
      ┌─ m.yaml:8:15
    8 │ - addresses: [127.0.0.1]
      │               ^^^^^^^^^ unspecified, loopback, link-local, broadcast or multicast

    error: unknown field `redy`
       ┌─ m.yaml:10:16
    10 │   conditions: {redy: true, serving: maybe}
       │                ^^^^ did you mean `ready`?

    error: `serving` must be true or false
       ┌─ m.yaml:10:37
    10 │   conditions: {redy: true, serving: maybe}
       │                                     ^^^^^ this is text

    error: field `addresses` is missing
       ┌─ m.yaml:11:3
    11 │ - {}
       │   ^^

    warning: a port without a number is not supported yet
       ┌─ m.yaml:13:3
    13 │ - {name: all}
       │   ^^^^^^^^^^^ it would mean all ports; it is left out

    error: `port` is not a port
       ┌─ m.yaml:14:10
    14 │ - {port: -1}
       │          ^^ ports are whole numbers, 1 to 65535
    "#);
    check!("apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x7}
addressType: FQDN
endpoints: [{addresses: [example.org]}]
", @r"
    note: an EndpointSlice of type FQDN is left alone
      ┌─ m.yaml:4:14
    4 │ addressType: FQDN
      │              ^^^^ Skep sends to addresses only

    error: unknown field `endpoints`
      ┌─ m.yaml:5:1
    5 │ endpoints: [{addresses: [example.org]}]
      │ ^^^^^^^^^
      = fields here are: addressType, apiVersion, kind, metadata, status
    ");
}
