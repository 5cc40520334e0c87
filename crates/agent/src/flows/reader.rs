//! From the ring buffer to the history.

use super::history::History;
use super::names::{Names, ProcessNames};
use super::record::{Body, End, FlowRecord, rule_number};
use abi::event::FlowEvent;
use abi::process::ProcessKey;
use api::v1::lost_events::Cause;
use bpf_kernel::AsyncRing;
use host::process::BootClock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use zerocopy::FromBytes;

/// Programs don't wake the reader for each event (a wake-up costs more than all the rest), so it
/// looks by the clock.
const DRAIN_INTERVAL: Duration = Duration::from_millis(5);

/// Reads events until the ring fails.
pub async fn run(enricher: Arc<Enricher>, mut ring: AsyncRing) -> Result<(), bpf_kernel::Error> {
    // Next sequence number expected of each CPU.
    let mut expected: HashMap<u16, u64> = HashMap::new();
    loop {
        ring.next(DRAIN_INTERVAL, |bytes| match FlowEvent::read_from_prefix(bytes) {
            Ok((event, _)) => {
                // A jump in a CPU's numbers means that the ring was full in between.
                let next = expected.insert(event.cpu, event.sequence + 1);
                let lost = next.map_or(0, |next| event.sequence.saturating_sub(next));
                if lost > 0 {
                    enricher.record_loss(&event, lost);
                }
                enricher.record(event);
            }
            Err(_) => tracing::error!(length = bytes.len(), "an event is too short; ignored"),
        })
        .await?;
    }
}

/// Turns events into records.
#[derive(Debug)]
pub struct Enricher {
    pub names: Arc<Mutex<Names>>,
    pub history: Arc<History>,
    pub processes: datapath::Processes,
    pub clock: BootClock,
}

impl Enricher {
    pub fn record(&self, event: FlowEvent) {
        let record = self.enrich(event);
        self.history.push(self.clock.wall(event.time_ns), Body::Flow(Box::new(record)));
    }

    fn record_loss(&self, next: &FlowEvent, count: u64) {
        let body = Body::Lost { count, cpu: Some(next.cpu.into()), cause: Cause::RingBuffer };
        self.history.push(self.clock.wall(next.time_ns), body);
    }

    fn enrich(&self, event: FlowEvent) -> FlowRecord {
        let mut names = self.names.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut end = |endpoint: u32, identity: u32, process: ProcessKey| End {
            endpoint: names.endpoints.get(&endpoint).cloned(),
            identity: names.identities.get(&identity).cloned(),
            process: names.process(process, || self.look_up(process)),
        };
        let source = end(event.source_endpoint, event.source_identity, event.source_process);
        let destination =
            end(event.destination_endpoint, event.destination_identity, event.destination_process);
        let rule =
            |number| rule_number(number).and_then(|number| names.rules.get(&number).cloned());
        FlowRecord {
            source,
            destination,
            service: names.services.get(&event.service).cloned(),
            egress_rule: rule(event.egress_rule),
            ingress_rule: rule(event.ingress_rule),
            interface: names.interfaces.get(&event.ifindex).cloned(),
            event,
        }
    }

    fn look_up(&self, key: ProcessKey) -> Option<ProcessNames> {
        let process = self.processes.look_up(&key)?;
        Some(ProcessNames {
            parent: process.parent,
            binary: process.binary,
            comm: process.comm,
            uid: process.uid,
        })
    }
}
