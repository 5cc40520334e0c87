//! Ports of later fragments.
//!
//! Only the first fragment carries the transport header. Its ports are remembered under the IP
//! packet's identification, and the later ones take them from there. A later fragment that comes
//! before the first is dropped: it can't be told whose it is.

use crate::env::Env;
use crate::parse::{Fragmented, Parsed};
use abi::conntrack::FragmentPorts;

/// False if the packet is a later fragment of something whose first was not seen.
#[inline(always)]
pub fn resolve(env: &impl Env, parsed: &mut Parsed) -> bool {
    match parsed.fragmented {
        Fragmented::No => true,
        Fragmented::First => {
            let ports = FragmentPorts {
                source_port: parsed.tuple.source_port,
                destination_port: parsed.tuple.destination_port,
            };
            env.insert_fragment(&parsed.fragment, &ports);
            true
        }
        Fragmented::Later => {
            let Some(ports) = env.fragment(&parsed.fragment) else { return false };
            parsed.tuple.source_port = ports.source_port;
            parsed.tuple.destination_port = ports.destination_port;
            true
        }
    }
}
