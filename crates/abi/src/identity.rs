//! Numeric identities: what a set of labels is called in the kernel.
//!
//! The high 8 bits are the scope: 0 for reserved and cluster-wide identities, 1 for identities of
//! this node only (CIDR blocks, later DNS names). The reserved numbers are those of Cilium.

pub const UNKNOWN: u32 = 0;
pub const HOST: u32 = 1;
pub const WORLD: u32 = 2;
pub const UNMANAGED: u32 = 3;
pub const HEALTH: u32 = 4;
pub const INIT: u32 = 5;
pub const REMOTE_NODE: u32 = 6;
pub const KUBE_APISERVER: u32 = 7;
pub const INGRESS: u32 = 8;
pub const WORLD_IPV4: u32 = 9;
pub const WORLD_IPV6: u32 = 10;

/// First number given to a label set.
pub const FIRST_ALLOCATED: u32 = 256;
/// First number past the cluster-wide scope, and the first of node-local (CIDR) identities.
pub const FIRST_LOCAL: u32 = 1 << 24;

/// The reserved identities with the names that users write and see.
pub const RESERVED: [(u32, &str); 10] = [
    (HOST, "host"),
    (WORLD, "world"),
    (UNMANAGED, "unmanaged"),
    (HEALTH, "health"),
    (INIT, "init"),
    (REMOTE_NODE, "remote-node"),
    (KUBE_APISERVER, "kube-apiserver"),
    (INGRESS, "ingress"),
    (WORLD_IPV4, "world-ipv4"),
    (WORLD_IPV6, "world-ipv6"),
];

pub fn reserved_name(identity: u32) -> Option<&'static str> {
    RESERVED.iter().find(|(number, _)| *number == identity).map(|(_, name)| *name)
}
