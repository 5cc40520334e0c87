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
          ✓ leaves the node
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
