//! Local endpoints: a workload's interface, addresses and programs, from wish to fact.

mod addresses;

use crate::endpoint_rows::EndpointRows;
use crate::place::{Located, locate};
use crate::pool::Pool;
use crate::programs::Programs;
use crate::{Config, Error, Result};
use abi::endpoint::Endpoint as Row;
use bpf_kernel::InterfaceHook;
use host::cgroup::Root;
use host::endpoint_link::{self, Attached, Origin, Spec, host_name};
use host::link::Mac;
use host::{NetNamespace, Netlink};
use ipnet::IpNet;
use model::{AddressRequest, ObjectName, Place, Workload};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// MTU of interfaces that Skep makes.
const MTU: u32 = 1500;

/// After how many looks the programs of all endpoints have been looked at.
const ROUNDS: usize = 8;

/// What outlives a restart of the agent: an endpoint's number and addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub id: u32,
    pub addresses: Vec<IpAddr>,
}

/// An endpoint as it is.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub id: u32,
    pub workload: Workload,
    pub state: State,
    /// Why it isn't ready, or what it lacks.
    pub message: String,
    pub addresses: Vec<IpAddr>,
    /// `None` for a workload in the node's own network, and before it is there.
    pub interface: Option<Attached>,
    pub cgroup: Option<PathBuf>,
    /// Number of its cgroup: a container that is started again has another one of the same path.
    cgroup_id: Option<u64>,
    /// Identity of its namespace, to see when another takes its place.
    namespace: Option<host::netns::Identity>,
    /// Taken over from an earlier agent: it may have links that this one hasn't seen.
    taken_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// What it runs in is not there yet.
    Waiting,
    Ready,
    /// Something failed; it is tried again.
    Failed,
}

/// All endpoints of the node.
#[derive(Debug)]
pub struct Endpoints {
    node: Netlink,
    cgroups: Root,
    pools: [Pool; 2],
    leases: BTreeMap<ObjectName, Lease>,
    endpoints: BTreeMap<ObjectName, Endpoint>,
    /// What an earlier agent left in the kernel, of workloads that have not been looked at yet.
    left: BTreeMap<ObjectName, Vec<(IpAddr, Row)>>,
    host_addresses: BTreeSet<IpAddr>,
    /// Whose programs were looked at last.
    checked: Option<ObjectName>,
    /// How often programs were found taken away, by name.
    taken_away: BTreeMap<String, u64>,
    /// Addresses that map `endpoints` has room for.
    capacity: usize,
}

impl Endpoints {
    /// `rows` are those of map `endpoints` that an earlier agent wrote, `capacity` is the map's.
    pub fn open(
        config: &Config,
        leases: BTreeMap<ObjectName, Lease>,
        rows: &EndpointRows,
        capacity: usize,
    ) -> Result<Self> {
        let cgroups = match &config.cgroup_root {
            Some(path) => Root::at(path),
            None => Root::find()?,
        };
        let mut pools =
            [Pool::new(IpNet::V4(config.pool_v4)), Pool::new(IpNet::V6(config.pool_v6))];
        for (name, lease) in &leases {
            for address in &lease.addresses {
                if let Some(pool) = pools.iter_mut().find(|pool| pool.contains(address))
                    && let Err(error) = pool.claim(*address, name)
                {
                    tracing::warn!(%name, %error, "a kept address is not to be had any more");
                }
            }
        }
        let names: BTreeMap<u32, &ObjectName> =
            leases.iter().map(|(name, lease)| (lease.id, name)).collect();
        let mut left: BTreeMap<ObjectName, Vec<(IpAddr, Row)>> =
            leases.keys().map(|name| (name.clone(), Vec::new())).collect();
        for (address, row) in rows.iter() {
            if let Some(rows) = names.get(&row.id).and_then(|name| left.get_mut(*name)) {
                rows.push((address, row));
            }
        }
        let node = Netlink::connect(&NetNamespace::current()?)?;
        Ok(Endpoints {
            node,
            cgroups,
            pools,
            leases,
            endpoints: BTreeMap::new(),
            left,
            host_addresses: BTreeSet::new(),
            checked: None,
            taken_away: BTreeMap::new(),
            capacity,
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values()
    }

    pub fn find(&self, name: &ObjectName) -> Option<&Endpoint> {
        self.endpoints.get(name)
    }

    pub fn leases(&self) -> &BTreeMap<ObjectName, Lease> {
        &self.leases
    }

    pub fn node(&self) -> &Netlink {
        &self.node
    }

    pub fn cgroup_root(&self) -> &std::path::Path {
        self.cgroups.path()
    }

    /// Makes the workload's endpoint what the manifest says. Errors are in the endpoint's state:
    /// whatever is wrong with one workload, the others go on.
    pub async fn put(&mut self, workload: &Workload, programs: &Programs) {
        let before = match self.endpoints.remove(&workload.name) {
            Some(before) => Some(before),
            None => self.take_over(workload).await,
        };
        let endpoint = self.now(workload, before.as_ref(), programs).await;
        if let Some(before) = before {
            self.leave_behind(&before, &endpoint, programs).await;
        }
        self.endpoints.insert(workload.name.clone(), endpoint);
    }

    async fn now(
        &mut self,
        workload: &Workload,
        before: Option<&Endpoint>,
        programs: &Programs,
    ) -> Endpoint {
        let id = self.number(&workload.name);
        if let AddressRequest::Fixed(addresses) = &workload.addresses
            && let Err(error) = self.claim(&workload.name, addresses)
        {
            // Not even those it had: who waits for them would wait in a ring.
            self.hold(&workload.name, Vec::new());
            return Endpoint::unready(workload, id, State::Failed, error.to_string());
        }
        let located = match locate(&workload.place, &self.cgroups).await {
            Ok(located) => located,
            Err(error) => {
                let gone = Endpoint::unready(workload, id, State::Waiting, error.to_string());
                return match before {
                    Some(before) if !error.is_absence() => self.stay(before, gone).await,
                    _ => gone,
                };
            }
        };
        let error = match self.attach(workload, id, &located, programs).await {
            Ok(endpoint) => return endpoint,
            Err(error) => error,
        };
        let failed = Endpoint::unready(workload, id, State::Failed, error.to_string());
        let namespace = located.namespace.map(|namespace| namespace.identity());
        match before {
            Some(before) if before.taken_over || before.namespace == namespace => {
                self.stay(before, failed).await
            }
            _ => failed,
        }
    }

    /// It can't be told what the workload has now, so it goes on with what it had: `unready`, but
    /// with programs and rules in force. An interface that has gone is no part of that.
    async fn stay(&self, before: &Endpoint, unready: Endpoint) -> Endpoint {
        let (interface, addresses) = match &before.interface {
            Some(interface) => match self.node.link_indexed(interface.host_index).await {
                Ok(None) => (None, Vec::new()),
                _ => (Some(interface.clone()), before.addresses.clone()),
            },
            None => (None, before.addresses.clone()),
        };
        Endpoint {
            message: format!("{}; until that is known, all it has stays in force", unready.message),
            addresses,
            interface,
            cgroup: before.cgroup.clone(),
            cgroup_id: before.cgroup_id,
            namespace: before.namespace,
            taken_over: before.taken_over,
            ..unready
        }
    }

    /// What an earlier agent made for the workload, as far as the kernel still has it.
    async fn take_over(&mut self, workload: &Workload) -> Option<Endpoint> {
        let rows = self.left.remove(&workload.name)?;
        let id = self.leases.get(&workload.name)?.id;
        let mut endpoint = Endpoint::unready(workload, id, State::Waiting, String::new());
        endpoint.taken_over = true;
        let Some((_, row)) = rows.first() else { return Some(endpoint) };
        let link = match self.node.link_indexed(row.ifindex).await {
            Ok(Some(link)) => link,
            Ok(None) => return Some(endpoint),
            Err(error) => {
                tracing::warn!(workload = %workload.name, %error, "cannot look at its interface");
                return Some(endpoint);
            }
        };
        if !link.is_veth() || link.mac != Some(Mac(row.host_mac)) {
            return Some(endpoint);
        }
        endpoint.addresses = rows.iter().map(|(address, _)| *address).collect();
        endpoint.addresses.sort();
        endpoint.interface = Some(Attached {
            host_index: link.index,
            host_mac: Mac(row.host_mac),
            workload_index: link.peer.unwrap_or_default(),
            workload_mac: Mac(row.workload_mac),
            addresses: endpoint.addresses.clone(),
            origin: match link.name == key(&workload.name) {
                true => Origin::Made,
                false => Origin::Adopted,
            },
            host_name: link.name,
            netns_cookie: None,
            changes: Vec::new(),
        });
        Some(endpoint)
    }

    /// Takes away what Skep made for the workload.
    pub async fn remove(&mut self, name: &ObjectName, programs: &Programs) {
        if let Some(endpoint) = self.endpoints.remove(name) {
            let gone = Endpoint::unready(&endpoint.workload, 0, State::Waiting, String::new());
            self.leave_behind(&endpoint, &gone, programs).await;
        }
        self.hold(name, Vec::new());
        self.leases.remove(name);
        self.left.remove(name);
    }

    /// The node's own addresses, which no endpoint has.
    pub fn set_host_addresses(&mut self, addresses: &[IpAddr]) {
        self.host_addresses = addresses.iter().copied().collect();
        for endpoint in self.endpoints.values_mut() {
            if endpoint.addresses.iter().any(|address| self.host_addresses.contains(address)) {
                endpoint.state = State::Failed;
                endpoint.message = "the node has taken one of its addresses".to_owned();
            }
        }
    }

    /// An interface of the node has gone: whoever was behind it has to be looked at again. A new
    /// namespace may have the number of one that has just ended, so that alone doesn't tell.
    pub fn interface_gone(&mut self, index: u32) {
        for endpoint in self.endpoints.values_mut() {
            if endpoint.interface.as_ref().is_some_and(|there| there.host_index == index) {
                endpoint.state = State::Failed;
                endpoint.message = "its interface is gone".to_owned();
            }
        }
    }

    /// Workloads that have to be looked at again: those that aren't ready, and those whose
    /// namespace or cgroup is another one now.
    pub fn stale(&self) -> BTreeSet<ObjectName> {
        let stale = self.endpoints.values().filter(|endpoint| {
            endpoint.state != State::Ready
                || endpoint.cgroup.as_ref().is_some_and(|path| {
                    cgroup_id(path).is_none_or(|id| endpoint.cgroup_id != Some(id))
                })
                || match &endpoint.workload.place {
                    Place::Netns { path, .. } => {
                        NetNamespace::open(path).map(|found| found.identity()).ok()
                            != endpoint.namespace
                    }
                    _ => false,
                }
        });
        stale.map(|endpoint| endpoint.workload.name.clone()).collect()
    }

    /// Looks whether programs are still where they were put, at some endpoints each time: all have
    /// been looked at after [`ROUNDS`] calls. Those that lack some are stale then.
    pub fn check_programs(&mut self, programs: &Programs) {
        let some = self.endpoints.len().div_ceil(ROUNDS);
        let from = self.checked.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for (name, endpoint) in self.endpoints.range_mut((from, Bound::Unbounded)).take(some) {
            let missing = endpoint.missing_programs(programs);
            if !missing.is_empty() {
                tracing::warn!(workload = %name, ?missing, "programs were taken away");
                endpoint.state = State::Failed;
                endpoint.message = format!("programs were taken away: {}", missing.join(", "));
            }
            for program in missing {
                *self.taken_away.entry(program.to_owned()).or_default() += 1;
            }
            last = Some(name.clone());
        }
        self.checked = last;
    }

    /// Puts the programs on everything once more: in the place of those of an earlier agent.
    pub fn swap_programs(&mut self, programs: &Programs) {
        for (name, endpoint) in &mut self.endpoints {
            let key = key(name);
            let interface = match &endpoint.interface {
                Some(interface) => programs.attach_interface(&key, interface.host_index),
                None => Ok(()),
            };
            let done = interface.and_then(|()| match &endpoint.cgroup {
                Some(cgroup) => programs.attach_cgroup(&key, cgroup),
                None => Ok(()),
            });
            if let Err(error) = done {
                endpoint.state = State::Failed;
                endpoint.message = error.to_string();
            }
        }
    }

    /// How often the program was found taken away.
    pub fn taken_away(&self, program: &str) -> u64 {
        self.taken_away.get(program).copied().unwrap_or(0)
    }

    pub fn cgroups(&self) -> &Root {
        &self.cgroups
    }

    /// Removes interfaces and links that an earlier agent made for workloads that are no more.
    pub async fn remove_strays(&mut self, programs: &Programs, host_cgroup: bool) -> Result<()> {
        let former: Vec<ObjectName> =
            self.leases.keys().filter(|name| !self.endpoints.contains_key(name)).cloned().collect();
        for name in former {
            self.hold(&name, Vec::new());
            self.leases.remove(&name);
            self.left.remove(&name);
        }
        let keys: BTreeSet<String> = self.endpoints.keys().map(key).collect();
        for link in endpoint_link::made(&self.node).await? {
            if !keys.contains(&link.name) {
                tracing::info!(
                    interface = link.name,
                    "removing the interface of a former workload"
                );
                endpoint_link::remove(&self.node, &link.name).await?;
            }
        }
        programs.detach_others(|key| {
            keys.contains(key)
                || crate::devices::is_key(key)
                || (host_cgroup && key == crate::host_cgroup::KEY)
        })?;
        Ok(())
    }

    /// Whether map `endpoints` takes this many addresses more.
    fn check_room(&self, addresses: usize) -> Result<()> {
        let with_rows = self.endpoints.values().filter(|endpoint| endpoint.interface.is_some());
        let used: usize = with_rows.map(|endpoint| endpoint.addresses.len()).sum();
        match used + addresses > self.capacity {
            true => Err(Error::EndpointsFull { capacity: self.capacity, used }),
            false => Ok(()),
        }
    }

    async fn attach(
        &mut self,
        workload: &Workload,
        id: u32,
        located: &Located,
        programs: &Programs,
    ) -> Result<Endpoint> {
        let (name, key) = (&workload.name, key(&workload.name));
        let mut endpoint = Endpoint::unready(workload, id, State::Ready, String::new());
        if let Some(namespace) = &located.namespace {
            let mut spec = Spec {
                namespace: namespace.clone(),
                interface: workload.interface.clone(),
                host_name: key.clone(),
                addresses: Vec::new(),
                mtu: MTU,
            };
            spec.addresses = match &workload.addresses {
                AddressRequest::Fixed(addresses) => addresses.clone(),
                AddressRequest::Auto => match endpoint_link::find(&self.node, &spec).await? {
                    // Has its own, and none of the pools'.
                    Some(there) if there.origin == Origin::Adopted => Vec::new(),
                    _ => self.allocate(name)?,
                },
            };
            self.check_room(spec.addresses.len())?;
            let attach = |ifindex| programs.attach_interface(&key, ifindex);
            let attached = endpoint_link::ensure(&self.node, &spec, attach).await?;
            for change in &attached.changes {
                tracing::info!(workload = %name, "{change}");
            }
            endpoint.addresses = attached.addresses.clone();
            if attached.origin == Origin::Adopted {
                let (accepted, problems) = self.accept(workload, &attached.addresses);
                self.check_room(accepted.len())?;
                if workload.addresses == AddressRequest::Auto {
                    self.hold(name, accepted.clone());
                }
                endpoint.addresses = accepted;
                if !problems.is_empty() {
                    endpoint.state = State::Failed;
                    endpoint.message = problems.join("; ");
                }
            }
            endpoint.namespace = Some(namespace.identity());
            endpoint.interface = Some(attached);
        } else {
            self.hold(name, Vec::new());
            endpoint.message = "runs in the node's own network: no policy is enforced".to_owned();
        }
        if let Some(cgroup) = &located.cgroup {
            // Before the programs are attached: if it is replaced meanwhile, that is seen later.
            endpoint.cgroup_id = cgroup_id(cgroup);
            programs.attach_cgroup(&key, cgroup)?;
            endpoint.cgroup = Some(cgroup.clone());
        } else if endpoint.state == State::Ready {
            endpoint.message =
                "no cgroup: services are translated in packets, processes are not known".to_owned();
        }
        Ok(endpoint)
    }

    /// Removes what `before` had and `after` doesn't.
    async fn leave_behind(&self, before: &Endpoint, after: &Endpoint, programs: &Programs) {
        let key = key(&before.workload.name);
        let mut errors = Vec::new();
        let now = after.interface.as_ref();
        if let Some(interface) = &before.interface
            && now.map(|now| now.host_index) != Some(interface.host_index)
        {
            // A link by TCX has one pin and so came along; a filter is the interface's.
            if (now.is_none() || programs.hook() == InterfaceHook::Clsact)
                && let Err(error) = programs.detach_interface(&key, interface.host_index)
            {
                errors.push(error.to_string());
            }
            if interface.origin == Origin::Made
                && now.map(|now| &now.host_name) != Some(&interface.host_name)
                && let Err(error) = endpoint_link::remove(&self.node, &interface.host_name).await
            {
                errors.push(error.to_string());
            }
        }
        if (before.cgroup.is_some() || before.taken_over)
            && after.cgroup.is_none()
            && !after.taken_over
            && let Err(error) = programs.detach_cgroup(&key)
        {
            errors.push(error.to_string());
        }
        for error in errors {
            tracing::warn!(workload = %before.workload.name, error, "clean-up of an endpoint");
        }
    }
}

impl Endpoint {
    fn unready(workload: &Workload, id: u32, state: State, message: String) -> Self {
        Endpoint {
            id,
            workload: workload.clone(),
            state,
            message,
            addresses: Vec::new(),
            interface: None,
            cgroup: None,
            cgroup_id: None,
            namespace: None,
            taken_over: false,
        }
    }

    /// The programs that aren't where they were put.
    pub(crate) fn missing_programs<'a>(&self, programs: &'a Programs) -> Vec<&'a str> {
        let key = key(&self.workload.name);
        let mut missing = match &self.interface {
            Some(interface) => programs.missing_on_interface(&key, interface.host_index),
            None => Vec::new(),
        };
        if let Some(cgroup) = &self.cgroup {
            missing.extend(programs.missing_on_cgroup(&key, cgroup));
        }
        missing
    }

    /// Whether programs belong on an interface of it.
    pub(crate) fn wants_interface(&self) -> bool {
        let place = matches!(self.workload.place, Place::Netns { .. } | Place::Container { .. });
        self.interface.is_some() || (place && self.state != State::Ready)
    }

    /// Whether programs belong on a cgroup of it.
    pub(crate) fn wants_cgroup(&self) -> bool {
        let place = !matches!(self.workload.place, Place::Netns { cgroup: None, .. });
        self.cgroup.is_some() || (place && self.state != State::Ready)
    }

    /// How its programs are attached, as users know it.
    pub fn attachment(&self, hook: InterfaceHook) -> String {
        if self.interface.is_some() { hook.to_string() } else { String::new() }
    }
}

fn cgroup_id(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// Names a workload's pins: the same as its host-side interface, short and without slashes.
fn key(name: &ObjectName) -> String {
    host_name(&name.to_string())
}
