//! The programs: loaded, pinned, put on interfaces and cgroups.

use crate::{Config, Result};
use abi::maps;
use bpf_kernel::attach::{self, Attached, Direction, InterfaceHook, XdpMode};
use bpf_kernel::{KernelOffsets, Loader, Program};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FROM_ENDPOINT: &str = "from_endpoint";
const TO_ENDPOINT: &str = "to_endpoint";
pub(crate) const SHORTCUT: &str = "shortcut";

const SHORTCUT_MODES: [XdpMode; 2] = [XdpMode::Native, XdpMode::Generic];

/// Programs of object `sock`, each for the cgroup hook of its name.
pub(crate) const SOCKET: [&str; 9] = [
    "sock_create",
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
    "recvmsg4",
    "recvmsg6",
    "getpeername4",
    "getpeername6",
];

/// All programs of the node, loaded once and attached many times.
#[derive(Debug)]
pub struct Programs {
    hook: InterfaceHook,
    links: PathBuf,
    from_endpoint: Program,
    to_endpoint: Program,
    from_outside: Program,
    to_outside: Program,
    shortcut: Program,
    socket: Vec<Program>,
    /// Numbers of the programs by name: what has to be on interfaces and cgroups.
    ids: BTreeMap<String, u32>,
    /// Whether programs of an earlier agent are swapped for these. Not before the tables are
    /// filled: these may have other maps.
    swapping: bool,
}

impl Programs {
    /// Loads both objects; maps that are pinned are used again, and so are pinned programs that
    /// are the same.
    pub fn load(config: &Config, hook: InterfaceHook) -> Result<Self> {
        let offsets = KernelOffsets::of_this_kernel()?;
        let pins = config.bpffs.join("programs");
        let mut endpoint = loader("endpoint", config, &offsets).load(objects::ENDPOINT)?;
        let mut sock = loader("sock", config, &offsets).load(objects::SOCK)?;
        let program = |object: &mut bpf_kernel::Object, name: &str| {
            let maps = object.maps().map(|map| Ok(map.info()?.id)).collect::<Result<Vec<u32>>>()?;
            keep_or_pin(object.take_program(name)?, &pins.join(name), &maps)
        };
        let mut programs = Programs {
            hook,
            links: config.bpffs.join("links"),
            from_endpoint: program(&mut endpoint, FROM_ENDPOINT)?,
            to_endpoint: program(&mut endpoint, TO_ENDPOINT)?,
            from_outside: program(&mut endpoint, "from_outside")?,
            to_outside: program(&mut endpoint, "to_outside")?,
            shortcut: program(&mut endpoint, SHORTCUT)?,
            socket: SOCKET.iter().map(|name| program(&mut sock, name)).collect::<Result<_>>()?,
            ids: BTreeMap::new(),
            swapping: false,
        };
        programs.ids = programs
            .all()
            .map(|program| Ok((program.name().to_owned(), program.info()?.id)))
            .collect::<Result<_>>()?;
        Ok(programs)
    }

    pub fn hook(&self) -> InterfaceHook {
        self.hook
    }

    /// Every program by name, with what it is.
    pub fn all(&self) -> impl Iterator<Item = &Program> {
        let on_interfaces = [
            &self.from_endpoint,
            &self.to_endpoint,
            &self.from_outside,
            &self.to_outside,
            &self.shortcut,
        ];
        on_interfaces.into_iter().chain(&self.socket)
    }

    /// The tables are filled: from now on programs of an earlier agent are swapped. False if that
    /// was so before.
    pub fn start_swapping(&mut self) -> bool {
        !std::mem::replace(&mut self.swapping, true)
    }

    /// Puts both programs on the host side of an endpoint's interface.
    ///
    /// The way to the endpoint first: were it the other way round, the endpoint's first packets
    /// could be answered past the policy.
    pub fn attach_interface(&self, key: &str, ifindex: u32) -> Result<()> {
        self.attach_both(key, ifindex, &self.to_endpoint, &self.from_endpoint)
    }

    /// Puts both programs on an interface of the node's own: first the one that translates replies.
    pub fn attach_device(&self, key: &str, ifindex: u32) -> Result<()> {
        self.attach_both(key, ifindex, &self.to_outside, &self.from_outside)
    }

    /// Puts the shortcut on an interface of the node's own.
    pub fn attach_shortcut(&self, key: &str, ifindex: u32, mode: XdpMode) -> Result<()> {
        // An interface takes one XDP program: what is there in another mode goes first.
        for other in SHORTCUT_MODES.into_iter().filter(|other| *other != mode) {
            attach::detach_link(&self.shortcut_pin(key, other))?;
        }
        let pin = self.shortcut_pin(key, mode);
        if self.swapping || attach::xdp_program(&pin, ifindex)?.is_none() {
            note(attach::attach_xdp(&self.shortcut, ifindex, mode, &pin)?, &self.shortcut, key);
        }
        Ok(())
    }

    pub fn is_shortcut_missing(&self, key: &str, ifindex: u32, mode: XdpMode) -> bool {
        let there = attach::xdp_program(&self.shortcut_pin(key, mode), ifindex);
        !self.is_this(&self.shortcut, there)
    }

    pub fn detach_shortcut(&self, key: &str) -> Result<()> {
        for mode in SHORTCUT_MODES {
            attach::detach_link(&self.shortcut_pin(key, mode))?;
        }
        Ok(())
    }

    fn attach_both(
        &self,
        key: &str,
        ifindex: u32,
        egress: &Program,
        ingress: &Program,
    ) -> Result<()> {
        for (program, direction) in [(egress, Direction::Egress), (ingress, Direction::Ingress)] {
            let pin = self.interface_pin(key, direction);
            if !self.swapping
                && attach::interface_program(self.hook, ifindex, direction, &pin)?.is_some()
            {
                continue;
            }
            let done = attach::attach_interface(self.hook, program, ifindex, direction, &pin)?;
            note(done, program, key);
        }
        Ok(())
    }

    /// The programs that are not on the interface, where they have been put.
    pub fn missing_on_interface(&self, key: &str, ifindex: u32) -> Vec<&str> {
        self.missing_of_both(key, ifindex, &self.to_endpoint, &self.from_endpoint)
    }

    /// The programs that are not on an interface of the node's own, where they have been put.
    pub fn missing_on_device(&self, key: &str, ifindex: u32) -> Vec<&str> {
        self.missing_of_both(key, ifindex, &self.to_outside, &self.from_outside)
    }

    fn missing_of_both<'a>(
        &self,
        key: &str,
        ifindex: u32,
        egress: &'a Program,
        ingress: &'a Program,
    ) -> Vec<&'a str> {
        let both = [(egress, Direction::Egress), (ingress, Direction::Ingress)];
        let missing = both.into_iter().filter(|(program, direction)| {
            let pin = self.interface_pin(key, *direction);
            let there = attach::interface_program(self.hook, ifindex, *direction, &pin);
            !self.is_this(program, there)
        });
        missing.map(|(program, _)| program.name()).collect()
    }

    /// The programs that are not on the cgroup, where they have been put.
    pub fn missing_on_cgroup(&self, key: &str, cgroup: &Path) -> Vec<&str> {
        let missing = self.socket.iter().filter(|program| {
            let pin = self.links.join(format!("{key}-{}", program.name()));
            !self.is_this(program, attach::cgroup_program(&pin, cgroup))
        });
        missing.map(Program::name).collect()
    }

    fn is_this(&self, program: &Program, there: Result<Option<u32>, bpf_kernel::Error>) -> bool {
        match there {
            Ok(there) if !self.swapping => there.is_some(),
            Ok(there) => there.is_some() && there == self.ids.get(program.name()).copied(),
            Err(error) => {
                tracing::warn!(program = program.name(), %error, "cannot see whether it is attached");
                false
            }
        }
    }

    pub fn detach_interface(&self, key: &str, ifindex: u32) -> Result<()> {
        for direction in [Direction::Ingress, Direction::Egress] {
            let pin = self.interface_pin(key, direction);
            attach::detach_interface(self.hook, ifindex, direction, &pin)?;
        }
        Ok(())
    }

    /// Takes all programs off an interface of the node's own.
    pub fn detach_device(&self, key: &str, ifindex: u32) -> Result<()> {
        self.detach_shortcut(key)?;
        self.detach_interface(key, ifindex)
    }

    /// Puts the socket programs on a workload's cgroup.
    pub fn attach_cgroup(&self, key: &str, cgroup: &Path) -> Result<()> {
        for program in &self.socket {
            let pin = self.links.join(format!("{key}-{}", program.name()));
            if !self.swapping && attach::cgroup_program(&pin, cgroup)?.is_some() {
                continue;
            }
            note(attach::attach_cgroup(program, cgroup, &pin)?, program, key);
        }
        Ok(())
    }

    pub fn detach_cgroup(&self, key: &str) -> Result<()> {
        for program in &self.socket {
            attach::detach_link(&self.links.join(format!("{key}-{}", program.name())))?;
        }
        Ok(())
    }

    /// Detaches every pinned link whose key `keep` doesn't want: what an earlier agent attached
    /// for workloads that have gone meanwhile.
    pub fn detach_others(&self, keep: impl Fn(&str) -> bool) -> Result<usize> {
        let Ok(folder) = std::fs::read_dir(&self.links) else { return Ok(0) };
        let mut detached = 0;
        for entry in folder.flatten() {
            let name = entry.file_name();
            let Some((key, _)) = name.to_str().and_then(|name| name.rsplit_once('-')) else {
                continue;
            };
            if !keep(key) {
                attach::detach_link(&entry.path())?;
                detached += 1;
            }
        }
        Ok(detached)
    }

    /// One for each mode: a link stays in the mode that it was made in.
    fn shortcut_pin(&self, key: &str, mode: XdpMode) -> PathBuf {
        let mode = match mode {
            XdpMode::Native => "native",
            XdpMode::Generic => "generic",
        };
        self.links.join(format!("{key}-{mode}"))
    }

    fn interface_pin(&self, key: &str, direction: Direction) -> PathBuf {
        self.links.join(format!("{key}-{direction}"))
    }
}

/// What an object of the node is loaded with.
pub(crate) fn loader<'a>(object: &'a str, config: &Config, offsets: &KernelOffsets) -> Loader<'a> {
    Loader::new(object)
        .pin_maps(config.bpffs.join("maps"))
        .replace_mismatched(config.replace_maps)
        .max_entries(maps::CONNTRACK, config.conntrack_max)
        .max_entries(maps::SERVICE_FLOWS, (config.conntrack_max / 2).max(1))
        .max_entries(maps::PEERS, config.peers_max)
        .max_entries(maps::PORTS, config.ports_max)
        .kernel_offsets(offsets)
}

/// The pinned program if it has the same instructions and uses the very maps that are pinned, so
/// that a restart swaps nothing; otherwise the new one, pinned in its place. `maps` are the numbers
/// of the pinned maps: constants are each program's own.
pub(crate) fn keep_or_pin(new: Program, pin: &Path, maps: &[u32]) -> Result<Program> {
    if let Some(pinned) = Program::open_if_pinned(pin)?
        && pinned.info()?.tag == new.info()?.tag
    {
        let used = pinned.map_ids()?;
        if new.map_ids()?.iter().filter(|id| maps.contains(id)).all(|id| used.contains(id)) {
            return Ok(pinned.with_hook_of(&new));
        }
    }
    new.pin(pin)?;
    Ok(new)
}

fn note(done: Attached, program: &Program, key: &str) {
    if done != Attached::Unchanged {
        tracing::debug!(program = program.name(), workload = key, ?done, "attached");
    }
}
