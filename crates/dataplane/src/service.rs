//! Which backend a flow to a service gets.
//!
//! A service has a ring of backend ids: the list of backends, indexed at random, or a Maglev ring,
//! indexed by the flow's hash. A slot whose backend is gone (the agent swaps the ring before it
//! forgets the backend, so this is rare) is passed over for the next.

use crate::env::Env;
use abi::service::{Backend, RING_BLOCK, Service, service_flags};
use abi::{Address, Port};

/// Slots tried before a service counts as one without backends.
const ATTEMPTS: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub backend: u32,
    pub address: Address,
    pub port: Port,
}

/// `hash` is that of the flow. None if the service has no backend.
#[inline(always)]
pub fn choose(env: &impl Env, service: &Service, hash: u32) -> Option<Choice> {
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
