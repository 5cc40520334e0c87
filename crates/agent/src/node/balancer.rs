//! What tasks and requests ask of the node about the edge balancer.

use super::Node;
use services::balancer::{CheckTarget, Health};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Table of the agent's state in the database: backends that are drained by command.
pub(super) const DRAINED: &str = "drained";

impl Node {
    pub async fn keep_up_balancer(&mut self) -> Result<(), String> {
        let done = self.datapath.keep_up_balancer().await;
        self.balancer_problem = done.as_ref().err().cloned();
        done
    }

    /// What is to be checked, and the mark on the packets of checks through the encapsulation.
    pub fn check_targets(&mut self) -> BTreeMap<CheckTarget, Option<u32>> {
        self.datapath.balancer_mut().check_targets()
    }

    /// A health check has come to another result.
    pub fn backend_health(&mut self, target: &CheckTarget, health: Health) {
        if self.datapath.balancer_mut().set_health(target, health) {
            self.recompile_balancer();
        }
    }

    /// Takes new flows from a backend, or gives them back. It stays so over a restart.
    pub fn drain(&mut self, backend: IpAddr, drained: bool) -> anyhow::Result<bool> {
        use store::database::StateOp;
        let key = backend.to_string();
        let op = match drained {
            true => StateOp::Put { table: DRAINED, key: key.as_bytes(), value: &[] },
            false => StateOp::Delete { table: DRAINED, key: key.as_bytes() },
        };
        self.desired.database().change_state(&[op])?;
        let changed = self.datapath.balancer_mut().drain(backend, drained);
        if changed {
            self.recompile_balancer();
        }
        Ok(changed)
    }

    fn recompile_balancer(&mut self) {
        let now = match host::process::boot_time() {
            Ok(now) => now.as_nanos() as u64,
            Err(error) => return tracing::error!(%error, "the balancer stays as it is"),
        };
        // Tried again with the next look at it.
        if let Err(error) = self.datapath.balancer_mut().recompile(now) {
            tracing::error!("balancer: {error}");
            self.balancer_problem = Some(error);
        }
    }

    pub fn settle_balancer(&mut self, now_ns: u64) -> Result<(), datapath::Error> {
        self.datapath.balancer_mut().settle(now_ns)
    }

    /// What keeps the balancer from working.
    pub fn balancer_problem(&self) -> Option<&str> {
        self.balancer_problem.as_deref()
    }
}
