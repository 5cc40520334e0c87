//! Capturing packets: for as long as somebody does, interfaces have another program, which does the
//! same and keeps what is wanted. Otherwise it isn't even loaded.

use super::{Attachment, Balancer};
use crate::{Config, Result};
use abi::Address;
use abi::balancer::capture::{self, CaptureFilter, Captured, KEPT, KEPT_AFTER, NO_VIP, VIP_WORDS};
use abi::balancer::{counter, maps};
use bpf_kernel::{AsyncRing, Loader, Map, Program, Ring, Table};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use zerocopy::FromBytes as _;

const PROGRAM: &str = "balance_and_capture";

/// Which packets are wanted: those that meet all that is said.
#[derive(Clone, Debug, Default)]
pub struct CaptureRequest {
    /// Part of a VIP's name, or a balancer as NAMESPACE/NAME.
    pub vip: Option<String>,
    pub backend: Option<IpAddr>,
    pub client: Option<IpNet>,
    /// A reason of drops.
    pub reason: Option<String>,
    /// At least one of these, if any is set.
    pub new_flows: bool,
    pub moved: bool,
    pub misses: bool,
    pub dropped: bool,
}

/// A packet as the balancer met it.
#[derive(Clone, Debug)]
pub struct CapturedPacket {
    /// Boot-time nanoseconds.
    pub time_ns: u64,
    pub interface: String,
    /// What is kept of it, and how long it was.
    pub before: (Vec<u8>, u32),
    pub after: (Vec<u8>, u32),
    /// What the program returned (`enum xdp_action`).
    pub action: u32,
    pub vip: Option<String>,
    pub backend: Option<IpAddr>,
    /// What was counted last: the reason of a drop, or an event.
    pub counted: Option<&'static str>,
    pub new_flow: bool,
    pub moved: bool,
    pub miss: bool,
}

/// Why nothing can be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("there is no load balancer; `skep lb list` shows VIPs")]
    NoBalancer,
    #[error("somebody else is capturing; one can at a time")]
    Busy,
    #[error("no VIP matches {0:?}; `skep lb list` shows them")]
    NoVip(String),
    #[error("no such reason: {name:?}; known are {}", known.join(", "))]
    NoReason { name: String, known: Vec<&'static str> },
    #[error("no interface has the balancer as XDP program, and packets are captured by that alone")]
    NoInterface,
    #[error(transparent)]
    Datapath(#[from] crate::Error),
}

/// A capture that has begun.
#[derive(Debug)]
pub struct Capture {
    pub ring: AsyncRing,
    pub names: CaptureNames,
    /// Interfaces whose packets are not captured, since they have no XDP program.
    pub left_out: Vec<String>,
}

/// What numbers in captured packets mean.
#[derive(Clone, Debug)]
pub struct CaptureNames {
    interfaces: BTreeMap<u32, String>,
    vips: BTreeMap<u32, String>,
    backends: BTreeMap<u32, IpAddr>,
}

impl Balancer {
    /// Has interfaces capture what is wanted, from now until [`end_capture`](Self::end_capture).
    /// Needs the runtime.
    pub fn begin_capture(&mut self, request: &CaptureRequest) -> Result<Capture, CaptureError> {
        let filter = self.capture_filter(request)?;
        let names = self.capture_names();
        let Some(loaded) = &mut self.loaded else { return Err(CaptureError::NoBalancer) };
        if loaded.programs.capture.is_some() {
            return Err(CaptureError::Busy);
        }
        let by_xdp =
            |attachment: &Option<Attachment>| matches!(attachment, Some(Attachment::Xdp(_)));
        let (taken, left_out): (Vec<_>, Vec<_>) =
            self.interfaces.iter().partition(|interface| by_xdp(&interface.attachment));
        if taken.is_empty() {
            return Err(CaptureError::NoInterface);
        }
        let left_out = left_out.into_iter().map(|interface| interface.name.clone()).collect();
        let (program, ring) = load(&self.config, &filter)?;
        loaded.programs.capture = Some(program);
        if let Err(error) = self.interfaces.replace_xdp(&loaded.programs) {
            self.end_capture()?;
            return Err(error.into());
        }
        Ok(Capture { ring, names, left_out })
    }

    /// Interfaces get their usual program again.
    pub fn end_capture(&mut self) -> Result<()> {
        let Some(loaded) = &mut self.loaded else { return Ok(()) };
        match loaded.programs.capture.take() {
            Some(_) => self.interfaces.replace_xdp(&loaded.programs),
            None => Ok(()),
        }
    }

    /// Packets that were to be captured and found the ring full, ever.
    pub fn capture_lost(&self) -> Result<u64> {
        let Some(loaded) = &self.loaded else { return Ok(0) };
        let all = loaded.tables.counters()?;
        Ok(all.iter().find(|(index, ..)| *index == counter::CAPTURE_LOST).map_or(0, |it| it.2))
    }

    fn capture_filter(&self, request: &CaptureRequest) -> Result<CaptureFilter, CaptureError> {
        let mut filter = CaptureFilter::ALL;
        if let Some(wanted) = &request.vip {
            filter.vips = [0; VIP_WORDS];
            let views = self.views();
            let numbers = views
                .iter()
                .filter(|view| view.title.contains(wanted) || view.object.to_string() == *wanted)
                .filter_map(|view| view.number);
            for number in numbers {
                filter.vips[(number / 64) as usize % VIP_WORDS] |= 1 << (number % 64);
            }
            if filter.vips == [0; VIP_WORDS] {
                return Err(CaptureError::NoVip(wanted.clone()));
            }
        }
        if let Some(name) = &request.reason {
            let reasons =
                || counter::NAMES.iter().filter(|(index, _)| *index < counter::FIRST_EVENT);
            let Some((index, _)) = reasons().find(|(_, known)| known == name) else {
                let known = reasons().map(|(_, known)| *known).collect();
                return Err(CaptureError::NoReason { name: name.clone(), known });
            };
            filter.reason = *index;
        }
        if let Some(backend) = request.backend {
            filter.backend = backend.into();
        }
        if let Some(client) = request.client {
            let mapped = if client.addr().is_ipv4() { 96 } else { 0 };
            let bits = u32::from(client.prefix_len()) + mapped;
            let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits) };
            filter.client_mask = Address::from_v6(mask.to_be_bytes());
            filter.client = client.network().into();
        }
        for (wanted, kind) in [
            (request.new_flows, capture::kinds::NEW_FLOW),
            (request.moved, capture::kinds::MOVED),
            (request.misses, capture::kinds::MISS),
            (request.dropped, capture::kinds::DROPPED),
        ] {
            if wanted {
                filter.kinds |= kind;
            }
        }
        Ok(filter)
    }

    fn capture_names(&self) -> CaptureNames {
        let views = self.views();
        let backends = views.iter().flat_map(|view| &view.backends);
        CaptureNames {
            interfaces: self.interfaces.iter().map(|it| (it.index, it.name.clone())).collect(),
            vips: views.iter().filter_map(|it| Some((it.number?, it.title.clone()))).collect(),
            backends: backends.filter_map(|it| Some((it.number?, it.address))).collect(),
        }
    }
}

fn load(config: &Config, filter: &CaptureFilter) -> Result<(Program, AsyncRing)> {
    let dir = config.bpffs.join("maps");
    // Those of the program that it stands in for, whose sizes the agent chose.
    let room = |map: &str| Map::open(&dir.join(map)).map(|map| map.layout().max_entries);
    let (flows, rings) = (room(maps::FLOWS)?, room(maps::RINGS)?);
    let mut object = Loader::new("balancer")
        .pin_maps(&dir)
        .max_entries(maps::FLOWS, flows)
        .max_entries(maps::RINGS, rings)
        .programs(&[PROGRAM])
        .load(objects::BALANCER)?;
    Table::<u32, CaptureFilter>::new(Map::open(&dir.join(maps::CAPTURE))?)?.insert(&0, filter)?;
    let mut ring = Ring::new(&Map::open(&dir.join(maps::CAPTURED))?)?;
    // What an earlier capture has left.
    let most = ring.size();
    ring.drain(most, |_| {});
    Ok((object.take_program(PROGRAM)?, ring.into_async()?))
}

impl CaptureNames {
    /// `None` if it is not a record.
    pub fn packet(&self, record: &[u8]) -> Option<CapturedPacket> {
        let (captured, _) = Captured::read_from_prefix(record).ok()?;
        let kept = |bytes: &[u8], length: u32, most: usize| {
            let kept = (length as usize).min(most);
            (bytes.get(..kept).unwrap_or_default().to_vec(), length)
        };
        let kind = |kind: u32| captured.kinds & kind != 0;
        let interface = self.interfaces.get(&captured.ifindex);
        let mut names = counter::NAMES.iter();
        Some(CapturedPacket {
            time_ns: captured.time_ns,
            interface: interface.cloned().unwrap_or_else(|| format!("if{}", captured.ifindex)),
            before: kept(&captured.before, captured.before_length, KEPT),
            after: kept(&captured.after, captured.after_length, KEPT_AFTER),
            action: captured.action,
            vip: match captured.vip {
                NO_VIP => None,
                number => Some(self.vips.get(&number).cloned().unwrap_or(format!("VIP {number}"))),
            },
            backend: self.backends.get(&captured.backend).copied(),
            counted: names.find(|(index, _)| *index == captured.counted).map(|(_, name)| *name),
            new_flow: kind(capture::kinds::NEW_FLOW),
            moved: kind(capture::kinds::MOVED),
            miss: kind(capture::kinds::MISS),
        })
    }
}
