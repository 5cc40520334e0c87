//! An isolated node: `skepd` in a network namespace of its own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use host::{NetNamespace, Netlink, sysctl};
use ipnet::IpNet;
use nix::mount::{MsFlags, mount};
use serde_json::Value;

use crate::gate::Feature;
use crate::manifest::{self, Labels, Port};
use crate::{Binaries, Place, Skep, gate, remains};

mod daemon;

use daemon::Daemon;

/// The pools nodes give addresses from.
pub const POOL_V4: &str = "10.244.0.0/24";
pub const POOL_V6: &str = "fd00:244::/64";

/// The node's own addresses (of the blocks for documentation).
pub const NODE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const NODE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// A node with the agent in it. It vanishes, with all its workloads, when dropped.
#[derive(Debug)]
pub struct Node {
    name: String,
    place: Place,
    binaries: Binaries,
    arguments: Vec<String>,
    daemon: Option<Daemon>,
    kept: bool,
}

/// A workload's namespace and cgroup on a node; `skepd` knows of it by its manifest.
#[derive(Clone, Debug)]
pub struct Workload {
    pub namespace: String,
    pub name: String,
    pub place: Place,
    netns_name: String,
}

impl Node {
    /// A node of this process, with its agent running.
    pub fn start(binaries: &Binaries) -> Result<Self> {
        Self::start_named(&next_name(), binaries)
    }

    /// A node of a given name; what an earlier one of that name left is removed first.
    pub fn start_named(name: &str, binaries: &Binaries) -> Result<Self> {
        let mut node = Self::prepare_named(name, binaries)?;
        node.start_agent()?;
        Ok(node)
    }

    /// A node of this process without an agent, until [`start_agent`](Self::start_agent).
    pub fn prepare(binaries: &Binaries) -> Result<Self> {
        Self::prepare_named(&next_name(), binaries)
    }

    /// A node whose agent gets more arguments at every start.
    pub fn start_with(binaries: &Binaries, arguments: &[&str]) -> Result<Self> {
        let mut node = Self::prepare(binaries)?;
        node.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        node.start_agent()?;
        Ok(node)
    }

    /// More arguments for the agent, from its next start on.
    pub fn add_arguments(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }

    /// Another value of an argument that the agent has been given, from its next start on.
    pub fn change_argument(&mut self, name: &str, value: &str) {
        let mut arguments = self.arguments.iter_mut();
        if arguments.any(|argument| argument == name)
            && let Some(given) = arguments.next()
        {
            value.clone_into(given);
        }
    }

    fn prepare_named(name: &str, binaries: &Binaries) -> Result<Self> {
        if let Some(reason) = gate::missing_privilege() {
            anyhow::bail!("a node can't be made: {reason}");
        }
        remains::sweep();
        remains::remove(name);
        remains::register(name);
        Self::make(name, binaries).inspect_err(|_| {
            remains::unregister(name);
            remains::remove(name);
        })
    }

    fn make(name: &str, binaries: &Binaries) -> Result<Self> {
        let folder = remains::folder(name);
        for part in ["run", "state", "manifests", "bpf"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| part.display().to_string())?;
        }
        let bpffs = folder.join("bpf");
        mount(Some("bpf"), &bpffs, Some("bpf"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount bpffs on {}", bpffs.display()))?;
        let netns = NetNamespace::create(&format!("{name}-node"))?;
        sysctl::ensure_forwarding(&netns)?;
        give_addresses(&netns)?;
        let cgroup = host::cgroup::Root::find()?.create(name)?;
        // A cgroup of its own for the host's processes, so that those of workloads are beside it.
        let host = cgroup.path().join("host");
        fs::create_dir(&host).with_context(|| host.display().to_string())?;
        Ok(Self {
            name: name.to_owned(),
            place: Place { netns, cgroup: host },
            binaries: binaries.clone(),
            arguments: Vec::new(),
            daemon: None,
            kept: false,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node itself, outside of any workload.
    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    pub fn folder(&self) -> PathBuf {
        remains::folder(&self.name)
    }

    /// The folder that the agent watches.
    pub fn manifests(&self) -> PathBuf {
        self.folder().join("manifests")
    }

    pub fn bpffs(&self) -> PathBuf {
        self.folder().join("bpf")
    }

    pub fn skep(&self) -> Skep {
        Skep { binary: self.binaries.skep.clone(), socket: self.folder().join("run/skepd.sock") }
    }

    /// Starts the agent and waits until its API answers.
    pub fn start_agent(&mut self) -> Result<()> {
        self.daemon = Some(Daemon::start(self)?);
        Ok(())
    }

    /// Asks the agent to end, and waits for it.
    pub fn stop_agent(&mut self) -> Result<()> {
        self.daemon.take().map_or(Ok(()), Daemon::stop)
    }

    /// Kills the agent (SIGKILL).
    pub fn kill_agent(&mut self) -> Result<()> {
        self.daemon.take().map_or(Ok(()), Daemon::kill)
    }

    pub fn agent_pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    /// What the agent has logged, over all its starts.
    pub fn agent_log(&self) -> String {
        fs::read_to_string(self.agent_log_path()).unwrap_or_default()
    }

    fn agent_log_path(&self) -> PathBuf {
        self.folder().join("skepd.log")
    }

    /// Makes a namespace and a cgroup for a workload. The agent is not told.
    pub fn workload(&self, namespace: &str, name: &str) -> Result<Workload> {
        self.workload_at(namespace, name, &format!("{namespace}.{name}"))
    }

    /// The same with the name that namespace (behind the node's name) and cgroup get.
    pub fn workload_at(&self, namespace: &str, name: &str, place: &str) -> Result<Workload> {
        let netns_name = format!("{}-{place}", self.name);
        let netns = NetNamespace::create(&netns_name)?;
        let cgroup = host::cgroup::Root::find()?.create(Path::new(&self.name).join(place))?;
        let place = Place { netns, cgroup: cgroup.path().to_owned() };
        Ok(Workload { namespace: namespace.into(), name: name.into(), place, netns_name })
    }

    /// Leaves everything running when the value is gone; [`remains::remove`] removes it.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        remains::unregister(&self.name);
        if self.kept {
            return;
        }
        if std::thread::panicking() {
            eprintln!("--- skepd's log\n{}---", last_lines(&self.agent_log(), 60));
        }
        if let Err(error) = self.stop_agent() {
            eprintln!("{error:#}");
        }
        remains::remove(&self.name);
    }
}

impl Workload {
    /// `namespace/name`
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its manifest; no addresses means `auto`.
    pub fn manifest(&self, labels: &Labels, addresses: &[IpAddr], ports: &[Port]) -> Value {
        let name = (self.namespace.as_str(), self.name.as_str());
        let place = (self.place.netns.path(), self.place.cgroup.as_path());
        manifest::workload(name, labels, place, addresses, ports)
    }

    /// Removes namespace and cgroup. Its processes must have ended.
    pub fn remove(self) -> Result<()> {
        NetNamespace::delete(&self.netns_name)?;
        fs::remove_dir(&self.place.cgroup)
            .with_context(|| format!("cannot remove {}", self.place.cgroup.display()))
    }
}

/// The node's own addresses, which are those of no pool.
fn give_addresses(netns: &NetNamespace) -> Result<()> {
    const LOOPBACK: u32 = 1;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let netlink = Netlink::connect(netns)?;
        netlink.ensure_address(LOOPBACK, IpNet::from(IpAddr::from(NODE_V4))).await?;
        if Feature::Ipv6.missing().is_none() {
            netlink.ensure_address(LOOPBACK, IpNet::from(IpAddr::from(NODE_V6))).await?;
        }
        Ok(())
    })
}

fn next_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    remains::test_name(NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| format!("{line}\n")).collect()
}
