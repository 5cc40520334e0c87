//! Instructions to operations: jumps are resolved, helpers and addresses bound.
//!
//! **Invariant:** what leaves here satisfies what [`Program`] says of its fields; the interpreter
//! relies on it. Fields of type [`Register`] can't be wrong, targets are checked here, and
//! `r10` is never a destination, so it always points behind the current frame.

use std::collections::HashMap;

use bpf_isa::{
    Access, AluOp, AtomicOp, Callee, Condition, Distance, Extension, Instruction, Narrow, Order,
    Placed, Register, Size, Source, Span, Visitor, Wide, Width,
};

use crate::fault::LoadError;
use crate::fuse::fuse;
use crate::op::{Op, for_each_family};
use crate::platform::{Helper, Platform};
use crate::program::{Program, code_address};
use crate::run::FRAME;

/// Offsets within the frame, of which r10 points behind the end.
const FRAME_START: i32 = -(FRAME as i32);

pub fn load(program: &[Placed], platform: &dyn Platform) -> Result<Program, LoadError> {
    let Some(last) = program.last() else { return Err(LoadError::Empty) };
    let length = last.slot + last.instruction.slots();
    if u32::try_from(length).is_ok_and(|length| length <= u32::MAX / 2) {
        // Each instruction becomes one operation.
        let index = |(index, placed): (usize, &Placed)| (placed.slot as i64, index as u32);
        let mut loader = Loader {
            platform,
            indices: program.iter().enumerate().map(index).collect(),
            slot: 0,
            helpers: Vec::new(),
            helper_ids: Vec::new(),
            kernel_functions: HashMap::new(),
            by_id: HashMap::new(),
            functions: HashMap::new(),
        };
        loader.program(program)
    } else {
        Err(LoadError::TooLong)
    }
}

struct Loader<'a> {
    platform: &'a dyn Platform,
    /// Slot to index of the instruction that begins there.
    indices: HashMap<i64, u32>,
    /// Of the current instruction.
    slot: usize,
    helpers: Vec<Helper>,
    helper_ids: Vec<Option<i32>>,
    kernel_functions: HashMap<(i32, i16), u32>,
    by_id: HashMap<i32, u32>,
    functions: HashMap<u32, u32>,
}

impl Loader<'_> {
    fn program(&mut self, program: &[Placed]) -> Result<Program, LoadError> {
        let mut ops = Vec::with_capacity(program.len() + 1);
        let mut slots = Vec::with_capacity(program.len() + 1);
        for &Placed { slot, instruction } in program {
            self.slot = slot;
            // Kernels take out what is never reached before they look at it; so it is refused only
            // where a run comes upon it.
            ops.push(match written(&instruction) {
                Some(Register::R10) => Op::End,
                _ => instruction.accept(self)?,
            });
            slots.push(slot as u32);
        }
        ops.push(Op::End);
        slots.push(self.slot as u32);
        let mut numbered = HashMap::new();
        if ops.iter().any(|op| matches!(op, Op::CallRegister { .. })) {
            for id in self.platform.numbered_helpers() {
                numbered.extend(self.helper(id).map(|index| (id, index)));
            }
        }
        if !self.platform.traced() {
            fuse(&mut ops);
        }
        let functions = std::mem::take(&mut self.functions);
        let helpers = std::mem::take(&mut self.helpers);
        let helper_ids = std::mem::take(&mut self.helper_ids);
        let source = program.into();
        Ok(Program {
            source,
            ops,
            slots,
            helpers,
            helper_ids,
            shared: None,
            numbered,
            functions,
            code: None,
        })
    }

    fn target(&self, distance: i32) -> Result<u32, LoadError> {
        let target = self.slot as i64 + 1 + i64::from(distance);
        let index = self.indices.get(&target).copied();
        index.ok_or(LoadError::NoSuchTarget { slot: self.slot, target })
    }

    /// A function that is called or whose address is taken.
    fn function(&mut self, distance: i32) -> Result<(u32, u32), LoadError> {
        let index = self.target(distance)?;
        let slot = (self.slot as i64 + 1 + i64::from(distance)) as u32;
        self.functions.insert(slot, index);
        Ok((slot, index))
    }

    fn helper(&mut self, id: i32) -> Option<u32> {
        if let Some(&index) = self.by_id.get(&id) {
            return Some(index);
        }
        let index = self.platform.helper(id).map(|helper| self.add_helper(helper, Some(id)))?;
        self.by_id.insert(id, index);
        Some(index)
    }

    fn add_helper(&mut self, helper: Helper, id: Option<i32>) -> u32 {
        self.helpers.push(helper);
        self.helper_ids.push(id);
        self.helpers.len() as u32 - 1
    }
}

/// The register that an instruction names as its destination.
fn written(instruction: &Instruction) -> Option<Register> {
    match *instruction {
        Instruction::Alu { dst, .. }
        | Instruction::Negate { dst, .. }
        | Instruction::MoveSigned { dst, .. }
        | Instruction::CastAddress { dst, .. }
        | Instruction::ByteOrder { dst, .. }
        | Instruction::LoadWide { dst, .. }
        | Instruction::Load { dst, .. }
        | Instruction::LoadAcquire { dst, .. } => Some(dst),
        Instruction::Atomic { op, src, .. } => match op {
            AtomicOp::FetchAdd
            | AtomicOp::FetchOr
            | AtomicOp::FetchAnd
            | AtomicOp::FetchXor
            | AtomicOp::Exchange => Some(src),
            AtomicOp::CompareExchange => Some(Register::R0),
            AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => None,
        },
        Instruction::LoadPacket { .. } | Instruction::Call { .. } => Some(Register::R0),
        Instruction::CallRegister { .. } => Some(Register::R0),
        Instruction::Store { .. }
        | Instruction::StoreRelease { .. }
        | Instruction::Jump { .. }
        | Instruction::JumpIf { .. }
        | Instruction::MayGoto { .. }
        | Instruction::Exit {} => None,
    }
}

/// Whether an access by r10 lies in the frame, so that it needs no check.
fn is_in_frame(base: Register, offset: i16, size: Size) -> bool {
    let end = i32::from(offset) + i32::from(size.bytes());
    base == Register::R10 && i32::from(offset) >= FRAME_START && end <= 0
}

macro_rules! define_choices {
    (
        alu { $($alu:ident: $alu64i:ident $alu64r:ident $alu32i:ident $alu32r:ident;)* }
        conditions { $($condition:ident: $if64i:ident $if64r:ident $if32i:ident $if32r:ident;)* }
        loads { $($loads:tt)* }
        stores { $($stores:tt)* }
        copies { $($copies:tt)* }
        counters { $($counters:tt)* }
    ) => {
        fn choose_alu(op: AluOp, width: Width, dst: Register, src: Source) -> Op {
            match (op, width, src) {
                $(
                    (AluOp::$alu, Width::W64, Source::Immediate(imm)) => Op::$alu64i { dst, imm },
                    (AluOp::$alu, Width::W64, Source::Register(src)) => Op::$alu64r { dst, src },
                    (AluOp::$alu, Width::W32, Source::Immediate(imm)) => Op::$alu32i { dst, imm },
                    (AluOp::$alu, Width::W32, Source::Register(src)) => Op::$alu32r { dst, src },
                )*
            }
        }

        fn choose_jump(
            condition: Condition,
            width: Width,
            left: Register,
            right: Source,
            target: u32,
        ) -> Op {
            match (condition, width, right) {
                $(
                    (Condition::$condition, Width::W64, Source::Immediate(imm)) => {
                        Op::$if64i { left, imm, target }
                    }
                    (Condition::$condition, Width::W64, Source::Register(right)) => {
                        Op::$if64r { left, right, target }
                    }
                    (Condition::$condition, Width::W32, Source::Immediate(imm)) => {
                        Op::$if32i { left, imm, target }
                    }
                    (Condition::$condition, Width::W32, Source::Register(right)) => {
                        Op::$if32r { left, right, target }
                    }
                )*
            }
        }
    };
}

for_each_family!(define_choices);

impl Visitor for Loader<'_> {
    type Output = Result<Op, LoadError>;

    fn alu(&mut self, op: AluOp, width: Width, dst: Register, src: Source) -> Self::Output {
        Ok(choose_alu(op, width, dst, src))
    }

    fn negate(&mut self, width: Width, dst: Register) -> Self::Output {
        Ok(Op::Negate { width, dst })
    }

    fn move_signed(&mut self, extension: Extension, dst: Register, src: Register) -> Self::Output {
        Ok(Op::MoveSigned { extension, dst, src })
    }

    fn cast_address(&mut self, _: Register, _: Register, _: i32) -> Self::Output {
        Err(LoadError::NoArena { slot: self.slot })
    }

    fn byte_order(&mut self, order: Order, span: Span, dst: Register) -> Self::Output {
        Ok(Op::ByteOrder { order, span, dst })
    }

    fn load_wide(&mut self, dst: Register, value: Wide) -> Self::Output {
        let address = match value {
            Wide::Value(value) => value,
            Wide::Code(distance) => code_address(self.function(distance)?.0),
            what => {
                let unknown = LoadError::UnknownAddress { slot: self.slot, what };
                self.platform.address(what).ok_or(unknown)?
            }
        };
        Ok(Op::LoadWide { dst, value: address })
    }

    fn load_packet(&mut self, size: Narrow, index: Option<Register>, offset: i32) -> Self::Output {
        Ok(Op::LoadPacket { size, index, offset })
    }

    fn load(&mut self, access: Access, dst: Register, base: Register, offset: i16) -> Self::Output {
        let in_frame = is_in_frame(base, offset, access.size());
        Ok(match (access, in_frame) {
            (Access::Unsigned(Size::Byte), false) => Op::LoadByte { dst, base, offset },
            (Access::Unsigned(Size::Half), false) => Op::LoadHalf { dst, base, offset },
            (Access::Unsigned(Size::Word), false) => Op::LoadWord { dst, base, offset },
            (Access::Unsigned(Size::Double), false) => Op::LoadDouble { dst, base, offset },
            (Access::Signed(Narrow::Byte), false) => Op::LoadSignedByte { dst, base, offset },
            (Access::Signed(Narrow::Half), false) => Op::LoadSignedHalf { dst, base, offset },
            (Access::Signed(Narrow::Word), false) => Op::LoadSignedWord { dst, base, offset },
            (Access::Unsigned(Size::Byte), true) => Op::LoadFrameByte { dst, offset },
            (Access::Unsigned(Size::Half), true) => Op::LoadFrameHalf { dst, offset },
            (Access::Unsigned(Size::Word), true) => Op::LoadFrameWord { dst, offset },
            (Access::Unsigned(Size::Double), true) => Op::LoadFrameDouble { dst, offset },
            (Access::Signed(Narrow::Byte), true) => Op::LoadFrameSignedByte { dst, offset },
            (Access::Signed(Narrow::Half), true) => Op::LoadFrameSignedHalf { dst, offset },
            (Access::Signed(Narrow::Word), true) => Op::LoadFrameSignedWord { dst, offset },
        })
    }

    fn store(&mut self, size: Size, base: Register, offset: i16, value: Source) -> Self::Output {
        let in_frame = is_in_frame(base, offset, size);
        Ok(match (value, size, in_frame) {
            (Source::Register(src), Size::Byte, false) => Op::StoreByteR { base, offset, src },
            (Source::Register(src), Size::Half, false) => Op::StoreHalfR { base, offset, src },
            (Source::Register(src), Size::Word, false) => Op::StoreWordR { base, offset, src },
            (Source::Register(src), Size::Double, false) => Op::StoreDoubleR { base, offset, src },
            (Source::Register(src), Size::Byte, true) => Op::StoreFrameByteR { offset, src },
            (Source::Register(src), Size::Half, true) => Op::StoreFrameHalfR { offset, src },
            (Source::Register(src), Size::Word, true) => Op::StoreFrameWordR { offset, src },
            (Source::Register(src), Size::Double, true) => Op::StoreFrameDoubleR { offset, src },
            (Source::Immediate(imm), Size::Byte, false) => Op::StoreByteI { base, offset, imm },
            (Source::Immediate(imm), Size::Half, false) => Op::StoreHalfI { base, offset, imm },
            (Source::Immediate(imm), Size::Word, false) => Op::StoreWordI { base, offset, imm },
            (Source::Immediate(imm), Size::Double, false) => Op::StoreDoubleI { base, offset, imm },
            (Source::Immediate(imm), Size::Byte, true) => Op::StoreFrameByteI { offset, imm },
            (Source::Immediate(imm), Size::Half, true) => Op::StoreFrameHalfI { offset, imm },
            (Source::Immediate(imm), Size::Word, true) => Op::StoreFrameWordI { offset, imm },
            (Source::Immediate(imm), Size::Double, true) => Op::StoreFrameDoubleI { offset, imm },
        })
    }

    fn atomic(
        &mut self,
        op: AtomicOp,
        width: Width,
        base: Register,
        offset: i16,
        src: Register,
    ) -> Self::Output {
        Ok(Op::Atomic { op, width, base, offset, src })
    }

    fn load_acquire(
        &mut self,
        size: Size,
        dst: Register,
        base: Register,
        offset: i16,
    ) -> Self::Output {
        Ok(Op::LoadAcquire { size, dst, base, offset })
    }

    fn store_release(
        &mut self,
        size: Size,
        base: Register,
        offset: i16,
        src: Register,
    ) -> Self::Output {
        Ok(Op::StoreRelease { size, base, offset, src })
    }

    fn jump(&mut self, distance: Distance) -> Self::Output {
        Ok(Op::Jump { target: self.target(distance.slots())? })
    }

    fn jump_if(
        &mut self,
        condition: Condition,
        width: Width,
        left: Register,
        right: Source,
        offset: i16,
    ) -> Self::Output {
        Ok(choose_jump(condition, width, left, right, self.target(offset.into())?))
    }

    fn may_goto(&mut self, offset: i16) -> Self::Output {
        Ok(Op::MayGoto { target: self.target(offset.into())? })
    }

    fn call(&mut self, callee: Callee) -> Self::Output {
        let slot = self.slot;
        match callee {
            Callee::Local(distance) => Ok(Op::CallLocal { target: self.function(distance)?.1 }),
            Callee::Helper(id) => {
                let index = self.helper(id).ok_or(LoadError::UnknownHelper { slot, id })?;
                Ok(Op::CallHelper { index })
            }
            Callee::Kernel { btf_id, module } => {
                if let Some(&index) = self.kernel_functions.get(&(btf_id, module)) {
                    return Ok(Op::CallHelper { index });
                }
                let function = self.platform.kernel_function(btf_id, module);
                let unknown = LoadError::UnknownKernelFunction { slot, btf_id, module };
                let index = self.add_helper(function.ok_or(unknown)?, None);
                self.kernel_functions.insert((btf_id, module), index);
                Ok(Op::CallHelper { index })
            }
        }
    }

    fn call_register(&mut self, target: Register) -> Self::Output {
        Ok(Op::CallRegister { target })
    }

    fn exit(&mut self) -> Self::Output {
        Ok(Op::Exit)
    }
}
