//! Flows of services, as walks of the connection table find them.

use datapath::ServiceUse;
use std::collections::HashMap;

/// What a service's port has had since the agent started, by its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceTotal {
    /// In the table now.
    pub open: u64,
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, Default)]
pub struct ServiceTotals {
    ended: HashMap<u32, ServiceUse>,
    by_id: HashMap<u32, ServiceTotal>,
}

impl ServiceTotals {
    /// After a walk, with what the connections that are left and those that it removed had.
    pub fn note(&mut self, alive: &HashMap<u32, ServiceUse>, ended: &HashMap<u32, ServiceUse>) {
        for (id, found) in ended {
            let sum = self.ended.entry(*id).or_default();
            sum.packets += found.packets;
            sum.bytes += found.bytes;
        }
        for id in alive.keys().chain(ended.keys()) {
            self.by_id.entry(*id).or_default();
        }
        for (id, total) in &mut self.by_id {
            let alive = alive.get(id).copied().unwrap_or_default();
            let ended = self.ended.get(id).copied().unwrap_or_default();
            total.open = alive.flows;
            // A flow that was replaced or pushed out between two walks is missing from both: what
            // has been told before is not taken back.
            total.packets = total.packets.max(alive.packets + ended.packets);
            total.bytes = total.bytes.max(alive.bytes + ended.bytes);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, ServiceTotal)> {
        self.by_id.iter().map(|(id, total)| (*id, *total))
    }

    /// Forgets services that are no more.
    pub fn retain(&mut self, known: impl Fn(u32) -> bool) {
        self.by_id.retain(|id, _| known(*id));
        self.ended.retain(|id, _| known(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_never_fall() {
        let seen =
            |flows, packets, bytes| HashMap::from([(7, ServiceUse { flows, packets, bytes })]);
        let mut totals = ServiceTotals::default();
        let mut check =
            |alive: &HashMap<u32, ServiceUse>, ended: &HashMap<u32, ServiceUse>, expected| {
                totals.note(alive, ended);
                let found: Vec<_> =
                    totals.iter().map(|(_, it)| (it.open, it.packets, it.bytes)).collect();
                assert_eq!(found, [expected]);
            };
        let nothing = HashMap::new();
        check(&seen(2, 10, 1000), &nothing, (2, 10, 1000));
        check(&seen(1, 8, 900), &seen(1, 5, 500), (1, 13, 1400));
        check(&nothing, &nothing, (0, 13, 1400));
        check(&seen(1, 10, 1500), &nothing, (1, 15, 2000));
    }
}
