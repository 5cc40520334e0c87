//! Instructions as the interpreter wants them: one flat enumeration, so that one jump finds the
//! code for operation, width and kind of operand; jumps know where they go. `fuse.rs` says what
//! the pairs are.

use bpf_isa::{AtomicOp, Extension, Narrow, Order, Register, Size, Span, Width};

/// Calls the macro `$generate` with the families of operations that differ in one thing only.
macro_rules! for_each_family {
    ($generate:ident) => {
        $generate! {
            // operation: 64 bits with an immediate, with a register; 32 bits likewise
            alu {
                Add: Add64I Add64R Add32I Add32R;
                Sub: Sub64I Sub64R Sub32I Sub32R;
                Mul: Mul64I Mul64R Mul32I Mul32R;
                Div: Div64I Div64R Div32I Div32R;
                SignedDiv: SignedDiv64I SignedDiv64R SignedDiv32I SignedDiv32R;
                Or: Or64I Or64R Or32I Or32R;
                And: And64I And64R And32I And32R;
                Lsh: Lsh64I Lsh64R Lsh32I Lsh32R;
                Rsh: Rsh64I Rsh64R Rsh32I Rsh32R;
                Mod: Mod64I Mod64R Mod32I Mod32R;
                SignedMod: SignedMod64I SignedMod64R SignedMod32I SignedMod32R;
                Xor: Xor64I Xor64R Xor32I Xor32R;
                Mov: Mov64I Mov64R Mov32I Mov32R;
                Arsh: Arsh64I Arsh64R Arsh32I Arsh32R;
            }
            conditions {
                Equal: IfEqual64I IfEqual64R IfEqual32I IfEqual32R;
                NotEqual: IfNotEqual64I IfNotEqual64R IfNotEqual32I IfNotEqual32R;
                Greater: IfGreater64I IfGreater64R IfGreater32I IfGreater32R;
                GreaterOrEqual: IfGreaterOrEqual64I IfGreaterOrEqual64R IfGreaterOrEqual32I IfGreaterOrEqual32R;
                Less: IfLess64I IfLess64R IfLess32I IfLess32R;
                LessOrEqual: IfLessOrEqual64I IfLessOrEqual64R IfLessOrEqual32I IfLessOrEqual32R;
                SignedGreater: IfSignedGreater64I IfSignedGreater64R IfSignedGreater32I IfSignedGreater32R;
                SignedGreaterOrEqual: IfSignedGreaterOrEqual64I IfSignedGreaterOrEqual64R IfSignedGreaterOrEqual32I IfSignedGreaterOrEqual32R;
                SignedLess: IfSignedLess64I IfSignedLess64R IfSignedLess32I IfSignedLess32R;
                SignedLessOrEqual: IfSignedLessOrEqual64I IfSignedLessOrEqual64R IfSignedLessOrEqual32I IfSignedLessOrEqual32R;
                Set: IfSet64I IfSet64R IfSet32I IfSet32R;
            }
            // type in memory: anywhere, in the frame
            loads {
                u8: LoadByte LoadFrameByte;
                u16: LoadHalf LoadFrameHalf;
                u32: LoadWord LoadFrameWord;
                u64: LoadDouble LoadFrameDouble;
                i8: LoadSignedByte LoadFrameSignedByte;
                i16: LoadSignedHalf LoadFrameSignedHalf;
                i32: LoadSignedWord LoadFrameSignedWord;
            }
            // type in memory: a register anywhere, in the frame; an immediate likewise
            stores {
                u8: StoreByteR StoreFrameByteR StoreByteI StoreFrameByteI;
                u16: StoreHalfR StoreFrameHalfR StoreHalfI StoreFrameHalfI;
                u32: StoreWordR StoreFrameWordR StoreWordI StoreFrameWordI;
                u64: StoreDoubleR StoreFrameDoubleR StoreDoubleI StoreFrameDoubleI;
            }
            // pairs: a move and an operation on the same register; a counter and a comparison
            copies {
                Add: Add64I Add64R CopyAddI CopyAddR;
                Sub: Sub64I Sub64R CopySubI CopySubR;
                Mul: Mul64I Mul64R CopyMulI CopyMulR;
                Or: Or64I Or64R CopyOrI CopyOrR;
                And: And64I And64R CopyAndI CopyAndR;
                Lsh: Lsh64I Lsh64R CopyLshI CopyLshR;
                Rsh: Rsh64I Rsh64R CopyRshI CopyRshR;
                Xor: Xor64I Xor64R CopyXorI CopyXorR;
                Arsh: Arsh64I Arsh64R CopyArshI CopyArshR;
            }
            counters {
                Equal: IfEqual64I IfEqual64R CountEqualI CountEqualR;
                NotEqual: IfNotEqual64I IfNotEqual64R CountNotEqualI CountNotEqualR;
                Greater: IfGreater64I IfGreater64R CountGreaterI CountGreaterR;
                GreaterOrEqual: IfGreaterOrEqual64I IfGreaterOrEqual64R CountGreaterOrEqualI CountGreaterOrEqualR;
                Less: IfLess64I IfLess64R CountLessI CountLessR;
                LessOrEqual: IfLessOrEqual64I IfLessOrEqual64R CountLessOrEqualI CountLessOrEqualR;
                SignedGreater: IfSignedGreater64I IfSignedGreater64R CountSignedGreaterI CountSignedGreaterR;
                SignedGreaterOrEqual: IfSignedGreaterOrEqual64I IfSignedGreaterOrEqual64R CountSignedGreaterOrEqualI CountSignedGreaterOrEqualR;
                SignedLess: IfSignedLess64I IfSignedLess64R CountSignedLessI CountSignedLessR;
                SignedLessOrEqual: IfSignedLessOrEqual64I IfSignedLessOrEqual64R CountSignedLessOrEqualI CountSignedLessOrEqualR;
                Set: IfSet64I IfSet64R CountSetI CountSetR;
            }
        }
    };
}

pub(crate) use for_each_family;

macro_rules! define_op {
    (
        alu { $($alu:ident: $alu64i:ident $alu64r:ident $alu32i:ident $alu32r:ident;)* }
        conditions { $($condition:ident: $if64i:ident $if64r:ident $if32i:ident $if32r:ident;)* }
        loads { $($load_type:ty: $load:ident $load_frame:ident;)* }
        stores { $($store_type:ty: $store_r:ident $store_frame_r:ident $store_i:ident $store_frame_i:ident;)* }
        copies { $($copied:ident: $copied_i:ident $copied_r:ident $copy_i:ident $copy_r:ident;)* }
        counters { $($counted:ident: $counted_i:ident $counted_r:ident $count_i:ident $count_r:ident;)* }
    ) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Op {
            $(
                $alu64i { dst: Register, imm: i32 },
                $alu64r { dst: Register, src: Register },
                $alu32i { dst: Register, imm: i32 },
                $alu32r { dst: Register, src: Register },
            )*
            $(
                $if64i { left: Register, imm: i32, target: u32 },
                $if64r { left: Register, right: Register, target: u32 },
                $if32i { left: Register, imm: i32, target: u32 },
                $if32r { left: Register, right: Register, target: u32 },
            )*
            $(
                $load { dst: Register, base: Register, offset: i16 },
                $load_frame { dst: Register, offset: i16 },
            )*
            $(
                $store_r { base: Register, offset: i16, src: Register },
                $store_frame_r { offset: i16, src: Register },
                $store_i { base: Register, offset: i16, imm: i32 },
                $store_frame_i { offset: i16, imm: i32 },
            )*
            $(
                $copy_i { dst: Register, src: Register, imm: i32 },
                $copy_r { dst: Register, src: Register, other: Register },
            )*
            $(
                $count_i { dst: Register, add: i32, left: Register, imm: i32, target: u32 },
                $count_r { dst: Register, add: i32, left: Register, right: Register, target: u32 },
            )*
            AddJumpI { dst: Register, imm: i32, target: u32 },
            AddJumpR { dst: Register, src: Register, target: u32 },
            Negate { width: Width, dst: Register },
            MoveSigned { extension: Extension, dst: Register, src: Register },
            ByteOrder { order: Order, span: Span, dst: Register },
            LoadWide { dst: Register, value: u64 },
            LoadPacket { size: Narrow, index: Option<Register>, offset: i32 },
            Atomic { op: AtomicOp, width: Width, base: Register, offset: i16, src: Register },
            LoadAcquire { size: Size, dst: Register, base: Register, offset: i16 },
            StoreRelease { size: Size, base: Register, offset: i16, src: Register },
            Jump { target: u32 },
            MayGoto { target: u32 },
            /// An index into the program's helpers.
            CallHelper { index: u32 },
            CallLocal { target: u32 },
            CallRegister { target: Register },
            Exit,
            /// Stands behind the last instruction, and in place of those that write `r10`.
            End,
        }
    };
}

for_each_family!(define_op);

// One cache line holds four.
const _: () = assert!(size_of::<Op>() == 16);
