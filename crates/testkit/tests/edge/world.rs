//! A router with everybody on a link of his own: a client, balancers on one interface each, and
//! backends.

use std::net::IpAddr;
use std::time::Duration;

use host::Netlink;
use ipnet::IpNet;
use serde_json::{Value, json};
use testkit::probe::{Probe, Transport};
use testkit::{Binaries, Link, Neighbour, Node};

/// On a machine with other work to do.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Of VIPs, and of servers, since delivery doesn't change it.
pub const PORT: u16 = 8080;

const FIRST_BACKEND: u8 = 2;
const FIRST_BALANCER: u8 = 250;

/// An IPv4 one and an IPv6 one.
pub fn vips() -> [IpAddr; 2] {
    ["203.0.113.10".parse().unwrap(), "2001:db8:1::10".parse().unwrap()]
}

pub struct Backend {
    pub neighbour: Neighbour,
    /// Without it, the backend's process is dead.
    pub probe: Option<Probe>,
}

pub struct Balancer {
    pub node: Node,
    pub link: Link,
}

pub struct World {
    pub client: (Neighbour, Probe),
    pub backends: Vec<Backend>,
    pub balancers: Vec<Balancer>,
    _router: Node,
}

/// What everybody calls a backend.
pub fn name(number: usize) -> String {
    format!("backend-{number}")
}

impl World {
    pub fn new(balancers: usize, backends: usize) -> Self {
        let binaries = Binaries::built().unwrap();
        let router = Node::prepare(binaries).unwrap();
        let client = Neighbour::connect(&router, "client", 1).unwrap();
        let probe = Probe::start(&binaries.probe, &client.machine.place, "client").unwrap();
        let names: Vec<String> = (0..backends).map(name).collect();
        let neighbours = Neighbour::connect_all(&router, &names, FIRST_BACKEND).unwrap();
        let backends = neighbours.into_iter().zip(&names).map(|(neighbour, name)| {
            let mut probe = Probe::start(&binaries.probe, &neighbour.machine.place, name).unwrap();
            probe.decapsulate().unwrap();
            probe.serve(Transport::Tcp, PORT).unwrap();
            Backend { neighbour, probe: Some(probe) }
        });
        let backends = backends.collect();
        let balancers = (0..balancers).zip(FIRST_BALANCER..).map(|(_, number)| {
            let node = Node::start(binaries).unwrap();
            let link = Link::lay(&router.place().netns, &node.place().netns, number).unwrap();
            link.introduce().unwrap();
            link.wait().unwrap();
            Balancer { node, link }
        });
        let balancers = balancers.collect();
        let world = World { client: (client, probe), backends, balancers, _router: router };
        world.lead(0);
        world
    }

    /// Backends take VIPs for their own, as behind a balancer that leaves the destination as it is.
    pub fn have_vips(&mut self) {
        for Backend { neighbour, .. } in &self.backends {
            has_vips(neighbour);
        }
    }

    /// The router sends what is for VIPs to this balancer.
    pub fn lead(&self, balancer: usize) {
        for vip in vips() {
            self.balancers[balancer].link.lead(vip).unwrap();
        }
    }

    /// A manifest of balancers: `backend` gives that of a backend, but for its address, or null if it
    /// is not to be there.
    pub fn manifest(&self, backend: impl Fn(usize) -> Value) -> Value {
        let vips = vips().into_iter().enumerate().map(|(family, address)| {
            let backends = self.backends.iter().enumerate().filter_map(|(number, it)| {
                let mut manifest = backend(number);
                let map = manifest.as_object_mut()?;
                map.insert("address".into(), json!(it.neighbour.addresses[family]));
                Some(manifest)
            });
            let backends: Vec<Value> = backends.collect();
            json!({"address": address, "ports": PORT, "backends": backends})
        });
        let vips: Vec<Value> = vips.collect();
        json!({
            "apiVersion": "skep.dev/v1",
            "kind": "LoadBalancer",
            "metadata": {"name": "edge"},
            // The driver of a veth would hand over packets whose checksums were left to a card.
            "spec": {"interfaces": [{"name": "eth0", "attach": "generic"}], "vips": vips},
        })
    }

    /// On all balancers, one after the other.
    pub fn apply(&self, manifest: &Value) {
        for balancer in &self.balancers {
            balancer.node.skep().apply(std::slice::from_ref(manifest)).unwrap();
            balancer.node.skep().wait_for_balancer().unwrap();
        }
    }
}

fn has_vips(neighbour: &Neighbour) {
    const LOOPBACK: u32 = 1;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let netlink = Netlink::connect(&neighbour.machine.place.netns).unwrap();
        netlink.set_link_up(LOOPBACK).await.unwrap();
        for vip in vips() {
            netlink.ensure_address(LOOPBACK, IpNet::from(vip)).await.unwrap();
        }
    });
}
