//! The interpreter: the reference for what programs do.

use std::ptr;

use bpf_isa::{AluOp, AtomicOp, Condition, Register};

use crate::fault::{Fault, Reason, Stop};
use crate::memory::{Region, load, store};
use crate::op::{Op, for_each_family};
use crate::program::{Program, slot_of_code};
use crate::run::{Called, FRAMES, Run};
use crate::semantics;

/// What a function gets back when the one it has called returns.
#[derive(Clone, Copy)]
struct Saved {
    next: *const Op,
    registers: [u64; 4],
}

/// The position of the operation before `next`.
fn before(program: &Program, next: *const Op) -> usize {
    (next.addr() - program.ops.as_ptr().addr()) / size_of::<Op>() - 1
}

/// The slot of the operation before `next`.
#[cold]
fn slot_before(program: &Program, next: *const Op) -> usize {
    program.slots.get(before(program, next)).copied().unwrap_or_default() as usize
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
            /// Runs the function that begins at the operation `entry`, in the current frame.
            /// What a run does is noted down if it is `TRACED`.
            pub(crate) fn execute<const TRACED: bool>(
                program: &Program,
                run: &mut Run<'_>,
                entry: usize,
                arguments: &[u64; 5],
            ) -> Result<u64, Stop> {
                let ops = program.ops.as_ptr();
                let base_depth = run.depth;
                let mut saved = [Saved { next: ptr::null(), registers: [0; 4] }; FRAMES];
                let mut registers = [0u64; 11];
                registers[1..6].copy_from_slice(arguments);
                registers[10] = run.enter_frame();
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
                        return Err(Stop::Fault(Fault { slot: slot_before(program, next), reason: $reason }))
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
                        match run.fuel.checked_sub(back as u64) {
                            Some(fuel) => run.fuel = fuel,
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
                            recent = check!(run.find(address, length, $write));
                        }
                        address
                    }};
                }
                macro_rules! call {
                    ($target:expr) => {{
                        let depth = run.depth + 1;
                        if depth == FRAMES {
                            fail!(Reason::TooManyFrames);
                        }
                        let kept = [registers[6], registers[7], registers[8], registers[9]];
                        saved[run.depth] = Saved { next, registers: kept };
                        run.depth = depth;
                        registers[10] = run.enter_frame();
                        jump!($target);
                    }};
                }

                macro_rules! leave {
                    () => {{
                        if run.depth == base_depth {
                            return Ok(registers[0]);
                        }
                        run.depth -= 1;
                        let frame = saved[run.depth];
                        registers[6..10].copy_from_slice(&frame.registers);
                        registers[10] = run.frame_end();
                        next = frame.next;
                        // The frame that is left isn't the program's any more.
                        recent = Region::default();
                    }};
                }
                macro_rules! help {
                    ($index:expr) => {{
                        let [_, arguments @ .., _, _, _, _, _] = registers;
                        let slot = || slot_before(program, next);
                        // The helper may take memory back.
                        recent = Region::default();
                        match run.call_helper(program, $index, arguments, slot)? {
                            Called::Returned(value) => registers[0] = value,
                            Called::Replaced(value) => {
                                registers[0] = value;
                                leave!();
                            }
                        }
                    }};
                }

                loop {
                    // SAFETY: `next` is an entry, a target, or behind an operation that isn't the
                    // last, since the last one is `End`, behind which nothing goes on (see
                    // `Program::ops`).
                    let op = unsafe { &*next };
                    // SAFETY: as above: behind `End` is the end of the vector.
                    next = unsafe { next.add(1) };
                    if TRACED && let Some(trace) = &mut run.trace {
                        let slot = slot_before(program, next);
                        trace.observe(program, slot, run.depth, &registers);
                    }
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
                            match run.load_packet(size, offset.into()) {
                                Some(value) => set!(Register::R0, value),
                                None => return Err(Stop::Exit(0)),
                            }
                        }
                        Op::Atomic { op, width, base, offset, src } => {
                            let address = get!(base).wrapping_add(offset as u64);
                            let r0 = get!(Register::R0);
                            let result = run.atomic(op, width, address, get!(src), r0);
                            let (value, r0) = check!(result);
                            set!(src, value);
                            if op == AtomicOp::CompareExchange {
                                set!(Register::R0, r0);
                            }
                        }
                        Op::LoadAcquire { size, dst, base, offset } => {
                            let address = get!(base).wrapping_add(offset as u64);
                            set!(dst, check!(run.load_acquire(size, address)));
                        }
                        Op::StoreRelease { size, base, offset, src } => {
                            let address = get!(base).wrapping_add(offset as u64);
                            check!(run.store_release(size, address, get!(src)));
                        }
                        Op::Jump { target } => jump!(target),
                        Op::MayGoto { target } => match run.loops.checked_sub(1) {
                            Some(loops) => run.loops = loops,
                            None => jump!(target),
                        },
                        Op::CallHelper { index } => {
                            help!(index);
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
                                    help!(index);
                                }
                                (None, None) => fail!(Reason::NoSuchFunction { target }),
                            }
                        }
                        Op::Exit => leave!(),
                        Op::End => fail!(program.end_at(before(program, next))),
                    }
                }
            }
    };
}

for_each_family!(define_execute);
