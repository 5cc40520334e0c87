//! The node and everything around it.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::manifest::{endpoint_slice, labels, service};
use testkit::probe::{Probe, Target, Transport, names};
use testkit::{Binaries, Neighbour, Node, Place, Plan, Pod};

pub const WINDOW: Duration = Duration::from_millis(400);
pub const PATIENCE: Duration = Duration::from_secs(4);
pub const ASKED: usize = 40;

pub const NODE_PORT: u16 = 30080;

pub fn of_both(v4: &str, v6: &str) -> [IpAddr; 2] {
    [v4.parse().unwrap(), v6.parse().unwrap()]
}

pub fn cluster() -> [IpAddr; 2] {
    of_both("10.96.0.10", "fd00:96::10")
}

pub fn external() -> [IpAddr; 2] {
    of_both("203.0.113.1", "2001:db8:f::1")
}

pub fn balanced() -> [IpAddr; 2] {
    of_both("203.0.113.2", "2001:db8:f::2")
}

pub fn plan<'a>(name: &'a str, ports: &'a [u16]) -> Plan<'a> {
    Plan { namespace: "shop", name, ports, sockets: true }
}

/// Service `web` with every kind of address. Its slices name what the test wants.
pub fn web(change: impl FnOnce(&mut Value)) -> Value {
    let ports = [("tcp", "TCP", 80, 8080), ("udp", "UDP", 80, 8080)];
    let mut service = service(("shop", "web"), &labels([]), &cluster(), &ports);
    service["spec"]["type"] = json!("LoadBalancer");
    service["spec"]["externalIPs"] = json!(external());
    service["status"] =
        json!({"loadBalancer": {"ingress": balanced().map(|ip| json!({"ip": ip}))}});
    for port in service["spec"]["ports"].as_array_mut().unwrap() {
        port["nodePort"] = json!(NODE_PORT);
    }
    change(&mut service);
    service
}

pub struct Endpoint {
    pub addresses: [IpAddr; 2],
    pub node: String,
    /// A server on a machine with several addresses answers datagrams from any of them, unless it
    /// takes care, which ours doesn't: it is asked over TCP only.
    pub udp: bool,
}

/// Slices for each family and for endpoints with and without UDP.
pub fn slices(endpoints: &[Endpoint]) -> Vec<Value> {
    let mut slices = Vec::new();
    for (family, which) in [("IPv4", 0), ("IPv6", 1)] {
        for udp in [true, false] {
            let of_slice: Vec<Value> = endpoints
                .iter()
                .filter(|endpoint| endpoint.udp == udp)
                .map(|it| json!({"addresses": [it.addresses[which]], "nodeName": it.node}))
                .collect();
            let mut ports = vec![json!({"name": "tcp", "protocol": "TCP", "port": 8080})];
            if udp {
                ports.push(json!({"name": "udp", "protocol": "UDP", "port": 8080}));
            }
            let name = format!("web-{udp}");
            slices.push(endpoint_slice(("shop", &name), "web", family, &of_slice, json!(ports)));
        }
    }
    slices
}

/// An EndpointSlice of service `web` with these endpoints, of one family.
pub fn slice(name: &str, endpoints: &[Value], ports: Value) -> Value {
    let first = endpoints.first().and_then(|it| it["addresses"][0].as_str()).unwrap_or_default();
    let family = if first.contains(':') { "IPv6" } else { "IPv4" };
    endpoint_slice(("shop", name), "web", family, endpoints, ports)
}

pub struct World {
    pub client: (Neighbour, Probe),
    pub far: (Neighbour, Probe),
    pub pod: Pod,
    pub inside: Pod,
    /// Serves in the node's own network.
    _own: Probe,
    pub node: Node,
}

pub fn world() -> World {
    world_with(&[])
}

/// With more arguments for the agent.
pub fn world_with(arguments: &[&str]) -> World {
    let binaries = Binaries::built().unwrap();
    let arguments = [&["--devices", "out1,out2"], arguments].concat();
    let node = Node::start_with(binaries, &arguments).unwrap();
    let neighbour = |name: &str, link| {
        let neighbour = Neighbour::connect(&node, name, link).unwrap();
        let probe = Probe::start(&binaries.probe, &neighbour.machine.place, name).unwrap();
        (neighbour, probe)
    };
    let (client, mut far) = (neighbour("client", 1), neighbour("far", 2));
    let mut own = Probe::start(&binaries.probe, node.place(), "own").unwrap();
    for probe in [&mut far.1, &mut own] {
        for transport in [Transport::Tcp, Transport::Udp] {
            probe.serve(transport, 8080).unwrap();
        }
    }
    let [pod, inside] = Pod::apply(&node, [plan("web", &[8080]), plan("inside", &[])]).unwrap();
    World { client, far, pod, inside, _own: own, node }
}

impl World {
    pub fn everybody(&self) -> Vec<Endpoint> {
        let here = self.node.name();
        let endpoint =
            |addresses, node: &str, udp| Endpoint { addresses, node: node.to_owned(), udp };
        vec![
            endpoint(self.pod.addresses(), here, true),
            endpoint(self.far.0.addresses, "elsewhere", true),
            endpoint(self.client.0.router, here, false),
        ]
    }

    pub fn apply(&self, service: Value, endpoints: &[Endpoint]) {
        let mut documents = slices(endpoints);
        documents.push(service);
        self.node.skep().apply(&documents).unwrap();
    }
}

/// Asks each address over both transports, from many ports: these answer, and no others.
#[track_caller]
pub fn check(probe: &mut Probe, addresses: [IpAddr; 2], port: u16, expected: &[&str]) {
    for transport in [Transport::Tcp, Transport::Udp] {
        let wanted = expected.iter().filter(|name| transport == Transport::Tcp || **name != "own");
        let wanted: BTreeSet<String> = wanted.map(|name| (*name).to_owned()).collect();
        for address in addresses {
            let targets = vec![Target::new(transport, address, port); ASKED];
            let found = names(&probe.probe(&targets, PATIENCE).unwrap());
            assert_eq!(found, wanted, "{} ► {transport} {address} {port}", probe.name());
        }
    }
}

pub const EVERYBODY: &[&str] = &["shop/web", "far", "own"];

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In lower case, a line each.
    pub head: String,
    pub body: String,
}

/// Asks from the place's network.
pub fn get(place: &Place, address: IpAddr, port: u16, path: &str) -> std::io::Result<Answer> {
    let to = SocketAddr::new(address, port);
    let path = path.to_owned();
    let asked = place.netns.run(move || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    let answer: std::io::Result<String> = asked.map_err(std::io::Error::other)?;
    let answer = answer?;
    let malformed = || std::io::Error::other(format!("no HTTP: {answer}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).ok_or_else(malformed)?;
    Ok(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

/// Everything that `skep status` finds wrong, a line each.
pub fn diagnostics(node: &Node) -> String {
    let status = node.skep().json(&["status"]).unwrap();
    let found = status["diagnostics"].as_array().cloned().unwrap_or_default();
    found.iter().map(|it| format!("{}\n", it["message"].as_str().unwrap_or_default())).collect()
}
