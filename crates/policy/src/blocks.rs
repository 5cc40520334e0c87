//! CIDR blocks that policies name, and which of them contain an address.

use abi::Address;
use abi::endpoint::AddressKey;
use ipnet::{IpNet, Ipv4Net};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One spelling per block: no host bits, and v4-mapped IPv6 as the IPv4 it means.
pub(crate) fn canonical(block: IpNet) -> IpNet {
    if let IpNet::V6(net) = block
        && net.prefix_len() >= 96
        && let Some(v4) = net.network().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(v4, net.prefix_len() - 96)
    {
        return IpNet::V4(v4.trunc());
    }
    block.trunc()
}

pub(crate) fn canonical_address(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The block as key of map `addresses`.
pub(crate) fn address_key(block: IpNet) -> AddressKey {
    let extra = if matches!(block, IpNet::V4(_)) { 96 } else { 0 };
    AddressKey {
        prefix_len: u32::from(block.prefix_len()) + extra,
        address: Address::from(block.network()),
    }
}

pub(crate) fn everything_v4() -> IpNet {
    IpNet::from_prefix(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)
}

pub(crate) fn everything_v6() -> IpNet {
    IpNet::from_prefix(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0)
}

trait FromPrefix {
    fn from_prefix(address: IpAddr, length: u8) -> Self;
}

impl FromPrefix for IpNet {
    fn from_prefix(address: IpAddr, length: u8) -> Self {
        match IpNet::new(address, length) {
            Ok(net) => net.trunc(),
            Err(_) => IpNet::from(address),
        }
    }
}

/// Counted, since several policies may name the same block. A block that none names any more stays
/// until [`drop_stale`](Blocks::drop_stale).
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    uses: HashMap<IpNet, u32>,
    /// In order of the network address, to find the blocks inside another.
    ordered: BTreeMap<(IpAddr, u8), IpNet>,
    /// How many blocks have each (family is IPv4, length).
    lengths: BTreeMap<(bool, u8), u32>,
}

impl Blocks {
    /// True if it was not there before.
    pub fn add(&mut self, block: IpNet) -> bool {
        if let Some(uses) = self.uses.get_mut(&block) {
            *uses += 1;
            return false;
        }
        self.uses.insert(block, 1);
        self.ordered.insert((block.network(), block.prefix_len()), block);
        *self.lengths.entry(length(block)).or_default() += 1;
        true
    }

    /// True if nobody names it any more.
    pub fn remove(&mut self, block: IpNet) -> bool {
        let Some(uses) = self.uses.get_mut(&block) else { return false };
        *uses -= 1;
        *uses == 0
    }

    /// True if the block is gone now.
    pub fn drop_stale(&mut self, block: IpNet) -> bool {
        if self.uses.get(&block) != Some(&0) {
            return false;
        }
        self.uses.remove(&block);
        self.ordered.remove(&(block.network(), block.prefix_len()));
        if let Some(count) = self.lengths.get_mut(&length(block)) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&length(block));
            }
        }
        true
    }

    pub fn contains(&self, block: IpNet) -> bool {
        self.uses.contains_key(&block)
    }

    /// Blocks that contain `net` as a whole, itself included; widest first.
    pub fn containing(&self, net: IpNet) -> Vec<IpNet> {
        let (is_v4, longest) = length(net);
        self.lengths
            .range((is_v4, 0)..=(is_v4, longest))
            .map(|((_, length), _)| IpNet::from_prefix(net.network(), *length))
            .filter(|block| self.uses.contains_key(block))
            .collect()
    }

    /// Blocks inside `net`, itself included if it is one.
    pub fn inside(&self, net: IpNet) -> Vec<IpNet> {
        self.ordered
            .range((net.network(), 0)..=(net.broadcast(), u8::MAX))
            .map(|(_, block)| *block)
            .filter(|block| net.contains(block))
            .collect()
    }
}

fn length(block: IpNet) -> (bool, u8) {
    (matches!(block, IpNet::V4(_)), block.prefix_len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| canonical(text.parse().unwrap())).collect()
    }

    #[test]
    fn containing_and_inside() {
        let mut blocks = Blocks::default();
        for net in nets(&["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "::/0", "10.1.0.0/16"]) {
            blocks.add(net);
        }
        assert_eq!(
            blocks.containing(nets(&["10.1.2.3/32"])[0]),
            nets(&["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16"])
        );
        assert_eq!(blocks.containing(nets(&["fd00::/8"])[0]), nets(&["::/0"]));
        assert_eq!(blocks.inside(nets(&["10.0.0.0/8"])[0]), nets(&["10.0.0.0/8", "10.1.0.0/16"]));
        let twice = nets(&["10.1.0.0/16"])[0];
        assert!(!blocks.remove(twice));
        assert!(!blocks.drop_stale(twice));
        assert!(blocks.remove(twice));
        assert!(blocks.contains(twice));
        assert!(blocks.drop_stale(twice));
        assert!(!blocks.contains(twice));
    }

    #[test]
    fn one_spelling() {
        assert_eq!(nets(&["::ffff:10.0.0.7/104"]), nets(&["10.0.0.0/8"]));
        assert_eq!(address_key(nets(&["10.0.0.0/8"])[0]).prefix_len, 104);
        assert_eq!(address_key(everything_v6()).prefix_len, 0);
    }
}
