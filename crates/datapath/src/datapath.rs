//! The node's datapath as a whole.

use crate::balancer::Balancer;
use crate::closing::Closing;
use crate::conntrack::Connections;
use crate::devices::Devices;
use crate::endpoint_rows::EndpointRows;
use crate::endpoints::{Endpoint, Endpoints, Lease, State};
use crate::host_cgroup::HostCgroup;
use crate::kernel_maps::KernelMaps;
use crate::programs::{Programs, SHORTCUT};
use crate::tables::Tables;
use crate::{Config, Counters, Error, Processes, Result};
use abi::state::{State as Settings, Timeouts, state_flags};
use bpf_kernel::probe::{Feature, Features};
use bpf_kernel::{AsyncRing, Map, Ring, Table};
use host::watch::Outside;
use model::{Kind, Model, ObjectName, ObjectRef, Origin};
use policy::{Capacity, Change, Changes, Compiler, EndpointInput, Record};
use services::{NodeInput, WorkloadInput};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tables::node;

/// Numbers from an earlier life, and those to keep for the next.
#[derive(Debug, Default)]
pub struct Kept {
    pub leases: BTreeMap<ObjectName, Lease>,
    pub records: Vec<Record>,
}

/// Something wrong with one object (or with the node, if it names none). The rest works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub object: Option<ObjectRef>,
    pub origin: Option<Origin>,
    pub message: String,
    /// The object was refused: what was in force before still is.
    pub refused: bool,
}

/// Compiled changes on their way to the kernel.
#[derive(Debug)]
pub struct Prepared {
    policy: Changes,
    services: services::Changes,
    /// What is wrong with the changed objects; takes the place of what was wrong with them before.
    pub problems: Vec<Problem>,
}

impl Prepared {
    /// To be stored before the commit.
    pub fn remember(&self) -> &[Record] {
        &self.policy.remember
    }

    /// To be deleted from the store.
    pub fn forget(&self) -> &[String] {
        &self.policy.forget
    }
}

/// How full a map is.
#[derive(Clone, Debug)]
pub struct MapFill {
    pub name: &'static str,
    pub entries: usize,
    pub capacity: u32,
}

/// What a program is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    Cgroups,
    /// By tc.
    Interfaces,
    /// By XDP, in one mode or another.
    Frames,
}

/// Where a program is, and how often it was found to be gone.
#[derive(Clone, Debug)]
pub struct ProgramUse<'a> {
    pub name: &'a str,
    pub places: Places,
    /// Places that have it, and that should have it.
    pub attached: u32,
    pub wanted: u32,
    /// Somebody else took it away, and it was put back.
    pub taken_away: u64,
    /// What else is to be said of it.
    pub note: String,
}

#[derive(Debug)]
pub struct Datapath {
    config: Config,
    features: Features,
    programs: Programs,
    tables: Tables,
    endpoints: Endpoints,
    policy: Compiler,
    capacity: Capacity,
    services: services::Compiler,
    rows: EndpointRows,
    devices: Devices,
    host_cgroup: Option<HostCgroup>,
    balancer: Balancer,
    settings: Settings,
    /// The maps hold what the last commit said.
    settled: bool,
    /// Changes were taken from the compilers and are not committed.
    outstanding: bool,
}

impl Datapath {
    /// Loads or takes over programs and maps, pinned in `config.bpffs`, which has to be on a BPF file
    /// system. Nothing is attached or changed yet.
    pub fn open(config: Config, kept: Kept) -> Result<Self> {
        check_abi(&config)?;
        let features = Features::probe();
        let programs = Programs::load(&config, features.interface_hook())?;
        let tables = Tables::open(&config.bpffs.join("maps"))?;
        let found = tables.state.get(&0)?.unwrap_or(NO_SETTINGS);
        let redirect = config.redirect && features.has(Feature::RedirectPeer);
        let settings = Settings {
            abi_version: abi::ABI_VERSION,
            policy_epoch: found.policy_epoch.max(1),
            flags: config.send_on.flag() | if redirect { state_flags::REDIRECT_PEER } else { 0 },
            flow_events_per_second: config.flow_rate,
            drop_events_per_second: config.drop_rate,
            timeouts: Timeouts::DEFAULT,
            zero: 0,
        };
        tables.state.insert(&0, &settings)?;
        let policy = match Compiler::restore(kept.records) {
            Ok(compiler) => compiler,
            Err(error) => {
                // New numbers cost one more decision per flow; refusing to start would cost more.
                tracing::error!(%error, "identities are numbered anew");
                Compiler::new()
            }
        };
        let entries = |map: &Map| map.layout().max_entries as usize;
        let capacity = Capacity {
            addresses: entries(tables.addresses.map()),
            peers: entries(tables.peers.map()),
            ports: entries(tables.ports.map()),
        };
        let mut services = services::Compiler::new(services::Capacity {
            services: entries(tables.services.map()),
            ring: tables.ring.map().layout().max_entries,
            backends: entries(tables.backends.map()),
            members: entries(tables.members.map()),
            source_ranges: entries(tables.source_ranges.map()),
        });
        services.adopt(services::Tables {
            services: tables.services.entries()?.into_iter().collect(),
            ring: tables.ring.entries()?.into_iter().collect(),
            backends: tables.backends.entries()?.into_iter().collect(),
            ..services::Tables::default()
        });
        let rows = EndpointRows::adopt(&tables.endpoints)?;
        let balancer = Balancer::new(&config, features.interface_hook());
        let endpoints =
            Endpoints::open(&config, kept.leases, &rows, entries(tables.endpoints.map()))?;
        let host_cgroup = match &config.host_cgroup {
            Some(cgroup) => Some(HostCgroup::load(&config, endpoints.cgroups(), cgroup)?),
            None => None,
        };
        Ok(Datapath {
            balancer,
            endpoints,
            host_cgroup,
            rows,
            devices: Devices::new(config.acceleration),
            config,
            features,
            programs,
            tables,
            policy,
            capacity,
            services,
            settings,
            settled: false,
            outstanding: false,
        })
    }

    /// Compiles the changed objects as `model` has them now (absent ones are removed).
    pub async fn prepare(&mut self, model: &Model, changed: &BTreeSet<ObjectRef>) -> Prepared {
        let mut problems = Vec::new();
        let mut policy = Vec::new();
        for object in of_kind(changed, Kind::Namespace) {
            let change = match model.namespaces.contains_key(&object.name) {
                true => Change::SetNamespace(
                    object.name.name.clone(),
                    model.namespace_labels(&object.name.name),
                ),
                false => Change::RemoveNamespace(object.name.name.clone()),
            };
            policy.push((object, change));
        }
        for object in of_kind(changed, Kind::Workload) {
            if let Some(change) = self.prepare_workload(model, object, &mut problems).await {
                policy.push((object, change));
            }
        }
        for object in of_kind(changed, Kind::NetworkPolicy) {
            let change = match model.network_policies.get(&object.name) {
                Some(policy) => Change::SetPolicy(policy.as_ref().clone()),
                None => Change::RemovePolicy(object.name.clone()),
            };
            policy.push((object, change));
        }
        self.change_policy(policy, model, &mut problems);
        for object in of_kind(changed, Kind::Service) {
            match model.services.get(&object.name) {
                Some(service) => self.services.set_service(service),
                None => self.services.remove_service(&object.name),
            }
        }
        for object in of_kind(changed, Kind::EndpointSlice) {
            match model.endpoint_slices.get(&object.name) {
                Some(slice) => self.services.set_endpoint_slice(slice),
                None => self.services.remove_endpoint_slice(&object.name),
            }
        }
        match host::process::boot_time() {
            Ok(now) => {
                let now_ns = now.as_nanos() as u64;
                problems.extend(self.balancer.prepare(model, changed, now_ns));
            }
            Err(error) => tracing::error!(%error, "load balancers are not looked at"),
        }
        self.take_out();
        let services = self.services.take_changes();
        Prepared { policy: self.policy.take_changes(), services, problems }
    }

    async fn prepare_workload(
        &mut self,
        model: &Model,
        object: &ObjectRef,
        problems: &mut Vec<Problem>,
    ) -> Option<Change> {
        let Some(workload) = model.workloads.get(&object.name) else {
            self.endpoints.remove(&object.name, &self.programs).await;
            self.services.remove_workload(&object.name);
            return Some(Change::RemoveEndpoint(object.name.clone()));
        };
        self.endpoints.put(workload, &self.programs).await;
        let endpoint = self.endpoints.find(&object.name)?;
        let (addresses, state) = (endpoint.addresses.clone(), endpoint.state);
        if state != State::Ready {
            problems.push(Problem {
                object: Some(object.clone()),
                origin: Some(workload.origin.clone()),
                message: endpoint.message.clone(),
                refused: false,
            });
        }
        let enforced = endpoint.interface.is_some();
        self.services.set_workload(WorkloadInput {
            name: object.name.clone(),
            labels: workload.labels.clone(),
            addresses: addresses.clone(),
            ports: workload.ports.clone(),
            host_ports: workload.host_ports.clone(),
            origin: workload.origin.clone(),
        });
        let input = EndpointInput {
            name: object.name.clone(),
            labels: workload.labels.clone(),
            addresses,
            ports: workload.ports.clone(),
            enforced,
        };
        Some(Change::SetEndpoint(input))
    }

    fn change_policy(
        &mut self,
        changes: Vec<(&ObjectRef, Change)>,
        model: &Model,
        problems: &mut Vec<Problem>,
    ) {
        let (objects, changes): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
        let results = self.policy.apply_all(changes, &self.capacity);
        for (object, result) in objects.into_iter().zip(results) {
            let Err(error) = result else { continue };
            let origin = match object.kind {
                Kind::NetworkPolicy => model.network_policies.get(&object.name).map(|p| &p.origin),
                Kind::Workload => model.workloads.get(&object.name).map(|w| &w.origin),
                _ => model.namespaces.get(&object.name).map(|n| &n.origin),
            };
            problems.push(Problem {
                object: Some(object.clone()),
                origin: origin.cloned(),
                message: format!("{error}; raise --peers-max or --ports-max, or split the policy"),
                refused: true,
            });
        }
    }

    /// Says which addresses are the node's own, and by which interfaces others reach it.
    pub fn set_host_addresses(
        &mut self,
        addresses: Vec<IpAddr>,
        outside: Vec<Outside>,
    ) -> Prepared {
        self.take_out();
        self.devices.set(outside);
        self.endpoints.set_host_addresses(&addresses);
        self.services.set_node(NodeInput {
            name: self.config.node_name.clone(),
            zone: self.config.zone.clone(),
            addresses: addresses.clone(),
            forwarding: self.config.forwarding,
        });
        self.policy.set_host_addresses(addresses);
        Prepared {
            policy: self.policy.take_changes(),
            services: self.services.take_changes(),
            problems: Vec::new(),
        }
    }

    /// Writes what was prepared into the kernel's maps.
    ///
    /// Between any two writes a packet meets either the old or the new state: what is new is there
    /// before anything leads to it, and what is old goes after nothing does. After an error the
    /// next commit compares everything with what the maps hold.
    pub fn commit(&mut self, prepared: &Prepared) -> Result<()> {
        let done = match self.settled {
            true => self.write(&prepared.policy, &prepared.services),
            false => self.settle(),
        };
        let done = done.and(self.balancer.commit());
        self.settled = done.is_ok();
        self.outstanding = false;
        if self.settled && self.programs.start_swapping() {
            self.endpoints.swap_programs(&self.programs);
            if let Some(host_cgroup) = &self.host_cgroup {
                host_cgroup.attach()?;
            }
        }
        let is_open = self.services.serves_outside();
        self.devices.update(&self.programs, &self.tables.devices, is_open)?;
        done
    }

    /// What to close after the commit: sockets whose backends have left.
    pub fn closing(&self, prepared: &Prepared) -> Result<Option<Closing>> {
        let translated = self.endpoints.iter().filter(|endpoint| endpoint.cgroup.is_some());
        Closing::of(
            &prepared.services.departed,
            |address| self.services.is_listed(address),
            translated.map(|endpoint| endpoint.workload.place.clone()).collect(),
            self.host_cgroup.is_some(),
            self.endpoints.cgroups().clone(),
            &self.config.bpffs.join("maps"),
        )
    }

    /// False until a commit has gone well, after one that hasn't, and while one is due.
    pub fn is_settled(&self) -> bool {
        self.settled && !self.outstanding
    }

    /// Notes that changes leave the compilers. If those before them never came to a commit, they
    /// are lost, and the next one has to compare everything.
    fn take_out(&mut self) {
        self.settled &= !self.outstanding;
        self.outstanding = true;
    }

    fn write(&mut self, policy: &Changes, services: &services::Changes) -> Result<()> {
        let wanted = EndpointRows::wanted(&self.endpoints, |name| self.policy.published(name));
        let rows = self.rows.difference(wanted);
        let is_new_epoch = !rows.is_empty() || changes_verdicts(policy);
        if is_new_epoch {
            self.raise_epoch();
        }
        let changes = node::Changes {
            ports: node::Change::new(&policy.add_ports, &policy.remove_ports),
            peers: node::Change::new(&policy.add_peers, &policy.remove_peers),
            backends: node::Change::new(&services.add_backends, &services.remove_backends),
            ring: &services.add_ring,
            members: node::Change::new(&services.add_members, &services.remove_members),
            source_ranges: node::Change::new(
                &services.add_source_ranges,
                &services.remove_source_ranges,
            ),
            addresses: node::Change::new(&policy.set_addresses, &policy.remove_addresses),
            endpoints: rows.change(),
            services: node::Change::new(&services.set_services, &services.remove_services),
            state: is_new_epoch.then_some(&self.settings),
        };
        node::write(&KernelMaps(&self.tables), &changes)?;
        self.rows.note(&rows);
        Ok(())
    }

    /// Compares everything with what the maps hold and writes what differs: an agent that starts
    /// takes over what it finds.
    fn settle(&mut self) -> Result<()> {
        let rows = EndpointRows::wanted(&self.endpoints, |name| self.policy.endpoint(name));
        // A commit that failed may have written rows that nobody noted.
        self.rows = EndpointRows::adopt(&self.tables.endpoints)?;
        let maps = KernelMaps(&self.tables);
        let (policy, services) = (self.policy.tables(), self.services.tables());
        let differences = node::Differences::find(&maps, policy, services, rows)?;
        // Also if nothing differs: an agent may have been killed, or a commit have failed, after
        // the last row and before the epoch, and then flows still have the verdicts from before.
        self.raise_epoch();
        let maps = KernelMaps(&self.tables);
        node::write(&maps, &differences.changes(Some(&self.settings)))?;
        self.rows.note(&differences.endpoints);
        tracing::info!(
            ports = differences.ports.len(),
            peers = differences.peers.len(),
            addresses = differences.addresses.len(),
            services = differences.services.len(),
            backends = differences.backends.len(),
            "compared the kernel's tables with what they should hold; entries that differed"
        );
        Ok(())
    }

    /// After the first commit: removes what an earlier agent made for workloads that are gone.
    pub async fn remove_strays(&mut self) -> Result<()> {
        let host_cgroup = self.host_cgroup.is_some();
        self.endpoints.remove_strays(&self.programs, host_cgroup).await
    }

    /// Lets go of numbers that nothing uses; gives the records to delete.
    pub fn forget_unused(&mut self) -> Vec<String> {
        self.policy.forget_unused()
    }

    /// Raised with every change of policy or identities.
    pub fn policy_epoch(&self) -> u32 {
        self.settings.policy_epoch
    }

    fn raise_epoch(&mut self) {
        // 0 is the epoch of no entry.
        self.settings.policy_epoch = self.settings.policy_epoch.checked_add(1).unwrap_or(1);
    }

    /// An interface of the node has gone.
    pub fn interface_gone(&mut self, index: u32) {
        self.endpoints.interface_gone(index);
    }

    /// Workloads to be prepared again: not ready, or somewhere else than before.
    pub fn stale_workloads(&mut self) -> BTreeSet<ObjectRef> {
        self.endpoints.check_programs(&self.programs);
        self.devices.restore(&self.programs, &self.tables.devices);
        if let Some(host_cgroup) = &mut self.host_cgroup {
            host_cgroup.restore();
        }
        let names = self.endpoints.stale().into_iter();
        names.map(|name| ObjectRef { kind: Kind::Workload, name }).collect()
    }

    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter()
    }

    pub fn endpoint(&self, name: &ObjectName) -> Option<&Endpoint> {
        self.endpoints.find(name)
    }

    pub fn leases(&self) -> &BTreeMap<ObjectName, Lease> {
        self.endpoints.leases()
    }

    pub fn policy(&self) -> &Compiler {
        &self.policy
    }

    /// For questions that settle outstanding work first.
    pub fn policy_mut(&mut self) -> &mut Compiler {
        &mut self.policy
    }

    pub fn services(&self) -> &services::Compiler {
        &self.services
    }

    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    pub fn balancer_mut(&mut self) -> &mut Balancer {
        &mut self.balancer
    }

    /// Sees to it that the balancer's programs are where they belong.
    pub async fn keep_up_balancer(&mut self) -> Result<(), String> {
        let now = host::process::boot_time().map_err(|error| error.to_string())?;
        self.balancer.keep_up(self.endpoints.node(), now.as_nanos() as u64).await
    }

    pub fn features(&self) -> &Features {
        &self.features
    }

    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Where the programs are now; asks the kernel about every endpoint.
    pub fn program_uses(&self) -> Vec<ProgramUse<'_>> {
        let count = |wanted: fn(&Endpoint) -> bool| {
            self.endpoints.iter().filter(|endpoint| wanted(endpoint)).count() as u32
        };
        let interfaces =
            (count(|endpoint| endpoint.interface.is_some()), count(Endpoint::wants_interface));
        let devices = self.devices.open().count() as u32;
        let shortcuts = self.devices.shortcuts();
        let on_frames = (shortcuts.count() as u32, if shortcuts.is_wanted() { devices } else { 0 });
        let cgroups = (count(|endpoint| endpoint.cgroup.is_some()), count(Endpoint::wants_cgroup));
        let mut missing: BTreeMap<&str, u32> = BTreeMap::new();
        for endpoint in self.endpoints.iter() {
            for program in endpoint.missing_programs(&self.programs) {
                *missing.entry(program).or_default() += 1;
            }
        }
        let uses = self.programs.all().map(|program| {
            let name = program.name();
            let (places, (put, wanted)) = if name == SHORTCUT {
                (Places::Frames, on_frames)
            } else if name.ends_with("_outside") {
                (Places::Interfaces, (devices, devices))
            } else if name.ends_with("_endpoint") {
                (Places::Interfaces, interfaces)
            } else {
                (Places::Cgroups, cgroups)
            };
            let host = self.host_cgroup.as_ref().and_then(|host| host.program(program.name()));
            let (there, taken_away) = host.unwrap_or_default();
            ProgramUse {
                name,
                places,
                attached: put - missing.get(program.name()).copied().unwrap_or(0)
                    + u32::from(there),
                wanted: wanted + u32::from(host.is_some()),
                taken_away: self.endpoints.taken_away(program.name()) + taken_away,
                note: match places {
                    Places::Frames => shortcuts.describe(),
                    _ => String::new(),
                },
            }
        });
        uses.collect()
    }

    pub fn cgroup_root(&self) -> &std::path::Path {
        self.endpoints.cgroup_root()
    }

    pub fn node(&self) -> &host::Netlink {
        self.endpoints.node()
    }

    pub fn counters(&self) -> Result<Counters> {
        Ok(Counters::read(&self.tables.metrics)?)
    }

    pub fn processes(&self) -> Result<Processes> {
        Ok(Processes::open(&self.config.bpffs)?)
    }

    /// The reading end of the event ring.
    pub fn events(&self) -> Result<AsyncRing> {
        Ok(Ring::new(&self.tables.events)?.into_async()?)
    }

    /// For walks of the connection table by another task.
    pub fn connections(&self) -> Result<Connections> {
        Connections::open(&self.config.bpffs.join("maps"), self.settings.timeouts)
    }

    pub fn conntrack_capacity(&self) -> u32 {
        self.tables.conntrack.map().layout().max_entries
    }

    /// How full the maps are that the agent fills.
    pub fn fill(&mut self) -> Vec<MapFill> {
        let policy = self.policy.sizes();
        let services = self.services.used();
        let fill = |name, entries, map: &Map| MapFill {
            name,
            entries,
            capacity: map.layout().max_entries,
        };
        let tables = &self.tables;
        vec![
            fill(abi::maps::ENDPOINTS, self.rows.len(), tables.endpoints.map()),
            fill(abi::maps::ADDRESSES, policy.addresses, tables.addresses.map()),
            fill(abi::maps::PEERS, policy.peers, tables.peers.map()),
            fill(abi::maps::PORTS, policy.ports, tables.ports.map()),
            fill(abi::maps::SERVICES, services.services, tables.services.map()),
            fill(abi::maps::RING, services.ring as usize, tables.ring.map()),
            fill(abi::maps::BACKENDS, services.backends, tables.backends.map()),
            fill(abi::maps::MEMBERS, services.members, tables.members.map()),
            fill(abi::maps::SOURCE_RANGES, services.source_ranges, tables.source_ranges.map()),
        ]
    }
}

/// Whether the maps that are pinned are of this version; of another one none is used. Looked at
/// before anything is pinned in the place of what is there.
fn check_abi(config: &Config) -> Result<()> {
    let maps = config.bpffs.join("maps");
    let Some(state) = Map::open_if_pinned(&maps.join(abi::maps::STATE))? else { return Ok(()) };
    // If even its layout is another, that is said when the maps are loaded.
    let Ok(state) = Table::<u32, Settings>::new(state) else { return Ok(()) };
    let found = state.get(&0)?.map_or(0, |state| state.abi_version);
    if found == 0 || found == abi::ABI_VERSION {
        return Ok(());
    }
    if !config.replace_maps {
        return Err(Error::OtherAbi { bpffs: config.bpffs.display().to_string(), found });
    }
    tracing::info!(found, wanted = abi::ABI_VERSION, "maps of another version are made anew");
    for map in std::fs::read_dir(&maps).into_iter().flatten().flatten() {
        bpf_kernel::unpin(&map.path())?;
    }
    Ok(())
}

/// What a new `state` map holds.
const NO_SETTINGS: Settings = Settings {
    abi_version: 0,
    policy_epoch: 0,
    flags: 0,
    flow_events_per_second: 0,
    drop_events_per_second: 0,
    timeouts: Timeouts::DEFAULT,
    zero: 0,
};

fn of_kind(changed: &BTreeSet<ObjectRef>, kind: Kind) -> impl Iterator<Item = &ObjectRef> {
    changed.iter().filter(move |object| object.kind == kind)
}

/// Whether flows that are under way have to be decided again.
fn changes_verdicts(changes: &Changes) -> bool {
    !(changes.add_peers.is_empty()
        && changes.remove_peers.is_empty()
        && changes.set_addresses.is_empty()
        && changes.remove_addresses.is_empty())
}
