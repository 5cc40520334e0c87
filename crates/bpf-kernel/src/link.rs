//! Links: what holds a program to an interface or a cgroup, and outlives us while it is pinned.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use aya_obj::generated::{bpf_attach_type, bpf_link_type};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes};

use crate::{
    Error,
    map::fd_is,
    pin,
    program::Program,
    sys::{self, Command},
};

/// A link of the kernel.
#[derive(Debug)]
pub struct Link {
    /// For errors.
    target: String,
    fd: OwnedFd,
}

/// What a link says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    pub id: u32,
    pub program_id: u32,
    pub target: LinkTarget,
    /// `bpf_attach_type`, zero for kinds of links we do not make.
    pub hook: u32,
}

/// Where a link leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkTarget {
    /// By number in the namespace of the device.
    Interface(u32),
    /// By id, which is the inode number of its directory.
    Cgroup(u64),
    /// The interface or cgroup is gone; the link does nothing any more.
    Gone,
    /// A kind of link we do not make, by the kernel's number.
    Other(u32),
}

/// `struct bpf_link_info`, with its union as words.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct KernelLinkInfo {
    kind: u32,
    id: u32,
    program_id: u32,
    padding: u32,
    words: [u32; 4],
}

impl Link {
    /// `target` is a descriptor (of a cgroup) or an interface number.
    pub(crate) fn create(
        program: &Program,
        target: u32,
        hook: u32,
        name: String,
    ) -> Result<Self, Error> {
        Self::create_with_flags(program, target, hook, 0, name)
    }

    /// As [`Link::create`], with what the kind of link calls flags.
    pub(crate) fn create_with_flags(
        program: &Program,
        target: u32,
        hook: u32,
        flags: u32,
        name: String,
    ) -> Result<Self, Error> {
        let mut attr = sys::LinkCreate {
            prog_fd: sys::raw(program.as_fd()),
            target,
            attach_type: hook,
            flags,
            ..Default::default()
        };
        // SAFETY: the struct holds no pointers.
        match unsafe { sys::bpf_fd(Command::LinkCreate, &mut attr) } {
            Ok(fd) => Ok(Self { target: name, fd }),
            Err(source) => {
                Err(Error::Attach { program: program.name().to_owned(), target: name, source })
            }
        }
    }

    /// Opens the link pinned at `path`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_if_pinned(path)?.ok_or_else(|| Error::NotPinned { path: path.to_owned() })
    }

    /// As [`Link::open`]; `None` when nothing is pinned there.
    pub fn open_if_pinned(path: &Path) -> Result<Option<Self>, Error> {
        let Some(fd) = pin::open(path)? else { return Ok(None) };
        if !fd_is(fd.as_fd(), "bpf_link") && !fd_is(fd.as_fd(), "bpf-link") {
            return Err(Error::WrongPin { path: path.to_owned(), expected: "a link" });
        }
        Ok(Some(Self { target: format!("the link {}", path.display()), fd }))
    }

    pub fn info(&self) -> Result<LinkInfo, Error> {
        let mut info = KernelLinkInfo::new_zeroed();
        sys::object_info(self.fd.as_fd(), &mut info)
            .map_err(|source| self.failed("read the numbers of", source))?;
        let [first, second, third, _] = info.words;
        let (target, hook) = if info.kind == bpf_link_type::BPF_LINK_TYPE_TCX as u32 {
            let target = if first == 0 { LinkTarget::Gone } else { LinkTarget::Interface(first) };
            (target, second)
        } else if info.kind == bpf_link_type::BPF_LINK_TYPE_CGROUP as u32 {
            let id = u64::from(first) | u64::from(second) << 32;
            (if id == 0 { LinkTarget::Gone } else { LinkTarget::Cgroup(id) }, third)
        } else if info.kind == bpf_link_type::BPF_LINK_TYPE_XDP as u32 {
            let target = if first == 0 { LinkTarget::Gone } else { LinkTarget::Interface(first) };
            (target, bpf_attach_type::BPF_XDP as u32)
        } else {
            (LinkTarget::Other(info.kind), 0)
        };
        Ok(LinkInfo { id: info.id, program_id: info.program_id, target, hook })
    }

    /// Puts another program in the place of the current one; no packet passes in between.
    pub fn update(&self, program: &Program) -> Result<(), Error> {
        let mut attr = sys::LinkUpdate {
            link_fd: sys::raw(self.fd.as_fd()),
            new_prog_fd: sys::raw(program.as_fd()),
            ..Default::default()
        };
        // SAFETY: the struct holds no pointers.
        unsafe { sys::bpf(Command::LinkUpdate, &mut attr) }.map(drop).map_err(|source| {
            Error::Attach {
                program: program.name().to_owned(),
                target: self.target.clone(),
                source,
            }
        })
    }

    /// Pins the link at `path`, in the place of what may be pinned there.
    pub fn pin(&self, path: &Path) -> Result<(), Error> {
        pin::replace(self.fd.as_fd(), path)
    }

    /// Takes the program off its target, whoever else holds the link.
    pub fn detach(&self) -> Result<(), Error> {
        let mut attr = sys::LinkDetach { link_fd: sys::raw(self.fd.as_fd()), ..Default::default() };
        // SAFETY: the struct holds no pointers.
        unsafe { sys::bpf(Command::LinkDetach, &mut attr) }
            .map(drop)
            .map_err(|source| self.failed("detach", source))
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        Error::Link { operation, target: self.target.clone(), source }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
