//! Backends by number, each once however many services share it.

use abi::service::Backend;
use abi::{Address, Port};
use model::content_id::{ContentHash, ContentIds};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BackendKey {
    pub address: IpAddr,
    pub port: u16,
    pub protocol: u8,
}

impl BackendKey {
    pub fn value(&self) -> Backend {
        Backend {
            address: Address::from(self.address),
            port: Port::new(self.port),
            protocol: self.protocol,
            zero: 0,
        }
    }

    fn hash(&self) -> u128 {
        let mut hash = ContentHash::new("backend");
        let octets = u128::from_be_bytes(Address::from(self.address).octets());
        hash.hash(octets);
        hash.word(u64::from(self.port) << 8 | u64::from(self.protocol));
        hash.finish()
    }
}

impl From<&Backend> for BackendKey {
    fn from(backend: &Backend) -> Self {
        BackendKey {
            address: IpAddr::from(backend.address),
            port: backend.port.number(),
            protocol: backend.protocol,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Backends {
    by_key: HashMap<BackendKey, (u32, u32)>,
    by_id: HashMap<u32, BackendKey>,
    ids: ContentIds,
    pub fresh: Vec<u32>,
    pub unused: BTreeSet<u32>,
}

impl Backends {
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn knows(&self, key: &BackendKey) -> bool {
        self.by_key.contains_key(key)
    }

    pub fn find(&self, id: u32) -> Option<&BackendKey> {
        self.by_id.get(&id)
    }

    /// Counts one use and gives the id.
    pub fn use_one(&mut self, key: BackendKey) -> u32 {
        if let Some((id, uses)) = self.by_key.get_mut(&key) {
            *uses += 1;
            return *id;
        }
        let (id, _) = self.ids.allocate(key.hash());
        self.by_key.insert(key, (id, 1));
        self.by_id.insert(id, key);
        self.fresh.push(id);
        id
    }

    pub fn release(&mut self, id: u32) {
        if let Some(key) = self.by_id.get(&id)
            && let Some((_, uses)) = self.by_key.get_mut(key)
        {
            *uses -= 1;
            if *uses == 0 {
                self.unused.insert(id);
            }
        }
    }

    /// Takes over an entry of the kernel, unused as yet.
    pub fn adopt(&mut self, id: u32, backend: &Backend) {
        let key = BackendKey::from(backend);
        if id == 0 || self.by_key.contains_key(&key) || self.by_id.contains_key(&id) {
            return;
        }
        self.ids.restore_exception(key.hash(), id);
        self.ids.allocate(key.hash());
        self.by_key.insert(key, (id, 0));
        self.by_id.insert(id, key);
        self.unused.insert(id);
    }

    /// Forgets backends that nothing uses.
    pub fn collect(&mut self) -> Vec<u32> {
        let mut removed = Vec::new();
        for id in std::mem::take(&mut self.unused) {
            let Some(key) = self.by_id.get(&id) else { continue };
            if self.by_key.get(key).is_some_and(|(_, uses)| *uses == 0) {
                self.by_key.remove(key);
                self.by_id.remove(&id);
                self.ids.release(id);
                removed.push(id);
            }
        }
        removed
    }
}
