//! A frame in memory that grows and shrinks.

extern crate std;

use super::Buffer;
use crate::balancer::{Frame, Hop, Outer, Route, Verdict};
use std::vec;
use wire::checksum::Sum;
use zerocopy::{FromBytes, Immutable, IntoBytes};

#[derive(Debug)]
pub struct BufferFrame<'a>(pub(super) &'a mut Buffer);

impl Frame for BufferFrame<'_> {
    fn length(&self) -> u32 {
        self.0.bytes.len() as u32
    }

    fn ifindex(&self) -> u32 {
        self.0.ifindex
    }

    fn head<T: FromBytes + Copy, const OFFSET: usize>(&self) -> Option<T> {
        wire::read(&self.0.bytes, OFFSET)
    }

    fn read<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        wire::read(&self.0.bytes, offset as usize)
    }

    fn write_head<T: IntoBytes + Immutable + Copy, const OFFSET: usize>(
        &mut self,
        value: &T,
    ) -> Option<()> {
        self.write(OFFSET as u32, value)
    }

    fn write<T: IntoBytes + Immutable + Copy>(&mut self, offset: u32, value: &T) -> Option<()> {
        let value = value.as_bytes();
        let to = self.0.bytes.get_mut(offset as usize..)?.get_mut(..value.len())?;
        to.copy_from_slice(value);
        Some(())
    }

    fn grow(&mut self, bytes: u32, _: Outer) -> Option<()> {
        self.0.bytes.splice(..0, vec![0; bytes as usize]);
        Some(())
    }

    fn shrink(&mut self, bytes: u32) -> Option<()> {
        self.0.bytes.get(..bytes as usize)?;
        self.0.bytes.drain(..bytes as usize);
        Some(())
    }

    fn truncate(&mut self, length: u32) -> Option<()> {
        self.0.bytes.get(..length as usize)?;
        self.0.bytes.truncate(length as usize);
        Some(())
    }

    fn sum<const OFFSET: usize, const LENGTH: usize>(&self) -> Option<Sum> {
        Some(Sum::ZERO.bytes(self.0.bytes.get(OFFSET..)?.get(..LENGTH)?))
    }

    /// It leaves by no interface.
    fn redirect(&mut self, _: u32) -> Verdict {
        Verdict::Redirect
    }

    fn route(&self, _: &Route) -> Option<Hop> {
        Some(Hop { ifindex: self.0.route?, destination: [2; 3], source: [4; 3] })
    }
}
