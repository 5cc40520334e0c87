//! Which backend a flow to a service gets.
//!
//! A service has a ring of backend ids: the list of backends, indexed at random, or a Maglev ring,
//! indexed by the flow's hash. A slot whose backend is gone (the agent swaps the ring before it
//! forgets the backend, so this is rare) is passed over for the next.
//!
//! With affinity, a client that has opened a flow not long ago gets the backend that it got then,
//! as long as that is one of the service's.

use crate::env::Env;
use abi::service::{
    Affinity, AffinityKey, Backend, MemberKey, RING_BLOCK, Service, SourceRangeKey, service_flags,
};
use abi::{Address, Port};

/// Slots tried before a service counts as one without backends.
const ATTEMPTS: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub backend: u32,
    pub address: Address,
    pub port: Port,
}

/// Whether the service takes flows of this source.
#[inline(always)]
pub fn admits(env: &impl Env, service: &Service, source: Address) -> bool {
    if service.flags & service_flags::SOURCE_RANGES == 0 {
        return true;
    }
    let prefix_len = u32::BITS + 8 * size_of::<Address>() as u32;
    env.is_in_source_ranges(&SourceRangeKey { prefix_len, service: service.id, address: source })
}

/// For the flow of `client` with this hash. None if the service has no backend.
#[inline(always)]
pub fn choose(env: &impl Env, service: &Service, client: Address, hash: u32) -> Option<Choice> {
    if service.affinity_s == 0 {
        return from_ring(env, service, hash);
    }
    let key = AffinityKey { client, service: service.id };
    let now = env.now();
    let choice = match kept(env, service, &key, now) {
        Some(choice) => choice,
        None => from_ring(env, service, hash)?,
    };
    env.insert_affinity(&key, &Affinity { last_used_ns: now, backend: choice.backend, zero: 0 });
    Some(choice)
}

/// The backend that the client had, if it may keep it.
#[inline(always)]
fn kept(env: &impl Env, service: &Service, key: &AffinityKey, now: u64) -> Option<Choice> {
    let found = env.affinity(key)?;
    let age = now.saturating_sub(found.last_used_ns);
    if age > u64::from(service.affinity_s) * 1_000_000_000 {
        return None;
    }
    let backend = found.backend;
    if !env.is_member(&MemberKey { service: service.id, backend }) {
        return None;
    }
    let Backend { address, port, .. } = *env.backend(backend)?;
    Some(Choice { backend, address, port })
}

#[inline(always)]
fn from_ring(env: &impl Env, service: &Service, hash: u32) -> Option<Choice> {
    if service.ring_len == 0 {
        return None;
    }
    let number = if service.flags & service_flags::MAGLEV != 0 { hash } else { env.random() };
    let mut index = number % service.ring_len;
    for _ in 0..ATTEMPTS {
        let block = service.ring_base + index / RING_BLOCK as u32;
        let id = env.ring_slot(block, index % RING_BLOCK as u32)?;
        if let Some(backend) = env.backend(id) {
            let Backend { address, port, .. } = *backend;
            return Some(Choice { backend: id, address, port });
        }
        index += 1;
        if index >= service.ring_len {
            index = 0;
        }
    }
    None
}
