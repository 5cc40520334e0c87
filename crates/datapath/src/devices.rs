//! The node's own interfaces, by which services are reached from outside.
//!
//! They have programs only while a service is open to the outside: to everything else Skep's being
//! there costs nothing.

use crate::programs::Programs;
use crate::shortcuts::Shortcuts;
use crate::{Acceleration, Result};
use abi::Address;
use abi::endpoint::Device;
use bpf_kernel::Table;
use host::watch::Outside;
use std::collections::BTreeMap;

#[derive(Debug)]
pub struct Devices {
    known: Vec<Outside>,
    /// By number.
    attached: BTreeMap<u32, Device>,
    shortcuts: Shortcuts,
    /// What an earlier agent has left has been looked through.
    is_cleared: bool,
}

/// Where the links of a device are pinned; no workload's key begins so.
const KEY: &str = "device";

pub(crate) fn is_key(key: &str) -> bool {
    key.starts_with(KEY)
}

pub(crate) fn key(index: u32) -> String {
    format!("{KEY}{index}")
}

impl Devices {
    pub fn new(acceleration: Acceleration) -> Self {
        let shortcuts = Shortcuts::new(acceleration);
        Devices { known: Vec::new(), attached: BTreeMap::new(), shortcuts, is_cleared: false }
    }

    pub fn set(&mut self, known: Vec<Outside>) {
        self.known = known;
    }

    /// Those at which services answer.
    fn all_open(&self) -> impl Iterator<Item = &Outside> {
        self.known.iter().filter(|device| self.attached.contains_key(&device.index))
    }

    /// Names of the interfaces at which services answer.
    pub fn open(&self) -> impl Iterator<Item = &str> {
        self.all_open().map(|device| device.name.as_str())
    }

    pub fn shortcuts(&self) -> &Shortcuts {
        &self.shortcuts
    }

    /// Puts programs back that somebody else has taken away.
    pub fn restore(&mut self, programs: &Programs, table: &Table<u32, Device>) {
        for index in self.attached.keys() {
            for program in programs.missing_on_device(&key(*index), *index) {
                tracing::warn!(program, interface = index, "somebody has taken the program away");
                if let Err(error) = programs.attach_device(&key(*index), *index) {
                    tracing::error!(interface = index, %error, "it can't be put back");
                }
            }
        }
        for device in &self.known {
            if let Some(row) = self.attached.get(&device.index)
                && let Err(error) = self.shortcuts.restore(programs, table, device, row)
            {
                tracing::error!(interface = device.name, %error, "nothing is known of its XDP program");
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
        let known: BTreeMap<u32, &Outside> =
            self.known.iter().filter(|_| wanted).map(|device| (device.index, device)).collect();
        for (index, device) in &known {
            let row = row(device);
            if self.attached.get(index) != Some(&row) {
                table.insert(index, &row)?;
                programs.attach_device(&key(*index), *index)?;
                self.attached.insert(*index, row);
                self.shortcuts.put(programs, table, device, &row)?;
            }
        }
        // Not before the services are there, whose flows are not to wait for programs.
        if !known.is_empty() && !std::mem::replace(&mut self.is_cleared, true) {
            for (index, _) in table.entries()? {
                if !known.contains_key(&index) {
                    table.remove(&index)?;
                }
            }
            programs
                .detach_others(|of| !is_key(of) || known.keys().any(|index| key(*index) == of))?;
        }
        let gone: Vec<u32> =
            self.attached.keys().filter(|index| !known.contains_key(index)).copied().collect();
        for index in gone {
            // Nobody sends it frames any more.
            table.remove(&index)?;
            programs.detach_device(&key(index), index)?;
            self.shortcuts.forget(index);
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
        flags: 0,
    }
}
