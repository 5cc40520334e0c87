//! Packets in memory that programs can address.
//!
//! Contexts hold the packet's bounds in 32 bits, so packets lie below 4 GiB. A buffer has room
//! before and behind the packet, into which helpers move the bounds; a page without access lies
//! behind the buffer, and a packet may be put right before it.

use std::sync::{Mutex, PoisonError};

use crate::slab::{copy_from, copy_to};
use crate::window;

mod low;

use low::Pages;

/// Room before a packet: more than any sequence of headers needs. Not whole pages, since what is put
/// before the packet would lie across the border of two, and a store there takes many times as long.
const HEADROOM: u32 = (8 << 10) + XDP_HEADROOM;
const TAILROOM: u32 = 8 << 10;
/// The longest packet.
pub const LONGEST: usize = 128 << 10;

/// What an XDP program may grow into, as in the kernel: `XDP_PACKET_HEADROOM`, and frames of a page
/// that ends with `struct skb_shared_info`.
const XDP_HEADROOM: u32 = 256;
const XDP_FRAME: u32 = 4096;
const XDP_TRAILER: u32 = 320;

/// Buffers that are kept for packets to come.
const KEPT: usize = 32;

static BUFFERS: Mutex<Vec<Pages>> = Mutex::new(Vec::new());

/// Why there is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    #[error(
        "no memory below 4 GiB, or in place of it: contexts with packets need it, since they hold \
         addresses in 32 bits"
    )]
    NoLowMemory,
    #[error("the packet has {0} bytes: at most {LONGEST} are supported")]
    TooLong(usize),
}

/// A packet, which runs may change.
#[derive(Debug)]
pub struct Packet {
    pages: Option<Pages>,
    pub(crate) bounds: Bounds,
    guarded: bool,
}

/// Where the packet lies in its buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The buffer's address and length.
    pub base: u64,
    pub length: u32,
    pub meta: u32,
    pub data: u32,
    pub end: u32,
    /// How far `meta` and `data` may go down, and `end` up.
    pub floor: u32,
    pub ceiling: u32,
}

impl Packet {
    pub fn new(bytes: &[u8]) -> Result<Self, PacketError> {
        Self::place(bytes, false)
    }

    /// Behind the packet's last byte memory ends, so that an access that goes too far can't go
    /// unnoticed. The packet can't grow at its end.
    pub fn guarded(bytes: &[u8]) -> Result<Self, PacketError> {
        Self::place(bytes, true)
    }

    fn place(bytes: &[u8], guarded: bool) -> Result<Self, PacketError> {
        if bytes.len() > LONGEST {
            return Err(PacketError::TooLong(bytes.len()));
        }
        let kept = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let pages = match kept {
            Some(pages) => pages,
            None => Pages::new(HEADROOM as usize + LONGEST + TAILROOM as usize)
                .ok_or(PacketError::NoLowMemory)?,
        };
        let (base, length) = (pages.address(), pages.len());
        let bounds = Bounds { base, length, meta: 0, data: 0, end: 0, floor: 0, ceiling: 0 };
        let mut packet = Self { pages: Some(pages), bounds, guarded };
        packet.put(bytes);
        Ok(packet)
    }

    /// Makes it another packet.
    pub fn set(&mut self, bytes: &[u8]) -> Result<(), PacketError> {
        if bytes.len() > LONGEST {
            return Err(PacketError::TooLong(bytes.len()));
        }
        self.put(bytes);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        let bounds = &mut self.bounds;
        let length = bytes.len() as u32;
        bounds.data = if self.guarded { bounds.length - length } else { HEADROOM };
        bounds.meta = bounds.data;
        bounds.end = bounds.data + length;
        bounds.floor = 0;
        bounds.ceiling = bounds.length;
        bounds.write(bounds.data, bytes);
    }

    /// The room that the kernel gives XDP programs.
    pub(crate) fn limit_to_frame(&mut self) {
        let bounds = &mut self.bounds;
        // What programs have put before it may have used up the room.
        let room = HEADROOM.min(bounds.length - bounds.len());
        if bounds.data < XDP_HEADROOM && bounds.data < room {
            let by = room - bounds.data;
            bounds.shift(bounds.meta, bounds.meta + by, bounds.end - bounds.meta);
            bounds.meta += by;
            bounds.data += by;
            bounds.end += by;
        }
        bounds.floor = bounds.data.saturating_sub(XDP_HEADROOM);
        // Nothing of earlier packets.
        bounds.clear(bounds.floor, bounds.data - bounds.floor);
        let length = bounds.end - bounds.data;
        let frame = (XDP_HEADROOM + length + XDP_TRAILER).next_multiple_of(XDP_FRAME);
        bounds.ceiling = (bounds.floor + frame - XDP_TRAILER).min(bounds.length);
    }

    pub fn len(&self) -> usize {
        (self.bounds.end - self.bounds.data) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        self.bounds.read(self.bounds.data, &mut bytes);
        bytes
    }

    /// What a program has put before the packet (`data_meta`).
    pub fn metadata(&self) -> Vec<u8> {
        let mut bytes = vec![0; (self.bounds.data - self.bounds.meta) as usize];
        self.bounds.read(self.bounds.meta, &mut bytes);
        bytes
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        let mut kept = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.extend(self.pages.take());
        }
    }
}

impl Bounds {
    pub fn len(&self) -> u32 {
        self.end - self.data
    }

    #[inline]
    pub fn pointer(&self, at: u32, length: usize) -> *mut u8 {
        let end = u64::from(at) + length as u64;
        assert!(end <= self.length.into(), "access behind the end of a packet's buffer");
        std::ptr::with_exposed_provenance_mut(window::host(self.base + u64::from(at)))
    }

    /// Copies from the buffer.
    pub fn read(&self, at: u32, into: &mut [u8]) {
        // SAFETY: `pointer` has found the bytes to lie in the buffer, which outlives the bounds:
        // they are part of the packet, or of the state of a run that borrows it.
        unsafe { copy_from(self.pointer(at, into.len()), into) }
    }

    /// A few bytes of the buffer.
    #[inline]
    pub fn array<const LENGTH: usize>(&self, at: u32) -> [u8; LENGTH] {
        let start = self.pointer(at, LENGTH);
        // SAFETY: as above. Nobody else runs on this packet now.
        unsafe { start.cast::<[u8; LENGTH]>().read_unaligned() }
    }

    /// Copies into the buffer.
    pub fn write(&self, at: u32, bytes: &[u8]) {
        // SAFETY: as above.
        unsafe { copy_to(self.pointer(at, bytes.len()), bytes) }
    }

    pub fn clear(&self, at: u32, length: u32) {
        // SAFETY: as above. Nobody else runs on this packet now.
        unsafe { self.pointer(at, length as usize).write_bytes(0, length as usize) }
    }

    /// Moves bytes within the buffer.
    pub fn shift(&self, from: u32, to: u32, length: u32) {
        let (from, to) = (self.pointer(from, length as usize), self.pointer(to, length as usize));
        // SAFETY: as above.
        unsafe { std::ptr::copy(from, to, length as usize) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_lie_low_and_keep_their_bytes() {
        for length in [0, 1, 60, 1514, 9000, LONGEST] {
            let bytes: Vec<u8> = (0..length).map(|i| i as u8).collect();
            for packet in [Packet::new(&bytes).unwrap(), Packet::guarded(&bytes).unwrap()] {
                assert_eq!(packet.bytes(), bytes);
                let Bounds { base, end, length, .. } = packet.bounds;
                assert!(base + u64::from(end) <= 1 << 32);
                assert!(!packet.guarded || end == length);
            }
        }
        let error = Packet::new(&[0; LONGEST + 1]).unwrap_err();
        assert_eq!(error, PacketError::TooLong(LONGEST + 1));
    }
}
