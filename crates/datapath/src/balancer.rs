//! The edge balancer: its object, its maps, its interfaces.
//!
//! Nothing of it is loaded until there is a load balancer. What it writes goes in transactions:
//! [`Balancer::prepare`] compiles, [`Balancer::commit`] writes. After a write that failed, and after
//! a start, the compiler begins from what the maps hold.

mod capture;
mod choice;
mod interfaces;
mod programs;
mod settle;
mod tables;
pub mod testbench;

pub use capture::{Capture, CaptureError, CaptureNames, CaptureRequest, CapturedPacket};
pub use choice::Choice;
pub use interfaces::{Attachment, Interface};

use crate::{Config, Problem, Result};
use bpf_kernel::InterfaceHook;
use interfaces::Interfaces;
use model::{Kind, LoadBalancer, Model, ObjectName, ObjectRef};
use programs::Programs;
use services::balancer::{Capacity, Changes, CheckTarget, Compiler, Health, Used, VipView};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tables::Tables;

pub use abi::balancer::{BackendCounters, VipCounters};
use abi::balancer::{Mac, Settings};

#[derive(Debug)]
pub struct Balancer {
    config: Config,
    loaded: Option<Loaded>,
    compiler: Compiler,
    interfaces: Interfaces,
    /// Of health checks that go through the encapsulation.
    marks: BTreeMap<CheckTarget, u32>,
    /// The maps hold what the compiler last said.
    settled: bool,
    /// Where checks through the encapsulation leave.
    exit: Option<(u32, [u8; 6])>,
    /// Marks have changed and are not compiled.
    stale: bool,
    /// Compiled and not written.
    outstanding: Option<Changes>,
}

#[derive(Debug)]
struct Loaded {
    programs: Programs,
    tables: Tables,
}

/// Marks of health checks through the encapsulation: from here on, so that they meet no others.
const FIRST_MARK: u32 = 0x5ceb_0001;

/// A counter of the whole program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalancerCounter {
    pub name: &'static str,
    /// Packets were dropped for this reason.
    pub is_drop: bool,
    pub count: u64,
}

impl Balancer {
    pub fn new(config: &Config, hook: InterfaceHook) -> Self {
        Balancer {
            config: config.clone(),
            loaded: None,
            compiler: Compiler::new(Capacity::default()),
            interfaces: Interfaces::new(&config.bpffs, hook),
            marks: BTreeMap::new(),
            settled: true,
            stale: false,
            exit: None,
            outstanding: None,
        }
    }

    /// Whether there is something to do: load balancers, or what an earlier agent left of them.
    fn is_used(&self) -> bool {
        !self.compiler.is_empty() || self.loaded.is_some() || Programs::are_pinned(&self.config)
    }

    /// Compiles what the model has now of the changed objects. An object that doesn't fit is
    /// refused, and what was in force stays.
    pub fn prepare(
        &mut self,
        model: &Model,
        changed: &BTreeSet<ObjectRef>,
        now_ns: u64,
    ) -> Vec<Problem> {
        let changed: Vec<&ObjectRef> =
            changed.iter().filter(|object| object.kind == Kind::LoadBalancer).collect();
        if changed.is_empty() {
            return Vec::new();
        }
        let mut before: BTreeMap<ObjectName, Option<Arc<LoadBalancer>>> = BTreeMap::new();
        for object in &changed {
            before.insert(object.name.clone(), self.compiler.get(&object.name).cloned());
            match model.load_balancers.get(&object.name) {
                Some(balancer) => self.compiler.set(balancer.clone()),
                None => self.compiler.remove(&object.name),
            }
        }
        let mut problems = Vec::new();
        if let Err(error) = self.compile(now_ns) {
            for object in changed {
                let origin = model.load_balancers.get(&object.name).map(|it| it.origin.clone());
                problems.push(Problem {
                    object: Some(object.clone()),
                    origin,
                    message: error.clone(),
                    refused: true,
                });
                match before.remove(&object.name).flatten() {
                    Some(old) => self.compiler.set(old),
                    None => self.compiler.remove(&object.name),
                }
            }
        }
        problems.extend(self.conflicts());
        problems
    }

    fn conflicts(&self) -> impl Iterator<Item = Problem> {
        self.compiler.conflicts().into_iter().map(|conflict| Problem {
            object: Some(ObjectRef { kind: Kind::LoadBalancer, name: conflict.object }),
            origin: Some(conflict.origin),
            message: conflict.message,
            refused: true,
        })
    }

    /// Compiles; what comes out waits for [`commit`](Self::commit).
    fn compile(&mut self, now_ns: u64) -> Result<(), String> {
        self.load().map_err(|error| error.to_string())?;
        let Some(loaded) = &self.loaded else { return Ok(()) };
        if self.outstanding.is_some() || !self.settled {
            // What was compiled before was never written, or not to the end.
            let held = loaded.tables.read().map_err(|error| error.to_string())?;
            self.compiler.begin_from(held);
            self.settled = true;
            self.outstanding = None;
        }
        self.stale = false;
        let changes = self.compiler.compile(now_ns).map_err(|refusal| refusal.to_string())?;
        self.outstanding = Some(changes);
        Ok(())
    }

    /// Loads the object when it is first needed, and takes over what its maps hold.
    fn load(&mut self) -> Result<()> {
        if self.loaded.is_some() || !self.is_used() {
            return Ok(());
        }
        let edge = self.compiler.edge().cloned().unwrap_or_default();
        let programs = Programs::load(&self.config, &edge)?;
        let tables = Tables::open(&self.config.bpffs.join("maps"))?;
        self.compiler.resize(tables.capacity()?);
        self.compiler.begin_from(tables.read()?);
        self.loaded = Some(Loaded { programs, tables });
        Ok(())
    }

    /// Writes what was prepared.
    pub fn commit(&mut self) -> Result<()> {
        let Some(loaded) = &self.loaded else { return Ok(()) };
        if let Some(mut changes) = self.outstanding.take() {
            changes.settings = changes.settings.map(|settings| self.complete(settings));
            self.settled = false;
            loaded.tables.write(&changes)?;
            self.settled = true;
        }
        Ok(())
    }

    /// Puts the programs where they belong, and makes good what didn't go well before or somebody
    /// else has undone. Cheap if there is nothing to do.
    pub async fn keep_up(&mut self, node: &host::Netlink, now_ns: u64) -> Result<(), String> {
        if !self.is_used() {
            return Ok(());
        }
        if self.loaded.is_none() || self.stale || !self.is_settled() {
            self.recompile(now_ns)?;
        }
        let Some(loaded) = &self.loaded else { return Ok(()) };
        let wanted = self.compiler.edge().map(|edge| edge.interfaces.clone()).unwrap_or_default();
        let probes = self.compiler.edge().and_then(|edge| edge.probes.as_ref());
        let checks = !self.marks.is_empty() || probes.is_some();
        let done = self.interfaces.set(&wanted, checks, &loaded.programs, node).await;
        done.map_err(|error| error.to_string())?;
        let exit = match checks {
            true => self.check_exit(node).await?,
            false => None,
        };
        if exit != self.exit {
            self.exit = exit;
            if let Some(settings) = self.compiler.settings() {
                let settings = self.complete(settings);
                loaded.tables.write_settings(&settings).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// By which interface health checks leave, and its MAC.
    async fn check_exit(&self, node: &host::Netlink) -> Result<Option<(u32, [u8; 6])>, String> {
        let probes = self.compiler.edge().and_then(|edge| edge.probes.as_ref());
        if let Some(name) = probes.and_then(|probes| probes.interface.as_ref()) {
            let link = node.link_named(name).await.map_err(|error| error.to_string())?;
            let link = link.ok_or_else(|| format!("probes: there is no interface {name}"))?;
            return Ok(Some((link.index, link.mac.map_or([0; 6], |mac| mac.0))));
        }
        let mut interfaces = self.interfaces.iter();
        let first = interfaces.find(|interface| interface.index != 0);
        Ok(first.map(|interface| (interface.index, interface.mac)))
    }

    /// What the compiler can't know of this node.
    fn complete(&self, mut settings: Settings) -> Settings {
        if let Some((index, mac)) = self.exit {
            settings.check_ifindex = index;
            if settings.local_mac == Mac::from([0; 6]) {
                settings.local_mac = mac.into();
            }
        }
        settings
    }

    /// After a health check or a drain: compiles and writes what it means.
    pub fn recompile(&mut self, now_ns: u64) -> Result<(), String> {
        self.compile(now_ns)?;
        self.commit().map_err(|error| error.to_string())
    }

    pub fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// What is to be checked, and the mark of checks that go through the encapsulation. A new mark
    /// is in force with the next [`keep_up`](Self::keep_up).
    pub fn check_targets(&mut self) -> BTreeMap<CheckTarget, Option<u32>> {
        let targets = self.compiler.check_targets();
        let through = |target: &&CheckTarget| target.check.through_encapsulation;
        let before = self.marks.len();
        self.marks.retain(|target, _| targets.contains(target));
        let mut changed = self.marks.len() != before;
        for target in targets.iter().filter(through) {
            if !self.marks.contains_key(target) {
                let taken: BTreeSet<u32> = self.marks.values().copied().collect();
                let free = (FIRST_MARK..).find(|mark| !taken.contains(mark));
                self.marks.extend(free.map(|mark| (target.clone(), mark)));
                changed = true;
            }
        }
        if changed {
            self.compiler.set_marks(self.marks.clone());
            self.stale = true;
        }
        targets
            .into_iter()
            .map(|target| (target.clone(), self.marks.get(&target).copied()))
            .collect()
    }

    /// False if it is nothing new; otherwise [`recompile`](Self::recompile) brings it into force.
    pub fn set_health(&mut self, target: &CheckTarget, health: Health) -> bool {
        self.compiler.set_health(target, health)
    }

    pub fn drain(&mut self, backend: IpAddr, drained: bool) -> bool {
        self.compiler.drain(backend, drained)
    }

    pub fn views(&self) -> Vec<VipView> {
        self.compiler.views()
    }

    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.iter()
    }

    pub fn used(&self) -> Used {
        self.compiler.used()
    }

    /// Flows that the table takes; `None` while nothing is loaded.
    pub fn flow_table(&self) -> Option<u32> {
        self.loaded.as_ref().map(|loaded| loaded.programs.flow_table)
    }

    pub fn is_loaded(&self) -> bool {
        self.loaded.is_some()
    }

    pub fn is_settled(&self) -> bool {
        self.settled && self.outstanding.is_none()
    }

    pub fn vip_counters(&self, number: u32) -> Result<VipCounters> {
        match &self.loaded {
            Some(loaded) => Ok(loaded.tables.vip_counters(number)?),
            None => Ok(VipCounters::default()),
        }
    }

    pub fn backend_counters(&self, number: u32) -> Result<BackendCounters> {
        match &self.loaded {
            Some(loaded) => Ok(loaded.tables.backend_counters(number)?),
            None => Ok(BackendCounters::default()),
        }
    }

    pub fn counters(&self) -> Result<Vec<BalancerCounter>> {
        let Some(loaded) = &self.loaded else { return Ok(Vec::new()) };
        let all = loaded.tables.counters()?.into_iter();
        Ok(all
            .map(|(index, name, count)| BalancerCounter {
                name,
                is_drop: index < abi::balancer::counter::FIRST_EVENT,
                count,
            })
            .collect())
    }
}
