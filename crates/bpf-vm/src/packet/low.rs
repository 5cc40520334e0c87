//! Memory below 4 GiB, or what stands for it.

use std::ptr;

#[cfg(any(target_vendor = "apple", feature = "packet-window"))]
use crate::window as place;

/// Pages of our own, with one behind them that nobody can access.
#[derive(Debug)]
pub(super) struct Pages {
    address: usize,
    length: usize,
}

/// The largest page size of the machines that we run on.
const PAGE: usize = 64 << 10;

impl Pages {
    /// At least so many bytes, zeroed; `None` if there is no memory at such addresses.
    pub fn new(bytes: usize) -> Option<Self> {
        let length = bytes.checked_next_multiple_of(PAGE)?;
        let whole = length + PAGE;
        let address = place::take(whole)?;
        let guard = ptr::with_exposed_provenance_mut::<u8>(address + length).cast();
        // SAFETY: the last page of what was just mapped, of which nobody knows yet.
        if unsafe { libc::mprotect(guard, PAGE, libc::PROT_NONE) } != 0 {
            // SAFETY: as above.
            unsafe { place::give_back(address, whole) };
            return None;
        }
        Some(Self { address, length })
    }

    /// As programs see it.
    pub fn address(&self) -> u64 {
        place::guest(self.address)
    }

    pub fn len(&self) -> u32 {
        self.length as u32
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and whoever holds the pages is the last to use them.
        unsafe { place::give_back(self.address, self.length + PAGE) };
    }
}

#[cfg(not(any(target_vendor = "apple", feature = "packet-window")))]
mod place {
    use std::ptr;

    pub fn guest(address: usize) -> u64 {
        address as u64
    }

    /// # Safety
    ///
    /// Nobody uses the pages any more.
    pub unsafe fn give_back(address: usize, length: usize) {
        let start = ptr::with_exposed_provenance_mut(address);
        // SAFETY: the caller's promise.
        let result = unsafe { libc::munmap(start, length) };
        debug_assert_eq!(result, 0, "pages that were mapped can be unmapped");
    }

    fn map_at(hint: usize, length: usize, flags: i32) -> Option<usize> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | flags;
        let hint = ptr::without_provenance_mut(hint);
        // SAFETY: new private memory; no flag lets it replace what is there.
        let start = unsafe { libc::mmap(hint, length, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let address = start.expose_provenance();
        if address + length <= 1 << 32 {
            return Some(address);
        }
        // SAFETY: just mapped.
        unsafe { give_back(address, length) };
        None
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    pub fn take(length: usize) -> Option<usize> {
        map_at(0, length, libc::MAP_32BIT).or_else(|| search(length))
    }

    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    pub fn take(length: usize) -> Option<usize> {
        search(length)
    }

    /// Asks for one place after the other.
    fn search(length: usize) -> Option<usize> {
        #[cfg(target_os = "linux")]
        let flags = libc::MAP_FIXED_NOREPLACE;
        #[cfg(not(target_os = "linux"))]
        let flags = 0;
        let places = (0x1000_0000usize..0xf000_0000).step_by(16 << 20);
        places.into_iter().find_map(|hint| map_at(hint, length, flags))
    }
}
