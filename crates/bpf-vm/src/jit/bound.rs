//! What code may know of the runtime that a program is bound to: maps that stay where they are,
//! values that never change, helpers that need nothing but their arguments.
//!
//! A back end that can't do what is found here asks for [`Bound::nothing`], and every helper is
//! called in the one way that all share.

use std::ptr;

use bpf_isa::{Register, Size};

use super::direct::{self, Direct};
use super::ir::Set;
use super::{Mode, packets};
use crate::helper::Shared;
use crate::program::Program;

/// Where an array's elements lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Array {
    pub start: u64,
    pub elements: u32,
    /// From one element to the next.
    pub stride: u32,
    /// How many CPUs have elements of their own; 1 if all share them.
    pub cpus: u32,
    /// From the elements of one CPU to those of the next.
    pub cpu_stride: u32,
}

/// A function of the runtime that is called without going through [`super::native`]: with
/// `object`, or the program's `r1` if there is none, `r2` to `r5`, and the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub function: Direct,
    pub object: Option<u64>,
}

/// What a call of a helper can be done by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Known {
    /// An element of `arrays`, under the index to which `r2` points.
    Array(u32),
    /// One of `calls`. So many bytes are read where each of these registers points to.
    Call { call: u32, arguments: Set, reads: [(Register, u32); 2] },
    /// One of `calls`, which may write to the frame and the packet.
    Writing { call: u32, arguments: Set },
    /// The number of the CPU.
    Processor,
}

#[derive(Debug)]
pub(crate) struct Bound<'a> {
    shared: Option<&'a Shared>,
    ids: &'a [Option<i32>],
    pub arrays: Vec<Array>,
    pub calls: Vec<Call>,
}

impl<'a> Bound<'a> {
    pub fn new(program: &'a Program) -> Self {
        let shared = program.shared.as_deref();
        Self { shared, ids: &program.helper_ids, ..Self::nothing() }
    }

    pub fn nothing() -> Self {
        Self { shared: None, ids: &[], arrays: Vec::new(), calls: Vec::new() }
    }

    /// What is known of a helper, if its first argument is known.
    pub fn helper(&mut self, index: u32, first: Option<u64>, mode: Mode) -> Option<Known> {
        let shared = self.shared?;
        let id = (*self.ids.get(index as usize)?)?;
        if mode == Mode::Verified
            && let Some((function, arguments)) = packets::helper(id)
        {
            let call = self.place(Call { function, object: None });
            return Some(Known::Writing { call, arguments });
        }
        let call = |function, object| Call { function, object: Some(object) };
        match id {
            5 | 125 | 160 => {
                let time = call(direct::time, object(&shared.time));
                return Some(self.call(time, Set::NONE, [0; 2]));
            }
            7 => {
                let random = call(direct::random, object(&shared.random));
                return Some(self.call(random, Set::NONE, [0; 2]));
            }
            8 => return Some(Known::Processor),
            1..=3 => {}
            _ => return None,
        }
        let map = shared.maps.resolve(first?)?;
        let (key, value) = (map.definition().key_size, map.definition().value_size);
        let object = object(&**map);
        let of = |register: Register| Set::of(register);
        let with_key = of(Register::R2);
        // Code multiplies by the number of the CPU, which is one of the runtime's.
        let is_for_all = |array: &Array| array.cpus == 1 || array.cpus == shared.cpus;
        match id {
            1 => match map.array().filter(is_for_all) {
                Some(array) => {
                    let place = self.arrays.iter().position(|known| *known == array);
                    let place = place.unwrap_or_else(|| {
                        self.arrays.push(array);
                        self.arrays.len() - 1
                    });
                    Some(Known::Array(place as u32))
                }
                None => {
                    let function = direct::look_up(map)?;
                    Some(self.call(call(function, object), with_key, [key, 0]))
                }
            },
            2 => {
                let function = direct::update(map)?;
                let arguments = with_key.with(of(Register::R3)).with(of(Register::R4));
                Some(self.call(call(function, object), arguments, [key, value]))
            }
            _ => {
                let function = direct::delete(map)?;
                Some(self.call(call(function, object), with_key, [key, 0]))
            }
        }
    }

    fn call(&mut self, call: Call, arguments: Set, reads: [u32; 2]) -> Known {
        let [key, value] = reads;
        let reads = [(Register::R2, key), (Register::R3, value)];
        Known::Call { call: self.place(call), arguments, reads }
    }

    fn place(&mut self, call: Call) -> u32 {
        let same = |known: &Call| {
            known.object == call.object && ptr::fn_addr_eq(known.function, call.function)
        };
        let place = self.calls.iter().position(same).unwrap_or_else(|| {
            self.calls.push(call);
            self.calls.len() - 1
        });
        place as u32
    }

    /// What lies at an address in the only value of a map that nobody can change any more.
    pub fn constant(&self, address: u64, size: Size) -> Option<u64> {
        let maps = self.shared?.maps.all();
        maps.filter(|map| map.is_constant())
            .find_map(|map| map.constant_at(address, size.bytes().into()))
    }
}

fn object<T>(object: &T) -> u64 {
    ptr::from_ref(object).expose_provenance() as u64
}
