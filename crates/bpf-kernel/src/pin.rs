//! Pins: names in a BPF file system that keep maps, programs and links alive.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use crate::{
    Error,
    mount::is_bpffs,
    sys::{self, Command},
};

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the path holds a NUL byte"))
}

/// Pins `fd` at `path`, making the directories above it.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Pin { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let name = c_path(path).map_err(failed)?;
    let mut attr = sys::ObjPath {
        path: sys::address(name.as_bytes_with_nul()),
        bpf_fd: sys::raw(fd),
        ..Default::default()
    };
    // SAFETY: `path` points to a NUL-terminated string that outlives the call.
    match unsafe { sys::bpf(Command::ObjPin, &mut attr) } {
        Ok(_) => Ok(()),
        Err(_) if !path.parent().is_some_and(is_bpffs) => {
            Err(Error::NotBpffs { path: path.to_owned() })
        }
        Err(error) => Err(failed(error)),
    }
}

/// Opens what is pinned at `path`; `None` when there is nothing.
pub(crate) fn open(path: &Path) -> Result<Option<OwnedFd>, Error> {
    let failed = |source| Error::OpenPin { path: path.to_owned(), source };
    let name = c_path(path).map_err(failed)?;
    let mut attr =
        sys::ObjPath { path: sys::address(name.as_bytes_with_nul()), ..Default::default() };
    // SAFETY: `path` points to a NUL-terminated string that outlives the call.
    match unsafe { sys::bpf_fd(Command::ObjGet, &mut attr) } {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Removes a pin; one that is not there is fine.
pub fn unpin(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::Pin { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Puts `fd` at `path`, in the place of what may be pinned there, with no moment without a pin.
pub(crate) fn replace(fd: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push("+new");
    let beside = path.with_file_name(name);
    unpin(&beside)?;
    // The name beside it is nothing to who asked for this one.
    pin(fd, &beside).map_err(|error| match error {
        Error::NotBpffs { .. } => Error::NotBpffs { path: path.to_owned() },
        Error::Pin { source, .. } => Error::Pin { path: path.to_owned(), source },
        other => other,
    })?;
    fs::rename(&beside, path).map_err(|source| Error::Pin { path: path.to_owned(), source })
}
