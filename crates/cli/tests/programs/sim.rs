//! `skep sim` on the manifests and packets of the examples.

use crate::ran::{Ran, skep};
use insta::assert_snapshot;
use std::path::Path;

fn examples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"))
}

fn sim(line: &str) -> Ran {
    let mut command = skep(line);
    command.current_dir(examples());
    Ran::of(command)
}

#[test]
fn the_shop() {
    assert_snapshot!(sim("sim -f shop.yaml --scenario packets/shop.yaml --expect"), @r#"
    #1    shop/client:40000 ► shop/web:80   tcp SYN
          from_endpoint of shop/client
            destination 10.96.0.10:80 → 10.244.0.3:80
            hop limit 64 → 63
            from 02:5c:eb:01:00:01 → 02:5c:eb:00:00:02
            to 02:5c:eb:00:00:01 → 02:5c:eb:01:00:02
          ✓ delivered to shop/web-1   service shop/web:http, ingress shop/web rule 1 (shop.yaml:94)
    #2    shop/web-1:80 ► shop/client:40000   tcp SYN,ACK
          from_endpoint of shop/web-1
            source 10.244.0.3:80 → 10.96.0.10:80
            hop limit 64 → 63
            from 02:5c:eb:01:00:02 → 02:5c:eb:00:00:01
            to 02:5c:eb:00:00:02 → 02:5c:eb:01:00:01
          ✓ delivered to shop/client   reply, service shop/web:http, ingress shop/web rule 1 (shop.yaml:94)
    #3    shop/client:40001 ► shop/web:80   tcp SYN
          from_endpoint of shop/client
            destination 10.96.0.10:80 → 10.244.0.4:80
            hop limit 64 → 63
            from 02:5c:eb:01:00:01 → 02:5c:eb:00:00:03
            to 02:5c:eb:00:00:01 → 02:5c:eb:01:00:03
          ✓ delivered to shop/web-2   service shop/web:http, ingress shop/web rule 1 (shop.yaml:94)
    #4    shop/web-2:80 ► shop/client:40001   tcp SYN,ACK
          from_endpoint of shop/web-2
            source 10.244.0.4:80 → 10.96.0.10:80
            hop limit 64 → 63
            from 02:5c:eb:01:00:03 → 02:5c:eb:00:00:01
            to 02:5c:eb:00:00:03 → 02:5c:eb:01:00:01
          ✓ delivered to shop/client   reply, service shop/web:http, ingress shop/web rule 1 (shop.yaml:94)
    #5    shop/web-1:40002 ► shop/cache:6379   tcp SYN
          from_endpoint of shop/web-1
            hop limit 64 → 63
            from 02:5c:eb:01:00:02 → 02:5c:eb:00:00:00
            to 02:5c:eb:00:00:02 → 02:5c:eb:01:00:00
          ✓ delivered to shop/cache   ingress shop/cache rule 1 (shop.yaml:114)
    #6    shop/cache:6379 ► shop/web-1:40002   tcp SYN,ACK
          from_endpoint of shop/cache
            hop limit 64 → 63
            from 02:5c:eb:01:00:00 → 02:5c:eb:00:00:02
            to 02:5c:eb:00:00:00 → 02:5c:eb:01:00:02
          ✓ delivered to shop/web-1   reply, ingress shop/cache rule 1 (shop.yaml:114)
    #7    shop/client:40003 ► shop/cache:6379   tcp SYN
          from_endpoint of shop/client
          ✗ dropped: policy-default   no rule of shop/cache (shop.yaml:103) allows it
            add a `from` with podSelector app=client to shop/cache, port 6379/TCP
    #8    203.0.113.9:40004 ► shop/cache:6379   tcp SYN
          to_endpoint of shop/cache
          ✗ dropped: policy-default   no rule of shop/cache (shop.yaml:103) allows it
            add a `from` with ipBlock 203.0.113.9/32 to shop/cache, port 6379/TCP
    #9    shop/client:40005 ► 203.0.113.9:443   tcp SYN
          from_endpoint of shop/client
          ✓ leaves the node by outside
    #10   shop/client ► shop/web-2   icmpv6
          from_endpoint of shop/client
          ✗ dropped: policy-default   no rule of shop/web (shop.yaml:83) allows it
    exit code 0
    "#);
    let json = sim("sim -f shop.yaml --scenario packets/shop.yaml --engine jit -o json");
    let list: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let denied =
        list.as_array().unwrap().iter().find(|packet| packet["fate"] == "dropped").unwrap();
    assert_eq!(denied["reason"], "policy-default");
}

#[test]
fn captures_in_and_out() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("1.pcapng"), folder.path().join("2.pcapng"));
    let line = format!("sim -f shop.yaml --scenario packets/shop.yaml -w {}", first.display());
    assert_eq!(sim(&line).code, 0);
    let line = format!("sim -f shop.yaml --packets {} -w {}", first.display(), second.display());
    let again = sim(&line);
    assert_eq!((again.code, again.err.as_str()), (0, ""), "{again}");
    assert!(again.out.starts_with("#1 "), "{again}");
    assert!(second.exists());
}

#[test]
fn what_makes_no_sense() {
    assert_eq!(sim("sim -f shop.yaml").code, 2);
    assert_eq!(sim("sim -f shop.yaml --packets shop.yaml").code, 2);
    assert_eq!(sim("sim -f packets/shop.yaml --scenario packets/shop.yaml").code, 4);
    assert_snapshot!(
        sim("sim -f shop.yaml --scenario packets/shop.yaml --address shop/none=10.0.0.1"),
        @r#"
    stderr: error: --address shop/none=10.0.0.1: there is no such workload
    exit code 2
    "#);
}

/// Services from outside, calls of processes, and the edge balancer, each with its way.
#[test]
fn outside_sockets_and_the_edge() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let open = write(
        "open.yaml",
        "
apiVersion: v1
kind: Service
metadata: {name: front, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.20
  selector: {app: client}
  ports: [{port: 8080, targetPort: 8080, nodePort: 30080}]
---
apiVersion: skep.dev/v1
kind: LoadBalancer
metadata: {name: edge, namespace: shop}
spec:
  interfaces: [{name: eth0}]
  nextHop: 02:00:00:00:00:01
  delivery: {mode: ipip, sources: {ipv4: 192.0.2.1}}
  vips:
  - {address: 203.0.113.80, ports: 80, protocol: TCP, backends: [{address: 10.1.0.1}]}
",
    );
    let packets = write(
        "packets.yaml",
        "
node:
  devices: [{name: eth0, addresses: [192.0.2.1/24]}]
packets:
- {from: 192.0.2.9, to: 192.0.2.1, port: 30080, answer: true, expect: delivered}
- {from: shop/client, to: 'service:shop/web', port: 80, process: curl, expect: delivered}
- {from: 192.0.2.9, to: 203.0.113.80, port: 80, expect: left}
",
    );
    let arrived = folder.path().join("arrived.pcapng");
    let line = format!(
        "sim -f shop.yaml -f {} --scenario {} --expect -w {}",
        open.display(),
        packets.display(),
        arrived.display()
    );
    let ran = sim(&line);
    for part in [
        "from_outside of eth0",
        "destination 192.0.2.1:30080 → 10.244.0.2:8080",
        "reply, service shop/front",
        "connect4 of curl in shop/client",
        "peer 10.96.0.10:80 → 10.244.0.",
        "getpeername4 of curl in shop/client",
        "by process curl (1001)",
        "balance of eth0",
        "tcp 203.0.113.80:80 by backend 10.1.0.1",
        "leaves the node by eth0",
    ] {
        assert!(ran.out.contains(part), "{part}:\n{}{}", ran.out, ran.err);
    }
    let frames = sim::capture::read(&std::fs::read(&arrived).unwrap()).unwrap();
    assert!(frames.iter().any(|frame| frame.comment.contains("by 10.1.0.1")), "{frames:?}");
    let value: serde_json::Value = serde_json::from_str(&sim(&(line + " -o json")).out).unwrap();
    assert_eq!(value[2]["calls"][0]["program"], "connect4");
    assert_eq!(value[0]["steps"][0]["device"], "eth0");
    assert_eq!(value[3]["balancer"]["backend"], "10.1.0.1");
}
