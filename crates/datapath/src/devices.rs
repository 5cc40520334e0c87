//! The node's own interfaces, by which services are reached from outside.
//!
//! They have programs only while a service is open to the outside: to everything else Skep's being
//! there costs nothing.

use crate::Result;
use crate::programs::Programs;
use abi::Address;
use abi::endpoint::Device;
use bpf_kernel::Table;
use host::watch::Outside;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Devices {
    known: Vec<Outside>,
    /// By number.
    attached: BTreeMap<u32, Device>,
}

/// Where the links of a device are pinned; no workload's key begins so.
const KEY: &str = "device";

pub(crate) fn is_key(key: &str) -> bool {
    key.starts_with(KEY)
}

fn key(index: u32) -> String {
    format!("{KEY}{index}")
}

impl Devices {
    pub fn set(&mut self, known: Vec<Outside>) {
        self.known = known;
    }

    /// Names of the interfaces at which services answer.
    pub fn open(&self) -> impl Iterator<Item = &str> {
        let known = self.known.iter().filter(|device| self.attached.contains_key(&device.index));
        known.map(|device| device.name.as_str())
    }

    /// Puts programs back that somebody else has taken away.
    pub fn restore(&self, programs: &Programs) {
        for index in self.attached.keys() {
            for program in programs.missing_on_device(&key(*index), *index) {
                tracing::warn!(program, interface = index, "somebody has taken the program away");
                if let Err(error) = programs.attach_device(&key(*index), *index) {
                    tracing::error!(interface = index, %error, "it can't be put back");
                }
            }
        }
    }

    /// Puts programs where they are wanted and takes them from where they aren't.
    pub fn update(
        &mut self,
        programs: &Programs,
        table: &Table<u32, Device>,
        wanted: bool,
    ) -> Result<()> {
        let known: BTreeMap<u32, Device> = self
            .known
            .iter()
            .filter(|_| wanted)
            .map(|device| (device.index, row(device)))
            .collect();
        for (index, device) in &known {
            if self.attached.get(index) != Some(device) {
                table.insert(index, device)?;
                programs.attach_device(&key(*index), *index)?;
                self.attached.insert(*index, *device);
            }
        }
        let gone: Vec<u32> =
            self.attached.keys().filter(|index| !known.contains_key(index)).copied().collect();
        for index in gone {
            programs.detach_interface(&key(index), index)?;
            table.remove(&index)?;
            self.attached.remove(&index);
        }
        Ok(())
    }
}

fn row(device: &Outside) -> Device {
    Device {
        v4: device.v4.map_or(Address::NONE, |ip| Address::from_v4(ip.octets())),
        v6: device.v6.map_or(Address::NONE, |ip| Address::from_v6(ip.octets())),
        mtu: device.mtu,
    }
}
