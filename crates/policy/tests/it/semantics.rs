//! What explanations say, and the cases that NetworkPolicy users trip over.

use model::{
    Labels, NamedPort, NetworkPolicy, ObjectName, Origin, PolicyPeer, PolicyPort, PolicyRule,
    PortMatch, Protocol, Selector,
};
use policy::{Compiler, EndpointInput, Party};
use std::net::IpAddr;

fn labels(text: &str) -> Labels {
    text.split(',')
        .filter(|pair| !pair.is_empty())
        .filter_map(|pair| pair.split_once('='))
        .collect()
}

fn workload(name: &str, text: &str, address: &str) -> EndpointInput {
    let (namespace, name) = name.split_once('/').unwrap();
    EndpointInput {
        name: ObjectName::new(namespace, name),
        labels: labels(text),
        addresses: vec![address.parse().unwrap()],
        ports: vec![NamedPort { name: "redis".into(), protocol: Protocol::Tcp, port: 6379 }],
        enforced: true,
    }
}

fn tcp(port: u16) -> PolicyPort {
    PolicyPort { protocol: Protocol::Tcp, port: PortMatch::Range(port, port) }
}

fn own_namespace(text: &str) -> PolicyPeer {
    PolicyPeer::Workloads { namespaces: None, workloads: Selector::labels(&labels(text)) }
}

fn rule(peers: Vec<PolicyPeer>, ports: Vec<PolicyPort>, line: u32) -> PolicyRule {
    PolicyRule { peers, ports, origin: Origin::new("examples/shop.yaml", line, 7) }
}

fn ingress(name: &str, subjects: &str, rules: Vec<PolicyRule>, line: u32) -> NetworkPolicy {
    let (namespace, name) = name.split_once('/').unwrap();
    NetworkPolicy {
        name: ObjectName::new(namespace, name),
        subjects: Selector::labels(&labels(subjects)),
        ingress: Some(rules),
        egress: None,
        origin: Origin::new("examples/shop.yaml", line, 1),
    }
}

fn shop() -> Compiler {
    let mut compiler = Compiler::new();
    compiler.set_endpoint(workload("shop/client", "app=client", "10.0.0.1"));
    compiler.set_endpoint(workload("shop/web-1", "app=web", "10.0.0.2"));
    compiler.set_endpoint(workload("shop/cache", "app=cache", "10.0.0.3"));
    compiler.set_endpoint(workload("ops/prober", "app=prober", "10.0.0.4"));
    compiler.set_host_addresses(["10.9.9.9".parse::<IpAddr>().unwrap()]);
    let rules = vec![rule(vec![own_namespace("app=web")], vec![tcp(6379)], 46)];
    compiler.set_policy(&ingress("shop/cache", "app=cache", rules, 38));
    compiler
}

fn check(compiler: &mut Compiler, from: &str, to: &str, port: u16, expect: &str) {
    let (from, to): (Party, Party) = (from.parse().unwrap(), to.parse().unwrap());
    let text = match compiler.explain(&from, &to, 6, port) {
        Ok(explanation) => explanation.to_string(),
        Err(error) => format!("{error}\n"),
    };
    assert_eq!(text, expect, "\n{text}");
}

#[test]
fn explanations() {
    let mut shop = shop();
    check(
        &mut shop,
        "shop/client",
        "shop/cache",
        6379,
        "\
denied

egress   shop/client  not restricted (no policy selects it for egress)
ingress  shop/cache   restricted by shop/cache (examples/shop.yaml:38)
         rule 1 (line 46)  from app=web port 6379/TCP  ✗ client has app=client
To allow it: add a `from` with podSelector app=client to shop/cache, port 6379/TCP.
",
    );
    check(
        &mut shop,
        "shop/web-1",
        "10.0.0.3",
        6379,
        "\
allowed

egress   shop/web-1  not restricted (no policy selects it for egress)
ingress  shop/cache  restricted by shop/cache (examples/shop.yaml:38)
         rule 1 (line 46)  from app=web port 6379/TCP  ✓ decides
",
    );
    check(
        &mut shop,
        "shop/web-1",
        "shop/cache",
        80,
        "\
denied

egress   shop/web-1  not restricted (no policy selects it for egress)
ingress  shop/cache  restricted by shop/cache (examples/shop.yaml:38)
         rule 1 (line 46)  from app=web port 6379/TCP  ✗ the port is 80/TCP
To allow it: add port 80/TCP to rule 1 of shop/cache (examples/shop.yaml:46).
",
    );
    check(
        &mut shop,
        "ops/prober",
        "shop/cache",
        6379,
        "\
denied

egress   ops/prober  not restricted (no policy selects it for egress)
ingress  shop/cache  restricted by shop/cache (examples/shop.yaml:38)
         rule 1 (line 46)  from app=web port 6379/TCP  ✗ prober is in namespace ops, and without a namespaceSelector only shop is meant
To allow it: add a `from` with namespaceSelector kubernetes.io/metadata.name=ops and podSelector app=prober to shop/cache, port 6379/TCP.
",
    );
    check(
        &mut shop,
        "203.0.113.9",
        "shop/cache",
        6379,
        "\
denied

egress   203.0.113.9 (world)  not a workload of this node
ingress  shop/cache           restricted by shop/cache (examples/shop.yaml:38)
         rule 1 (line 46)  from app=web port 6379/TCP  ✗ 203.0.113.9 is not a workload
To allow it: add a `from` with ipBlock 203.0.113.9/32 to shop/cache, port 6379/TCP.
",
    );
    for node in ["host", "10.9.9.9"] {
        let explanation =
            shop.explain(&node.parse().unwrap(), &"shop/cache".parse().unwrap(), 6, 6379).unwrap();
        assert!(explanation.allowed, "{explanation}");
    }
    check(
        &mut shop,
        "shop/nobody",
        "shop/cache",
        1,
        "no workload `shop/nobody` is known; `skep get workloads` lists them\n",
    );
}

#[test]
fn named_ports_and_blocks_are_explained() {
    let mut shop = shop();
    let port =
        |name: &str| PolicyPort { protocol: Protocol::Tcp, port: PortMatch::Name(name.to_owned()) };
    let block = PolicyPeer::Block {
        block: "10.0.0.0/24".parse().unwrap(),
        except: vec!["10.0.0.1/32".parse().unwrap()],
    };
    let rules =
        vec![rule(vec![block], vec![port("redis")], 46), rule(Vec::new(), vec![port("sql")], 50)];
    shop.set_policy(&ingress("shop/cache", "app=cache", rules, 38));
    check(
        &mut shop,
        "shop/client",
        "shop/cache",
        6379,
        "\
denied

egress   shop/client  not restricted (no policy selects it for egress)
ingress  shop/cache   restricted by shop/cache (examples/shop.yaml:38)
         rule 1 (line 46)  from 10.0.0.0/24 except 10.0.0.1/32 port redis/TCP  ✗ client (10.0.0.1) is in the exception 10.0.0.1/32
         rule 2 (line 50)  from anyone port sql/TCP                            ✗ the receiver has no port named sql
To allow it: add port 6379/TCP to rule 2 of shop/cache (examples/shop.yaml:50).
",
    );
    let verdict = |shop: &mut Compiler, from: &str| {
        shop.verdict(from.parse().unwrap(), "10.0.0.3".parse().unwrap(), 6, 6379)
    };
    assert!(!verdict(&mut shop, "10.0.0.1").allowed);
    let allowed = verdict(&mut shop, "10.0.0.2");
    assert!(allowed.allowed);
    let reference = shop.rule(allowed.ingress.id).unwrap();
    assert_eq!((reference.index, reference.origin.line), (0, 46));
    // The block is an identity of its own for addresses that nothing else is known of.
    let identity = shop.identity_of("10.0.0.77".parse().unwrap());
    assert_eq!(shop.identity(identity).unwrap().texts()[0], "cidr:10.0.0.0/24");
    assert_eq!(shop.identity_of("10.0.0.1".parse().unwrap()), 256);
}

#[test]
fn empty_lists() {
    let mut shop = shop();
    let allowed = |shop: &mut Compiler, protocol| {
        let (from, to) = ("203.0.113.9".parse().unwrap(), "10.0.0.3".parse().unwrap());
        shop.verdict(from, to, protocol, 8).allowed
    };
    // No rule: nothing. One empty rule: everything, ICMP included.
    shop.set_policy(&ingress("shop/cache", "app=cache", Vec::new(), 38));
    assert!(!allowed(&mut shop, 6));
    shop.set_policy(&ingress("shop/cache", "app=cache", vec![rule(vec![], vec![], 40)], 38));
    assert!(allowed(&mut shop, 6) && allowed(&mut shop, 1));
    // Every port of TCP is not ICMP.
    let any_tcp = PolicyPort { protocol: Protocol::Tcp, port: PortMatch::Any };
    let rules = vec![rule(vec![], vec![any_tcp], 40)];
    shop.set_policy(&ingress("shop/cache", "app=cache", rules, 38));
    assert!(allowed(&mut shop, 6) && !allowed(&mut shop, 1));
    shop.remove_policy(&ObjectName::new("shop", "cache"));
    assert!(allowed(&mut shop, 1));
}
