//! Addresses for workloads that ask for `auto`: the node's pools, one per family.

use ipnet::IpNet;
use model::ObjectName;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

/// Addresses of one family. Every address has one holder; the first address of the block (the
/// network) and the last (IPv4's broadcast) are never given out.
#[derive(Debug)]
pub struct Pool {
    block: IpNet,
    holders: HashMap<IpAddr, ObjectName>,
    /// Where the search begins: behind the last address given out, so that one that was just
    /// freed rests as long as possible.
    next: u128,
}

#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error(
        "the pool {block} is exhausted: all {size} addresses are taken; give skepd a larger one"
    )]
    Exhausted { block: IpNet, size: u128 },
    #[error("{address} is taken by workload {holder}")]
    Taken { address: IpAddr, holder: ObjectName },
    #[error("{address} is the node's own address")]
    NodesOwn { address: IpAddr },
}

impl Pool {
    pub fn new(block: IpNet) -> Self {
        Pool { block: block.trunc(), holders: HashMap::new(), next: 0 }
    }

    pub fn contains(&self, address: &IpAddr) -> bool {
        self.block.contains(address)
    }

    /// Addresses that can be given out. At most 2^24 of a block are used.
    fn size(&self) -> u128 {
        let host_bits = (self.block.max_prefix_len() - self.block.prefix_len()).min(24);
        (1u128 << host_bits).saturating_sub(2)
    }

    /// Gives `holder` an address that nobody has.
    pub fn allocate(&mut self, holder: &ObjectName) -> Result<IpAddr, PoolError> {
        let size = self.size();
        for _ in 0..size {
            let address = self.nth(self.next + 1);
            self.next = (self.next + 1) % size;
            if let Entry::Vacant(free) = self.holders.entry(address) {
                free.insert(holder.clone());
                return Ok(address);
            }
        }
        Err(PoolError::Exhausted { block: self.block, size })
    }

    /// Gives `holder` this very address: one that it asked for, or had before a restart.
    pub fn claim(&mut self, address: IpAddr, holder: &ObjectName) -> Result<(), PoolError> {
        match self.holders.get(&address) {
            Some(other) if other != holder => {
                Err(PoolError::Taken { address, holder: other.clone() })
            }
            _ => {
                self.holders.insert(address, holder.clone());
                Ok(())
            }
        }
    }

    /// Takes the address back, if it is `holder`'s.
    pub fn release(&mut self, address: IpAddr, holder: &ObjectName) {
        if self.holders.get(&address) == Some(holder) {
            self.holders.remove(&address);
        }
    }

    fn nth(&self, index: u128) -> IpAddr {
        match self.block {
            IpNet::V4(block) => IpAddr::V4((u32::from(block.network()) + index as u32).into()),
            IpNet::V6(block) => IpAddr::V6((u128::from(block.network()) + index).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_once_then_exhausted() {
        let mut pool = Pool::new("10.0.0.0/29".parse().unwrap());
        let mut given: Vec<IpAddr> =
            (0..6).map(|n| pool.allocate(&ObjectName::new("x", n.to_string())).unwrap()).collect();
        given.sort();
        given.dedup();
        assert_eq!(given.len(), 6);
        assert_eq!(given[0], "10.0.0.1".parse::<IpAddr>().unwrap());
        assert!(pool.allocate(&ObjectName::new("x", "late")).is_err());
        pool.release("10.0.0.4".parse().unwrap(), &ObjectName::new("x", "2"));
        assert!(pool.allocate(&ObjectName::new("x", "late")).is_err(), "it is another's");
        pool.release("10.0.0.4".parse().unwrap(), &ObjectName::new("x", "3"));
        assert_eq!(
            pool.allocate(&ObjectName::new("x", "late")).unwrap(),
            "10.0.0.4".parse::<IpAddr>().unwrap()
        );
    }

    #[test]
    fn a_claim_is_exclusive() {
        let mut pool = Pool::new("fd00::/64".parse().unwrap());
        let (a, b) = (ObjectName::new("x", "a"), ObjectName::new("x", "b"));
        let address = "fd00::1".parse().unwrap();
        pool.claim(address, &a).unwrap();
        pool.claim(address, &a).unwrap();
        assert!(pool.claim(address, &b).is_err());
        assert_eq!(pool.allocate(&b).unwrap(), "fd00::2".parse::<IpAddr>().unwrap());
    }
}
