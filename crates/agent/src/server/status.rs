//! `skep status`.

use super::convert;
use crate::flows::history::History;
use crate::metrics::ServiceTotals;
use crate::node::Node;
use api::v1;
use datapath::{Places, State};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What status tells that is not the node's: counted by other tasks.
#[derive(Debug)]
pub struct Facts {
    pub started: Instant,
    pub manifests: Option<std::path::PathBuf>,
    pub connections: Connections,
    /// Events counted at the last questions, for the rate.
    rate: Mutex<Rate>,
}

/// What walks of the connection table found.
#[derive(Debug, Default)]
pub struct Connections(Mutex<Walks>);

#[derive(Clone, Debug, Default)]
struct Walks {
    alive: u64,
    expired: u64,
    /// Connections that are neither counted nor there: those of before the first walk.
    before: Option<u64>,
    evicted: u64,
    by_service: ServiceTotals,
}

impl Connections {
    /// After a walk.
    pub fn note(&self, collected: &datapath::Collected) {
        let mut walks = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        walks.alive = collected.alive as u64;
        walks.expired += collected.expired as u64;
        // What was made and is neither there nor removed by us has been pushed out.
        let missing = collected.made.saturating_sub(walks.alive + walks.expired);
        let before = *walks.before.get_or_insert(missing);
        walks.evicted = walks.evicted.max(missing.saturating_sub(before));
        walks.by_service.note(&collected.alive_by_service, &collected.ended_by_service);
    }

    fn walks(&self) -> MutexGuard<'_, Walks> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn alive(&self) -> u64 {
        self.walks().alive
    }

    fn expired(&self) -> u64 {
        self.walks().expired
    }

    fn evicted(&self) -> u64 {
        self.walks().evicted
    }

    /// What services' flows have had; of those that `known` knows.
    pub fn by_service(&self, known: impl Fn(u32) -> bool) -> ServiceTotals {
        let mut walks = self.walks();
        walks.by_service.retain(known);
        walks.by_service.clone()
    }
}

#[derive(Debug)]
struct Rate {
    since: Instant,
    events: u64,
    per_second: f64,
}

/// The rate is that of at least this long.
const RATE_INTERVAL: Duration = Duration::from_secs(2);

impl Facts {
    pub fn new(manifests: Option<std::path::PathBuf>) -> Self {
        let started = Instant::now();
        let rate = Rate { since: started, events: 0, per_second: 0.0 };
        Facts { started, manifests, connections: Connections::default(), rate: Mutex::new(rate) }
    }

    fn per_second(&self, events: u64) -> f64 {
        let mut rate = self.rate.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let passed = rate.since.elapsed();
        if passed >= RATE_INTERVAL {
            rate.per_second = events.saturating_sub(rate.events) as f64 / passed.as_secs_f64();
            rate.since = Instant::now();
            rate.events = events;
        }
        rate.per_second
    }
}

pub fn status(
    node: &mut Node,
    facts: &Facts,
    history: &History,
    node_name: &str,
) -> anyhow::Result<v1::StatusResponse> {
    let counters = node.datapath.counters()?;
    let fill = node.datapath.fill();
    let entries =
        |name: &str| fill.iter().find(|map| map.name == name).map_or(0, |map| map.entries) as u32;
    let kept = history.len() as u64;
    let ready = |endpoint: &&datapath::Endpoint| endpoint.state == State::Ready;
    Ok(v1::StatusResponse {
        node_name: node_name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: facts.started.elapsed().try_into().ok(),
        kernel_release: node.datapath.features().release.clone(),
        memory_bytes: resident_memory(),
        features: node.datapath.features().list().map(feature).collect(),
        counts: Some(v1::Counts {
            endpoints: node.datapath.endpoints().count() as u32,
            endpoints_ready: node.datapath.endpoints().filter(ready).count() as u32,
            identities: node.datapath.policy().identities().count() as u32,
            services: entries(abi::maps::SERVICES),
            backends: entries(abi::maps::BACKENDS),
            policies: node.model.network_policies.len() as u32,
            rule_sets: node.datapath.policy().rule_set_count() as u32,
        }),
        programs: programs(node),
        maps: fill
            .iter()
            .map(|map| v1::MapStatus {
                name: map.name.to_owned(),
                entries: map.entries as u64,
                capacity: map.capacity.into(),
            })
            .collect(),
        events: Some(v1::EventStatus {
            per_second: facts.per_second(history.total()),
            total: history.total(),
            lost: counters.events_lost,
            limited: counters.events_limited,
            kept,
            keep_limit: history.capacity() as u64,
        }),
        drops: counters
            .drops
            .iter()
            .map(|(reason, metric)| v1::DropCount {
                reason: v1::DropReason::from(*reason).into(),
                packets: metric.packets,
                bytes: metric.bytes,
            })
            .collect(),
        connections: Some(v1::ConnectionStatus {
            entries: facts.connections.alive(),
            capacity: node.datapath.conntrack_capacity().into(),
            created: counters.connections,
            expired: facts.connections.expired(),
            evicted: facts.connections.evicted(),
        }),
        traffic: Some(v1::TrafficStatus {
            forwarded_packets: counters.forwarded.packets,
            forwarded_bytes: counters.forwarded.bytes,
            redirected_packets: counters.redirected,
            packet_translated: counters.packet_translated,
            socket_translated: counters.socket_translated,
            shortcut_packets: counters.shortcut,
        }),
        diagnostics: node.diagnostics().iter().filter_map(convert::diagnostic).collect(),
        sources: sources(node, facts),
    })
}

fn feature((feature, available): (bpf_kernel::probe::Feature, bool)) -> v1::Feature {
    let description = feature.description();
    let note = match available {
        true => String::new(),
        false => format!("from Linux {}; {}", description.since, description.without),
    };
    v1::Feature { name: description.name.to_owned(), available, note }
}

fn programs(node: &Node) -> Vec<v1::ProgramStatus> {
    let hook = node.datapath.programs().hook().to_string();
    let uses = node.datapath.program_uses().into_iter().map(|program| v1::ProgramStatus {
        name: program.name.to_owned(),
        attachment: match program.places {
            Places::Cgroups => "cgroup".to_owned(),
            Places::Interfaces => hook.clone(),
            Places::Frames => "xdp".to_owned(),
        },
        attached: program.attached,
        wanted: program.wanted,
        message: match program.taken_away {
            0 => program.note,
            1 => "taken away once by somebody else".to_owned(),
            times => format!("taken away {times} times by somebody else"),
        },
    });
    uses.collect()
}

fn sources(node: &Node, facts: &Facts) -> Vec<v1::Source> {
    let desired = node.desired();
    let files = facts.manifests.as_ref().map(|folder| v1::Source {
        name: format!("files {}", folder.display()),
        synced: true,
        objects: desired.file_objects() as u32,
        last_change: node.files_changed_at.map(Into::into),
        message: match node.file_errors() {
            0 => String::new(),
            1 => "1 error; what was right before it stays in force".to_owned(),
            errors => format!("{errors} errors; what was right before them stays in force"),
        },
    });
    let api = v1::Source {
        name: "api".to_owned(),
        synced: true,
        objects: desired.api_objects() as u32,
        last_change: node.api_changed_at.map(Into::into),
        message: String::new(),
    };
    files.into_iter().chain([api]).collect()
}

/// Bytes; 0 if the kernel doesn't say.
fn resident_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}
