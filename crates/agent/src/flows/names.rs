//! Names for the numbers in events. The reconciler writes them, the event reader looks them up.

use abi::process::ProcessKey;
use model::{ObjectName, Origin};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Everything that enrichment needs, shared behind one lock.
#[derive(Debug, Default)]
pub struct Names {
    pub endpoints: HashMap<u32, Arc<EndpointNames>>,
    pub identities: HashMap<u32, Arc<IdentityNames>>,
    pub services: HashMap<u32, Arc<ServiceNames>>,
    pub rules: HashMap<u32, Arc<RuleNames>>,
    /// Interfaces with an endpoint.
    pub interfaces: HashMap<u32, Arc<str>>,
    processes: HashMap<ProcessKey, Arc<ProcessNames>>,
}

#[derive(Debug)]
pub struct EndpointNames {
    pub workload: ObjectName,
    /// Policies that restrict the endpoint, for denials that no rule gave.
    pub ingress_policies: Vec<Arc<RuleNames>>,
    pub egress_policies: Vec<Arc<RuleNames>>,
}

#[derive(Debug)]
pub struct IdentityNames {
    /// `host`, `world`, or the block of a CIDR identity; empty for a label set.
    pub name: String,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct ServiceNames {
    pub service: ObjectName,
    pub port: String,
}

/// A rule of a policy, or (without index) the policy.
#[derive(Debug)]
pub struct RuleNames {
    pub policy: ObjectName,
    pub ingress: bool,
    pub rule: Option<u32>,
    pub origin: Origin,
}

#[derive(Debug)]
pub struct ProcessNames {
    pub parent: ProcessKey,
    pub binary: String,
    pub comm: String,
    pub uid: u32,
}

/// Processes remembered before the oldest knowledge is thrown away; as many as the kernel keeps.
const PROCESSES_KEPT: usize = abi::maps::capacity::PROCESSES as usize;

impl Names {
    /// The process, by `look_up` if it isn't known yet. One that had no name then may have one
    /// later, so only what was found is remembered.
    pub fn process(
        &mut self,
        key: ProcessKey,
        look_up: impl FnOnce() -> Option<ProcessNames>,
    ) -> Option<Arc<ProcessNames>> {
        if key.is_none() {
            return None;
        }
        if let Some(known) = self.processes.get(&key) {
            return Some(known.clone());
        }
        let found = Arc::new(look_up()?);
        if self.processes.len() >= PROCESSES_KEPT {
            self.processes.clear();
        }
        self.processes.insert(key, found.clone());
        Some(found)
    }

    /// Forgets processes, because one of them may have become another program (exec).
    pub fn forget_processes(&mut self) {
        self.processes.clear();
    }
}
