//! The XDP program on the node's own interfaces, where it can be had: without it all goes by tc.

use crate::devices::key;
use crate::programs::Programs;
use crate::{Acceleration, Result};
use abi::endpoint::{Device, device_flags};
use bpf_kernel::Table;
use bpf_kernel::attach::XdpMode;
use host::watch::Outside;
use std::collections::BTreeMap;

#[derive(Debug)]
pub struct Shortcuts {
    acceleration: Acceleration,
    /// By the interface's number.
    all: BTreeMap<u32, Shortcut>,
}

/// What has become of it on one interface.
#[derive(Debug, PartialEq, Eq)]
struct Shortcut {
    name: String,
    mode: Option<XdpMode>,
    /// Why not better.
    notes: Vec<String>,
}

impl Shortcuts {
    pub fn new(acceleration: Acceleration) -> Self {
        Shortcuts { acceleration, all: BTreeMap::new() }
    }

    pub fn is_wanted(&self) -> bool {
        self.acceleration != Acceleration::Disabled
    }

    /// How many interfaces have it.
    pub fn count(&self) -> usize {
        self.all.values().filter(|it| it.mode.is_some()).count()
    }

    /// A sentence about each interface.
    pub fn describe(&self) -> String {
        let sentences = self.all.values().map(|Shortcut { name, mode, notes }| {
            let how = mode.map_or_else(|| "tc only".to_owned(), |mode| mode.to_string());
            let notes: String = notes.iter().map(|note| format!(", {note}")).collect();
            format!("{name} {how}{notes}")
        });
        sentences.collect::<Vec<_>>().join("; ")
    }

    /// Puts it on an interface in the best way that this takes, or takes it off if it isn't wanted.
    pub fn put(
        &mut self,
        programs: &Programs,
        table: &Table<u32, Device>,
        device: &Outside,
        row: &Device,
    ) -> Result<()> {
        let key = key(device.index);
        if !self.is_wanted() {
            return programs.detach_shortcut(&key);
        }
        let mut shortcut = Shortcut { name: device.name.clone(), mode: None, notes: Vec::new() };
        let modes = if device.is_ethernet { self.acceleration.modes() } else { &[] };
        if !device.is_ethernet {
            shortcut.notes.push("its frames have no Ethernet header".to_owned());
        }
        for mode in modes {
            match put(programs, device, *mode) {
                Ok(()) => {
                    shortcut.mode = Some(*mode);
                    break;
                }
                Err(why) => shortcut.notes.push(format!("no {mode}: {why}")),
            }
        }
        if shortcut.mode.is_none() {
            programs.detach_shortcut(&key)?;
        }
        table.insert(&device.index, &Device { flags: flags(shortcut.mode), ..*row })?;
        if self.all.get(&device.index) != Some(&shortcut) {
            let (interface, notes) = (&shortcut.name, shortcut.notes.join(", "));
            match shortcut.mode {
                Some(mode) => {
                    tracing::info!(interface, %mode, notes, "known flows have a shortcut")
                }
                None => tracing::warn!(interface, notes, "known flows have no shortcut"),
            }
        }
        self.all.insert(device.index, shortcut);
        Ok(())
    }

    /// Puts it back where somebody else has taken it away, and something else where frames don't
    /// arrive any more.
    pub fn restore(
        &mut self,
        programs: &Programs,
        table: &Table<u32, Device>,
        device: &Outside,
        row: &Device,
    ) -> Result<()> {
        let Some(mode) = self.all.get(&device.index).and_then(|shortcut| shortcut.mode) else {
            return Ok(());
        };
        let interface = &device.name;
        if programs.is_shortcut_missing(&key(device.index), device.index, mode) {
            tracing::warn!(interface, "somebody has taken the XDP program away");
        } else if mode == XdpMode::Generic || takes_frames(device).is_ok() {
            return Ok(());
        }
        // Until it is clear what it takes, nobody sends it frames.
        table.insert(&device.index, row)?;
        self.put(programs, table, device, row)
    }

    pub fn forget(&mut self, index: u32) {
        self.all.remove(&index);
    }
}

fn flags(mode: Option<XdpMode>) -> u32 {
    match mode {
        None => 0,
        Some(XdpMode::Native) => device_flags::TAKES_FRAMES,
        Some(XdpMode::Generic) => device_flags::GENERIC,
    }
}

fn put(programs: &Programs, device: &Outside, mode: XdpMode) -> Result<(), String> {
    let key = key(device.index);
    programs.attach_shortcut(&key, device.index, mode).map_err(|error| error.to_string())?;
    match mode {
        // Only now: cards get ready to take frames when a program is put on them.
        XdpMode::Native => takes_frames(device),
        XdpMode::Generic => Ok(()),
    }
}

/// Whether frames that are sent by `XDP_REDIRECT` or `XDP_TX` leave the interface; otherwise why not.
/// Linux before 6.3 doesn't say: then cards are trusted.
fn takes_frames(device: &Outside) -> Result<(), String> {
    let takes_frames = match host::xdp::takes_frames(device.index) {
        Ok(Some(takes_frames)) => takes_frames,
        Ok(None) => !device.is_veth,
        Err(error) => return Err(error.to_string()),
    };
    match (takes_frames, device.is_veth) {
        (true, _) => Ok(()),
        (false, true) => Err("its other end would lose frames, having neither GRO nor an XDP \
                              program"
            .to_owned()),
        (false, false) => Err("its driver takes no frames of other interfaces".to_owned()),
    }
}
