//! Who has which address: nobody gets one that another has.

use super::{Endpoints, Lease};
use crate::Result;
use crate::pool::PoolError;
use model::{AddressRequest, ObjectName, Workload};
use std::collections::BTreeSet;
use std::net::IpAddr;

impl Endpoints {
    /// The workload's number, new or as before.
    pub(super) fn number(&mut self, name: &ObjectName) -> u32 {
        if let Some(lease) = self.leases.get(name) {
            return lease.id;
        }
        let taken: BTreeSet<u32> = self.leases.values().map(|lease| lease.id).collect();
        let id = (1..).find(|id| !taken.contains(id)).unwrap_or(u32::MAX);
        self.leases.insert(name.clone(), Lease { id, addresses: Vec::new() });
        id
    }

    /// Gives the workload just these addresses: all of them, or none that it hasn't had.
    pub(super) fn claim(
        &mut self,
        name: &ObjectName,
        addresses: &[IpAddr],
    ) -> Result<(), PoolError> {
        addresses.iter().try_for_each(|address| self.free_for(name, *address))?;
        self.hold(name, addresses.to_vec());
        Ok(())
    }

    /// Gives the workload an address of each pool: those that it had, as far as it had any.
    pub(super) fn allocate(&mut self, name: &ObjectName) -> Result<Vec<IpAddr>, PoolError> {
        let mut kept = match self.leases.get(name) {
            Some(lease) => lease.addresses.clone(),
            None => Vec::new(),
        };
        kept.retain(|address| self.pools.iter().any(|pool| pool.contains(address)));
        kept.retain(|address| self.free_for(name, *address).is_ok());
        let mut exhausted = None;
        for pool in &mut self.pools {
            if !kept.iter().any(|address| pool.contains(address)) {
                match pool.allocate(name) {
                    Ok(address) => kept.push(address),
                    Err(error) => exhausted = Some(error),
                }
            }
        }
        self.hold(name, kept.clone());
        exhausted.map_or(Ok(kept), Err)
    }

    /// Whether nobody else has the address.
    pub(super) fn free_for(&self, name: &ObjectName, address: IpAddr) -> Result<(), PoolError> {
        if self.host_addresses.contains(&address) {
            return Err(PoolError::NodesOwn { address });
        }
        let holder = self
            .leases
            .iter()
            .find(|(other, lease)| *other != name && lease.addresses.contains(&address));
        match holder {
            Some((holder, _)) => Err(PoolError::Taken { address, holder: holder.clone() }),
            None => Ok(()),
        }
    }

    /// Notes that the workload has these addresses and no others.
    pub(super) fn hold(&mut self, name: &ObjectName, addresses: Vec<IpAddr>) {
        let before = self.leases.get(name).map_or(&[][..], |lease| &lease.addresses);
        for pool in &mut self.pools {
            for address in before.iter().filter(|address| !addresses.contains(address)) {
                pool.release(*address, name);
            }
            for address in &addresses {
                if pool.contains(address)
                    && let Err(error) = pool.claim(*address, name)
                {
                    tracing::warn!(workload = %name, %error, "an address has two holders");
                }
            }
        }
        if let Some(lease) = self.leases.get_mut(name) {
            lease.addresses = addresses;
        }
    }

    /// The addresses of an interface that someone else made which the workload may have, and what
    /// is to be said about the others: whoever may change the interface doesn't thereby become
    /// another workload, or the node.
    pub(super) fn accept(
        &self,
        workload: &Workload,
        found: &[IpAddr],
    ) -> (Vec<IpAddr>, Vec<String>) {
        let (mut accepted, mut problems) = (Vec::new(), Vec::new());
        let listed = match &workload.addresses {
            AddressRequest::Fixed(listed) => Some(listed),
            AddressRequest::Auto => None,
        };
        for address in found {
            if listed.is_some_and(|listed| !listed.contains(address)) {
                continue;
            }
            match self.free_for(&workload.name, *address) {
                Ok(()) => accepted.push(*address),
                Err(error) => problems.push(format!("{error}, so this workload can't have it")),
            }
        }
        for address in listed.into_iter().flatten().filter(|listed| !found.contains(listed)) {
            let interface = &workload.interface;
            problems.push(format!("{interface}, which was there before, doesn't have {address}"));
        }
        (accepted, problems)
    }
}
