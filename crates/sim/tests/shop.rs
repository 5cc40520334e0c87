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
        assert_eq!(ways[4].fate, Fate::Left(0));
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

/// Calls of processes are translated at the socket, and events name who made them.
#[test]
fn calls_on_sockets() {
    let mut node = node(Engine::Interpreter);
    let text = "
packets:
- {from: shop/client, to: 'service:shop/web', port: 80, process: curl}
- {from: shop/client, to: shop/web-1, port: 80, process: curl}
";
    let scenario = Scenario::parse(text).unwrap();
    let mut ways = Vec::new();
    for (number, packet) in scenario.packets.iter().enumerate() {
        let call = packet.call().unwrap();
        for (from, frame) in packet.frames(&node, number).unwrap() {
            let From::Endpoint(from) = from else { panic!() };
            ways.push(node.call(from, &call, &frame).unwrap());
        }
    }
    let [service, direct] = ways.as_slice() else { panic!() };
    let programs: Vec<_> = service.calls.iter().map(|call| call.program).collect();
    assert_eq!(programs, ["connect4", "getpeername4"]);
    let asked = "10.96.0.10:80".parse().unwrap();
    assert_eq!((service.calls[0].before, service.calls[1].after), (asked, asked));
    assert_eq!(service.calls[0].after, service.calls[1].before);
    let web = name(&node, service.fate);
    assert!(web.starts_with("web-"), "{web}");
    // The packet has the backend's address already.
    assert_eq!(service.steps[0].before[30..34], service.frame[30..34]);
    assert_ne!(service.events[0].service, 0);
    assert_eq!(node.process_name(service.events[0].source_process), Some("curl"));
    assert_eq!(direct.calls[0].before, direct.calls[0].after);
    assert_eq!(name(&node, direct.fate), "web-1");
}

/// UDP names its peer each time, and sees the service's address in what comes back.
#[test]
fn datagrams_of_processes() {
    let mut model = shop();
    let dns = "
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: shop}
spec:
  clusterIP: 10.96.0.53
  selector: {app: client}
  ports: [{port: 53, protocol: UDP, targetPort: 5353}]
";
    let parsed = store::manifest::parse("dns.yaml", dns);
    for object in parsed.into_objects() {
        model.put(object);
    }
    let mut node = Node::new(&model, &Settings::default()).unwrap();
    let text = "packets: [{from: shop/cache, to: 'service:shop/dns', port: 53, protocol: udp, \
                process: dig, payload: question}]";
    let packet = &Scenario::parse(text).unwrap().packets[0];
    let (from, frame) = packet.frames(&node, 0).unwrap().remove(0);
    let From::Endpoint(from) = from else { panic!() };
    let there = node.call(from, &packet.call().unwrap(), &frame).unwrap();
    assert_eq!(there.calls[0].program, "sendmsg4");
    assert_eq!(there.calls[0].after.port(), 5353);
    let Fate::Delivered(server) = there.fate else { panic!("{:?}", there.fate) };
    let back = node.send(From::Endpoint(server), &answer(&there.frame).unwrap()).unwrap();
    let [call] = back.calls.as_slice() else { panic!("{:?}", back.calls) };
    assert_eq!(call.program, "recvmsg4");
    assert_eq!(call.after, "10.96.0.53:53".parse().unwrap());
}

/// The edge balancer comes before the node's own programs.
#[test]
fn a_load_balancer_at_the_edge() {
    let edge = "
apiVersion: skep.dev/v1
kind: LoadBalancer
metadata: {name: edge, namespace: shop}
spec:
  nextHop: 02:00:00:00:00:01
  delivery: {mode: ipip, sources: {ipv4: 192.0.2.1}}
  vips:
  - address: 203.0.113.80
    ports: 80
    protocol: TCP
    backends: [{address: 10.1.0.1}, {address: 10.1.0.2}]
  - {address: 203.0.113.81, ports: 80, protocol: TCP, backends: []}
";
    let mut model = shop();
    let parsed = store::manifest::parse("edge.yaml", edge);
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    for object in parsed.into_objects() {
        model.put(object);
    }
    let mut node = Node::new(&model, &Settings::default()).unwrap();
    let text = "
packets:
- {from: 198.51.100.9, to: 203.0.113.80, port: 80}
- {from: 198.51.100.9, to: 203.0.113.81, port: 80}
- {from: 198.51.100.9, to: shop/web-1, port: 80}
";
    let frames = frames(&node, text);
    let mut ways = frames.iter().map(|(from, frame)| node.send(*from, frame).unwrap());
    let (vip, empty, other) = (ways.next().unwrap(), ways.next().unwrap(), ways.next().unwrap());
    let balanced = vip.balanced.unwrap();
    assert_eq!((vip.fate, balanced.action), (Fate::Left(0), 3));
    assert_eq!(balanced.vip.as_deref(), Some("tcp 203.0.113.80:80"));
    let outer = sim::headers(&vip.frame).unwrap();
    assert_eq!((Some(outer.destination), outer.protocol), (balanced.backend, 4));
    assert_eq!(empty.fate, Fate::Balanced);
    assert_eq!(empty.balanced.unwrap().counted, ["no-backend"]);
    assert_eq!(other.balanced.unwrap().action, 2);
    assert_eq!(other.fate, Fate::Dropped(Some(DropReason::PolicyDefault)));
}
