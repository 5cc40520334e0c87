//! Values that belong to something else: a socket, a task, an inode or a cgroup.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::hash::Existing;
use crate::errno::Errno;
use crate::slab::Slab;

/// By the number of the owner: a socket's cookie, a process id, an inode's or a cgroup's number.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    values: RwLock<HashMap<u64, Arc<Slab>>>,
}

impl Storage {
    pub fn find(&self, owner: u64) -> Option<Arc<Slab>> {
        self.values.read().unwrap_or_else(PoisonError::into_inner).get(&owner).cloned()
    }

    /// What is there, or what is put there now.
    pub fn find_or_insert(
        &self,
        owner: u64,
        make: impl FnOnce() -> Result<Slab, Errno>,
    ) -> Result<Arc<Slab>, Errno> {
        let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = values.get(&owner) {
            return Ok(value.clone());
        }
        let value = Arc::new(make()?);
        values.insert(owner, value.clone());
        Ok(value)
    }

    pub fn update(
        &self,
        owner: u64,
        flags: Existing,
        make: impl FnOnce() -> Result<Slab, Errno>,
    ) -> Result<(), Errno> {
        let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
        flags.check(values.contains_key(&owner))?;
        values.insert(owner, Arc::new(make()?));
        Ok(())
    }

    pub fn remove(&self, owner: u64) -> Result<(), Errno> {
        let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
        values.remove(&owner).map(drop).ok_or(Errno::ENOENT)
    }

    pub fn len(&self) -> u32 {
        self.values.read().unwrap_or_else(PoisonError::into_inner).len() as u32
    }

    pub fn owners(&self) -> Vec<u64> {
        let values = self.values.read().unwrap_or_else(PoisonError::into_inner);
        let mut owners: Vec<u64> = values.keys().copied().collect();
        owners.sort_unstable();
        owners
    }
}
