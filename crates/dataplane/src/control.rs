//! ICMPv6 messages by which the ends of a link manage it: neighbour discovery and multicast listener
//! discovery.
//!
//! They belong to the host's stack whatever policy says, and so must not be a way around it: one that
//! could leave the link, by its hop limit or its destination, is an ordinary ICMPv6 packet, with its
//! source checked and policy asked.

use crate::env::Env;
use crate::parse::{Fragmented, Parsed};
use crate::policy;
use wire::icmp::v6;

/// What such a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// It stays on the link.
    Link,
    /// A packet like others.
    Ordinary,
    /// The workload makes itself a router.
    OfRouter,
}

/// From an endpoint: for the node, or for a group on the link.
#[inline(always)]
pub fn from_endpoint(env: &impl Env, parsed: &Parsed) -> Control {
    if v6::is_of_router(parsed.icmp_type) {
        return Control::OfRouter;
    }
    let for_link = parsed.destination.is_link_multicast_v6()
        || parsed.destination.is_link_local()
        || policy::is_host(env, parsed.destination);
    of(parsed, for_link)
}

/// To an endpoint. A hop limit of 255 says that the node itself has sent it, since forwarding takes
/// one off.
#[inline(always)]
pub fn to_endpoint(parsed: &Parsed) -> Control {
    of(parsed, true)
}

#[inline(always)]
fn of(parsed: &Parsed, discovery_for_link: bool) -> Control {
    let stays = if v6::is_discovery(parsed.icmp_type) {
        parsed.ttl == v6::DISCOVERY_HOPS && discovery_for_link
    } else {
        parsed.ttl == v6::LISTENER_HOPS
            && parsed.destination.is_multicast_v6()
            && (parsed.source.is_link_local() || parsed.source.is_none())
    };
    // RFC 6980: not in fragments.
    if stays && parsed.fragmented == Fragmented::No { Control::Link } else { Control::Ordinary }
}
