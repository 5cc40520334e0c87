//! Object `balancer`: loaded once the first load balancer comes.

use crate::programs::keep_or_pin;
use crate::{Config, Result};
use abi::balancer::{RING_BLOCK, maps};
use bpf_kernel::{LoadFailure, Loader, Map, Program};
use model::load_balancer::Edge;
use std::collections::BTreeMap;

/// For interfaces that take XDP programs.
const XDP: &str = "balance";
/// The same for interfaces that don't.
const TC: &str = "balance_tc";
/// Encapsulates the node's own health checks by their mark.
const CHECK: &str = "check";

#[derive(Debug)]
pub struct Programs {
    pub xdp: Program,
    /// In its place while packets are captured.
    pub capture: Option<Program>,
    /// Or why this kernel refuses it; the others work without.
    pub tc: Result<Program, String>,
    pub check: Result<Program, String>,
    /// Flows that the table takes; set when the maps were made.
    pub flow_table: u32,
}

impl Programs {
    /// Maps that are pinned are used again, and so are pinned programs that are the same.
    pub fn load(config: &Config, edge: &Edge) -> Result<Self> {
        let dir = config.bpffs.join("maps");
        // Flows and rings outlive a change of their room in the manifest.
        let room = |map: &str, wanted: u32| -> Result<u32> {
            let pinned = match config.replace_maps {
                true => None,
                false => Map::open_if_pinned(&dir.join(map))?,
            };
            Ok(pinned.map_or(wanted, |map| map.layout().max_entries))
        };
        let flow_table = room(maps::FLOWS, edge.flows.table)?;
        let rings = room(maps::RINGS, edge.hashing.slots.div_ceil(RING_BLOCK as u32))?;
        let (mut object, refused) = Loader::new("balancer")
            .pin_maps(&dir)
            .replace_mismatched(config.replace_maps)
            .max_entries(maps::FLOWS, flow_table)
            .max_entries(maps::RINGS, rings)
            .programs(&[XDP, TC, CHECK])
            .load_each(objects::BALANCER)?;
        let ids = object.maps().map(|map| Ok(map.info()?.id)).collect::<Result<Vec<u32>>>()?;
        let pins = config.bpffs.join("programs");
        let mut refusals: BTreeMap<String, LoadFailure> =
            refused.into_iter().map(|failure| (failure.program.clone(), failure)).collect();
        if let Some(failure) = refusals.remove(XDP) {
            return Err(bpf_kernel::Error::Load(Box::new(failure)).into());
        }
        let mut program =
            |name: &str| keep_or_pin(object.take_program(name)?, &pins.join(name), &ids);
        let xdp = program(XDP)?;
        let mut optional = |name: &str| match refusals.get(name) {
            None => program(name).map(Ok),
            Some(failure) => {
                tracing::warn!("{failure}");
                Ok(Err(failure.to_string()))
            }
        };
        Ok(Programs { xdp, capture: None, tc: optional(TC)?, check: optional(CHECK)?, flow_table })
    }

    /// What interfaces are to have now.
    pub fn xdp_now(&self) -> &Program {
        self.capture.as_ref().unwrap_or(&self.xdp)
    }

    /// Whether an earlier agent has loaded the object.
    pub fn are_pinned(config: &Config) -> bool {
        config.bpffs.join("maps").join(maps::SETTINGS).exists()
    }
}
