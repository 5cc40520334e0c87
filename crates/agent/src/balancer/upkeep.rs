//! The task that keeps the balancer's programs and checks to what the objects want.

use super::Balancing;
use super::checks::Checkers;
use crate::control::Control;
use crate::supervise::supervise;
use host::process::boot_time;
use std::sync::Arc;
use std::time::Duration;

/// How soon a new object is checked, and a program that was taken away is put back.
const LOOK: Duration = Duration::from_millis(250);
/// How often it is looked for ring slots whose remembered flows have gone.
const SETTLE: u32 = 40;

pub fn keep_up(control: &Control, balancing: Arc<Balancing>) {
    let control = control.clone();
    supervise("balancer", move || {
        let (control, balancing) = (control.clone(), balancing.clone());
        async move {
            let mut checkers = Checkers::default();
            let mut complaint = String::new();
            for round in 1u32.. {
                let kept = control.run(|node| Box::pin(node.keep_up_balancer())).await?;
                let now = kept.as_ref().err().cloned().unwrap_or_default();
                if now != complaint {
                    if !now.is_empty() {
                        tracing::error!("balancer: {now}");
                    }
                    complaint = now;
                }
                let targets = control.ask(|node| node.check_targets()).await?;
                checkers.set(&targets, &control, &balancing);
                if round.is_multiple_of(SETTLE) {
                    let now_ns = boot_time()?.as_nanos() as u64;
                    control.ask(move |node| node.settle_balancer(now_ns)).await??;
                }
                tokio::time::sleep(LOOK).await;
            }
            anyhow::Ok(())
        }
    });
}
