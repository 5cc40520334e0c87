//! From a VIP's addresses and ports to keys of the front-end maps.

use abi::balancer::{FrontEndKey, PrefixKey, RangeKey};
use abi::{Address, Port};
use ipnet::IpNet;
use model::Protocol;
use model::load_balancer::{PortRange, Vip};

/// What makes a VIP this one: it keeps number and counters as long as these stay the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VipKey {
    pub protocol: Protocol,
    pub block: IpNet,
    pub ports: Vec<PortRange>,
}

impl VipKey {
    pub fn of(vip: &Vip) -> Self {
        VipKey { protocol: vip.protocol, block: vip.block, ports: vip.ports.clone() }
    }

    /// `tcp 203.0.113.10:443`, the name in commands and metrics.
    pub fn title(&self) -> String {
        let whole = self.block.prefix_len() == self.block.max_prefix_len();
        let address = match (self.block, whole) {
            (IpNet::V4(block), true) => block.addr().to_string(),
            (IpNet::V6(block), true) => format!("[{}]", block.addr()),
            (IpNet::V4(block), false) => block.to_string(),
            (IpNet::V6(block), false) => format!("[{block}]"),
        };
        let ports: Vec<String> = self
            .ports
            .iter()
            .map(|range| match range.first == range.last {
                true => range.first.to_string(),
                false => format!("{}-{}", range.first, range.last),
            })
            .collect();
        let ports = if ports.is_empty() { "*".to_owned() } else { ports.join(",") };
        format!("{} {address}:{ports}", self.protocol.name().to_ascii_lowercase())
    }

    pub fn is_block(&self) -> bool {
        self.block.prefix_len() != self.block.max_prefix_len()
    }
}

/// Rows of the three front-end maps that lead to one VIP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    pub front_ends: Vec<FrontEndKey>,
    pub ranges: Vec<RangeKey>,
    pub prefixes: Vec<PrefixKey>,
}

pub fn keys(vip: &VipKey) -> Keys {
    let mut keys = Keys::default();
    let protocol = vip.protocol.number();
    let address = Address::from(vip.block.addr());
    if vip.is_block() {
        let mapped = if vip.block.addr().is_ipv4() { 96 } else { 0 };
        let bits = PrefixKey::FIXED_BITS + mapped + u32::from(vip.block.prefix_len());
        let key = |port| PrefixKey { prefix_len: bits, port, protocol, zero: 0, address };
        if vip.ports.is_empty() {
            keys.prefixes.push(key(Port::NONE));
        }
        for range in &vip.ports {
            keys.prefixes.extend((range.first..=range.last).map(|port| key(Port::new(port))));
        }
        return keys;
    }
    let exact = |port| FrontEndKey { address, port, protocol, zero: 0 };
    if vip.ports.is_empty() {
        keys.front_ends.push(exact(Port::NONE));
    }
    for range in &vip.ports {
        if range.first == range.last {
            keys.front_ends.push(exact(Port::new(range.first)));
            continue;
        }
        keys.ranges.extend(cut(*range).map(|(port, bits)| RangeKey {
            prefix_len: RangeKey::FIXED_BITS + bits,
            address,
            protocol,
            zero: 0,
            port: Port::new(port),
        }));
    }
    keys
}

/// The entry that says that an address is a VIP's, so that echo requests to it are answered.
pub fn echo(vip: &VipKey) -> Keys {
    const ICMP: u8 = 1;
    const ICMPV6: u8 = 58;
    let address = Address::from(vip.block.network());
    let protocol = if vip.block.addr().is_ipv4() { ICMP } else { ICMPV6 };
    let mut keys = Keys::default();
    if vip.is_block() {
        let mapped = if vip.block.addr().is_ipv4() { 96 } else { 0 };
        let prefix_len = PrefixKey::FIXED_BITS + mapped + u32::from(vip.block.prefix_len());
        keys.prefixes.push(PrefixKey { prefix_len, port: Port::NONE, protocol, zero: 0, address });
    } else {
        keys.front_ends.push(FrontEndKey { address, port: Port::NONE, protocol, zero: 0 });
    }
    keys
}

/// The fewest aligned blocks of ports that make up a range: first port and fixed bits of each.
pub fn cut(range: PortRange) -> impl Iterator<Item = (u16, u32)> {
    let mut next = u32::from(range.first);
    let end = u32::from(range.last) + 1;
    std::iter::from_fn(move || {
        if next >= end {
            return None;
        }
        let aligned = if next == 0 { 16 } else { next.trailing_zeros() };
        let fits = (end - next).ilog2();
        let free = aligned.min(fits);
        let block = (next as u16, 16 - free);
        next += 1 << free;
        Some(block)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_into_blocks() {
        let check = |first, last, expect: &[(u16, u32)]| {
            let blocks: Vec<_> = cut(PortRange { first, last }).collect();
            assert_eq!(blocks, expect, "{first}-{last}");
        };
        check(8000, 8007, &[(8000, 13)]);
        check(80, 80, &[(80, 16)]);
        check(1, 6, &[(1, 16), (2, 15), (4, 15), (6, 16)]);
        check(65_534, 65_535, &[(65_534, 15)]);
        // Every port of the range, and none besides.
        for (first, last) in [(1, 65_535), (1000, 1999), (443, 8443)] {
            let covered: u32 =
                cut(PortRange { first, last }).map(|(_, bits)| 1u32 << (16 - bits)).sum();
            assert_eq!(covered, u32::from(last - first) + 1);
        }
    }

    #[test]
    fn titles() {
        let check = |block: &str, ports: &[(u16, u16)], expect: &str| {
            let ports = ports.iter().map(|&(first, last)| PortRange { first, last }).collect();
            let block = block.parse().unwrap();
            assert_eq!(VipKey { protocol: Protocol::Tcp, block, ports }.title(), expect);
        };
        check("10.0.0.1/32", &[(80, 80), (8000, 8100)], "tcp 10.0.0.1:80,8000-8100");
        check("fc00::/96", &[], "tcp [fc00::/96]:*");
    }
}
