//! What each backend of a VIP does now: who is in the ring, and why the others are not.

use model::load_balancer::{Backend, BackendState, Vip};
use std::fmt;

/// Shares of a weight are in thousandths.
pub const FULL: u16 = 1000;

/// What is known of a backend besides its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `skep lb drain`.
    pub drained: bool,
    pub healthy: bool,
    /// Of its weight, in thousandths: less while it starts slowly.
    pub share: u16,
}

impl Default for Condition {
    fn default() -> Self {
        Condition { drained: false, healthy: true, share: FULL }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// In the ring, with this weight.
    Serves(u32),
    /// Keeps its flows, gets no new ones.
    KeepsFlows(Reason),
    /// Gets nothing.
    Dead(Reason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Draining,
    Drained,
    NoWeight,
    OtherZone,
    Standby,
    Down,
    Unhealthy,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Draining => "state draining",
            Reason::Drained => "drained by command",
            Reason::NoWeight => "weight 0",
            Reason::OtherZone => "in another zone",
            Reason::Standby => "standby",
            Reason::Down => "state down",
            Reason::Unhealthy => "health check fails",
        })
    }
}

/// The role of each of the VIP's backends, in their order.
pub fn roles(
    vip: &Vip,
    zone: Option<&str>,
    condition: impl Fn(&Backend) -> Condition,
) -> Vec<Role> {
    let conditions: Vec<Condition> = vip.backends.iter().map(condition).collect();
    let mut roles: Vec<Role> =
        vip.backends.iter().zip(&conditions).map(|(one, now)| alone(one, *now)).collect();
    let serving = |roles: &[Role]| roles.iter().any(|role| matches!(role, Role::Serves(_)));
    if vip.prefer_zone {
        let near = |backend: &Backend| zone.is_some() && backend.zone.as_deref() == zone;
        let mut pairs = vip.backends.iter().zip(&roles);
        if pairs.any(|(one, role)| near(one) && matches!(role, Role::Serves(_))) {
            for (backend, role) in vip.backends.iter().zip(&mut roles) {
                if matches!(role, Role::Serves(_)) && !near(backend) {
                    *role = Role::KeepsFlows(Reason::OtherZone);
                }
            }
        }
    }
    if !serving(&roles) {
        // Standbys with the lowest number that has one alive.
        let waiting = |role: &Role| *role == Role::KeepsFlows(Reason::Standby);
        let able = |backend: &Backend, role: &Role| waiting(role) && backend.weight > 0;
        let first = vip
            .backends
            .iter()
            .zip(&roles)
            .filter(|(backend, role)| able(backend, role))
            .map(|(backend, _)| backend.priority)
            .min();
        for ((backend, role), now) in vip.backends.iter().zip(&mut roles).zip(&conditions) {
            if able(backend, role) && Some(backend.priority) == first {
                *role = Role::Serves(weight(backend, *now));
            }
        }
    }
    roles
}

/// What a backend would do, whatever the others do.
fn alone(backend: &Backend, now: Condition) -> Role {
    match backend.state {
        BackendState::Down => Role::Dead(Reason::Down),
        _ if !now.healthy => Role::Dead(Reason::Unhealthy),
        _ if now.drained => Role::KeepsFlows(Reason::Drained),
        BackendState::Draining => Role::KeepsFlows(Reason::Draining),
        BackendState::Standby => Role::KeepsFlows(Reason::Standby),
        BackendState::Active if backend.weight == 0 => Role::KeepsFlows(Reason::NoWeight),
        BackendState::Active => Role::Serves(weight(backend, now)),
    }
}

/// In thousandths.
fn weight(backend: &Backend, now: Condition) -> u32 {
    (backend.weight * u32::from(now.share.min(FULL))).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::tests::{backend, vip};

    fn check(backends: Vec<Backend>, zone: Option<&str>, expect: &[Role]) {
        let mut vip = vip("10.0.0.1", 80, backends);
        vip.prefer_zone = zone.is_some();
        let condition = |backend: &Backend| Condition {
            // Weight 7 marks the sick, weight 8 the drained.
            healthy: backend.weight != 7,
            drained: backend.weight == 8,
            share: FULL,
        };
        assert_eq!(roles(&vip, zone, condition), expect);
    }

    fn with(address: &str, weight: u32, state: BackendState, priority: u32) -> Backend {
        Backend { weight, state, priority, ..backend(address) }
    }

    #[test]
    fn states() {
        use BackendState::*;
        check(
            vec![
                with("10.1.0.1", 1, Active, 0),
                with("10.1.0.2", 0, Active, 0),
                with("10.1.0.3", 1, Draining, 0),
                with("10.1.0.4", 1, Down, 0),
                with("10.1.0.5", 1, Standby, 0),
                with("10.1.0.6", 7, Active, 0),
                with("10.1.0.7", 8, Active, 0),
            ],
            None,
            &[
                Role::Serves(1000),
                Role::KeepsFlows(Reason::NoWeight),
                Role::KeepsFlows(Reason::Draining),
                Role::Dead(Reason::Down),
                Role::KeepsFlows(Reason::Standby),
                Role::Dead(Reason::Unhealthy),
                Role::KeepsFlows(Reason::Drained),
            ],
        );
    }

    #[test]
    fn standbys_serve_by_priority() {
        use BackendState::*;
        check(
            vec![
                with("10.1.0.1", 7, Active, 0),
                with("10.1.0.2", 1, Standby, 2),
                with("10.1.0.3", 7, Standby, 1),
                with("10.1.0.4", 2, Standby, 2),
                with("10.1.0.5", 1, Standby, 3),
            ],
            None,
            &[
                Role::Dead(Reason::Unhealthy),
                Role::Serves(1000),
                Role::Dead(Reason::Unhealthy),
                Role::Serves(2000),
                Role::KeepsFlows(Reason::Standby),
            ],
        );
    }

    #[test]
    fn zones() {
        let zoned = |address: &str, weight, zone: &str| Backend {
            zone: Some(zone.to_owned()),
            ..with(address, weight, BackendState::Active, 0)
        };
        check(
            vec![zoned("10.1.0.1", 1, "a"), zoned("10.1.0.2", 1, "b")],
            Some("a"),
            &[Role::Serves(1000), Role::KeepsFlows(Reason::OtherZone)],
        );
        // Nobody healthy in the zone: all others.
        check(
            vec![zoned("10.1.0.1", 7, "a"), zoned("10.1.0.2", 1, "b")],
            Some("a"),
            &[Role::Dead(Reason::Unhealthy), Role::Serves(1000)],
        );
    }
}
