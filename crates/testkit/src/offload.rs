//! What an interface does for the packets it sends and receives: links between namespaces leave
//! checksums uncomputed, which a wire doesn't (`tx-checksum-ip-generic`), and take frames of XDP only
//! while the end that receives merges packets (`rx-gro`).

use anyhow::{Context as _, Result};
use host::NetNamespace;
use host::generic::{attribute, command, nested, text};

/// include/uapi/linux/ethtool_netlink.h, Linux 6.12.
mod number {
    pub const FEATURES_SET: u8 = 12;
    pub const HEADER: u16 = 1;
    pub const WANTED: u16 = 3;
    pub const DEVICE_NAME: u16 = 2;
    pub const BITS: u16 = 3;
    pub const BIT: u16 = 1;
    pub const BIT_NAME: u16 = 2;
    pub const BIT_VALUE: u16 = 3;
}

/// Turns features of an interface on or off, by the names that `ethtool -k` has for them.
pub fn set(namespace: &NetNamespace, interface: &str, features: &[(&str, bool)]) -> Result<()> {
    let bits: Vec<u8> = features.iter().flat_map(|(name, on)| bit(name, *on)).collect();
    let attributes = [
        nested(number::HEADER, &attribute(number::DEVICE_NAME, &text(interface))),
        nested(number::WANTED, &nested(number::BITS, &bits)),
    ];
    // The answer says which of them the interface has taken; what comes of it shows.
    let set = move || command("ethtool", number::FEATURES_SET, &attributes.concat());
    namespace.run(set)??.context("no ethtool netlink here")?;
    Ok(())
}

fn bit(name: &str, on: bool) -> Vec<u8> {
    let mut content = attribute(number::BIT_NAME, &text(name));
    if on {
        content.extend(attribute(number::BIT_VALUE, &[]));
    }
    nested(number::BIT, &content)
}
