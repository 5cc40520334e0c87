//! Forgetting connections that have been idle for too long.
//!
//! The table is an LRU, so it can't overflow; but an entry that is merely old would keep its place
//! until it is pushed out, and its end would never be reported. So the agent walks the table now
//! and then.

use crate::{Counters, Result};
use abi::conntrack::{Connection, FlowKey, conn_flags};
use abi::event::{FlowEvent, FlowKind};
use abi::maps;
use abi::metrics::Metric;
use abi::state::Timeouts;
use bpf_kernel::{PerCpu, Table};
use std::collections::HashMap;
use std::path::Path;
use zerocopy::FromZeros;

/// The connection table, for walks beside the datapath: a long table takes a while.
#[derive(Debug)]
pub struct Connections {
    table: Table<FlowKey, Connection>,
    metrics: PerCpu<u32, Metric>,
    timeouts: Timeouts,
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Collected {
    /// Connections that programs have ever made, less those that they replaced.
    pub made: u64,
    /// Entries that stay.
    pub alive: usize,
    pub expired: usize,
    /// What the connections that stay have had, by their service's id; services only.
    pub alive_by_service: HashMap<u32, ServiceUse>,
    /// The same for those that are removed.
    pub ended_by_service: HashMap<u32, ServiceUse>,
    /// Ends to report: of expired flows whose end no program reported.
    pub ends: Vec<FlowEvent>,
}

/// Flows of a service's port, and their packets both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceUse {
    pub flows: u64,
    pub packets: u64,
    pub bytes: u64,
}

fn note(of: &mut HashMap<u32, ServiceUse>, connection: &Connection) {
    if connection.service == 0 {
        return;
    }
    let sum = of.entry(connection.service).or_default();
    sum.flows += 1;
    sum.packets += connection.original.packets + connection.reply.packets;
    sum.bytes += connection.original.bytes + connection.reply.bytes;
}

impl Connections {
    pub(crate) fn open(folder: &Path, timeouts: Timeouts) -> Result<Self> {
        Ok(Connections {
            table: Table::open(&folder.join(maps::CONNTRACK))?,
            metrics: PerCpu::open(&folder.join(maps::METRICS))?,
            timeouts,
        })
    }

    /// Removes the entries that are expired at boot time `now_ns`.
    pub fn collect(&self, now_ns: u64) -> Result<Collected> {
        let counters = Counters::read(&self.metrics)?;
        let made = counters.connections.saturating_sub(counters.connections_replaced);
        let mut collected = Collected { made, ..Collected::default() };
        let mut expired = Vec::new();
        self.table.for_each(|key, connection| {
            if is_expired(&key, &connection, &self.timeouts, now_ns) {
                expired.push(key);
            } else {
                collected.alive += 1;
                note(&mut collected.alive_by_service, &connection);
            }
        })?;
        for key in expired {
            // Looked at again: a packet may have come meanwhile.
            let Some(connection) = self.table.get(&key)? else { continue };
            if is_expired(&key, &connection, &self.timeouts, now_ns) && self.table.remove(&key)? {
                collected.expired += 1;
                note(&mut collected.ended_by_service, &connection);
                if connection.flags & conn_flags::END_REPORTED == 0 {
                    collected.ends.push(end_of(&key, &connection));
                }
            }
        }
        Ok(collected)
    }
}

fn is_expired(key: &FlowKey, connection: &Connection, timeouts: &Timeouts, now_ns: u64) -> bool {
    let replied = connection.flags & conn_flags::REPLY_SEEN != 0;
    let timeout = dataplane::conntrack::timeout(key.protocol, connection.state, replied, timeouts);
    now_ns.saturating_sub(connection.last_seen_ns) > u64::from(timeout) * 1_000_000_000
}

/// The event that tells the end of a flow, as a program would have written it.
fn end_of(key: &FlowKey, connection: &Connection) -> FlowEvent {
    let mut event = FlowEvent::new_zeroed();
    let low = (key.low, key.low_port);
    let high = (key.high, key.high_port);
    let (source, destination) = match connection.flags & conn_flags::FROM_HIGH {
        0 => (low, high),
        _ => (high, low),
    };
    event.kind = FlowKind::End as u8;
    // The flow ended with its last packet, not when it was found to be over.
    event.time_ns = connection.last_seen_ns;
    event.started_ns = connection.created_ns;
    (event.source, event.source_port) = source;
    (event.destination, event.destination_port) = destination;
    event.protocol = key.protocol;
    event.vip = connection.vip;
    event.vip_port = connection.vip_port;
    event.source_process = connection.initiator;
    event.destination_process = connection.responder;
    event.original = connection.original;
    event.reply = connection.reply;
    event.source_identity = connection.initiator_identity;
    event.destination_identity = connection.responder_identity;
    event.source_endpoint = connection.initiator_endpoint;
    event.destination_endpoint = connection.responder_endpoint;
    event.service = connection.service;
    event.backend = connection.backend;
    event.egress_rule = connection.egress_rule;
    event.ingress_rule = connection.ingress_rule;
    event.flags = connection.flags;
    event
}
