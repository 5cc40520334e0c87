//! Forgetting that slots have moved, once no flow is left that stayed with its old backend.

use super::Balancer;
use crate::Result;
use abi::balancer::{FlowKey, FrontEnd};
use dataplane::balancer::{Packet, hash, packet_flags};
use std::collections::{HashMap, HashSet};
use zerocopy::FromZeros as _;

/// A remembered flow without a packet for so long has ended.
const FORGET_NS: u64 = 3_600_000_000_000;

impl Balancer {
    /// Walks the flow table if some slot is waiting for its last flow.
    pub fn settle(&mut self, now_ns: u64) -> Result<()> {
        let Some(loaded) = &self.loaded else { return Ok(()) };
        if !self.is_settled() {
            return Ok(());
        }
        let waiting: HashSet<u32> =
            self.compiler.unsettled(now_ns).into_iter().map(|(vip, _)| vip).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let front_ends: HashMap<u32, FrontEnd> = self
            .compiler
            .views()
            .iter()
            .filter_map(|view| self.compiler.front_end(&view.key))
            .map(|(front_end, _)| (front_end.vip, front_end))
            .filter(|(vip, _)| waiting.contains(vip))
            .collect();
        let mut in_use: HashSet<(u32, usize)> = HashSet::new();
        let mut ended = Vec::new();
        loaded.tables.flows.for_each(|key, flow| {
            let Some(front_end) = front_ends.get(&flow.vip) else { return };
            if now_ns.saturating_sub(flow.last_seen_ns) > FORGET_NS {
                ended.push(key);
            } else {
                in_use.insert((flow.vip, hash::slot(front_end, &packet(key)) as usize));
            }
        })?;
        loaded.tables.flows.remove_all(&ended)?;
        let settled = self.compiler.settle(now_ns, |vip, slot| in_use.contains(&(vip, slot)));
        match settled {
            Ok(changes) if !changes.is_empty() => {
                self.outstanding = Some(changes);
                self.commit()
            }
            Ok(_) => Ok(()),
            Err(refusal) => {
                // Slots stay moved, which costs a look into the flow table and nothing else.
                tracing::warn!(%refusal, "ring slots stay moved");
                Ok(())
            }
        }
    }

    /// Entries of the flow table.
    pub fn flow_count(&self) -> Result<usize> {
        match &self.loaded {
            Some(loaded) => Ok(loaded.tables.flows.count()?),
            None => Ok(0),
        }
    }
}

/// As the program had it when it looked for the key.
fn packet(key: FlowKey) -> Packet {
    let mut packet = Packet::new_zeroed();
    packet.key = key;
    if !key.source.is_v4() {
        packet.flags |= packet_flags::V6;
    }
    packet
}
