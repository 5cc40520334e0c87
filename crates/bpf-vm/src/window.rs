//! Addresses below 4 GiB on systems that have no memory there (macOS keeps it from every program).
//!
//! Such a system gives 4 GiB somewhere else, and a program's address below 4 GiB means the place
//! that is as far from the begin of those: a window, through which the interpreter and the helpers
//! look. There is nothing at such addresses otherwise, so none means two things. Compiled code
//! knows nothing of it: runs that were lent something in the window are the interpreter's.
//!
//! Elsewhere an address is an address, and this costs nothing; the feature `packet-window` is there
//! to try on other systems what those do.

/// Whether this system needs the window.
pub(crate) const IS_USED: bool = cfg!(any(target_vendor = "apple", feature = "packet-window"));

const SIZE: u64 = 1 << 32;

/// Whether an address of a program's lies in the window.
pub(crate) fn holds(address: u64) -> bool {
    IS_USED && address < SIZE
}

#[cfg(not(any(target_vendor = "apple", feature = "packet-window")))]
#[inline(always)]
pub(crate) fn host(address: u64) -> usize {
    address as usize
}

#[cfg(any(target_vendor = "apple", feature = "packet-window"))]
pub(crate) use reserved::{give_back, guest, host, take};

#[cfg(any(target_vendor = "apple", feature = "packet-window"))]
mod reserved {
    use std::ptr;
    use std::sync::{LazyLock, Mutex, PoisonError};

    use super::{SIZE, holds};

    /// Where the window begins, if the system gives so many addresses.
    static START: LazyLock<Option<usize>> = LazyLock::new(|| map(0, SIZE as usize, 0));

    /// What of it has never been used, and what was given back: places and lengths.
    static FREE: Mutex<(usize, Vec<(usize, usize)>)> = Mutex::new((FIRST, Vec::new()));

    /// No program has anything at zero, or nearby.
    const FIRST: usize = 1 << 20;

    /// Addresses without memory.
    fn map(at: usize, length: usize, flags: i32) -> Option<usize> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE | flags;
        let at = ptr::with_exposed_provenance_mut(at);
        // SAFETY: new private memory, in place of nothing or, by `give_back`, of what nobody uses.
        let start = unsafe { libc::mmap(at, length, libc::PROT_NONE, flags, -1, 0) };
        (start != libc::MAP_FAILED).then(|| start.expose_provenance())
    }

    /// Where a program's address is.
    #[inline(always)]
    pub(crate) fn host(address: u64) -> usize {
        match *START {
            Some(start) if holds(address) => start + address as usize,
            _ => address as usize,
        }
    }

    /// The program's address of a place in the window.
    pub(crate) fn guest(host: usize) -> u64 {
        host.wrapping_sub(START.unwrap_or_default()) as u64
    }

    /// Zeroed memory in the window: whole pages.
    pub(crate) fn take(length: usize) -> Option<usize> {
        let start = (*START)?;
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, returned) = &mut *free;
        let at = match returned.iter().position(|(_, free)| *free == length) {
            Some(index) => returned.swap_remove(index).0,
            None => {
                let end = next.checked_add(length).filter(|end| *end <= SIZE as usize)?;
                start + std::mem::replace(next, end)
            }
        };
        let pages = ptr::with_exposed_provenance_mut(at);
        // SAFETY: in the window, and just taken from what nobody uses.
        let result = unsafe { libc::mprotect(pages, length, libc::PROT_READ | libc::PROT_WRITE) };
        if result == 0 {
            return Some(at);
        }
        returned.push((at, length));
        None
    }

    /// Undoes [`take`].
    ///
    /// # Safety
    ///
    /// Nobody uses the memory any more.
    pub(crate) unsafe fn give_back(at: usize, length: usize) {
        // What can't be taken from there stays as it is, for ever.
        if map(at, length, libc::MAP_FIXED).is_some() {
            let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
            free.1.push((at, length));
        }
    }
}
