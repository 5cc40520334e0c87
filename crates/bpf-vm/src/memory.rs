//! The memory that a program may touch.
//!
//! **Invariant:** a [`Region`] in a list was made from a borrow that outlives the list, exclusive
//! if the region can be written. So an address that [`Memory::find`] has placed in a region may be
//! accessed through a raw pointer for as long as the list exists. Addresses come back from
//! programs as numbers, hence provenance is exposed when memory is lent.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::map::Map;
use crate::window;

/// An access to memory that the program wasn't lent, or not in this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    #[error("{length} bytes at {address:#x} are not the program's to read")]
    Read { address: u64, length: u64 },
    #[error("{length} bytes at {address:#x} are not the program's to write")]
    Write { address: u64, length: u64 },
    #[error("the atomic access to {address:#x} is not aligned to its {length} bytes")]
    Misaligned { address: u64, length: u64 },
}

/// Memory lent to a program, for as long as this value exists.
#[derive(Debug, Default)]
pub struct Memory<'m> {
    regions: Vec<Region>,
    /// What the packet instructions load from.
    pub(crate) packet: Option<Region>,
    /// The values of maps: those that are known before the run, and others.
    known_areas: Option<Arc<[Area]>>,
    areas: Vec<Area>,
    /// The maps of `areas`, which live as long as programs may look there.
    maps: Vec<Arc<Map>>,
    /// What programs access directly of a runtime's packet.
    packet_region: Option<Region>,
    lent: PhantomData<&'m mut [u8]>,
}

/// A list of memory that one run after another may use. Nothing in it is borrowed: whoever keeps it
/// keeps what it lends.
#[derive(Debug)]
pub(crate) struct Kept {
    pub memory: Memory<'static>,
    /// How often the runtime's maps had changed when their values were put there.
    pub changes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Region {
    pub start: u64,
    pub length: u64,
    pub writable: bool,
}

impl Region {
    #[inline(always)]
    pub fn holds(&self, address: u64, length: u64) -> bool {
        let offset = address.wrapping_sub(self.start);
        offset < self.length && self.length - offset >= length
    }
}

/// Elements side by side, of which an access may touch one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub region: Region,
    /// From one element to the next.
    pub stride: u32,
    /// How much of an element may be accessed.
    pub size: u32,
}

impl Area {
    /// The element in which an access lies wholly.
    fn element(&self, address: u64, length: u64) -> Option<Region> {
        if !self.region.holds(address, length) {
            return None;
        }
        let offset = (address - self.region.start) % u64::from(self.stride.max(1));
        let start = address - offset;
        let element = Region { start, length: self.size.into(), ..self.region };
        element.holds(address, length).then_some(element)
    }
}

impl<'m> Memory<'m> {
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the program read and write `bytes`; returns their address.
    pub fn lend(&mut self, bytes: &'m mut [u8]) -> u64 {
        let length = bytes.len() as u64;
        let start = bytes.as_mut_ptr().expose_provenance() as u64;
        self.regions.push(Region { start, length, writable: true });
        start
    }

    /// Lets the program read `bytes`; returns their address.
    pub fn share(&mut self, bytes: &'m [u8]) -> u64 {
        let length = bytes.len() as u64;
        let start = bytes.as_ptr().expose_provenance() as u64;
        self.regions.push(Region { start, length, writable: false });
        start
    }

    /// Like [`Self::lend`]; the packet instructions load from here.
    pub fn lend_packet(&mut self, bytes: &'m mut [u8]) -> u64 {
        let start = self.lend(bytes);
        self.packet = self.regions.last().copied();
        start
    }

    /// Lends memory that isn't borrowed. Whoever calls this keeps it until the run is over, or
    /// until it is taken back and no element of it was found since.
    pub(crate) fn add(&mut self, region: Region) {
        if !self.regions.contains(&region) {
            self.regions.push(region);
        }
    }

    pub(crate) fn take_back(&mut self, start: u64) {
        self.regions.retain(|region| region.start != start);
    }

    /// Lends the values of a map, and keeps it as long: a run may come upon maps that nobody else
    /// has any more, and what was lent to one run may be lent to the next.
    pub(crate) fn add_map(&mut self, map: &Arc<Map>) {
        if let Some(area) = map.area()
            && !self.known_areas().contains(&area)
            && !self.areas.contains(&area)
        {
            self.areas.push(area);
            self.maps.push(map.clone());
        }
    }

    /// The values of maps, which whoever calls this keeps.
    pub(crate) fn of_areas(areas: Arc<[Area]>) -> Self {
        Self { regions: Vec::with_capacity(4), known_areas: Some(areas), ..Self::default() }
    }

    /// Takes back all but the values of maps that are known before a run.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.regions.clear();
        self.packet = None;
        self.packet_region = None;
        if !self.areas.is_empty() {
            self.areas.clear();
            self.maps.clear();
        }
    }

    /// Whether something was lent that compiled code can't find.
    pub(crate) fn is_in_window(&self) -> bool {
        let mut regions = self.packet_region.iter().chain(&self.regions);
        regions.any(|region| window::holds(region.start))
    }

    /// Lends the values of maps, which whoever calls this keeps until the run is over.
    pub(crate) fn add_areas(&mut self, areas: Arc<[Area]>) {
        self.known_areas = Some(areas);
    }

    fn known_areas(&self) -> &[Area] {
        self.known_areas.as_deref().unwrap_or_default()
    }

    fn element(&self, address: u64, length: u64) -> Option<Region> {
        let mut areas = self.known_areas().iter().chain(&self.areas);
        areas.find_map(|area| area.element(address, length))
    }

    /// Whether the program may write these bytes, and they are part of a map's value.
    pub(crate) fn is_in_map(&self, address: u64, length: u64) -> bool {
        self.element(address, length).is_some_and(|element| element.writable)
    }

    /// Replaces what is lent of the packet.
    #[inline]
    pub(crate) fn move_packet(&mut self, direct: Region, instructions: Region) {
        self.packet_region = Some(direct);
        self.packet = Some(instructions);
    }

    /// The region in which an access lies wholly.
    pub(crate) fn find(&self, address: u64, length: u64) -> Option<Region> {
        let mut regions = self.packet_region.iter().chain(&self.regions);
        let found = regions.find(|region| region.holds(address, length)).copied();
        found.or_else(|| self.element(address, length))
    }
}

/// A number as it lies in memory.
pub(crate) trait Number: Copy {
    fn extend(self) -> u64;
    fn truncate(value: u64) -> Self;
}

macro_rules! number {
    ($($type:ty),*) => {
        $(impl Number for $type {
            #[inline(always)]
            fn extend(self) -> u64 {
                self as u64
            }

            #[inline(always)]
            fn truncate(value: u64) -> Self {
                value as Self
            }
        })*
    };
}

number!(u8, u16, u32, u64, i8, i16, i32);

/// # Safety
///
/// The bytes lie in a region, or are the program's stack.
#[inline(always)]
pub(crate) unsafe fn load<T: Number>(address: u64) -> u64 {
    let pointer = std::ptr::with_exposed_provenance::<T>(window::host(address));
    // SAFETY: the caller promises that the bytes can be read; all bit patterns are numbers.
    unsafe { pointer.read_unaligned() }.extend()
}

/// # Safety
///
/// The bytes lie in a region that can be written, or are the program's stack.
#[inline(always)]
pub(crate) unsafe fn store<T: Number>(address: u64, value: u64) {
    let pointer = std::ptr::with_exposed_provenance_mut::<T>(window::host(address));
    // SAFETY: the caller promises that the bytes can be written.
    unsafe { pointer.write_unaligned(T::truncate(value)) };
}

/// # Safety
///
/// As for [`store`]; the address is aligned to 8 bytes.
pub(crate) unsafe fn atomic64<'a>(address: u64) -> &'a AtomicU64 {
    let pointer = std::ptr::with_exposed_provenance_mut(window::host(address));
    // SAFETY: the caller promises memory that can be written and is aligned.
    unsafe { AtomicU64::from_ptr(pointer) }
}

/// # Safety
///
/// As for [`store`].
pub(crate) unsafe fn atomic8<'a>(address: u64) -> &'a AtomicU8 {
    let pointer = std::ptr::with_exposed_provenance_mut(address as usize);
    // SAFETY: the caller promises memory that can be written.
    unsafe { AtomicU8::from_ptr(pointer) }
}

/// # Safety
///
/// As for [`store`]; the address is aligned to 2 bytes.
pub(crate) unsafe fn atomic16<'a>(address: u64) -> &'a AtomicU16 {
    let pointer = std::ptr::with_exposed_provenance_mut(window::host(address));
    // SAFETY: the caller promises memory that can be written and is aligned.
    unsafe { AtomicU16::from_ptr(pointer) }
}

/// # Safety
///
/// As for [`store`]; the address is aligned to 4 bytes.
pub(crate) unsafe fn atomic32<'a>(address: u64) -> &'a AtomicU32 {
    let pointer = std::ptr::with_exposed_provenance_mut(window::host(address));
    // SAFETY: the caller promises memory that can be written and is aligned.
    unsafe { AtomicU32::from_ptr(pointer) }
}

/// The order of all atomic instructions, as on the kernel's architectures.
pub(crate) const ORDER: Ordering = Ordering::SeqCst;
