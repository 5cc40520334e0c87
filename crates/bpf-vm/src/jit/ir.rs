//! The linear form that programs have between the interpreter's operations and machine code.
//!
//! There is one [`Inst`] per operation, at the same index, so that targets, slots and distances
//! stay what they are; what an improvement removes becomes [`Inst::Nothing`]. Operations have three
//! operands, addresses may have an index: so the improvements can say what they found, and each
//! back end finds the best form for it.

#[cfg(test)]
mod display;

use bpf_isa::{
    Access, AluOp, AtomicOp, Condition, Extension, Narrow, Order, Register, Size, Source, Span,
    Width,
};

use crate::op::{Op, for_each_family};
use crate::program::Program;
use crate::run::FRAME;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub base: Register,
    pub index: Option<Register>,
    pub offset: i32,
}

impl Address {
    /// Whether the bytes lie in the current frame, so that nobody needs to look.
    pub fn is_in_frame(&self, size: Size) -> bool {
        self.base == Register::R10
            && self.index.is_none()
            && self.offset >= -(FRAME as i32)
            && self.offset + i32::from(size.bytes()) <= 0
    }
}

/// Where the index of an element comes from: 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Index {
    Constant(u32),
    /// The lower half.
    Register(Register),
    /// Needs no check.
    Memory(Address),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inst {
    Nothing,
    /// `op` is never [`AluOp::Mov`].
    Alu {
        op: AluOp,
        width: Width,
        dst: Register,
        left: Register,
        right: Source,
    },
    Move {
        width: Width,
        dst: Register,
        src: Register,
    },
    Constant {
        dst: Register,
        value: u64,
    },
    Negate {
        width: Width,
        dst: Register,
        src: Register,
    },
    Extend {
        extension: Extension,
        dst: Register,
        src: Register,
    },
    /// The lowest bytes in the other order, the rest zero. `clean`: the rest of `src` is zero.
    Swap {
        span: Span,
        dst: Register,
        src: Register,
        clean: bool,
    },
    /// To the left; the distance is neither 0 nor that of a whole turn.
    Rotate {
        width: Width,
        dst: Register,
        src: Register,
        distance: u8,
    },
    /// `swap`: the bytes lie in network order.
    Load {
        access: Access,
        swap: bool,
        dst: Register,
        address: Address,
    },
    Store {
        size: Size,
        address: Address,
        value: Source,
    },
    Atomic {
        op: AtomicOp,
        width: Width,
        address: Address,
        src: Register,
    },
    LoadAcquire {
        size: Size,
        dst: Register,
        address: Address,
    },
    StoreRelease {
        size: Size,
        address: Address,
        src: Register,
    },
    LoadPacket {
        size: Narrow,
        index: Option<Register>,
        offset: i32,
    },
    Jump {
        target: u32,
    },
    JumpIf {
        condition: Condition,
        width: Width,
        left: Register,
        right: Source,
        target: u32,
    },
    MayGoto {
        target: u32,
    },
    /// `dst` becomes `value` if the comparison holds, and stays what it is if not.
    Select {
        condition: Condition,
        width: Width,
        left: Register,
        right: Source,
        dst: Register,
        value: Source,
    },
    /// `r0` becomes the address of an element of `Bound::arrays[array]`, or zero if there is none
    /// of that index.
    LookUpArray {
        array: u32,
        index: Index,
    },
    /// `r0` becomes the number of the CPU.
    Processor,
    CallHelper {
        index: u32,
    },
    /// `r0` becomes what `Bound::calls[call]` returns, which reads these of `r2` to `r4`. It always
    /// comes back. As behind every call, `r1` to `r5` are the program's no more, unless it is
    /// checked.
    CallDirect {
        call: u32,
        arguments: Set,
    },
    CallLocal {
        target: u32,
    },
    CallRegister {
        target: Register,
    },
    Exit,
    /// Behind the last instruction.
    End,
}

/// A set of registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set(pub u16);

impl Set {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(0x7ff);
    pub const R0: Self = Self(1);
    /// `r1` to `r5`.
    pub const ARGUMENTS: Self = Self(0b11_1110);
    /// `r6` to `r9`, which functions leave as they were.
    pub const KEPT: Self = Self(0b11_1100_0000);

    pub const fn of(register: Register) -> Self {
        Self(1 << register as u16)
    }

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn has(self, register: Register) -> bool {
        self.0 & 1 << register as u16 != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Register> {
        Register::ALL.into_iter().filter(move |register| self.has(*register))
    }
}

impl Inst {
    /// The register that it writes. Calls write `r0` and are not asked about the rest.
    pub fn written(&self) -> Option<Register> {
        match *self {
            Self::Alu { dst, .. }
            | Self::Move { dst, .. }
            | Self::Constant { dst, .. }
            | Self::Negate { dst, .. }
            | Self::Extend { dst, .. }
            | Self::Swap { dst, .. }
            | Self::Rotate { dst, .. }
            | Self::Load { dst, .. }
            | Self::LoadAcquire { dst, .. }
            | Self::Select { dst, .. } => Some(dst),
            Self::Atomic { op, src, .. } => match op {
                AtomicOp::FetchAdd
                | AtomicOp::FetchOr
                | AtomicOp::FetchAnd
                | AtomicOp::FetchXor
                | AtomicOp::Exchange => Some(src),
                AtomicOp::CompareExchange => Some(Register::R0),
                AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => None,
            },
            Self::LoadPacket { .. }
            | Self::LookUpArray { .. }
            | Self::Processor
            | Self::CallHelper { .. }
            | Self::CallDirect { .. }
            | Self::CallLocal { .. }
            | Self::CallRegister { .. } => Some(Register::R0),
            Self::Nothing
            | Self::Store { .. }
            | Self::StoreRelease { .. }
            | Self::Jump { .. }
            | Self::JumpIf { .. }
            | Self::MayGoto { .. }
            | Self::Exit
            | Self::End => None,
        }
    }

    /// The registers that it names as operands.
    pub fn read(&self) -> Set {
        let source = |source| match source {
            Source::Register(register) => Set::of(register),
            Source::Immediate(_) => Set::NONE,
        };
        let optional = |register: Option<Register>| register.map_or(Set::NONE, Set::of);
        let address = |address: Address| Set::of(address.base).with(optional(address.index));
        match *self {
            Self::Alu { left, right, .. } | Self::JumpIf { left, right, .. } => {
                Set::of(left).with(source(right))
            }
            Self::Move { src, .. }
            | Self::Negate { src, .. }
            | Self::Extend { src, .. }
            | Self::Swap { src, .. }
            | Self::Rotate { src, .. } => Set::of(src),
            Self::Load { address: at, .. } | Self::LoadAcquire { address: at, .. } => address(at),
            Self::Store { address: at, value, .. } => address(at).with(source(value)),
            Self::Atomic { op, address: at, src, .. } => {
                let compared = op == AtomicOp::CompareExchange;
                let r0 = if compared { Set::R0 } else { Set::NONE };
                address(at).with(Set::of(src)).with(r0)
            }
            Self::StoreRelease { address: at, src, .. } => address(at).with(Set::of(src)),
            Self::LoadPacket { index, .. } => optional(index),
            Self::CallRegister { target } => Set::of(target).with(Set::ARGUMENTS),
            Self::CallHelper { .. } | Self::CallLocal { .. } => Set::ARGUMENTS,
            Self::CallDirect { arguments, .. } => arguments,
            Self::Select { left, right, dst, value, .. } => {
                Set::of(left).with(source(right)).with(Set::of(dst)).with(source(value))
            }
            Self::LookUpArray { index, .. } => match index {
                Index::Constant(_) => Set::NONE,
                Index::Register(register) => Set::of(register),
                Index::Memory(at) => address(at),
            },
            Self::Exit => Set::R0,
            Self::Constant { .. }
            | Self::Processor
            | Self::Nothing
            | Self::Jump { .. }
            | Self::MayGoto { .. }
            | Self::End => Set::NONE,
        }
    }

    /// Where it may go other than on.
    pub fn target(&self) -> Option<u32> {
        match *self {
            Self::Jump { target } | Self::JumpIf { target, .. } | Self::MayGoto { target } => {
                Some(target)
            }
            _ => None,
        }
    }

    /// Whether what follows it may come after it.
    pub fn goes_on(&self) -> bool {
        !matches!(self, Self::Jump { .. } | Self::Exit | Self::End)
    }

    pub fn is_call(&self) -> bool {
        matches!(
            self,
            Self::CallHelper { .. }
                | Self::CallDirect { .. }
                | Self::CallLocal { .. }
                | Self::CallRegister { .. }
        )
    }
}

macro_rules! define_lower {
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
        /// The first half of a pair is what stood there before.
        fn lower_one(op: Op) -> Inst {
            let at = |base, offset: i16| Address { base, index: None, offset: offset.into() };
            let frame = |offset: i16| at(Register::R10, offset);
            match op {
                $(
                    Op::$alu64i { dst, imm } => {
                        alu(AluOp::$alu, Width::W64, dst, Source::Immediate(imm))
                    }
                    Op::$alu64r { dst, src } => {
                        alu(AluOp::$alu, Width::W64, dst, Source::Register(src))
                    }
                    Op::$alu32i { dst, imm } => {
                        alu(AluOp::$alu, Width::W32, dst, Source::Immediate(imm))
                    }
                    Op::$alu32r { dst, src } => {
                        alu(AluOp::$alu, Width::W32, dst, Source::Register(src))
                    }
                )*
                $(
                    Op::$if64i { left, imm, target } => {
                        let (condition, width) = (Condition::$condition, Width::W64);
                        Inst::JumpIf { condition, width, left, right: Source::Immediate(imm), target }
                    }
                    Op::$if64r { left, right, target } => {
                        let (condition, width) = (Condition::$condition, Width::W64);
                        Inst::JumpIf { condition, width, left, right: Source::Register(right), target }
                    }
                    Op::$if32i { left, imm, target } => {
                        let (condition, width) = (Condition::$condition, Width::W32);
                        Inst::JumpIf { condition, width, left, right: Source::Immediate(imm), target }
                    }
                    Op::$if32r { left, right, target } => {
                        let (condition, width) = (Condition::$condition, Width::W32);
                        Inst::JumpIf { condition, width, left, right: Source::Register(right), target }
                    }
                )*
                $(
                    Op::$load { dst, base, offset } => {
                        let access = <$load_type as InMemory>::ACCESS;
                        Inst::Load { access, swap: false, dst, address: at(base, offset) }
                    }
                    Op::$load_frame { dst, offset } => {
                        let access = <$load_type as InMemory>::ACCESS;
                        Inst::Load { access, swap: false, dst, address: frame(offset) }
                    }
                )*
                $(
                    Op::$store_r { base, offset, src } => {
                        store::<$store_type>(at(base, offset), Source::Register(src))
                    }
                    Op::$store_frame_r { offset, src } => {
                        store::<$store_type>(frame(offset), Source::Register(src))
                    }
                    Op::$store_i { base, offset, imm } => {
                        store::<$store_type>(at(base, offset), Source::Immediate(imm))
                    }
                    Op::$store_frame_i { offset, imm } => {
                        store::<$store_type>(frame(offset), Source::Immediate(imm))
                    }
                )*
                $(
                    Op::$copy_i { dst, src, .. } | Op::$copy_r { dst, src, .. } => {
                        Inst::Move { width: Width::W64, dst, src }
                    }
                )*
                $(
                    Op::$count_i { dst, add, .. } | Op::$count_r { dst, add, .. } => {
                        alu(AluOp::Add, Width::W64, dst, Source::Immediate(add))
                    }
                )*
                Op::AddJumpI { dst, imm, .. } => {
                    alu(AluOp::Add, Width::W64, dst, Source::Immediate(imm))
                }
                Op::AddJumpR { dst, src, .. } => {
                    alu(AluOp::Add, Width::W64, dst, Source::Register(src))
                }
                Op::Negate { width, dst } => Inst::Negate { width, dst, src: dst },
                Op::MoveSigned { extension, dst, src } => Inst::Extend { extension, dst, src },
                Op::ByteOrder { order, span, dst } => byte_order(order, span, dst),
                Op::LoadWide { dst, value } => Inst::Constant { dst, value },
                Op::LoadPacket { size, index, offset } => Inst::LoadPacket { size, index, offset },
                Op::Atomic { op, width, base, offset, src } => {
                    Inst::Atomic { op, width, address: at(base, offset), src }
                }
                Op::LoadAcquire { size, dst, base, offset } => {
                    Inst::LoadAcquire { size, dst, address: at(base, offset) }
                }
                Op::StoreRelease { size, base, offset, src } => {
                    Inst::StoreRelease { size, address: at(base, offset), src }
                }
                Op::Jump { target } => Inst::Jump { target },
                Op::MayGoto { target } => Inst::MayGoto { target },
                Op::CallHelper { index } => Inst::CallHelper { index },
                Op::CallLocal { target } => Inst::CallLocal { target },
                Op::CallRegister { target } => Inst::CallRegister { target },
                Op::Exit => Inst::Exit,
                Op::End => Inst::End,
            }
        }
    };
}

for_each_family!(define_lower);

pub(crate) fn lower(program: &Program) -> Vec<Inst> {
    program.ops.iter().map(|op| lower_one(*op)).collect()
}

fn alu(op: AluOp, width: Width, dst: Register, right: Source) -> Inst {
    match (op, right) {
        (AluOp::Mov, Source::Register(src)) => Inst::Move { width, dst, src },
        (AluOp::Mov, Source::Immediate(imm)) => {
            let value = match width {
                Width::W64 => imm as u64,
                Width::W32 => imm as u32 as u64,
            };
            Inst::Constant { dst, value }
        }
        _ => Inst::Alu { op, width, dst, left: dst, right },
    }
}

fn store<T: InMemory>(address: Address, value: Source) -> Inst {
    Inst::Store { size: T::ACCESS.size(), address, value }
}

fn byte_order(order: Order, span: Span, dst: Register) -> Inst {
    let right = Source::Immediate(0xffff);
    match (order, span) {
        (Order::ToLittle, Span::Half) => {
            Inst::Alu { op: AluOp::And, width: Width::W32, dst, left: dst, right }
        }
        (Order::ToLittle, Span::Word) => Inst::Move { width: Width::W32, dst, src: dst },
        (Order::ToLittle, Span::Double) => Inst::Nothing,
        (Order::ToBig | Order::Swap, span) => Inst::Swap { span, dst, src: dst, clean: false },
    }
}

/// How a type of the interpreter's operations is accessed.
trait InMemory {
    const ACCESS: Access;
}

macro_rules! in_memory {
    ($($type:ty: $access:expr;)*) => {
        $(impl InMemory for $type {
            const ACCESS: Access = $access;
        })*
    };
}

in_memory! {
    u8: Access::Unsigned(Size::Byte);
    u16: Access::Unsigned(Size::Half);
    u32: Access::Unsigned(Size::Word);
    u64: Access::Unsigned(Size::Double);
    i8: Access::Signed(Narrow::Byte);
    i16: Access::Signed(Narrow::Half);
    i32: Access::Signed(Narrow::Word);
}
