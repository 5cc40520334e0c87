//! What the programs counted, summed over all CPUs.

use abi::drop_reason::DropReason;
use abi::metrics::{self, Metric};
use bpf_kernel::{Error, PerCpu};

/// Since the maps were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Only reasons that occurred.
    pub drops: Vec<(DropReason, Metric)>,
    pub forwarded: Metric,
    pub connections: u64,
    /// Closed connections whose tuple was opened anew.
    pub connections_replaced: u64,
    pub events: u64,
    pub events_lost: u64,
    pub events_limited: u64,
    pub redirected: u64,
    pub socket_translated: u64,
    pub packet_translated: u64,
    pub revalidated: u64,
    pub shortcut: u64,
}

impl Counters {
    pub fn read(table: &PerCpu<u32, Metric>) -> Result<Self, Error> {
        let sum = |index: u32| -> Result<Metric, Error> {
            let values = table.get(&index)?.unwrap_or_default();
            Ok(values.iter().fold(Metric::default(), |sum, value| Metric {
                packets: sum.packets + value.packets,
                bytes: sum.bytes + value.bytes,
            }))
        };
        let mut drops = Vec::new();
        for reason in DropReason::ALL {
            let metric = sum(reason as u32)?;
            if metric.packets > 0 {
                drops.push((reason, metric));
            }
        }
        Ok(Counters {
            drops,
            forwarded: sum(metrics::FORWARDED)?,
            connections: sum(metrics::CONNECTIONS)?.packets,
            connections_replaced: sum(metrics::CONNECTIONS_REPLACED)?.packets,
            events: sum(metrics::EVENTS)?.packets,
            events_lost: sum(metrics::EVENTS_LOST)?.packets,
            events_limited: sum(metrics::EVENTS_LIMITED)?.packets,
            redirected: sum(metrics::REDIRECTED)?.packets,
            socket_translated: sum(metrics::SOCKET_TRANSLATED)?.packets,
            packet_translated: sum(metrics::PACKET_TRANSLATED)?.packets,
            revalidated: sum(metrics::REVALIDATED)?.packets,
            shortcut: sum(metrics::SHORTCUT)?.packets,
        })
    }
}
