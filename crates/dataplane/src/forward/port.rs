//! Another source port for a flow: of the node's own address if the flow is masqueraded, of the
//! client's if the backend has a flow from the client's port already.

use super::Way;
use crate::env::Env;
use crate::flow;
use crate::packet::Packet;
use abi::Port;
use abi::conntrack::{Masquerade, masquerade_ports};
use wire::ip::protocol;

/// Ports tried before a flow is refused.
const ATTEMPTS: u32 = 8;

/// Whose the translated tuple is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    /// The flow in hand.
    Own,
    Other,
}

impl<E: Env, P: Packet> Way<'_, E, P> {
    /// Writes the key of the translated tuple and says whose it is.
    #[inline(never)]
    pub(super) fn holder(&mut self) -> Holder {
        let env = self.env;
        self.from_high = flow::canonical(&self.scratch.translated, &mut self.scratch.key);
        let Some(entry) = env.connection(&self.scratch.key) else { return Holder::Nobody };
        if entry.is_expired(self.scratch.parsed.tuple.protocol, &self.state.timeouts, self.now) {
            return Holder::Nobody;
        }
        if !self.is_own(&entry) {
            return Holder::Other;
        }
        if self.is_live(&entry) { Holder::Own } else { Holder::Nobody }
    }

    /// Gives the flow in hand, whose address the translated tuple has, a source port that no other
    /// has to its backend. False if those that are tried are taken.
    #[inline(never)]
    pub(super) fn take_port(&mut self) -> bool {
        let tuple = &self.scratch.parsed.tuple;
        let is_sctp = tuple.protocol == protocol::SCTP;
        let own = tuple.source_port;
        let first = flow::hash(tuple);
        for attempt in 0..ATTEMPTS {
            // SCTP's checksum can't be corrected for another port.
            let port = if is_sctp { own } else { nth_port(first, attempt) };
            self.scratch.service_flow.source_port = port;
            self.translate_by_own();
            if self.holder() != Holder::Other {
                return self.remember_client();
            }
        }
        false
    }

    /// Enters whose flow the translated tuple, of which the key is, belongs to.
    #[inline(always)]
    pub(super) fn remember_client(&mut self) -> bool {
        let tuple = &self.scratch.parsed.tuple;
        let client = Masquerade { client: tuple.source, port: tuple.source_port, zero: [0; 2] };
        self.env.insert_masquerade(&self.scratch.key, &client)
    }
}

/// Ports in an order that differs from flow to flow.
#[inline(always)]
fn nth_port(first: u32, attempt: u32) -> Port {
    // A step without a divisor in common with the number of ports.
    let place =
        first.wrapping_add(attempt.wrapping_mul(4_099)) % u32::from(masquerade_ports::COUNT);
    Port::new(masquerade_ports::FIRST + place as u16)
}
