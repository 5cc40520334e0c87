//! What the kernel tells of a map, whoever made it, and its entries as bytes.

use super::*;

/// A map's numbers in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDetails {
    pub id: u32,
    /// Up to 15 bytes.
    pub name: String,
    /// `bpf_map_type`.
    pub kind: u32,
    pub layout: MapLayout,
    /// Bytes of kernel memory, where the kernel says.
    pub memory: Option<u64>,
    pub frozen: bool,
    /// Number of its types in the kernel; 0 without. Then those of key and value in them.
    pub types: u32,
    pub key_type: u32,
    pub value_type: u32,
}

/// Key and value as the kernel has them.
pub type RawEntry = (Vec<u8>, Vec<u8>);

impl Map {
    /// The maps in the kernel, by their numbers.
    pub fn ids() -> Result<Vec<u32>, Error> {
        sys::ids(Command::MapNextId).map_err(|source| Error::Link {
            operation: "list",
            target: "the maps in the kernel".to_owned(),
            source,
        })
    }

    pub fn from_id(id: u32) -> Result<Self, Error> {
        let mut attr = sys::ById { id, next_id: 0, open_flags: 0 };
        // SAFETY: the struct holds no pointers.
        let opened = unsafe { sys::bpf_fd(Command::MapById, &mut attr) }
            .and_then(|fd| kernel_info(fd.as_fd()).map(|info| (fd, info)));
        let (fd, info) = opened.map_err(|source| Error::Link {
            operation: "open",
            target: format!("the map with id {id}"),
            source,
        })?;
        Ok(Self { name: kernel_name(&info.name), fd, layout: info.layout() })
    }

    /// A second handle to the map behind a descriptor.
    pub(crate) fn from_descriptor(fd: BorrowedFd<'_>) -> Result<Self, Error> {
        let opened =
            fd.try_clone_to_owned().and_then(|fd| kernel_info(fd.as_fd()).map(|info| (fd, info)));
        let (fd, info) = opened.map_err(|source| Error::Link {
            operation: "open",
            target: "a map by its descriptor".to_owned(),
            source,
        })?;
        Ok(Self { name: kernel_name(&info.name), fd, layout: info.layout() })
    }

    pub fn details(&self) -> Result<MapDetails, Error> {
        let info = kernel_info(self.fd.as_fd())
            .map_err(|source| self.failed("reading the numbers", source))?;
        let number = |field| fdinfo(self.fd.as_fd(), field).and_then(|value| value.parse().ok());
        Ok(MapDetails {
            id: info.id,
            name: kernel_name(&info.name),
            kind: info.kind,
            layout: info.layout(),
            memory: number("memlock"),
            frozen: number("frozen") == Some(1),
            types: info.btf_id,
            key_type: info.btf_key_type_id,
            value_type: info.btf_value_type_id,
        })
    }

    /// At most `limit` entries: key, and a value or, in per-CPU maps, one for each possible CPU,
    /// each padded to 8 bytes. Programs may change the map meanwhile.
    pub fn entries(&self, limit: usize) -> Result<Vec<RawEntry>, Error> {
        let mut entries = Vec::new();
        let mut key: Option<Vec<u8>> = None;
        while entries.len() < limit {
            let mut next = vec![0; self.layout.key_size as usize];
            if !self.next_key(key.as_deref(), &mut next)? {
                break;
            }
            let mut value = vec![0; self.value_bytes()];
            if self.lookup(&next, &mut value)? {
                entries.push((next.clone(), value));
            }
            key = Some(next);
        }
        Ok(entries)
    }

    /// The value at a key, as in [`Map::entries`].
    pub fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.check_size(key.len(), self.layout.key_size as usize)?;
        let mut value = vec![0; self.value_bytes()];
        Ok(self.lookup(key, &mut value)?.then_some(value))
    }

    /// Sets an entry. In per-CPU maps a value of one CPU's size is set for all.
    pub fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.check_size(key.len(), self.layout.key_size as usize)?;
        let one = self.layout.value_size as usize;
        let mut all = value.to_vec();
        if self.layout.kind.is_per_cpu() && value.len() == one {
            all.resize(one.next_multiple_of(8), 0);
            all = all.repeat(possible_cpus());
        }
        self.check_size(all.len(), self.value_bytes())?;
        self.update(key, &all, 0).map_err(|source| self.failed("setting an entry", source))
    }

    /// Deletes the entry at a key; false when there was none.
    pub fn remove(&self, key: &[u8]) -> Result<bool, Error> {
        self.check_size(key.len(), self.layout.key_size as usize)?;
        self.delete(key)
    }

    /// Takes a value out, as [`Map::value`] gives it; a queue or a stack has no keys.
    pub fn take(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.check_size(key.len(), self.layout.key_size as usize)?;
        let mut value = vec![0; self.value_bytes()];
        Ok(self.lookup_and_delete(key, &mut value)?.then_some(value))
    }

    fn check_size(&self, given: usize, wanted: usize) -> Result<(), Error> {
        if given == wanted {
            return Ok(());
        }
        let text = format!("{given} bytes were given, it takes {wanted}");
        let source = io::Error::new(io::ErrorKind::InvalidInput, text);
        Err(self.failed("comparing sizes", source))
    }
}

fn kernel_name(name: &[u8; 16]) -> String {
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..length]).into_owned()
}

/// The types of that number in the kernel: those of an object (section `.BTF`).
pub fn types(id: u32) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Link {
        operation: "read",
        target: format!("the types with id {id}"),
        source,
    };
    let mut attr = sys::ById { id, next_id: 0, open_flags: 0 };
    // SAFETY: the struct holds no pointers.
    let fd = unsafe { sys::bpf_fd(Command::BtfById, &mut attr) }.map_err(failed)?;
    let mut info = KernelTypesInfo::new_zeroed();
    sys::object_info(fd.as_fd(), &mut info).map_err(failed)?;
    let mut bytes = vec![0u8; info.size as usize];
    let mut info = KernelTypesInfo::new_zeroed();
    (info.size, info.bytes) = (bytes.len() as u32, sys::address_mut(bytes.as_mut_slice()));
    sys::object_info(fd.as_fd(), &mut info).map_err(failed)?;
    bytes.truncate(info.size as usize);
    Ok(bytes)
}

/// `struct bpf_btf_info` (include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct KernelTypesInfo {
    bytes: u64,
    size: u32,
    id: u32,
}
