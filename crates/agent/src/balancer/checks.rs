//! Health checks: one task for each thing to check, and what they found.

use super::Balancing;
use super::history::EventKind;
use super::probe::{self, Outcome};
use crate::control::{Control, Stopping};
use services::balancer::{CheckTarget, FULL, Health};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinHandle;

/// Steps from a tenth of its weight to all of it.
const SLOW_STEPS: u16 = 10;

/// What is known of one target.
#[derive(Clone, Debug)]
pub struct Finding {
    pub healthy: bool,
    /// Answer or failure of the latest check; `None` before the first.
    pub latest: Option<Outcome>,
    pub duration: Duration,
    /// Since when it is healthy, or not.
    pub since: SystemTime,
    pub checks: u64,
    pub failures: u64,
}

#[derive(Debug, Default)]
pub struct Findings(Mutex<BTreeMap<CheckTarget, Finding>>);

impl Findings {
    pub fn of(&self, target: &CheckTarget) -> Option<Finding> {
        self.lock().get(target).cloned()
    }

    fn retain(&self, targets: &BTreeSet<CheckTarget>) {
        self.lock().retain(|target, _| targets.contains(target));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<CheckTarget, Finding>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The tasks that check.
#[derive(Debug, Default)]
pub struct Checkers(BTreeMap<CheckTarget, JoinHandle<()>>);

impl Checkers {
    /// Checks exactly these; those already checked go on undisturbed.
    pub fn set(
        &mut self,
        targets: &BTreeMap<CheckTarget, Option<u32>>,
        control: &Control,
        balancing: &Arc<Balancing>,
    ) {
        self.0.retain(|target, task| {
            let wanted = targets.contains_key(target) && !task.is_finished();
            if !wanted {
                task.abort();
            }
            wanted
        });
        balancing.findings.retain(&targets.keys().cloned().collect());
        for (target, mark) in targets {
            if !self.0.contains_key(target) {
                let checker = Checker {
                    target: target.clone(),
                    mark: *mark,
                    control: control.clone(),
                    balancing: balancing.clone(),
                };
                self.0.insert(target.clone(), tokio::spawn(checker.run()));
            }
        }
    }
}

impl Drop for Checkers {
    fn drop(&mut self) {
        for task in self.0.values() {
            task.abort();
        }
    }
}

struct Checker {
    target: CheckTarget,
    /// On the probe's packets, if they go through the encapsulation.
    mark: Option<u32>,
    control: Control,
    balancing: Arc<Balancing>,
}

/// Answers or failures in a row, and what they have come to.
#[derive(Clone, Copy, Debug)]
struct Streak {
    healthy: bool,
    good: u32,
    bad: u32,
}

impl Streak {
    /// True if the answer changed what the backend counts as.
    fn add(&mut self, good: bool, healthy_after: u32, unhealthy_after: u32) -> bool {
        match good {
            true => (self.good, self.bad) = (self.good.saturating_add(1), 0),
            false => (self.good, self.bad) = (0, self.bad.saturating_add(1)),
        }
        let healthy = match self.healthy {
            true => self.bad < unhealthy_after,
            false => self.good >= healthy_after,
        };
        std::mem::replace(&mut self.healthy, healthy) != healthy
    }
}

impl Checker {
    async fn run(self) {
        // Many targets don't all begin at the same moment.
        let spread = self.target.check.interval.mul_f64(phase(&self.target));
        tokio::time::sleep(spread.min(Duration::from_secs(1))).await;
        // One that an earlier task has left as it is.
        let known = self.balancing.findings.of(&self.target);
        let healthy = known.is_none_or(|known| known.healthy);
        let mut streak = Streak { healthy, good: 0, bad: 0 };
        let mut rise: Option<Rise> = None;
        let mut interval = tokio::time::interval(self.target.check.interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let next_step = rise.map(|rise| rise.next);
            tokio::select! {
                _ = interval.tick() => {
                    match self.check(&mut streak, &mut rise).await {
                        Ok(()) => {}
                        Err(Stopping) => return,
                    }
                }
                () = sleep_until(next_step), if next_step.is_some() => {
                    if self.step(&mut rise).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn check(&self, streak: &mut Streak, rise: &mut Option<Rise>) -> Result<(), Stopping> {
        let check = &self.target.check;
        let started = Instant::now();
        let outcome = match tokio::time::timeout(
            check.timeout,
            probe::probe(&self.target, self.mark),
        )
        .await
        {
            Ok(outcome) => outcome,
            Err(_) => Outcome::bad(format!("no answer within {:?}", check.timeout)),
        };
        let changed = streak.add(outcome.good, check.healthy_after, check.unhealthy_after);
        let message = outcome.message.clone();
        self.note(streak.healthy, outcome, started.elapsed(), changed);
        if !changed {
            return Ok(());
        }
        let kind = if streak.healthy { EventKind::Healthy } else { EventKind::Unhealthy };
        *rise = None;
        let mut share = FULL;
        if streak.healthy && !check.slow_start.is_zero() {
            let begun = Rise::begin(check.slow_start);
            share = begun.share();
            *rise = Some(begun);
        }
        self.tell(Health { healthy: streak.healthy, share }).await?;
        self.balancing.history.note(kind, self.target.address, title(&self.target), message);
        Ok(())
    }

    fn note(&self, healthy: bool, outcome: Outcome, duration: Duration, changed: bool) {
        let mut findings = self.balancing.findings.lock();
        let finding = findings.entry(self.target.clone()).or_insert(Finding {
            healthy,
            latest: None,
            duration,
            since: SystemTime::now(),
            checks: 0,
            failures: 0,
        });
        finding.checks += 1;
        finding.failures += u64::from(!outcome.good);
        finding.duration = duration;
        finding.latest = Some(outcome);
        finding.healthy = healthy;
        if changed {
            finding.since = SystemTime::now();
        }
    }

    /// A step further to the full weight.
    async fn step(&self, rise: &mut Option<Rise>) -> Result<(), Stopping> {
        let Some(mut current) = rise.take() else { return Ok(()) };
        current.step += 1;
        current.next += current.pause;
        let share = current.share();
        self.tell(Health { healthy: true, share }).await?;
        if share < FULL {
            *rise = Some(current);
        } else {
            let message = format!("after {:?}", self.target.check.slow_start);
            let backend = self.target.address;
            self.balancing.history.note(
                EventKind::FullWeight,
                backend,
                title(&self.target),
                message,
            );
        }
        Ok(())
    }

    async fn tell(&self, health: Health) -> Result<(), Stopping> {
        let target = self.target.clone();
        self.control.ask(move |node| node.backend_health(&target, health)).await
    }
}

/// A slow start under way.
#[derive(Clone, Copy, Debug)]
struct Rise {
    step: u16,
    pause: Duration,
    next: Instant,
}

impl Rise {
    fn begin(slow_start: Duration) -> Self {
        let pause = slow_start / u32::from(SLOW_STEPS - 1);
        Rise { step: 1, pause, next: Instant::now() + pause }
    }

    fn share(&self) -> u16 {
        FULL / SLOW_STEPS * self.step.min(SLOW_STEPS)
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

/// A number from 0 to 1 that differs between targets.
fn phase(target: &CheckTarget) -> f64 {
    let mut hash = model::content_id::ContentHash::new("health check");
    hash.text(&target.address.to_string());
    hash.word(target.port.into());
    (hash.finish() % 1000) as f64 / 1000.0
}

/// `tcp 443`, `http 8080 /healthz`.
pub fn title(target: &CheckTarget) -> String {
    use model::load_balancer::Probe;
    match &target.check.probe {
        Probe::Tcp { .. } => format!("tcp {}", target.port),
        Probe::Http(http) => {
            let scheme = if http.tls { "https" } else { "http" };
            format!("{scheme} {} {}", target.port, http.path)
        }
        Probe::Icmp => "icmp".to_owned(),
        Probe::Script { command } => {
            let program = command.first().map(String::as_str).unwrap_or_default();
            format!("script {program}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streaks() {
        let mut streak = Streak { healthy: true, good: 0, bad: 0 };
        let mut check = |good: bool, healthy: bool, changed: bool| {
            assert_eq!(streak.add(good, 2, 3), changed);
            assert_eq!(streak.healthy, healthy);
        };
        check(false, true, false);
        check(false, true, false);
        check(true, true, false);
        check(false, true, false);
        check(false, true, false);
        check(false, false, true);
        check(true, false, false);
        check(false, false, false);
        check(true, false, false);
        check(true, true, true);
    }

    #[test]
    fn slow_starts_end_at_the_full_weight() {
        let mut rise = Rise::begin(Duration::from_secs(9));
        assert_eq!((rise.share(), rise.pause), (100, Duration::from_secs(1)));
        rise.step = 10;
        assert_eq!(rise.share(), FULL);
    }
}
