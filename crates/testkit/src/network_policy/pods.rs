//! The pods of a step as workloads, each with its probe.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::case::{Pod, Step};
use crate::manifest::Port;
use crate::probe::{Arrival, Outcome, Probe, Target, Transport};
use crate::{Node, Workload};

/// For the packet that is always allowed to arrive.
const MARKER_PATIENCE: Duration = Duration::from_secs(2);
/// Any would do: traffic from the node to its workloads is never restricted.
const MARKER_PORT: u16 = 9;

#[derive(Debug)]
pub struct Pods {
    running: BTreeMap<String, RunningPod>,
    /// In the node's own namespace.
    node: Probe,
    last_tag: u32,
}

#[derive(Debug)]
struct RunningPod {
    pod: Pod,
    workload: Workload,
    probe: Probe,
    arrived: Vec<Arrival>,
}

impl Pods {
    pub fn none(node: &Node) -> Result<Self> {
        let probe = Probe::start(&node.binaries().probe, node.place(), "node")?;
        Ok(Self { running: BTreeMap::new(), node: probe, last_tag: 0 })
    }

    /// Pods that a step doesn't have, or has anew: with another address or other ports.
    pub fn going(&self, step: &Step) -> BTreeSet<String> {
        let same = |old: &Pod, new: &Pod| {
            old.full_name() == new.full_name()
                && old.ip == new.ip
                && old.containers == new.containers
        };
        let stays = |old: &Pod| step.pods.iter().any(|new| same(old, new));
        let going = self.running.iter().filter(|(_, running)| !stays(&running.pod));
        going.map(|(name, _)| name.clone()).collect()
    }

    /// Ends pods whose workloads the agent no longer has.
    pub fn end(&mut self, names: &BTreeSet<String>) -> Result<()> {
        for name in names {
            if let Some(running) = self.running.remove(name) {
                drop(running.probe);
                running.workload.remove()?;
            }
        }
        Ok(())
    }

    /// Starts the pods that a step has and that are not running.
    pub fn start_missing(&mut self, node: &Node, step: &Step) -> Result<()> {
        for pod in &step.pods {
            if let Some(running) = self.running.get_mut(&pod.full_name()) {
                running.pod = pod.clone();
                continue;
            }
            let workload = node.workload(&pod.namespace, &pod.name)?;
            let binary = &node.binaries().probe;
            let mut probe = Probe::start(binary, &workload.place, &pod.full_name())?;
            for container in &pod.containers {
                let transport = match container.protocol.as_str() {
                    "TCP" => Transport::Tcp,
                    "UDP" => Transport::Udp,
                    "SCTP" => Transport::Sctp,
                    other => bail!("{}: unknown protocol {other:?}", pod.full_name()),
                };
                probe.serve(transport, container.port)?;
            }
            let pod = pod.clone();
            let running = RunningPod { pod, workload, probe, arrived: Vec::new() };
            self.running.insert(running.pod.full_name(), running);
        }
        Ok(())
    }

    /// The manifest of a running pod.
    pub fn manifest(&self, pod: &Pod) -> Option<Value> {
        let running = self.running.get(&pod.full_name())?;
        let ports: Vec<Port> = pod
            .containers
            .iter()
            .filter(|container| !container.port_name.is_empty())
            .map(|one| (one.port_name.clone(), one.protocol.clone(), one.port))
            .collect();
        Some(running.workload.manifest(&pod.labels, &[pod.ip], &ports))
    }

    /// A number for an SCTP packet that no other has.
    pub fn next_tag(&mut self) -> u32 {
        self.last_tag += 1;
        self.last_tag
    }

    /// Sends the probes of all senders at the same time; outcomes by sender, in its order.
    pub fn probe(
        &mut self,
        targets: &BTreeMap<String, Vec<Target>>,
        window: Duration,
    ) -> Result<HashMap<String, Vec<Outcome>>> {
        for (name, targets) in targets {
            let running = self.running.get_mut(name).with_context(|| format!("no pod {name}"))?;
            running.probe.begin_probe(targets, window)?;
        }
        let mut outcomes = HashMap::new();
        for name in targets.keys() {
            let running = self.running.get_mut(name).with_context(|| format!("no pod {name}"))?;
            outcomes.insert(name.clone(), running.probe.end_probe()?);
        }
        Ok(outcomes)
    }

    /// Takes in all SCTP packets that were sent before now: each pod's receiver has them once it
    /// has a packet that the node sends now and that nothing restricts. Without that, a receiver
    /// that is slow would look like a denial.
    pub fn gather_arrivals(&mut self) -> Result<()> {
        let mut markers = BTreeMap::new();
        for (name, running) in &self.running {
            self.last_tag += 1;
            let mut target = Target::new(Transport::Sctp, running.pod.ip, MARKER_PORT);
            target.tag = self.last_tag;
            markers.insert(name.clone(), target);
        }
        let targets: Vec<Target> = markers.values().cloned().collect();
        let sent = self.node.probe(&targets, MARKER_PATIENCE)?;
        for (name, outcome) in markers.keys().zip(&sent) {
            if outcome.verdict != crate::probe::Verdict::Sent {
                bail!("the node can't send to {name}: {}", outcome.verdict);
            }
        }
        let deadline = Instant::now() + MARKER_PATIENCE;
        while !markers.is_empty() {
            if Instant::now() > deadline {
                let names: Vec<_> = markers.into_keys().collect();
                bail!("SCTP packets from the node don't arrive at {}", names.join(", "));
            }
            let mut arrived = Vec::new();
            for (name, marker) in &markers {
                let Some(running) = self.running.get_mut(name) else { continue };
                running.arrived.extend(running.probe.arrivals()?);
                if running.arrived.iter().any(|arrival| arrival.tag == marker.tag) {
                    arrived.push(name.clone());
                }
            }
            markers.retain(|name, _| !arrived.contains(name));
            if !markers.is_empty() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }

    /// Whether an SCTP packet was among those gathered.
    pub fn arrived(&self, name: &str, port: u16, tag: u32) -> bool {
        let list = self.running.get(name).map(|running| running.arrived.as_slice());
        list.unwrap_or_default().contains(&Arrival { port, tag })
    }

    pub fn forget_arrivals(&mut self) {
        self.running.values_mut().for_each(|running| running.arrived.clear());
    }
}
