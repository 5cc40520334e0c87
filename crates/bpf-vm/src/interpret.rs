//! The interpreter: the reference for what programs do.

use std::mem::MaybeUninit;
use std::ptr;

use bpf_isa::{AluOp, AtomicOp, Condition, Narrow, Register, Size, Width};

use crate::fault::{Fault, Reason, Stop};
use crate::memory::{self, AccessError, ORDER, Region, find, load, store};
use crate::op::{Op, for_each_family};
use crate::program::{Input, Program, slot_of_code};
use crate::semantics;

/// Bytes of stack per function, as in the kernel.
pub const FRAME: usize = 512;

/// How many functions may be active at once, as in the kernel.
pub const FRAMES: usize = 8;

const STACK: usize = FRAME * FRAMES;

/// How often `may_goto` lets a run go round, as in the kernel (`BPF_MAX_LOOPS`, Linux 6.9).
const LOOPS: u32 = 8 << 20;

#[repr(align(16))]
struct Stack([MaybeUninit<u8>; STACK]);

pub(crate) fn run(program: &Program, input: &mut Input<'_>) -> Result<u64, Fault> {
    let mut stack = Stack([MaybeUninit::uninit(); STACK]);
    let bottom = stack.0.as_mut_ptr().expose_provenance() as u64;
    let mut machine = Machine {
        program,
        regions: &input.memory.regions,
        packet: input.memory.packet,
        stack_end: bottom + STACK as u64,
        depth: 0,
        cleared: 0,
        fuel: input.fuel,
        loops: LOOPS,
    };
    match machine.execute(0, input.arguments) {
        Ok(result) | Err(Stop::Exit(result)) => Ok(result),
        Err(Stop::Fault(fault)) => Err(fault),
        // `execute` gives each reason its place.
        Err(Stop::Failed(reason)) => Err(Fault { slot: 0, reason }),
    }
}

/// A run.
#[derive(Debug)]
struct Machine<'m> {
    program: &'m Program,
    regions: &'m [Region],
    packet: Option<Region>,
    /// The stack is [`STACK`] bytes that lie before this address.
    stack_end: u64,
    /// The current frame, counted from 0.
    depth: usize,
    /// How many frames have been cleared so far.
    cleared: usize,
    fuel: u64,
    loops: u32,
}

/// What a function gets back when the one it has called returns.
#[derive(Clone, Copy)]
struct Saved {
    next: *const Op,
    registers: [u64; 4],
}

impl Machine<'_> {
    /// `r10` of the current frame.
    fn frame_end(&self) -> u64 {
        self.stack_end - (self.depth * FRAME) as u64
    }

    /// The frames that are active.
    fn stack(&self) -> Region {
        let length = ((self.depth + 1) * FRAME) as u64;
        Region { start: self.stack_end - length, length, writable: true }
    }

    /// Programs find zeroes in their stack, or what they left there.
    fn enter_frame(&mut self) -> u64 {
        let end = self.frame_end();
        if self.depth >= self.cleared {
            let start = ptr::with_exposed_provenance_mut::<u8>(end as usize - FRAME);
            // SAFETY: depth is below FRAMES, so the frame lies in the stack, which lives in `run`.
            unsafe { start.write_bytes(0, FRAME) };
            self.cleared = self.depth + 1;
        }
        end
    }

    /// `next` stands behind the operation that failed.
    #[cold]
    fn fault(&self, next: *const Op, reason: Reason) -> Stop {
        let position = (next.addr() - self.program.ops.as_ptr().addr()) / size_of::<Op>() - 1;
        let slot = self.program.slots.get(position).copied().unwrap_or_default() as usize;
        Stop::Fault(Fault { slot, reason })
    }

    /// Where an access lies, if it may be made.
    #[cold]
    #[inline(never)]
    fn find(&self, address: u64, length: u64, write: bool) -> Result<Region, Reason> {
        let stack = Some(self.stack()).filter(|stack| stack.holds(address, length));
        match stack.or_else(|| find(self.regions, address, length)) {
            Some(region) if region.writable || !write => Ok(region),
            _ if write => Err(AccessError::Write { address, length }.into()),
            _ => Err(AccessError::Read { address, length }.into()),
        }
    }

    fn check(&self, address: u64, length: u64, write: bool) -> Result<(), Reason> {
        self.find(address, length, write).map(|_| ())
    }

    fn aligned(&self, address: u64, size: Size, write: bool) -> Result<u64, Reason> {
        let length = u64::from(size.bytes());
        self.check(address, length, write)?;
        if address.is_multiple_of(length) {
            Ok(address)
        } else {
            Err(AccessError::Misaligned { address, length }.into())
        }
    }

    /// `src` and `r0` after the operation.
    fn atomic(
        &self,
        op: AtomicOp,
        width: Width,
        address: u64,
        src: u64,
        r0: u64,
    ) -> Result<(u64, u64), Reason> {
        macro_rules! operate {
            ($cell:expr, $type:ty) => {{
                let (cell, value) = ($cell, src as $type);
                match op {
                    AtomicOp::Add => {
                        cell.fetch_add(value, ORDER);
                        (src, r0)
                    }
                    AtomicOp::Or => {
                        cell.fetch_or(value, ORDER);
                        (src, r0)
                    }
                    AtomicOp::And => {
                        cell.fetch_and(value, ORDER);
                        (src, r0)
                    }
                    AtomicOp::Xor => {
                        cell.fetch_xor(value, ORDER);
                        (src, r0)
                    }
                    AtomicOp::FetchAdd => (cell.fetch_add(value, ORDER).into(), r0),
                    AtomicOp::FetchOr => (cell.fetch_or(value, ORDER).into(), r0),
                    AtomicOp::FetchAnd => (cell.fetch_and(value, ORDER).into(), r0),
                    AtomicOp::FetchXor => (cell.fetch_xor(value, ORDER).into(), r0),
                    AtomicOp::Exchange => (cell.swap(value, ORDER).into(), r0),
                    AtomicOp::CompareExchange => {
                        let old = cell.compare_exchange(r0 as $type, value, ORDER, ORDER);
                        (src, old.unwrap_or_else(|old| old).into())
                    }
                }
            }};
        }
        Ok(match width {
            Width::W64 => {
                let address = self.aligned(address, Size::Double, true)?;
                // SAFETY: checked to be writable and aligned.
                operate!(unsafe { memory::atomic64(address) }, u64)
            }
            Width::W32 => {
                let address = self.aligned(address, Size::Word, true)?;
                // SAFETY: checked to be writable and aligned.
                operate!(unsafe { memory::atomic32(address) }, u32)
            }
        })
    }

    fn load_acquire(&self, size: Size, address: u64) -> Result<u64, Reason> {
        let address = self.aligned(address, size, false)?;
        // SAFETY: checked to be readable.
        let value = unsafe {
            match size {
                Size::Byte => load::<u8>(address),
                Size::Half => load::<u16>(address),
                Size::Word => load::<u32>(address),
                Size::Double => load::<u64>(address),
            }
        };
        std::sync::atomic::fence(ORDER);
        Ok(value)
    }

    fn store_release(&self, size: Size, address: u64, value: u64) -> Result<(), Reason> {
        let address = self.aligned(address, size, true)?;
        std::sync::atomic::fence(ORDER);
        // SAFETY: checked to be writable.
        unsafe {
            match size {
                Size::Byte => store::<u8>(address, value),
                Size::Half => store::<u16>(address, value),
                Size::Word => store::<u32>(address, value),
                Size::Double => store::<u64>(address, value),
            }
        }
        Ok(())
    }

    /// `None` if the bytes aren't there.
    fn load_packet(&self, size: Narrow, offset: u64) -> Option<u64> {
        let packet = self.packet?;
        let address = packet.start.wrapping_add(offset);
        if !packet.holds(address, Size::from(size).bytes().into()) {
            return None;
        }
        // SAFETY: the bytes lie in a region.
        Some(unsafe {
            match size {
                Narrow::Byte => load::<u8>(address),
                Narrow::Half => (load::<u16>(address) as u16).swap_bytes().into(),
                Narrow::Word => (load::<u32>(address) as u32).swap_bytes().into(),
            }
        })
    }

    fn call_helper(
        &mut self,
        index: u32,
        registers: &[u64; 11],
        next: *const Op,
    ) -> Result<u64, Stop> {
        let program = self.program;
        let [_, arguments @ .., _, _, _, _, _] = *registers;
        let result = match program.helpers.get(index as usize) {
            Some(helper) => helper(&mut Call { arguments, machine: self }),
            None => Err(Stop::Failed(Reason::NoSuchFunction { target: index.into() })),
        };
        result.map_err(|stop| match stop {
            Stop::Failed(reason) => self.fault(next, reason),
            other => other,
        })
    }
}

/// A helper's view of the program that calls it.
#[derive(Debug)]
pub struct Call<'a, 'm> {
    /// `r1` to `r5`.
    pub arguments: [u64; 5],
    machine: &'a mut Machine<'m>,
}

impl Call<'_, '_> {
    /// Copies from the program's memory.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Stop> {
        self.machine.check(address, into.len() as u64, false)?;
        let start = ptr::with_exposed_provenance::<u8>(address as usize);
        // SAFETY: checked to be readable. The program may hold `into` only if it was lent to it,
        // then the borrow checker would have refused this call.
        unsafe { start.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies to the program's memory.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Stop> {
        self.machine.check(address, bytes.len() as u64, true)?;
        let start = ptr::with_exposed_provenance_mut::<u8>(address as usize);
        // SAFETY: checked to be writable; `bytes` is none of the program's memory, as above, or
        // memory that it can only read.
        unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Calls a function of the program, whose address it has passed, and returns its result.
    pub fn invoke(&mut self, function: u64, arguments: [u64; 5]) -> Result<u64, Stop> {
        let slot = slot_of_code(function);
        let entry = slot.and_then(|slot| self.machine.program.functions.get(&slot));
        let entry = *entry.ok_or(Reason::NoSuchFunction { target: function })?;
        let depth = self.machine.depth;
        if depth + 1 == FRAMES {
            return Err(Reason::TooManyFrames.into());
        }
        self.machine.depth = depth + 1;
        let result = self.machine.execute(entry as usize, arguments);
        // Not counted back: a function that was ended leaves its own calls open, and the helper
        // may go on all the same.
        self.machine.depth = depth;
        result
    }
}

macro_rules! define_execute {
    (
        alu { $($alu:ident: $alu64i:ident $alu64r:ident $alu32i:ident $alu32r:ident;)* }
        conditions { $($condition:ident: $if64i:ident $if64r:ident $if32i:ident $if32r:ident;)* }
        loads { $($load_type:ty: $load:ident $load_frame:ident;)* }
        stores {
            $(
                $store_type:ty: $store_r:ident $store_frame_r:ident
                $store_i:ident $store_frame_i:ident;
            )*
        }
        copies { $($copied:ident: $copied_i:ident $copied_r:ident $copy_i:ident $copy_r:ident;)* }
        counters {
            $($counted:ident: $counted_i:ident $counted_r:ident $count_i:ident $count_r:ident;)*
        }
    ) => {
        impl Machine<'_> {
            /// Runs the function that begins at the operation `entry`, in the current frame.
            fn execute(&mut self, entry: usize, arguments: [u64; 5]) -> Result<u64, Stop> {
                let program = self.program;
                let ops = program.ops.as_ptr();
                let base_depth = self.depth;
                let mut saved = [Saved { next: ptr::null(), registers: [0; 4] }; FRAMES];
                let mut registers = [0u64; 11];
                registers[1..6].copy_from_slice(&arguments);
                registers[10] = self.enter_frame();
                // The region of the last access: most are followed by others to the same.
                let mut recent = Region::default();
                // SAFETY: entries are indices of operations.
                let mut next = unsafe { ops.add(entry) };

                macro_rules! get {
                    ($register:expr) => {
                        registers[$register as usize]
                    };
                }
                macro_rules! set {
                    ($register:expr, $value:expr) => {
                        registers[$register as usize] = $value
                    };
                }
                macro_rules! fail {
                    ($reason:expr) => {
                        return Err(self.fault(next, $reason))
                    };
                }
                macro_rules! check {
                    ($result:expr) => {
                        match $result {
                            Ok(value) => value,
                            Err(reason) => fail!(reason),
                        }
                    };
                }
                macro_rules! jump {
                    ($target:expr) => {{
                        // SAFETY: targets are indices of operations.
                        let target = unsafe { ops.add($target as usize) };
                        // Forward jumps cost nothing.
                        let back = next.addr().saturating_sub(target.addr()) / size_of::<Op>();
                        match self.fuel.checked_sub(back as u64) {
                            Some(fuel) => self.fuel = fuel,
                            None => fail!(Reason::OutOfFuel),
                        }
                        next = target;
                    }};
                }
                /// Steps over the second operation of a pair.
                macro_rules! skip {
                    () => {
                        // SAFETY: a pair isn't the last operation, nor is its second half.
                        next = unsafe { next.add(1) }
                    };
                }
                macro_rules! locate {
                    ($base:expr, $offset:expr, $type:ty, $write:expr) => {{
                        let address = get!($base).wrapping_add($offset as u64);
                        let length = size_of::<$type>() as u64;
                        if !(recent.holds(address, length) && (!$write || recent.writable)) {
                            recent = check!(self.find(address, length, $write));
                        }
                        address
                    }};
                }
                macro_rules! call {
                    ($target:expr) => {{
                        let depth = self.depth + 1;
                        if depth == FRAMES {
                            fail!(Reason::TooManyFrames);
                        }
                        let kept = [registers[6], registers[7], registers[8], registers[9]];
                        saved[self.depth] = Saved { next, registers: kept };
                        self.depth = depth;
                        registers[10] = self.enter_frame();
                        jump!($target);
                    }};
                }

                loop {
                    // SAFETY: `next` is an entry, a target, or behind an operation that isn't the
                    // last, since the last one is `End`, behind which nothing goes on (see
                    // `Program::ops`).
                    let op = unsafe { &*next };
                    // SAFETY: as above: behind `End` is the end of the vector.
                    next = unsafe { next.add(1) };
                    match *op {
                        $(
                            Op::$alu64i { dst, imm } => {
                                set!(dst, semantics::alu64(AluOp::$alu, get!(dst), imm as u64));
                            }
                            Op::$alu64r { dst, src } => {
                                set!(dst, semantics::alu64(AluOp::$alu, get!(dst), get!(src)));
                            }
                            Op::$alu32i { dst, imm } => {
                                set!(dst, semantics::alu32(AluOp::$alu, get!(dst), imm as u64));
                            }
                            Op::$alu32r { dst, src } => {
                                set!(dst, semantics::alu32(AluOp::$alu, get!(dst), get!(src)));
                            }
                        )*
                        $(
                            Op::$if64i { left, imm, target } => {
                                if semantics::holds64(Condition::$condition, get!(left), imm as u64) {
                                    jump!(target);
                                }
                            }
                            Op::$if64r { left, right, target } => {
                                if semantics::holds64(Condition::$condition, get!(left), get!(right)) {
                                    jump!(target);
                                }
                            }
                            Op::$if32i { left, imm, target } => {
                                if semantics::holds32(Condition::$condition, get!(left), imm as u64) {
                                    jump!(target);
                                }
                            }
                            Op::$if32r { left, right, target } => {
                                if semantics::holds32(Condition::$condition, get!(left), get!(right)) {
                                    jump!(target);
                                }
                            }
                        )*
                        $(
                            Op::$load { dst, base, offset } => {
                                let address = locate!(base, offset, $load_type, false);
                                // SAFETY: located in a region or the stack.
                                set!(dst, unsafe { load::<$load_type>(address) });
                            }
                            Op::$load_frame { dst, offset } => {
                                let address = registers[10].wrapping_add(offset as u64);
                                // SAFETY: the loader has checked that it lies in the frame.
                                set!(dst, unsafe { load::<$load_type>(address) });
                            }
                        )*
                        $(
                            Op::$store_r { base, offset, src } => {
                                let address = locate!(base, offset, $store_type, true);
                                // SAFETY: located in a writable region or the stack.
                                unsafe { store::<$store_type>(address, get!(src)) };
                            }
                            Op::$store_frame_r { offset, src } => {
                                let address = registers[10].wrapping_add(offset as u64);
                                // SAFETY: the loader has checked that it lies in the frame.
                                unsafe { store::<$store_type>(address, get!(src)) };
                            }
                            Op::$store_i { base, offset, imm } => {
                                let address = locate!(base, offset, $store_type, true);
                                // SAFETY: located in a writable region or the stack.
                                unsafe { store::<$store_type>(address, imm as u64) };
                            }
                            Op::$store_frame_i { offset, imm } => {
                                let address = registers[10].wrapping_add(offset as u64);
                                // SAFETY: the loader has checked that it lies in the frame.
                                unsafe { store::<$store_type>(address, imm as u64) };
                            }
                        )*
                        $(
                            Op::$copy_i { dst, src, imm } => {
                                set!(dst, semantics::alu64(AluOp::$copied, get!(src), imm as u64));
                                skip!();
                            }
                            Op::$copy_r { dst, src, other } => {
                                set!(dst, semantics::alu64(AluOp::$copied, get!(src), get!(other)));
                                skip!();
                            }
                        )*
                        $(
                            Op::$count_i { dst, add, left, imm, target } => {
                                set!(dst, get!(dst).wrapping_add(add as u64));
                                skip!();
                                if semantics::holds64(Condition::$counted, get!(left), imm as u64) {
                                    jump!(target);
                                }
                            }
                            Op::$count_r { dst, add, left, right, target } => {
                                set!(dst, get!(dst).wrapping_add(add as u64));
                                skip!();
                                if semantics::holds64(Condition::$counted, get!(left), get!(right)) {
                                    jump!(target);
                                }
                            }
                        )*
                        Op::AddJumpI { dst, imm, target } => {
                            set!(dst, get!(dst).wrapping_add(imm as u64));
                            skip!();
                            jump!(target);
                        }
                        Op::AddJumpR { dst, src, target } => {
                            set!(dst, get!(dst).wrapping_add(get!(src)));
                            skip!();
                            jump!(target);
                        }
                        Op::Negate { width, dst } => {
                            set!(dst, semantics::alu(AluOp::Sub, width, 0, get!(dst)));
                        }
                        Op::MoveSigned { extension, dst, src } => {
                            set!(dst, semantics::extend(extension, get!(src)));
                        }
                        Op::ByteOrder { order, span, dst } => {
                            set!(dst, semantics::reorder(order, span, get!(dst)));
                        }
                        Op::LoadWide { dst, value } => set!(dst, value),
                        Op::LoadPacket { size, index, offset } => {
                            // The sum has 32 bits, and there is nothing at negative offsets.
                            let index = index.map_or(0, |index| get!(index) as u32);
                            let offset = index.wrapping_add(offset.cast_unsigned());
                            match self.load_packet(size, offset.into()) {
                                Some(value) => set!(Register::R0, value),
                                None => return Err(Stop::Exit(0)),
                            }
                        }
                        Op::Atomic { op, width, base, offset, src } => {
                            let address = get!(base).wrapping_add(offset as u64);
                            let r0 = get!(Register::R0);
                            let result = self.atomic(op, width, address, get!(src), r0);
                            let (value, r0) = check!(result);
                            set!(src, value);
                            if op == AtomicOp::CompareExchange {
                                set!(Register::R0, r0);
                            }
                        }
                        Op::LoadAcquire { size, dst, base, offset } => {
                            let address = get!(base).wrapping_add(offset as u64);
                            set!(dst, check!(self.load_acquire(size, address)));
                        }
                        Op::StoreRelease { size, base, offset, src } => {
                            let address = get!(base).wrapping_add(offset as u64);
                            check!(self.store_release(size, address, get!(src)));
                        }
                        Op::Jump { target } => jump!(target),
                        Op::MayGoto { target } => match self.loops.checked_sub(1) {
                            Some(loops) => self.loops = loops,
                            None => jump!(target),
                        },
                        Op::CallHelper { index } => {
                            let result = self.call_helper(index, &registers, next);
                            set!(Register::R0, result?);
                        }
                        Op::CallLocal { target } => call!(target),
                        Op::CallRegister { target } => {
                            let target = get!(target);
                            let function = slot_of_code(target)
                                .and_then(|slot| program.functions.get(&slot).copied());
                            let helper = i32::try_from(target)
                                .ok()
                                .and_then(|id| program.numbered.get(&id).copied());
                            match (function, helper) {
                                (Some(function), _) => call!(function),
                                (None, Some(index)) => {
                                    let result = self.call_helper(index, &registers, next);
                                    set!(Register::R0, result?);
                                }
                                (None, None) => fail!(Reason::NoSuchFunction { target }),
                            }
                        }
                        Op::Exit => {
                            if self.depth == base_depth {
                                return Ok(registers[0]);
                            }
                            self.depth -= 1;
                            let frame = saved[self.depth];
                            registers[6..10].copy_from_slice(&frame.registers);
                            registers[10] = self.frame_end();
                            next = frame.next;
                            // The frame that is left isn't the program's any more.
                            recent = Region::default();
                        }
                        Op::End => fail!(Reason::PastTheEnd),
                    }
                }
            }
        }
    };
}

for_each_family!(define_execute);
