//! One node with a server and clients, connected in one of the ways that are compared.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use host::{Netlink, endpoint_link, sysctl};
use testkit::manifest::{labels, stream};
use testkit::{Binaries, Node, Workload};

use crate::rules::{self, Form, NAMESPACE, SERVER, VIP};

/// The way a client's packets take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// To the server's own address.
    Direct,
    /// To the service's address, by a client whose packets are translated.
    Service,
    /// To the service's address, by a client whose sockets are translated.
    ServiceBySocket,
}

impl Path {
    pub fn suffix(self) -> &'static str {
        match self {
            Path::Direct => "",
            Path::Service => ", service",
            Path::ServiceBySocket => ", service at the socket",
        }
    }
}

pub struct Arm {
    name: String,
    paths: &'static [Path],
    client: Workload,
    /// Its sockets are translated; only where Skep runs.
    socket_client: Workload,
    server_address: Ipv4Addr,
    server: Child,
    // Last, so that it goes after the process in it.
    node: Node,
}

/// Addresses where the arm has no agent that gives some.
pub const ADDRESSES: [(&str, Ipv4Addr); 3] = [
    (SERVER, Ipv4Addr::new(10, 244, 0, 1)),
    ("client", Ipv4Addr::new(10, 244, 0, 2)),
    ("socket-client", Ipv4Addr::new(10, 244, 0, 3)),
];
const CLIENTS: [Ipv4Addr; 2] = [ADDRESSES[1].1, ADDRESSES[2].1];
const MTU: u32 = 1500;

impl Arm {
    /// Two namespaces, each with a veth pair to the node, which forwards; no programs.
    pub fn bare(binaries: &Binaries) -> Result<Self> {
        Self::routed("bare".to_owned(), &[Path::Direct], binaries, None)
    }

    pub fn nftables(binaries: &Binaries, count: usize, form: Form) -> Result<Self> {
        let name = match form {
            Form::Chain => format!("nftables, chain of {count}"),
            Form::Map => format!("nftables, maps of {count}"),
        };
        let rules = rules::nftables(count, form, &CLIENTS, ADDRESSES[0].1);
        Self::routed(name, &[Path::Direct, Path::Service], binaries, Some(&rules))
    }

    fn routed(
        name: String,
        paths: &'static [Path],
        binaries: &Binaries,
        rules: Option<&str>,
    ) -> Result<Self> {
        let node = Node::prepare(binaries)?;
        let workloads = workloads(&node)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let netlink = Netlink::connect(&node.place().netns)?;
            for (workload, (_, address)) in workloads.iter().zip(ADDRESSES) {
                let spec = endpoint_link::Spec {
                    namespace: workload.place.netns.clone(),
                    interface: endpoint_link::DEFAULT_INTERFACE.to_owned(),
                    host_name: endpoint_link::host_name(&workload.full_name()),
                    addresses: vec![IpAddr::V4(address)],
                    mtu: MTU,
                };
                endpoint_link::ensure(&netlink, &spec, |_| Ok::<_, host::Error>(())).await?;
            }
            anyhow::Ok(())
        })?;
        if let Some(rules) = rules {
            let mut nft = Command::new("nft");
            nft.args(["-f", "-"]).stdin(Stdio::piped());
            let spawned = node.place().netns.run(|| nft.spawn())?;
            let mut nft = spawned.context("cannot run nft (package nftables)")?;
            if let Some(mut input) = nft.stdin.take() {
                input.write_all(rules.as_bytes())?;
            }
            let status = nft.wait()?;
            if !status.success() {
                bail!("nft refused the rules: {status}");
            }
        }
        Self::start(name, paths, node, workloads)
    }

    /// Skep with so many services and policies; without any, nothing is restricted.
    pub fn skep(binaries: &Binaries, count: usize) -> Result<Self> {
        let node = Node::start(binaries)?;
        let workloads = workloads(&node)?;
        let mut documents = Vec::new();
        for (workload, (name, address)) in workloads.iter().zip(ADDRESSES) {
            let labels = labels([("app", name)]);
            let mut manifest = workload.manifest(&labels, &[IpAddr::V4(address)], &[]);
            if name == "client"
                && let Some(runs) = manifest["spec"]["runs"].as_object_mut()
            {
                runs.remove("cgroup");
            }
            documents.push(manifest);
        }
        documents.extend(rules::manifests(count, &CLIENTS));
        let started = std::time::Instant::now();
        node.skep().with_stream("apply", &stream(&documents))?;
        eprintln!("{count} services and policies applied in {:?}", started.elapsed());
        let (name, paths): (_, &[Path]) = match count {
            0 => ("skep, no policy".to_owned(), &[Path::Direct]),
            _ => (
                format!("skep, {count} services and policies"),
                &[Path::Direct, Path::Service, Path::ServiceBySocket],
            ),
        };
        Self::start(name, paths, node, workloads)
    }

    fn start(
        name: String,
        paths: &'static [Path],
        node: Node,
        workloads: [Workload; 3],
    ) -> Result<Self> {
        let [server_workload, client, socket_client] = workloads;
        for workload in [&client, &socket_client] {
            let setting = ("ipv4/ip_local_port_range".to_owned(), "1024\t65535");
            sysctl::ensure(&workload.place.netns, &[setting])?;
        }
        let mut command = server_workload.place.command(std::env::current_exe()?);
        command.args(["traffic", "serve"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = server_workload.place.spawn(&mut command)?;
        let output = server.stdout.take().context("the server has no output")?;
        BufReader::new(output).read_line(&mut String::new())?;
        let arm = Self {
            name,
            paths,
            client,
            socket_client,
            server_address: ADDRESSES[0].1,
            server,
            node,
        };
        for path in paths {
            let traffic = ("exchange", crate::traffic::EXCHANGE, 1);
            arm.measure(*path, traffic, Duration::from_millis(50))
                .with_context(|| format!("{}{} does not work", arm.name, path.suffix()))?;
        }
        Ok(arm)
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn paths(&self) -> &'static [Path] {
        self.paths
    }

    /// One figure of a client that runs for `window`.
    pub fn measure(
        &self,
        path: Path,
        (kind, port, connections): (&str, u16, usize),
        window: Duration,
    ) -> Result<f64> {
        let (client, address) = match path {
            Path::Direct => (&self.client, self.server_address),
            Path::Service => (&self.client, VIP),
            Path::ServiceBySocket => (&self.socket_client, VIP),
        };
        let address = SocketAddr::from((address, port)).to_string();
        let (milliseconds, connections) = (window.as_millis().to_string(), connections.to_string());
        let mut command = client.place.command(std::env::current_exe()?);
        command.args(["traffic", kind, &address, &milliseconds, &connections]);
        let output = client.place.output(&mut command)?;
        if !output.status.success() {
            bail!("{kind} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().with_context(|| format!("{kind} printed {text:?}"))
    }
}

impl Drop for Arm {
    fn drop(&mut self) {
        // One that has ended already is what we want.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn workloads(node: &Node) -> Result<[Workload; 3]> {
    let make = |(name, _)| node.workload(NAMESPACE, name);
    let [server, client, socket_client] = ADDRESSES.map(make);
    Ok([server?, client?, socket_client?])
}
