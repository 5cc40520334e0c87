//! The table: every instruction, once.
//!
//! `forms` are the shapes an instruction can have; [`Instruction`](crate::Instruction) and
//! [`Visitor`](crate::Visitor) are made from them. `encodings` has one row per instruction:
//!
//! ```text
//! opcode [fields that must have a value] (fields that are operands) the instruction,
//!     LLVM's text / what is also read, the vectors' text / what is also read;
//! ```
//!
//! A field that a row doesn't name is reserved: zero, or the instruction is refused. Rows with the
//! same opcode are tried from above. An operand stands in the texts in braces, see
//! [`Placeholder`](crate::text::Placeholder).
//!
//! The encoder is a `match` over the third column, without a wildcard: an instruction that can be
//! written in Rust but has no row does not compile.

/// Calls the macro `$generate` with the whole table.
macro_rules! for_each_instruction {
    ($generate:ident) => {
        $generate! {
            forms {
                /// `dst = dst op src`. Division by zero gives zero, modulo zero leaves `dst`.
                Alu, alu { op: AluOp, width: Width, dst: Register, src: Source }
                /// `dst = -dst`
                Negate, negate { width: Width, dst: Register }
                /// `dst = src`, the sign spread over the upper bits.
                MoveSigned, move_signed { extension: Extension, dst: Register, src: Register }
                /// `dst` is `src` in another address space; `spaces` is the target space in the
                /// upper half, the source's in the lower.
                CastAddress, cast_address { dst: Register, src: Register, spaces: i32 }
                /// The lowest bytes of `dst` in another order, the upper ones cleared.
                ByteOrder, byte_order { order: Order, span: Span, dst: Register }
                /// A 64-bit value, or what a loader puts there. Takes two slots.
                LoadWide, load_wide { dst: Register, value: Wide }
                /// `r0` = the packet's bytes at `offset` (plus `index`), from network order. Ends
                /// the program with zero when they aren't there.
                LoadPacket, load_packet { size: Narrow, index: Option<Register>, offset: i32 }
                /// `dst = *(base + offset)`
                Load, load { access: Access, dst: Register, base: Register, offset: i16 }
                /// `*(base + offset) = value`
                Store, store { size: Size, base: Register, offset: i16, value: Source }
                /// Read, change and write `*(base + offset)` in one step.
                Atomic, atomic { op: AtomicOp, width: Width, base: Register, offset: i16, src: Register }
                /// A load that later accesses don't overtake.
                LoadAcquire, load_acquire { size: Size, dst: Register, base: Register, offset: i16 }
                /// A store that doesn't overtake earlier accesses.
                StoreRelease, store_release { size: Size, base: Register, offset: i16, src: Register }
                /// Distances count slots from the instruction that follows.
                Jump, jump { distance: Distance }
                /// `if left condition right`
                JumpIf, jump_if { condition: Condition, width: Width, left: Register, right: Source, offset: i16 }
                /// Jumps when the program has looped for long enough (Linux 6.9).
                MayGoto, may_goto { offset: i16 }
                Call, call { callee: Callee }
                /// Calls the function whose address is in `target`.
                CallRegister, call_register { target: Register }
                Exit, exit {}
            }
            encodings {
                // Arithmetic, 64 bit.
                0x07 (dst imm) Alu { op: AluOp::Add, width: Width::W64, dst, src: Source::Immediate(imm) }, "{dst} += {imm}", "add {dst}, {imm}";
                0x0f (dst src) Alu { op: AluOp::Add, width: Width::W64, dst, src: Source::Register(src) }, "{dst} += {src}", "add {dst}, {src}";
                0x17 (dst imm) Alu { op: AluOp::Sub, width: Width::W64, dst, src: Source::Immediate(imm) }, "{dst} -= {imm}", "sub {dst}, {imm}";
                0x1f (dst src) Alu { op: AluOp::Sub, width: Width::W64, dst, src: Source::Register(src) }, "{dst} -= {src}", "sub {dst}, {src}";
                0x27 (dst imm) Alu { op: AluOp::Mul, width: Width::W64, dst, src: Source::Immediate(imm) }, "{dst} *= {imm}", "mul {dst}, {imm}";
                0x2f (dst src) Alu { op: AluOp::Mul, width: Width::W64, dst, src: Source::Register(src) }, "{dst} *= {src}", "mul {dst}, {src}";
                0x37 [offset = 1] (dst imm) Alu { op: AluOp::SignedDiv, width: Width::W64, dst, src: Source::Immediate(imm) }, "{dst} s/= {imm}", "sdiv {dst}, {imm}";
                0x3f [offset = 1] (dst src) Alu { op: AluOp::SignedDiv, width: Width::W64, dst, src: Source::Register(src) }, "{dst} s/= {src}", "sdiv {dst}, {src}";
                0x37 (dst imm) Alu { op: AluOp::Div, width: Width::W64, dst, src: Source::Immediate(imm) }, "{dst} /= {imm}", "div {dst}, {imm}";
                0x3f (dst src) Alu { op: AluOp::Div, width: Width::W64, dst, src: Source::Register(src) }, "{dst} /= {src}", "div {dst}, {src}";
                0x47 (dst imm) Alu { op: AluOp::Or, width: Width::W64, dst, src: Source::Immediate(imm) }, "{dst} |= {imm}", "or {dst}, {imm}";
                0x4f (dst src) Alu { op: AluOp::Or, width: Width::W64, dst, src: Source::Register(src) }, "{dst} |= {src}", "or {dst}, {src}";
                0x57 (dst imm) Alu { op: AluOp::And, width: Width::W64, dst, src: Source::Immediate(imm) }, "{dst} &= {imm}", "and {dst}, {imm}";
                0x5f (dst src) Alu { op: AluOp::And, width: Width::W64, dst, src: Source::Register(src) }, "{dst} &= {src}", "and {dst}, {src}";
                0x67 (dst imm) Alu { op: AluOp::Lsh, width: Width::W64, dst, src: Source::Immediate(imm) }, "{dst} <<= {imm}", "lsh {dst}, {imm}";
                0x6f (dst src) Alu { op: AluOp::Lsh, width: Width::W64, dst, src: Source::Register(src) }, "{dst} <<= {src}", "lsh {dst}, {src}";
                0x77 (dst imm) Alu { op: AluOp::Rsh, width: Width::W64, dst, src: Source::Immediate(imm) }, "{dst} >>= {imm}", "rsh {dst}, {imm}";
                0x7f (dst src) Alu { op: AluOp::Rsh, width: Width::W64, dst, src: Source::Register(src) }, "{dst} >>= {src}", "rsh {dst}, {src}";
                0x97 [offset = 1] (dst imm) Alu { op: AluOp::SignedMod, width: Width::W64, dst, src: Source::Immediate(imm) }, "{dst} s%= {imm}", "smod {dst}, {imm}";
                0x9f [offset = 1] (dst src) Alu { op: AluOp::SignedMod, width: Width::W64, dst, src: Source::Register(src) }, "{dst} s%= {src}", "smod {dst}, {src}";
                0x97 (dst imm) Alu { op: AluOp::Mod, width: Width::W64, dst, src: Source::Immediate(imm) }, "{dst} %= {imm}", "mod {dst}, {imm}";
                0x9f (dst src) Alu { op: AluOp::Mod, width: Width::W64, dst, src: Source::Register(src) }, "{dst} %= {src}", "mod {dst}, {src}";
                0xa7 (dst imm) Alu { op: AluOp::Xor, width: Width::W64, dst, src: Source::Immediate(imm) }, "{dst} ^= {imm}", "xor {dst}, {imm}";
                0xaf (dst src) Alu { op: AluOp::Xor, width: Width::W64, dst, src: Source::Register(src) }, "{dst} ^= {src}", "xor {dst}, {src}";
                0xc7 (dst imm) Alu { op: AluOp::Arsh, width: Width::W64, dst, src: Source::Immediate(imm) }, "{dst} s>>= {imm}", "arsh {dst}, {imm}";
                0xcf (dst src) Alu { op: AluOp::Arsh, width: Width::W64, dst, src: Source::Register(src) }, "{dst} s>>= {src}", "arsh {dst}, {src}";
                0xbf [offset = 8] (dst src) MoveSigned { extension: Extension::ByteTo64, dst, src }, "{dst} = (s8){src}", "movsx864 {dst}, {src}";
                0xbf [offset = 16] (dst src) MoveSigned { extension: Extension::HalfTo64, dst, src }, "{dst} = (s16){src}", "movsx1664 {dst}, {src}";
                0xbf [offset = 32] (dst src) MoveSigned { extension: Extension::WordTo64, dst, src }, "{dst} = (s32){src}", "movsx3264 {dst}, {src}";
                0xbf [offset = 1] (dst src imm) CastAddress { dst, src, spaces: imm }, "{dst} = addr_space_cast({src}, {high}, {low})", "addr_space_cast {dst}, {src}, {high}, {low}";
                0xb7 (dst imm) Alu { op: AluOp::Mov, width: Width::W64, dst, src: Source::Immediate(imm) }, "{dst} = {imm}", "mov {dst}, {imm}";
                0xbf (dst src) Alu { op: AluOp::Mov, width: Width::W64, dst, src: Source::Register(src) }, "{dst} = {src}", "mov {dst}, {src}";
                0x87 (dst) Negate { width: Width::W64, dst }, "{dst} = -{dst}", "neg {dst}";

                // Arithmetic, 32 bit.
                0x04 (dst imm) Alu { op: AluOp::Add, width: Width::W32, dst, src: Source::Immediate(imm) }, "{dst:w} += {imm}", "add32 {dst}, {imm}";
                0x0c (dst src) Alu { op: AluOp::Add, width: Width::W32, dst, src: Source::Register(src) }, "{dst:w} += {src:w}", "add32 {dst}, {src}";
                0x14 (dst imm) Alu { op: AluOp::Sub, width: Width::W32, dst, src: Source::Immediate(imm) }, "{dst:w} -= {imm}", "sub32 {dst}, {imm}";
                0x1c (dst src) Alu { op: AluOp::Sub, width: Width::W32, dst, src: Source::Register(src) }, "{dst:w} -= {src:w}", "sub32 {dst}, {src}";
                0x24 (dst imm) Alu { op: AluOp::Mul, width: Width::W32, dst, src: Source::Immediate(imm) }, "{dst:w} *= {imm}", "mul32 {dst}, {imm}";
                0x2c (dst src) Alu { op: AluOp::Mul, width: Width::W32, dst, src: Source::Register(src) }, "{dst:w} *= {src:w}", "mul32 {dst}, {src}";
                0x34 [offset = 1] (dst imm) Alu { op: AluOp::SignedDiv, width: Width::W32, dst, src: Source::Immediate(imm) }, "{dst:w} s/= {imm}", "sdiv32 {dst}, {imm}";
                0x3c [offset = 1] (dst src) Alu { op: AluOp::SignedDiv, width: Width::W32, dst, src: Source::Register(src) }, "{dst:w} s/= {src:w}", "sdiv32 {dst}, {src}";
                0x34 (dst imm) Alu { op: AluOp::Div, width: Width::W32, dst, src: Source::Immediate(imm) }, "{dst:w} /= {imm}", "div32 {dst}, {imm}";
                0x3c (dst src) Alu { op: AluOp::Div, width: Width::W32, dst, src: Source::Register(src) }, "{dst:w} /= {src:w}", "div32 {dst}, {src}";
                0x44 (dst imm) Alu { op: AluOp::Or, width: Width::W32, dst, src: Source::Immediate(imm) }, "{dst:w} |= {imm}", "or32 {dst}, {imm}";
                0x4c (dst src) Alu { op: AluOp::Or, width: Width::W32, dst, src: Source::Register(src) }, "{dst:w} |= {src:w}", "or32 {dst}, {src}";
                0x54 (dst imm) Alu { op: AluOp::And, width: Width::W32, dst, src: Source::Immediate(imm) }, "{dst:w} &= {imm}", "and32 {dst}, {imm}";
                0x5c (dst src) Alu { op: AluOp::And, width: Width::W32, dst, src: Source::Register(src) }, "{dst:w} &= {src:w}", "and32 {dst}, {src}";
                0x64 (dst imm) Alu { op: AluOp::Lsh, width: Width::W32, dst, src: Source::Immediate(imm) }, "{dst:w} <<= {imm}", "lsh32 {dst}, {imm}";
                0x6c (dst src) Alu { op: AluOp::Lsh, width: Width::W32, dst, src: Source::Register(src) }, "{dst:w} <<= {src:w}", "lsh32 {dst}, {src}";
                0x74 (dst imm) Alu { op: AluOp::Rsh, width: Width::W32, dst, src: Source::Immediate(imm) }, "{dst:w} >>= {imm}", "rsh32 {dst}, {imm}";
                0x7c (dst src) Alu { op: AluOp::Rsh, width: Width::W32, dst, src: Source::Register(src) }, "{dst:w} >>= {src:w}", "rsh32 {dst}, {src}";
                0x94 [offset = 1] (dst imm) Alu { op: AluOp::SignedMod, width: Width::W32, dst, src: Source::Immediate(imm) }, "{dst:w} s%= {imm}", "smod32 {dst}, {imm}";
                0x9c [offset = 1] (dst src) Alu { op: AluOp::SignedMod, width: Width::W32, dst, src: Source::Register(src) }, "{dst:w} s%= {src:w}", "smod32 {dst}, {src}";
                0x94 (dst imm) Alu { op: AluOp::Mod, width: Width::W32, dst, src: Source::Immediate(imm) }, "{dst:w} %= {imm}", "mod32 {dst}, {imm}";
                0x9c (dst src) Alu { op: AluOp::Mod, width: Width::W32, dst, src: Source::Register(src) }, "{dst:w} %= {src:w}", "mod32 {dst}, {src}";
                0xa4 (dst imm) Alu { op: AluOp::Xor, width: Width::W32, dst, src: Source::Immediate(imm) }, "{dst:w} ^= {imm}", "xor32 {dst}, {imm}";
                0xac (dst src) Alu { op: AluOp::Xor, width: Width::W32, dst, src: Source::Register(src) }, "{dst:w} ^= {src:w}", "xor32 {dst}, {src}";
                0xc4 (dst imm) Alu { op: AluOp::Arsh, width: Width::W32, dst, src: Source::Immediate(imm) }, "{dst:w} s>>= {imm}", "arsh32 {dst}, {imm}";
                0xcc (dst src) Alu { op: AluOp::Arsh, width: Width::W32, dst, src: Source::Register(src) }, "{dst:w} s>>= {src:w}", "arsh32 {dst}, {src}";
                0xbc [offset = 8] (dst src) MoveSigned { extension: Extension::ByteTo32, dst, src }, "{dst:w} = (s8){src:w}", "movsx832 {dst}, {src}";
                0xbc [offset = 16] (dst src) MoveSigned { extension: Extension::HalfTo32, dst, src }, "{dst:w} = (s16){src:w}", "movsx1632 {dst}, {src}";
                0xb4 (dst imm) Alu { op: AluOp::Mov, width: Width::W32, dst, src: Source::Immediate(imm) }, "{dst:w} = {imm}", "mov32 {dst}, {imm}";
                0xbc (dst src) Alu { op: AluOp::Mov, width: Width::W32, dst, src: Source::Register(src) }, "{dst:w} = {src:w}", "mov32 {dst}, {src}";
                0x84 (dst) Negate { width: Width::W32, dst }, "{dst:w} = -{dst:w}", "neg32 {dst}";

                // Byte order.
                0xd4 [imm = 16] (dst) ByteOrder { order: Order::ToLittle, span: Span::Half, dst }, "{dst} = le16 {dst}", "le16 {dst}";
                0xd4 [imm = 32] (dst) ByteOrder { order: Order::ToLittle, span: Span::Word, dst }, "{dst} = le32 {dst}", "le32 {dst}";
                0xd4 [imm = 64] (dst) ByteOrder { order: Order::ToLittle, span: Span::Double, dst }, "{dst} = le64 {dst}", "le64 {dst}";
                0xdc [imm = 16] (dst) ByteOrder { order: Order::ToBig, span: Span::Half, dst }, "{dst} = be16 {dst}", "be16 {dst}";
                0xdc [imm = 32] (dst) ByteOrder { order: Order::ToBig, span: Span::Word, dst }, "{dst} = be32 {dst}", "be32 {dst}";
                0xdc [imm = 64] (dst) ByteOrder { order: Order::ToBig, span: Span::Double, dst }, "{dst} = be64 {dst}", "be64 {dst}";
                0xd7 [imm = 16] (dst) ByteOrder { order: Order::Swap, span: Span::Half, dst }, "{dst} = bswap16 {dst}", "bswap16 {dst}" / "swap16 {dst}";
                0xd7 [imm = 32] (dst) ByteOrder { order: Order::Swap, span: Span::Word, dst }, "{dst} = bswap32 {dst}", "bswap32 {dst}" / "swap32 {dst}";
                0xd7 [imm = 64] (dst) ByteOrder { order: Order::Swap, span: Span::Double, dst }, "{dst} = bswap64 {dst}", "bswap64 {dst}" / "swap64 {dst}";

                // 64-bit immediates; what the value is depends on the source field (RFC 9669, 5.4).
                0x18 [src = 0] (dst wide) LoadWide { dst, value: Wide::Value(wide) }, "{dst} = {wide} ll", "lddw {dst}, {wide}";
                0x18 [src = 1] (dst imm) LoadWide { dst, value: Wide::MapByFd(imm) }, "ld_pseudo {dst}, 0x1, {pair}", "lddw {dst}, map_by_fd({imm})";
                0x18 [src = 2] (dst imm next) LoadWide { dst, value: Wide::MapValueByFd { map: imm, offset: next } }, "ld_pseudo {dst}, 0x2, {pair}", "lddw {dst}, map_val(map_by_fd({imm})) + {next}";
                0x18 [src = 3] (dst imm) LoadWide { dst, value: Wide::Variable(imm) }, "ld_pseudo {dst}, 0x3, {pair}", "lddw {dst}, var_addr({imm})";
                0x18 [src = 4] (dst imm) LoadWide { dst, value: Wide::Code(imm) }, "ld_pseudo {dst}, 0x4, {pair}", "lddw {dst}, code_addr({far})";
                0x18 [src = 5] (dst imm) LoadWide { dst, value: Wide::MapByIndex(imm) }, "ld_pseudo {dst}, 0x5, {pair}", "lddw {dst}, map_by_idx({imm})";
                0x18 [src = 6] (dst imm next) LoadWide { dst, value: Wide::MapValueByIndex { map: imm, offset: next } }, "ld_pseudo {dst}, 0x6, {pair}", "lddw {dst}, map_val(map_by_idx({imm})) + {next}";

                // Packet access by the socket filters of old.
                0x30 (imm) LoadPacket { size: Narrow::Byte, index: None, offset: imm }, "r0 = *(u8 *)skb[{imm}]", "ldabsb {imm}";
                0x50 (src imm) LoadPacket { size: Narrow::Byte, index: Some(src), offset: imm }, "r0 = *(u8 *)skb[{src}{plus}]", "ldindb {src}{plus}";
                0x28 (imm) LoadPacket { size: Narrow::Half, index: None, offset: imm }, "r0 = *(u16 *)skb[{imm}]", "ldabsh {imm}";
                0x48 (src imm) LoadPacket { size: Narrow::Half, index: Some(src), offset: imm }, "r0 = *(u16 *)skb[{src}{plus}]", "ldindh {src}{plus}";
                0x20 (imm) LoadPacket { size: Narrow::Word, index: None, offset: imm }, "r0 = *(u32 *)skb[{imm}]", "ldabsw {imm}";
                0x40 (src imm) LoadPacket { size: Narrow::Word, index: Some(src), offset: imm }, "r0 = *(u32 *)skb[{src}{plus}]", "ldindw {src}{plus}";

                // Memory.
                0x71 (dst src offset) Load { access: Access::Unsigned(Size::Byte), dst, base: src, offset }, "{dst:w} = *(u8 *)({src}{offset})" / "{dst} = *(u8 *)({src}{offset})", "ldxb {dst}, [{src}{offset}]";
                0x69 (dst src offset) Load { access: Access::Unsigned(Size::Half), dst, base: src, offset }, "{dst:w} = *(u16 *)({src}{offset})" / "{dst} = *(u16 *)({src}{offset})", "ldxh {dst}, [{src}{offset}]";
                0x61 (dst src offset) Load { access: Access::Unsigned(Size::Word), dst, base: src, offset }, "{dst:w} = *(u32 *)({src}{offset})" / "{dst} = *(u32 *)({src}{offset})", "ldxw {dst}, [{src}{offset}]";
                0x79 (dst src offset) Load { access: Access::Unsigned(Size::Double), dst, base: src, offset }, "{dst} = *(u64 *)({src}{offset})", "ldxdw {dst}, [{src}{offset}]";
                0x91 (dst src offset) Load { access: Access::Signed(Narrow::Byte), dst, base: src, offset }, "{dst} = *(s8 *)({src}{offset})", "ldxsb {dst}, [{src}{offset}]";
                0x89 (dst src offset) Load { access: Access::Signed(Narrow::Half), dst, base: src, offset }, "{dst} = *(s16 *)({src}{offset})", "ldxsh {dst}, [{src}{offset}]";
                0x81 (dst src offset) Load { access: Access::Signed(Narrow::Word), dst, base: src, offset }, "{dst} = *(s32 *)({src}{offset})", "ldxsw {dst}, [{src}{offset}]";
                0x72 (dst offset imm) Store { size: Size::Byte, base: dst, offset, value: Source::Immediate(imm) }, "*(u8 *)({dst}{offset}) = {imm}", "stb [{dst}{offset}], {imm}";
                0x6a (dst offset imm) Store { size: Size::Half, base: dst, offset, value: Source::Immediate(imm) }, "*(u16 *)({dst}{offset}) = {imm}", "sth [{dst}{offset}], {imm}";
                0x62 (dst offset imm) Store { size: Size::Word, base: dst, offset, value: Source::Immediate(imm) }, "*(u32 *)({dst}{offset}) = {imm}", "stw [{dst}{offset}], {imm}";
                0x7a (dst offset imm) Store { size: Size::Double, base: dst, offset, value: Source::Immediate(imm) }, "*(u64 *)({dst}{offset}) = {imm}", "stdw [{dst}{offset}], {imm}";
                0x73 (dst src offset) Store { size: Size::Byte, base: dst, offset, value: Source::Register(src) }, "*(u8 *)({dst}{offset}) = {src:w}" / "*(u8 *)({dst}{offset}) = {src}", "stxb [{dst}{offset}], {src}";
                0x6b (dst src offset) Store { size: Size::Half, base: dst, offset, value: Source::Register(src) }, "*(u16 *)({dst}{offset}) = {src:w}" / "*(u16 *)({dst}{offset}) = {src}", "stxh [{dst}{offset}], {src}";
                0x63 (dst src offset) Store { size: Size::Word, base: dst, offset, value: Source::Register(src) }, "*(u32 *)({dst}{offset}) = {src:w}" / "*(u32 *)({dst}{offset}) = {src}", "stxw [{dst}{offset}], {src}";
                0x7b (dst src offset) Store { size: Size::Double, base: dst, offset, value: Source::Register(src) }, "*(u64 *)({dst}{offset}) = {src}", "stxdw [{dst}{offset}], {src}";

                // Atomics, 64 bit.
                0xdb [imm = 0x00] (dst src offset) Atomic { op: AtomicOp::Add, width: Width::W64, base: dst, offset, src }, "lock *(u64 *)({dst}{offset}) += {src}", "lock add [{dst}{offset}], {src}";
                0xdb [imm = 0x01] (dst src offset) Atomic { op: AtomicOp::FetchAdd, width: Width::W64, base: dst, offset, src }, "{src} = atomic_fetch_add((u64 *)({dst}{offset}), {src})", "lock fetch add [{dst}{offset}], {src}";
                0xdb [imm = 0x40] (dst src offset) Atomic { op: AtomicOp::Or, width: Width::W64, base: dst, offset, src }, "lock *(u64 *)({dst}{offset}) |= {src}", "lock or [{dst}{offset}], {src}";
                0xdb [imm = 0x41] (dst src offset) Atomic { op: AtomicOp::FetchOr, width: Width::W64, base: dst, offset, src }, "{src} = atomic_fetch_or((u64 *)({dst}{offset}), {src})", "lock fetch or [{dst}{offset}], {src}";
                0xdb [imm = 0x50] (dst src offset) Atomic { op: AtomicOp::And, width: Width::W64, base: dst, offset, src }, "lock *(u64 *)({dst}{offset}) &= {src}", "lock and [{dst}{offset}], {src}";
                0xdb [imm = 0x51] (dst src offset) Atomic { op: AtomicOp::FetchAnd, width: Width::W64, base: dst, offset, src }, "{src} = atomic_fetch_and((u64 *)({dst}{offset}), {src})", "lock fetch and [{dst}{offset}], {src}";
                0xdb [imm = 0xa0] (dst src offset) Atomic { op: AtomicOp::Xor, width: Width::W64, base: dst, offset, src }, "lock *(u64 *)({dst}{offset}) ^= {src}", "lock xor [{dst}{offset}], {src}";
                0xdb [imm = 0xa1] (dst src offset) Atomic { op: AtomicOp::FetchXor, width: Width::W64, base: dst, offset, src }, "{src} = atomic_fetch_xor((u64 *)({dst}{offset}), {src})", "lock fetch xor [{dst}{offset}], {src}";
                0xdb [imm = 0xe1] (dst src offset) Atomic { op: AtomicOp::Exchange, width: Width::W64, base: dst, offset, src }, "{src} = xchg_64({dst}{offset}, {src})", "lock xchg [{dst}{offset}], {src}" / "lock fetch xchg [{dst}{offset}], {src}";
                0xdb [imm = 0xf1] (dst src offset) Atomic { op: AtomicOp::CompareExchange, width: Width::W64, base: dst, offset, src }, "r0 = cmpxchg_64({dst}{offset}, r0, {src})", "lock cmpxchg [{dst}{offset}], {src}" / "lock fetch cmpxchg [{dst}{offset}], {src}";

                // Atomics, 32 bit.
                0xc3 [imm = 0x00] (dst src offset) Atomic { op: AtomicOp::Add, width: Width::W32, base: dst, offset, src }, "lock *(u32 *)({dst}{offset}) += {src:w}" / "lock *(u32 *)({dst}{offset}) += {src}", "lock add32 [{dst}{offset}], {src}";
                0xc3 [imm = 0x01] (dst src offset) Atomic { op: AtomicOp::FetchAdd, width: Width::W32, base: dst, offset, src }, "{src:w} = atomic_fetch_add((u32 *)({dst}{offset}), {src:w})", "lock fetch add32 [{dst}{offset}], {src}";
                0xc3 [imm = 0x40] (dst src offset) Atomic { op: AtomicOp::Or, width: Width::W32, base: dst, offset, src }, "lock *(u32 *)({dst}{offset}) |= {src:w}" / "lock *(u32 *)({dst}{offset}) |= {src}", "lock or32 [{dst}{offset}], {src}";
                0xc3 [imm = 0x41] (dst src offset) Atomic { op: AtomicOp::FetchOr, width: Width::W32, base: dst, offset, src }, "{src:w} = atomic_fetch_or((u32 *)({dst}{offset}), {src:w})", "lock fetch or32 [{dst}{offset}], {src}";
                0xc3 [imm = 0x50] (dst src offset) Atomic { op: AtomicOp::And, width: Width::W32, base: dst, offset, src }, "lock *(u32 *)({dst}{offset}) &= {src:w}" / "lock *(u32 *)({dst}{offset}) &= {src}", "lock and32 [{dst}{offset}], {src}";
                0xc3 [imm = 0x51] (dst src offset) Atomic { op: AtomicOp::FetchAnd, width: Width::W32, base: dst, offset, src }, "{src:w} = atomic_fetch_and((u32 *)({dst}{offset}), {src:w})", "lock fetch and32 [{dst}{offset}], {src}";
                0xc3 [imm = 0xa0] (dst src offset) Atomic { op: AtomicOp::Xor, width: Width::W32, base: dst, offset, src }, "lock *(u32 *)({dst}{offset}) ^= {src:w}" / "lock *(u32 *)({dst}{offset}) ^= {src}", "lock xor32 [{dst}{offset}], {src}";
                0xc3 [imm = 0xa1] (dst src offset) Atomic { op: AtomicOp::FetchXor, width: Width::W32, base: dst, offset, src }, "{src:w} = atomic_fetch_xor((u32 *)({dst}{offset}), {src:w})", "lock fetch xor32 [{dst}{offset}], {src}";
                0xc3 [imm = 0xe1] (dst src offset) Atomic { op: AtomicOp::Exchange, width: Width::W32, base: dst, offset, src }, "{src:w} = xchg32_32({dst}{offset}, {src:w})", "lock xchg32 [{dst}{offset}], {src}" / "lock fetch xchg32 [{dst}{offset}], {src}";
                0xc3 [imm = 0xf1] (dst src offset) Atomic { op: AtomicOp::CompareExchange, width: Width::W32, base: dst, offset, src }, "w0 = cmpxchg32_32({dst}{offset}, w0, {src:w})", "lock cmpxchg32 [{dst}{offset}], {src}" / "lock fetch cmpxchg32 [{dst}{offset}], {src}";

                // Ordered loads and stores (Linux 6.15).
                0xd3 [imm = 0x100] (dst src offset) LoadAcquire { size: Size::Byte, dst, base: src, offset }, "{dst:w} = load_acquire((u8 *)({src}{offset}))", "ldacqb {dst}, [{src}{offset}]";
                0xd3 [imm = 0x110] (dst src offset) StoreRelease { size: Size::Byte, base: dst, offset, src }, "store_release((u8 *)({dst}{offset}), {src:w})", "strelb [{dst}{offset}], {src}";
                0xcb [imm = 0x100] (dst src offset) LoadAcquire { size: Size::Half, dst, base: src, offset }, "{dst:w} = load_acquire((u16 *)({src}{offset}))", "ldacqh {dst}, [{src}{offset}]";
                0xcb [imm = 0x110] (dst src offset) StoreRelease { size: Size::Half, base: dst, offset, src }, "store_release((u16 *)({dst}{offset}), {src:w})", "strelh [{dst}{offset}], {src}";
                0xc3 [imm = 0x100] (dst src offset) LoadAcquire { size: Size::Word, dst, base: src, offset }, "{dst:w} = load_acquire((u32 *)({src}{offset}))", "ldacqw {dst}, [{src}{offset}]";
                0xc3 [imm = 0x110] (dst src offset) StoreRelease { size: Size::Word, base: dst, offset, src }, "store_release((u32 *)({dst}{offset}), {src:w})", "strelw [{dst}{offset}], {src}";
                0xdb [imm = 0x100] (dst src offset) LoadAcquire { size: Size::Double, dst, base: src, offset }, "{dst} = load_acquire((u64 *)({src}{offset}))", "ldacqdw {dst}, [{src}{offset}]";
                0xdb [imm = 0x110] (dst src offset) StoreRelease { size: Size::Double, base: dst, offset, src }, "store_release((u64 *)({dst}{offset}), {src})", "streldw [{dst}{offset}], {src}";

                // Jumps.
                0x05 (offset) Jump { distance: Distance::Near(offset) }, "goto {target}", "ja {target}";
                0x06 (imm) Jump { distance: Distance::Far(imm) }, "gotol {far}", "ja32 {far}";
                0xe5 [src = 0] (offset) MayGoto { offset }, "may_goto {target}", "may_goto {target}";
                0x15 (dst offset imm) JumpIf { condition: Condition::Equal, width: Width::W64, left: dst, right: Source::Immediate(imm), offset }, "if {dst} == {imm} goto {target}", "jeq {dst}, {imm}, {target}";
                0x1d (dst src offset) JumpIf { condition: Condition::Equal, width: Width::W64, left: dst, right: Source::Register(src), offset }, "if {dst} == {src} goto {target}", "jeq {dst}, {src}, {target}";
                0x25 (dst offset imm) JumpIf { condition: Condition::Greater, width: Width::W64, left: dst, right: Source::Immediate(imm), offset }, "if {dst} > {imm} goto {target}", "jgt {dst}, {imm}, {target}";
                0x2d (dst src offset) JumpIf { condition: Condition::Greater, width: Width::W64, left: dst, right: Source::Register(src), offset }, "if {dst} > {src} goto {target}", "jgt {dst}, {src}, {target}";
                0x35 (dst offset imm) JumpIf { condition: Condition::GreaterOrEqual, width: Width::W64, left: dst, right: Source::Immediate(imm), offset }, "if {dst} >= {imm} goto {target}", "jge {dst}, {imm}, {target}";
                0x3d (dst src offset) JumpIf { condition: Condition::GreaterOrEqual, width: Width::W64, left: dst, right: Source::Register(src), offset }, "if {dst} >= {src} goto {target}", "jge {dst}, {src}, {target}";
                0x45 (dst offset imm) JumpIf { condition: Condition::Set, width: Width::W64, left: dst, right: Source::Immediate(imm), offset }, "if {dst} & {imm} goto {target}", "jset {dst}, {imm}, {target}";
                0x4d (dst src offset) JumpIf { condition: Condition::Set, width: Width::W64, left: dst, right: Source::Register(src), offset }, "if {dst} & {src} goto {target}", "jset {dst}, {src}, {target}";
                0x55 (dst offset imm) JumpIf { condition: Condition::NotEqual, width: Width::W64, left: dst, right: Source::Immediate(imm), offset }, "if {dst} != {imm} goto {target}", "jne {dst}, {imm}, {target}";
                0x5d (dst src offset) JumpIf { condition: Condition::NotEqual, width: Width::W64, left: dst, right: Source::Register(src), offset }, "if {dst} != {src} goto {target}", "jne {dst}, {src}, {target}";
                0x65 (dst offset imm) JumpIf { condition: Condition::SignedGreater, width: Width::W64, left: dst, right: Source::Immediate(imm), offset }, "if {dst} s> {imm} goto {target}", "jsgt {dst}, {imm}, {target}";
                0x6d (dst src offset) JumpIf { condition: Condition::SignedGreater, width: Width::W64, left: dst, right: Source::Register(src), offset }, "if {dst} s> {src} goto {target}", "jsgt {dst}, {src}, {target}";
                0x75 (dst offset imm) JumpIf { condition: Condition::SignedGreaterOrEqual, width: Width::W64, left: dst, right: Source::Immediate(imm), offset }, "if {dst} s>= {imm} goto {target}", "jsge {dst}, {imm}, {target}";
                0x7d (dst src offset) JumpIf { condition: Condition::SignedGreaterOrEqual, width: Width::W64, left: dst, right: Source::Register(src), offset }, "if {dst} s>= {src} goto {target}", "jsge {dst}, {src}, {target}";
                0xa5 (dst offset imm) JumpIf { condition: Condition::Less, width: Width::W64, left: dst, right: Source::Immediate(imm), offset }, "if {dst} < {imm} goto {target}", "jlt {dst}, {imm}, {target}";
                0xad (dst src offset) JumpIf { condition: Condition::Less, width: Width::W64, left: dst, right: Source::Register(src), offset }, "if {dst} < {src} goto {target}", "jlt {dst}, {src}, {target}";
                0xb5 (dst offset imm) JumpIf { condition: Condition::LessOrEqual, width: Width::W64, left: dst, right: Source::Immediate(imm), offset }, "if {dst} <= {imm} goto {target}", "jle {dst}, {imm}, {target}";
                0xbd (dst src offset) JumpIf { condition: Condition::LessOrEqual, width: Width::W64, left: dst, right: Source::Register(src), offset }, "if {dst} <= {src} goto {target}", "jle {dst}, {src}, {target}";
                0xc5 (dst offset imm) JumpIf { condition: Condition::SignedLess, width: Width::W64, left: dst, right: Source::Immediate(imm), offset }, "if {dst} s< {imm} goto {target}", "jslt {dst}, {imm}, {target}";
                0xcd (dst src offset) JumpIf { condition: Condition::SignedLess, width: Width::W64, left: dst, right: Source::Register(src), offset }, "if {dst} s< {src} goto {target}", "jslt {dst}, {src}, {target}";
                0xd5 (dst offset imm) JumpIf { condition: Condition::SignedLessOrEqual, width: Width::W64, left: dst, right: Source::Immediate(imm), offset }, "if {dst} s<= {imm} goto {target}", "jsle {dst}, {imm}, {target}";
                0xdd (dst src offset) JumpIf { condition: Condition::SignedLessOrEqual, width: Width::W64, left: dst, right: Source::Register(src), offset }, "if {dst} s<= {src} goto {target}", "jsle {dst}, {src}, {target}";
                0x16 (dst offset imm) JumpIf { condition: Condition::Equal, width: Width::W32, left: dst, right: Source::Immediate(imm), offset }, "if {dst:w} == {imm} goto {target}", "jeq32 {dst}, {imm}, {target}";
                0x1e (dst src offset) JumpIf { condition: Condition::Equal, width: Width::W32, left: dst, right: Source::Register(src), offset }, "if {dst:w} == {src:w} goto {target}", "jeq32 {dst}, {src}, {target}";
                0x26 (dst offset imm) JumpIf { condition: Condition::Greater, width: Width::W32, left: dst, right: Source::Immediate(imm), offset }, "if {dst:w} > {imm} goto {target}", "jgt32 {dst}, {imm}, {target}";
                0x2e (dst src offset) JumpIf { condition: Condition::Greater, width: Width::W32, left: dst, right: Source::Register(src), offset }, "if {dst:w} > {src:w} goto {target}", "jgt32 {dst}, {src}, {target}";
                0x36 (dst offset imm) JumpIf { condition: Condition::GreaterOrEqual, width: Width::W32, left: dst, right: Source::Immediate(imm), offset }, "if {dst:w} >= {imm} goto {target}", "jge32 {dst}, {imm}, {target}";
                0x3e (dst src offset) JumpIf { condition: Condition::GreaterOrEqual, width: Width::W32, left: dst, right: Source::Register(src), offset }, "if {dst:w} >= {src:w} goto {target}", "jge32 {dst}, {src}, {target}";
                0x46 (dst offset imm) JumpIf { condition: Condition::Set, width: Width::W32, left: dst, right: Source::Immediate(imm), offset }, "if {dst:w} & {imm} goto {target}", "jset32 {dst}, {imm}, {target}";
                0x4e (dst src offset) JumpIf { condition: Condition::Set, width: Width::W32, left: dst, right: Source::Register(src), offset }, "if {dst:w} & {src:w} goto {target}", "jset32 {dst}, {src}, {target}";
                0x56 (dst offset imm) JumpIf { condition: Condition::NotEqual, width: Width::W32, left: dst, right: Source::Immediate(imm), offset }, "if {dst:w} != {imm} goto {target}", "jne32 {dst}, {imm}, {target}";
                0x5e (dst src offset) JumpIf { condition: Condition::NotEqual, width: Width::W32, left: dst, right: Source::Register(src), offset }, "if {dst:w} != {src:w} goto {target}", "jne32 {dst}, {src}, {target}";
                0x66 (dst offset imm) JumpIf { condition: Condition::SignedGreater, width: Width::W32, left: dst, right: Source::Immediate(imm), offset }, "if {dst:w} s> {imm} goto {target}", "jsgt32 {dst}, {imm}, {target}";
                0x6e (dst src offset) JumpIf { condition: Condition::SignedGreater, width: Width::W32, left: dst, right: Source::Register(src), offset }, "if {dst:w} s> {src:w} goto {target}", "jsgt32 {dst}, {src}, {target}";
                0x76 (dst offset imm) JumpIf { condition: Condition::SignedGreaterOrEqual, width: Width::W32, left: dst, right: Source::Immediate(imm), offset }, "if {dst:w} s>= {imm} goto {target}", "jsge32 {dst}, {imm}, {target}";
                0x7e (dst src offset) JumpIf { condition: Condition::SignedGreaterOrEqual, width: Width::W32, left: dst, right: Source::Register(src), offset }, "if {dst:w} s>= {src:w} goto {target}", "jsge32 {dst}, {src}, {target}";
                0xa6 (dst offset imm) JumpIf { condition: Condition::Less, width: Width::W32, left: dst, right: Source::Immediate(imm), offset }, "if {dst:w} < {imm} goto {target}", "jlt32 {dst}, {imm}, {target}";
                0xae (dst src offset) JumpIf { condition: Condition::Less, width: Width::W32, left: dst, right: Source::Register(src), offset }, "if {dst:w} < {src:w} goto {target}", "jlt32 {dst}, {src}, {target}";
                0xb6 (dst offset imm) JumpIf { condition: Condition::LessOrEqual, width: Width::W32, left: dst, right: Source::Immediate(imm), offset }, "if {dst:w} <= {imm} goto {target}", "jle32 {dst}, {imm}, {target}";
                0xbe (dst src offset) JumpIf { condition: Condition::LessOrEqual, width: Width::W32, left: dst, right: Source::Register(src), offset }, "if {dst:w} <= {src:w} goto {target}", "jle32 {dst}, {src}, {target}";
                0xc6 (dst offset imm) JumpIf { condition: Condition::SignedLess, width: Width::W32, left: dst, right: Source::Immediate(imm), offset }, "if {dst:w} s< {imm} goto {target}", "jslt32 {dst}, {imm}, {target}";
                0xce (dst src offset) JumpIf { condition: Condition::SignedLess, width: Width::W32, left: dst, right: Source::Register(src), offset }, "if {dst:w} s< {src:w} goto {target}", "jslt32 {dst}, {src}, {target}";
                0xd6 (dst offset imm) JumpIf { condition: Condition::SignedLessOrEqual, width: Width::W32, left: dst, right: Source::Immediate(imm), offset }, "if {dst:w} s<= {imm} goto {target}", "jsle32 {dst}, {imm}, {target}";
                0xde (dst src offset) JumpIf { condition: Condition::SignedLessOrEqual, width: Width::W32, left: dst, right: Source::Register(src), offset }, "if {dst:w} s<= {src:w} goto {target}", "jsle32 {dst}, {src}, {target}";

                // Calls.
                0x85 [src = 0] (imm) Call { callee: Callee::Helper(imm) }, "call {id}", "call {id}" / "call helper {id}";
                0x85 [src = 1] (imm) Call { callee: Callee::Local(imm) }, "call {far}", "call local {far}";
                0x85 [src = 2] (offset imm) Call { callee: Callee::Kernel { btf_id: imm, module: offset } }, "call kfunc {id}{module}", "call runtime {id}{module}";
                0x8d (dst) CallRegister { target: dst }, "callx {dst}", "call {dst}" / "callx {dst}";
                0x95 () Exit {}, "exit", "exit";
            }
        }
    };
}

pub(crate) use for_each_instruction;
