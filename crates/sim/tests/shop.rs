//! The shop of the examples, through the node's objects.

use abi::drop_reason::DropReason;
use bpf_vm::Engine;
use model::Model;
use sim::scenario::{Scenario, answer};
use sim::{Fate, From, Node, Settings};

fn shop() -> Model {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop.yaml");
    let parsed = store::manifest::parse("shop.yaml", &std::fs::read_to_string(folder).unwrap());
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    let mut model = Model::default();
    for object in parsed.into_objects() {
        model.put(object);
    }
    model
}

fn node(engine: Engine) -> Node {
    Node::new(&shop(), &Settings { engine, ..Settings::default() }).unwrap()
}

fn frames(node: &Node, text: &str) -> Vec<(From, Vec<u8>)> {
    let scenario = Scenario::parse(text).unwrap();
    let packets = scenario.packets.iter().enumerate();
    packets.flat_map(|(number, packet)| packet.frames(node, number).unwrap()).collect()
}

fn name(node: &Node, fate: Fate) -> &str {
    match fate {
        Fate::Delivered(endpoint) => &node.endpoints()[endpoint].name.name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn policies_and_services() {
    for engine in [Engine::Interpreter, Engine::Jit] {
        let mut node = node(engine);
        let text = "
packets:
- {from: shop/client, to: 'service:shop/web', port: 80}
- {from: shop/client, to: shop/cache, port: 6379}
- {from: shop/web-1, to: shop/cache, port: 6379}
- {from: 203.0.113.9, to: shop/cache, port: 6379}
- {from: shop/client, to: 203.0.113.9, port: 443}
- {from: shop/client, to: shop/web-1, port: 80, ipv6: true}
- {from: shop/web-2, to: shop/client, protocol: udp, port: 53, payload: hello}
";
        let frames = frames(&node, text);
        let mut ways = Vec::new();
        for (from, frame) in &frames {
            ways.push(node.send(*from, frame).unwrap());
        }
        assert!(name(&node, ways[0].fate).starts_with("web-"));
        assert_ne!(ways[0].frame, frames[0].1);
        assert_eq!(ways[0].steps.len(), 1);
        assert_ne!(ways[0].events[0].service, 0);
        assert_eq!(ways[1].fate, Fate::Dropped(Some(DropReason::PolicyDefault)));
        assert_eq!(name(&node, ways[2].fate), "cache");
        let rule = node.policy().rule(ways[2].rules().1).unwrap();
        assert_eq!((rule.policy.to_string().as_str(), rule.index), ("shop/cache", 0));
        assert_eq!(ways[3].fate, Fate::Dropped(Some(DropReason::PolicyDefault)));
        assert_eq!(ways[3].steps[0].program, "to_endpoint");
        assert_eq!(ways[4].fate, Fate::Left);
        assert_eq!(name(&node, ways[5].fate), "web-1");
        assert_eq!(name(&node, ways[6].fate), "client");

        // The answer finds its way back, with the service's address.
        let Fate::Delivered(web) = ways[0].fate else { panic!() };
        let back = answer(&ways[0].frame).unwrap();
        let way = node.send(From::Endpoint(web), &back).unwrap();
        assert_eq!(name(&node, way.fate), "client");
        let service = |frame: &[u8], at: usize| frame[at..at + 4].to_vec();
        assert_eq!(service(&way.frame, 26), service(&frames[0].1, 30));
    }
}

#[test]
fn spoofed_and_broken_packets() {
    let mut node = node(Engine::Interpreter);
    let text = "packets: [{from: shop/client, to: shop/web-1, port: 80}]";
    let (from, mut frame) = frames(&node, text).remove(0);
    frame[29] ^= 1;
    let way = node.send(from, &frame).unwrap();
    assert_eq!(way.fate, Fate::Dropped(Some(DropReason::SpoofedSource)));
    let way = node.send(from, &frame[..20]).unwrap();
    assert_eq!(way.fate, Fate::Dropped(Some(DropReason::Malformed)));
}

#[test]
fn words_that_mean_nothing() {
    let node = node(Engine::Interpreter);
    let check = |packet: &str, expected: &str| {
        let scenario = Scenario::parse(&format!("packets: [{packet}]")).unwrap();
        let error = scenario.packets[0].frames(&node, 0).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check("{from: shop/none, to: shop/web-1}", "packet 1: there is no workload shop/none");
    check("{from: shop/client, to: 'service:none'}", "packet 1: there is no service default/none");
    check("{from: shop/client, to: shop/web-1, flags: XYZ}", "packet 1: `XYZ` is no flag of TCP");
    check("{from: 10.0.0.1, to: 'fd00::1'}", "packet 1: not both ends have an address of IPv4");
    let unknown = Scenario::parse("packets: [{from: a, to: b, prot: 1}]").unwrap_err();
    assert!(unknown.to_string().contains("prot"), "{unknown}");
}
