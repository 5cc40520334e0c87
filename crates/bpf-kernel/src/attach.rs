//! Putting programs on interfaces and cgroups, so that they stay while the agent is away.
//!
//! Every function here is *ensure*: it looks at what is there, and creates, swaps or leaves it.

mod clsact;
mod xdp;

use std::{
    fmt, fs,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
};

use aya_obj::generated::bpf_attach_type;

use crate::{
    Error,
    link::{Link, LinkInfo, LinkTarget},
    pin::unpin,
    program::Program,
    sys,
};

pub use xdp::{XdpMode, attach_xdp, xdp_program};

/// Which way packets go through the interface, as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Ingress,
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// How programs get onto interfaces; [`crate::probe`] finds which one this kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceHook {
    /// TCX links (Linux 6.6): pinned, with their own place in a list of programs.
    Tcx,
    /// A filter on a clsact queueing discipline. It belongs to the interface and has no pin.
    Clsact,
}

impl fmt::Display for InterfaceHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        })
    }
}

/// What attaching did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// There was nothing, or something that led elsewhere.
    New,
    /// Another program was there and has been swapped, with no packet in between.
    Swapped,
    /// This very program was there.
    Unchanged,
}

/// Attaches `program` to an interface of our network namespace.
///
/// With TCX the link is pinned at `pin`, and found again there. With clsact `pin` is not used.
pub fn attach_interface(
    hook: InterfaceHook,
    program: &Program,
    ifindex: u32,
    direction: Direction,
    pin: &Path,
) -> Result<Attached, Error> {
    let target = format!("{direction} of interface {ifindex} by {hook}");
    match hook {
        InterfaceHook::Tcx => {
            let number = tcx_hook(direction);
            ensure(program, pin, LinkTarget::Interface(ifindex), number, || {
                Link::create(program, ifindex, number, target)
            })
        }
        InterfaceHook::Clsact => clsact::attach(program, ifindex, direction)
            .map_err(|source| Error::Attach { program: program.name().to_owned(), target, source }),
    }
}

/// The id of our program on the interface; `None` when there is none, or the pinned link leads
/// elsewhere.
pub fn interface_program(
    hook: InterfaceHook,
    ifindex: u32,
    direction: Direction,
    pin: &Path,
) -> Result<Option<u32>, Error> {
    match hook {
        InterfaceHook::Tcx => {
            pinned_program(pin, LinkTarget::Interface(ifindex), tcx_hook(direction))
        }
        InterfaceHook::Clsact => {
            clsact::program(ifindex, direction).map_err(|source| Error::Link {
                operation: "look at the programs on",
                target: format!("{direction} of interface {ifindex}"),
                source,
            })
        }
    }
}

/// Takes our program off the interface; one that is not there, or an interface that is gone, is
/// fine.
pub fn detach_interface(
    hook: InterfaceHook,
    ifindex: u32,
    direction: Direction,
    pin: &Path,
) -> Result<(), Error> {
    match hook {
        InterfaceHook::Tcx => detach_link(pin),
        InterfaceHook::Clsact => clsact::detach(ifindex, direction).map_err(|source| Error::Link {
            operation: "detach the program from",
            target: format!("{direction} of interface {ifindex}"),
            source,
        }),
    }
}

/// Attaches `program` to a cgroup (of version 2), at the hook it was loaded for, beside programs of
/// others, and pins the link at `pin`.
pub fn attach_cgroup(program: &Program, cgroup: &Path, pin: &Path) -> Result<Attached, Error> {
    let opened = fs::File::open(cgroup)
        .and_then(|file| file.metadata().map(|metadata| (file, metadata.ino())));
    let (directory, id) = opened.map_err(|source| Error::Attach {
        program: program.name().to_owned(),
        target: format!("cgroup {}", cgroup.display()),
        source,
    })?;
    let hook = program.kind().hook;
    ensure(program, pin, LinkTarget::Cgroup(id), hook, || {
        let target = sys::raw(directory.as_fd());
        Link::create(program, target, hook, format!("cgroup {}", cgroup.display()))
    })
}

/// The id of the program the link pinned at `pin` holds to this cgroup; `None` when there is no
/// link or it leads elsewhere.
pub fn cgroup_program(pin: &Path, cgroup: &Path) -> Result<Option<u32>, Error> {
    let Some(info) = pinned_info(pin)? else { return Ok(None) };
    let here = fs::metadata(cgroup)
        .is_ok_and(|metadata| info.target == LinkTarget::Cgroup(metadata.ino()));
    Ok(here.then_some(info.program_id))
}

/// Detaches the link pinned at `pin` and removes the pin; none there is fine.
pub fn detach_link(pin: &Path) -> Result<(), Error> {
    if let Some(link) = Link::open_if_pinned(pin)? {
        // A link whose target is gone has nothing to detach from.
        if link.info()?.target != LinkTarget::Gone {
            link.detach()?;
        }
    }
    unpin(pin)
}

fn tcx_hook(direction: Direction) -> u32 {
    match direction {
        Direction::Ingress => bpf_attach_type::BPF_TCX_INGRESS as u32,
        Direction::Egress => bpf_attach_type::BPF_TCX_EGRESS as u32,
    }
}

fn pinned_info(pin: &Path) -> Result<Option<LinkInfo>, Error> {
    Link::open_if_pinned(pin)?.map(|link| link.info()).transpose()
}

fn pinned_program(pin: &Path, target: LinkTarget, hook: u32) -> Result<Option<u32>, Error> {
    let info = pinned_info(pin)?;
    Ok(info.filter(|info| info.target == target && info.hook == hook).map(|info| info.program_id))
}

fn ensure(
    program: &Program,
    pin: &Path,
    target: LinkTarget,
    hook: u32,
    create: impl FnOnce() -> Result<Link, Error>,
) -> Result<Attached, Error> {
    if let Some(link) = Link::open_if_pinned(pin)? {
        let info = link.info()?;
        if info.target == target && info.hook == hook {
            if info.program_id == program.info()?.id {
                return Ok(Attached::Unchanged);
            }
            link.update(program)?;
            return Ok(Attached::Swapped);
        }
    }
    create()?.pin(pin)?;
    Ok(Attached::New)
}
