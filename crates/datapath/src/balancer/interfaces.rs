//! The balancer's programs on interfaces.

use super::programs::Programs;
use crate::Result;
use bpf_kernel::attach::{self, XdpMode};
use bpf_kernel::{Direction, InterfaceHook, Program};
use model::load_balancer::{AttachMode, EdgeInterface};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// How the program came onto an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    Xdp(XdpMode),
    Tc(InterfaceHook),
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attachment::Xdp(mode) => fmt::Display::fmt(mode, f),
            Attachment::Tc(hook) => write!(f, "tc ({hook})"),
        }
    }
}

/// An interface where packets for VIPs arrive.
#[derive(Clone, Debug)]
pub struct Interface {
    pub name: String,
    pub wanted: AttachMode,
    /// 0 while there is none of that name.
    pub index: u32,
    pub attachment: Option<Attachment>,
    /// What was tried before, or what is missing.
    pub notes: Vec<String>,
    pub mac: [u8; 6],
}

#[derive(Debug)]
pub struct Interfaces {
    links: PathBuf,
    hook: InterfaceHook,
    all: BTreeMap<String, Interface>,
}

/// Pins of one interface: one for each way to attach.
const WAYS: [&str; 3] = ["native", "generic", "tc"];

impl Interfaces {
    pub fn new(bpffs: &Path, hook: InterfaceHook) -> Self {
        Interfaces { links: bpffs.join("balancer").join("links"), hook, all: BTreeMap::new() }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.all.values()
    }

    /// Brings the programs onto exactly these interfaces. What one of them lacks is in its notes.
    pub async fn set(
        &mut self,
        wanted: &[EdgeInterface],
        checks: bool,
        programs: &Programs,
        node: &host::Netlink,
    ) -> Result<()> {
        let before = std::mem::take(&mut self.all);
        for one in wanted {
            let link = node.link_named(&one.name).await?;
            let index = link.as_ref().map_or(0, |link| link.index);
            let known = before
                .get(&one.name)
                .filter(|known| known.index == index && known.wanted == one.attach);
            let mut interface = Interface {
                name: one.name.clone(),
                wanted: one.attach,
                index,
                attachment: None,
                notes: Vec::new(),
                mac: link.and_then(|link| link.mac).map_or([0; 6], |mac| mac.0),
            };
            match index {
                0 => interface.notes.push("there is no such interface".to_owned()),
                _ => {
                    self.attach(&mut interface, known, programs);
                    self.attach_checks(&mut interface, checks, programs);
                }
            }
            if known.is_none_or(|known| known.attachment != interface.attachment) {
                match interface.attachment {
                    Some(how) => tracing::info!(interface = one.name, %how, "balances"),
                    None => tracing::warn!(
                        interface = one.name,
                        "does not balance: {}",
                        interface.notes.join("; ")
                    ),
                }
            }
            self.all.insert(one.name.clone(), interface);
        }
        self.detach_others()
    }

    /// Gives those that have the XDP program the one that is now wanted, without a packet between
    /// both.
    pub fn replace_xdp(&self, programs: &Programs) -> Result<()> {
        for interface in self.all.values() {
            if let Some(Attachment::Xdp(mode)) = interface.attachment {
                let pin = self.pin(&interface.name, Attachment::Xdp(mode));
                attach::attach_xdp(programs.xdp_now(), interface.index, mode, &pin)?;
            }
        }
        Ok(())
    }

    fn attach(&self, interface: &mut Interface, known: Option<&Interface>, programs: &Programs) {
        if let Some(known) = known
            && let Some(how) = known.attachment
            && self.is_attached(&known.name, known.index, how, programs)
        {
            interface.attachment = Some(how);
            interface.notes = known.notes.clone();
            return;
        }
        let ways: &[Attachment] = match interface.wanted {
            AttachMode::Auto => &[
                Attachment::Xdp(XdpMode::Native),
                Attachment::Xdp(XdpMode::Generic),
                Attachment::Tc(self.hook),
            ],
            AttachMode::Native => &[Attachment::Xdp(XdpMode::Native)],
            AttachMode::Generic => &[Attachment::Xdp(XdpMode::Generic)],
            AttachMode::Tc => &[Attachment::Tc(self.hook)],
        };
        for how in ways {
            match self.put(&interface.name, interface.index, *how, programs) {
                Ok(()) => {
                    interface.attachment = Some(*how);
                    break;
                }
                Err(error) => interface.notes.push(format!("no {how}: {error}")),
            }
        }
        // After the new one is there: a packet may be seen by two, never by none.
        for way in [
            Attachment::Xdp(XdpMode::Native),
            Attachment::Xdp(XdpMode::Generic),
            Attachment::Tc(self.hook),
        ] {
            if interface.attachment.is_some_and(|how| how != way)
                && let Err(error) = self.take_off(&interface.name, interface.index, way)
            {
                interface.notes.push(format!("{way} is still there: {error}"));
            }
        }
    }

    /// The node's own health checks leave by the same interfaces.
    fn attach_checks(&self, interface: &mut Interface, wanted: bool, programs: &Programs) {
        let pin = self.links.join(format!("{}-check", interface.name));
        let egress = Direction::Egress;
        let done = match &programs.check {
            Ok(check) if wanted => {
                attach::attach_interface(self.hook, check, interface.index, egress, &pin)
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
            Err(refused) if wanted => Err(refused.clone()),
            _ if pin.exists() => attach::detach_interface(self.hook, interface.index, egress, &pin)
                .map_err(|error| error.to_string()),
            _ => Ok(()),
        };
        let note = "health checks don't go through the encapsulation";
        interface.notes.retain(|known| !known.starts_with(note));
        if let Err(error) = done {
            interface.notes.push(format!("{note}: {error}"));
        }
    }

    fn put(
        &self,
        name: &str,
        index: u32,
        how: Attachment,
        programs: &Programs,
    ) -> Result<(), String> {
        let pin = self.pin(name, how);
        match how {
            Attachment::Xdp(mode) => {
                // An interface takes one XDP program: what is there in another mode goes first.
                for other in [XdpMode::Native, XdpMode::Generic] {
                    if other != mode {
                        attach::detach_link(&self.pin(name, Attachment::Xdp(other)))
                            .map_err(|error| error.to_string())?;
                    }
                }
                attach::attach_xdp(programs.xdp_now(), index, mode, &pin)
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
            Attachment::Tc(hook) => {
                let tc = programs.tc.as_ref().map_err(String::clone)?;
                attach::attach_interface(hook, tc, index, Direction::Ingress, &pin)
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
        }
    }

    fn take_off(&self, name: &str, index: u32, how: Attachment) -> Result<(), bpf_kernel::Error> {
        let pin = self.pin(name, how);
        match how {
            Attachment::Xdp(_) => attach::detach_link(&pin),
            // Without a link of ours a clsact filter may be that of a workload.
            Attachment::Tc(InterfaceHook::Clsact) => Ok(()),
            Attachment::Tc(hook) => attach::detach_interface(hook, index, Direction::Ingress, &pin),
        }
    }

    fn is_attached(&self, name: &str, index: u32, how: Attachment, programs: &Programs) -> bool {
        let pin = self.pin(name, how);
        let (there, wanted) = match how {
            Attachment::Xdp(_) => (attach::xdp_program(&pin, index), Ok(programs.xdp_now())),
            Attachment::Tc(hook) => {
                let there = attach::interface_program(hook, index, Direction::Ingress, &pin);
                (there, programs.tc.as_ref())
            }
        };
        match (there, wanted.map(Program::info)) {
            (Ok(there), Ok(Ok(wanted))) => there == Some(wanted.id),
            _ => false,
        }
    }

    fn pin(&self, name: &str, how: Attachment) -> PathBuf {
        let way = match how {
            Attachment::Xdp(XdpMode::Native) => WAYS[0],
            Attachment::Xdp(XdpMode::Generic) => WAYS[1],
            Attachment::Tc(_) => WAYS[2],
        };
        self.links.join(format!("{name}-{way}"))
    }

    /// Also what an earlier agent attached.
    fn detach_others(&self) -> Result<()> {
        let Ok(folder) = std::fs::read_dir(&self.links) else { return Ok(()) };
        for entry in folder.flatten() {
            let name = entry.file_name();
            let interface = name.to_str().and_then(|name| name.rsplit_once('-'));
            if interface.is_some_and(|(name, _)| !self.all.contains_key(name)) {
                attach::detach_link(&entry.path())?;
                tracing::info!(link = %entry.path().display(), "does not balance any more");
            }
        }
        Ok(())
    }
}
