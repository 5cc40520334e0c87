//! What a VIP's ring has to be.

use crate::balancer::ring::{self, Member, Version};
use crate::balancer::roles::{FULL, Role};
use crate::balancer::rows::{self, BackendKey};
use model::load_balancer::{Edge, HashAlgorithm, Keep, Vip};

/// Everything that decides on the owners of slots, and on what becomes of those before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RingSpec {
    algorithm: HashAlgorithm,
    len: u32,
    /// Sorted.
    members: Vec<Member>,
    /// Numbers of those that are dead for this VIP, though they may live for others; sorted.
    pub dead: Vec<u16>,
    pub keeps_moved: bool,
}

impl RingSpec {
    /// `number` knows backends in use.
    pub fn of(
        edge: &Edge,
        vip: &Vip,
        roles: &[Role],
        number: impl Fn(&BackendKey) -> Option<u32>,
    ) -> Self {
        let katran = edge.hashing.algorithm != HashAlgorithm::Skep;
        let (mut members, mut dead) = (Vec::new(), Vec::new());
        for (backend, role) in vip.backends.iter().zip(roles) {
            let Some(number) = number(&BackendKey::of(vip, backend)) else { continue };
            let number = number as u16;
            match role {
                Role::Serves(weight) => members.push(Member {
                    number,
                    address: backend.address,
                    port: backend.port.unwrap_or(0),
                    // Katran's first ring gives as many slots in its first round as the weight says.
                    weight: if katran { (weight / u32::from(FULL)).max(1) } else { *weight },
                }),
                Role::Dead(_) => dead.push(number),
                Role::KeepsFlows(_) => {}
            }
        }
        members.sort_unstable();
        dead.sort_unstable();
        let divisor = members.iter().fold(0, |divisor, member| gcd(divisor, member.weight));
        if !katran && divisor > 1 {
            for member in &mut members {
                member.weight /= divisor;
            }
        }
        RingSpec {
            algorithm: edge.hashing.algorithm,
            // Of all that are listed, so that a ring keeps its size when health changes.
            len: rows::ring_len(edge, vip.backends.len()),
            members,
            dead,
            keeps_moved: vip.keep == Keep::Moved,
        }
    }

    /// Of each slot; empty if nobody takes new flows.
    pub fn owners(&self) -> Vec<u16> {
        match self.algorithm {
            HashAlgorithm::Skep => ring::weighted(&self.members, self.len),
            HashAlgorithm::KatranV1 => ring::katran(&self.members, Version::V1, self.len),
            HashAlgorithm::KatranV2 => ring::katran(&self.members, Version::V2, self.len),
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
