//! The edge balancer's programs in our runtime.

use std::net::IpAddr;
use std::sync::Arc;

use abi::balancer::{BackendCounters, VipCounters, maps};
use bpf_object::Object;
use bpf_vm::context::{Skb, Xdp};
use bpf_vm::{Clock, Engine, Instance, Outcome, Packet, ProgramHandle, Runtime};
use model::LoadBalancer;
use tables::balancer::{self, Configuration};

use crate::vm_maps::VmMaps;
use crate::{BOOT, Error, Fate};

/// What the balancer did with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balanced {
    /// By its number in [`crate::Node::devices`].
    pub device: usize,
    pub program: &'static str,
    /// What the program returned.
    pub action: u32,
    /// The VIP that the packet was for, and the backend that it got.
    pub vip: Option<String>,
    pub backend: Option<IpAddr>,
    /// What was counted: reasons of drops, and other events.
    pub counted: Vec<&'static str>,
    pub before: Vec<u8>,
    pub after: Vec<u8>,
}

/// `linux/bpf.h`.
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;
const BALANCE: &str = "balance";

/// Object `balancer` with tables of load balancers.
#[derive(Debug)]
pub struct Balancer {
    runtime: Runtime,
    instance: Instance,
    configuration: Configuration,
}

impl Balancer {
    /// From these bytes of an object file, or the built-in object; `flows` is what the table of
    /// flows takes.
    pub fn load(
        object: Option<&[u8]>,
        flows: u32,
        engine: Engine,
        seed: u64,
    ) -> Result<Self, Error> {
        let runtime =
            Runtime::builder().clock(Clock::Manual(BOOT)).seed(seed).engine(engine).build();
        let wrong = |reason: String| Error::Object { object: "balancer", reason };
        let object = Object::parse(object.unwrap_or(objects::BALANCER))
            .map_err(|error| wrong(error.to_string()))?;
        let instance = runtime.loader().max_entries(maps::FLOWS, flows).load(&object)?;
        Ok(Self { runtime, instance, configuration: Configuration::default() })
    }

    /// Goes over to other load balancers. The error says why that can't be.
    pub fn apply(
        &mut self,
        balancers: impl IntoIterator<Item = Arc<LoadBalancer>>,
    ) -> Result<(), String> {
        let now = self.runtime.now();
        self.configuration.apply(balancers, now, &VmMaps(&self.instance))
    }

    /// What the load balancers were compiled to.
    pub fn compiler(&self) -> &services::balancer::Compiler {
        self.configuration.compiler()
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub fn program(&self, symbol: &str) -> Result<ProgramHandle, Error> {
        Ok(self.instance.program(symbol)?)
    }

    /// A frame through an XDP program; what comes out of it.
    pub fn run_xdp(&self, symbol: &str, frame: &[u8]) -> Result<(Outcome, Vec<u8>), Error> {
        let mut packet = Packet::new(frame).map_err(bpf_vm::RuntimeError::from)?;
        let outcome = self.program(symbol)?.run_xdp(&mut packet, &Xdp::default())?;
        Ok((outcome, packet.bytes()))
    }

    /// A frame with a mark through a classifier.
    pub fn run_tc(
        &self,
        symbol: &str,
        frame: &[u8],
        mark: u32,
    ) -> Result<(Outcome, Vec<u8>), Error> {
        let mut packet = Packet::new(frame).map_err(bpf_vm::RuntimeError::from)?;
        let context = Skb { mark, ..Skb::default() };
        let outcome = self.program(symbol)?.run_skb(&mut packet, &context)?;
        Ok((outcome, packet.bytes()))
    }

    /// A frame that comes in by a device; the fate is `None` if the host's stack gets it.
    pub(crate) fn balance(
        &self,
        device: usize,
        frame: &[u8],
    ) -> Result<(Balanced, Option<Fate>), Error> {
        let before = self.count()?;
        let (outcome, after) = self.run_xdp(BALANCE, frame)?;
        let now = self.count()?;
        let counted = now.events.iter().zip(&before.events).filter(|(new, old)| new.1 > old.1);
        let vip = now.vips.iter().zip(&before.vips).find(|(new, old)| new.1 > old.1);
        let backend = now.backends.iter().zip(&before.backends).find(|(new, old)| new.1 > old.1);
        let action = outcome.value as u32;
        let fate = match action {
            XDP_PASS => None,
            XDP_TX | XDP_REDIRECT => Some(Fate::Left(device)),
            _ => Some(Fate::Balanced),
        };
        let balanced = Balanced {
            device,
            program: BALANCE,
            action,
            vip: vip.map(|((title, _), _)| title.clone()),
            backend: backend.map(|((address, _), _)| *address),
            counted: counted.map(|((name, _), _)| *name).collect(),
            before: frame.to_vec(),
            after,
        };
        Ok((balanced, fate))
    }

    /// All counters now.
    fn count(&self) -> Result<Counted, Error> {
        let mut counted = Counted::default();
        for view in self.compiler().views() {
            let Some(number) = view.number else { continue };
            let counters = self.vip_counters(number)?;
            counted.vips.push((view.title.clone(), counters.packets));
            for backend in &view.backends {
                let Some(number) = backend.number else { continue };
                let counters = self.backend_counters(number)?;
                counted.backends.push((backend.address, counters.packets));
            }
        }
        let events = self.counters()?.into_iter();
        counted.events = events.map(|(_, name, count)| (name, count)).collect();
        Ok(counted)
    }

    /// Whether the programs are at an interface: at all of them if no load balancer names any.
    pub(crate) fn is_at(&self, interface: &str) -> bool {
        let Some(edge) = self.compiler().edge() else { return false };
        edge.interfaces.is_empty() || edge.interfaces.iter().any(|one| *one.name == *interface)
    }

    pub fn vip_counters(&self, number: u32) -> Result<VipCounters, Error> {
        balancer::vip_counters(&VmMaps(&self.instance), number)
    }

    pub fn backend_counters(&self, number: u32) -> Result<BackendCounters, Error> {
        balancer::backend_counters(&VmMaps(&self.instance), number)
    }

    /// Index, name and sum of every counter of the whole program.
    pub fn counters(&self) -> Result<Vec<(u32, &'static str, u64)>, Error> {
        balancer::counters(&VmMaps(&self.instance))
    }
}

/// Packets by VIP, by backend, by event.
#[derive(Default)]
struct Counted {
    vips: Vec<(String, u64)>,
    backends: Vec<(IpAddr, u64)>,
    events: Vec<(&'static str, u64)>,
}
