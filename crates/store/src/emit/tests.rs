use super::*;
use crate::manifest::parse;

const SHOP: &str = include_str!("../../../../examples/shop.yaml");

/// Reads as the same object: emitting it again gives the same manifest.
#[track_caller]
fn round_trip(text: &str) -> usize {
    let parsed = parse("m.yaml", text);
    assert!(!parsed.has_errors(), "{:#?}", parsed.diagnostics);
    for object in parsed.objects() {
        for emitted in [to_yaml(object), to_json(object).to_string()] {
            let again = parse("again", &emitted);
            assert!(again.diagnostics.is_empty(), "{:#?}\n{emitted}", again.diagnostics);
            let again = again.into_objects();
            assert_eq!(again.len(), 1);
            assert_eq!(to_json(&again[0]), to_json(object));
        }
    }
    parsed.manifests.len()
}

#[test]
fn examples() {
    assert_eq!(round_trip(SHOP), 8);
    assert_eq!(round_trip(include_str!("../../../../examples/lockdown.yaml")), 1);
}

#[test]
fn every_field() {
    let count = round_trip(
        "apiVersion: v1
kind: Namespace
metadata: {name: '7', labels: {a: '1', b: '', c: 'yes', d: a.b}}
---
apiVersion: skep.dev/v1
kind: Workload
metadata: {name: a, labels: {x: 'true'}}
spec:
  runs: {container: {runtime: podman, name: '12', labels: {'a b': \"c\\td\"}}}
  addresses: [10.0.0.1, 'fd00::1']
  ports: [{name: 8a, port: 80, protocol: UDP}]
---
apiVersion: skep.dev/v1
kind: Workload
metadata: {name: b}
spec: {runs: {systemdUnit: a.service}, interface: '0'}
---
apiVersion: skep.dev/v1
kind: Workload
metadata: {name: c}
spec: {runs: {cgroup: 'x: y'}}
---
apiVersion: skep.dev/v1
kind: Workload
metadata: {name: d}
spec: {runs: {netns: a, cgroup: /b}}
---
apiVersion: v1
kind: Service
metadata: {name: a, annotations: {skep.dev/lb-algorithm: maglev, skep.dev/lb-mode: dsr}}
spec:
  clusterIPs: [10.0.0.1, 'fd00::1']
  selector: {a: b}
  ports: [{name: a, port: 1, targetPort: x}, {name: b, port: 2, protocol: SCTP}]
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {clusterIP: None}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, labels: {kubernetes.io/service-name: a}}
addressType: IPv6
endpoints: [{addresses: ['fd00::1'], conditions: {ready: false, serving: true, terminating: true}}]
ports: [{port: 1}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: a}
spec:
  podSelector:
    matchLabels: {b: x, a: y}
    matchExpressions:
    - {key: a, operator: In, values: [z]}
    - {key: b, operator: NotIn, values: [q, '1']}
    - {key: c, operator: Exists}
    - {key: d, operator: DoesNotExist}
    - {key: e, operator: In, values: [z]}
  policyTypes: [Egress]
  egress:
  - {}
  - to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {namespaceSelector: {}}]
    ports: [{}, {port: 1, endPort: 2}, {port: web, protocol: UDP}, {port: 5}]
",
    );
    assert_eq!(count, 9);
}

#[test]
fn as_a_user_sees_it() {
    let objects = parse("shop.yaml", SHOP).into_objects();
    let named = |name: &str| {
        objects.iter().find(|object| object.reference().to_string() == name).map(to_yaml).unwrap()
    };
    insta::assert_snapshot!(named("Service shop/web"), @r"
    apiVersion: v1
    kind: Service
    metadata:
      name: web
      namespace: shop
    spec:
      type: ClusterIP
      clusterIP: 10.96.0.10
      clusterIPs:
      - 10.96.0.10
      selector:
        app: web
      ports:
      - name: http
        protocol: TCP
        port: 80
        targetPort: http
    ");
    insta::assert_snapshot!(named("Workload shop/web-1"), @r"
    apiVersion: skep.dev/v1
    kind: Workload
    metadata:
      name: web-1
      namespace: shop
      labels:
        app: web
    spec:
      runs:
        netns: /run/netns/skep-demo-web-1
        cgroup: skep-demo/web-1
      interface: eth0
      addresses: auto
      ports:
      - name: http
        port: 80
        protocol: TCP
    ");
    insta::assert_snapshot!(named("NetworkPolicy shop/cache"), @r"
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata:
      name: cache
      namespace: shop
    spec:
      podSelector:
        matchLabels:
          app: cache
      ingress:
      - from:
        - podSelector:
            matchLabels:
              app: web
        ports:
        - protocol: TCP
          port: 6379
      policyTypes:
      - Ingress
    ");
}

#[test]
fn lists() {
    let objects = parse("shop.yaml", SHOP).into_objects();
    let again = parse("list.json", &list(&objects).to_string());
    assert!(again.diagnostics.is_empty());
    assert_eq!(again.manifests.len(), objects.len());
}
