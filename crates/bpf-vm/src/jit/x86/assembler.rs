//! Bytes of x86-64 instructions: only the forms that the emitter uses.

use bpf_isa::Width;

use super::register::Reg;

/// `[base + index * scale + offset]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mem {
    pub base: Option<Reg>,
    pub index: Option<Reg>,
    /// As a power of two.
    pub scale: u8,
    pub offset: i32,
}

impl Mem {
    pub const fn new(base: Reg, offset: i32) -> Self {
        Self { base: Some(base), index: None, scale: 0, offset }
    }
}

/// Operations of the form `op r/m, r`, by their opcode; also `op r/m, imm` by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Arith {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Shift {
    Rol = 0,
    Shl = 4,
    Shr = 5,
    Sar = 7,
}

/// The condition field of jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Cond {
    Below = 2,
    AboveOrEqual = 3,
    Equal = 4,
    NotEqual = 5,
    BelowOrEqual = 6,
    Above = 7,
    Sign = 8,
    NotSign = 9,
    Less = 12,
    GreaterOrEqual = 13,
    LessOrEqual = 14,
    Greater = 15,
}

impl Cond {
    pub const fn negated(self) -> Self {
        match self {
            Self::Below => Self::AboveOrEqual,
            Self::AboveOrEqual => Self::Below,
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::BelowOrEqual => Self::Above,
            Self::Above => Self::BelowOrEqual,
            Self::Sign => Self::NotSign,
            Self::NotSign => Self::Sign,
            Self::Less => Self::GreaterOrEqual,
            Self::GreaterOrEqual => Self::Less,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
        }
    }
}

/// A jump within one instruction's code, whose end isn't known yet.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(super) struct Short(usize);

#[derive(Debug, Default)]
pub(super) struct Assembler {
    pub bytes: Vec<u8>,
}

const W64: Width = Width::W64;

impl Assembler {
    pub fn position(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub fn imm32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// The prefix that widens the operand and names the upper registers.
    #[inline]
    fn rex(&mut self, wide: bool, reg: u8, index: u8, rm: u8, forced: bool) {
        let rex = 0x40 | u8::from(wide) << 3 | (reg >> 3) << 2 | (index >> 3) << 1 | rm >> 3;
        if rex != 0x40 || forced {
            self.byte(rex);
        }
    }

    /// An opcode of one to three bytes, written as a number.
    #[inline]
    fn opcode(&mut self, opcode: u32) {
        if opcode > 0xffff {
            self.byte((opcode >> 16) as u8);
        }
        if opcode > 0xff {
            self.byte((opcode >> 8) as u8);
        }
        self.byte(opcode as u8);
    }

    #[inline]
    fn op_reg(&mut self, wide: bool, opcode: u32, reg: u8, rm: Reg, bytes: bool) {
        // Without a prefix, the numbers 4 to 7 mean other registers when they are bytes.
        self.rex(wide, reg, 0, rm.0, bytes && (rm.0 >= 4 || reg >= 4));
        self.opcode(opcode);
        self.byte(0xc0 | (reg & 7) << 3 | rm.0 & 7);
    }

    #[inline]
    fn op_mem(&mut self, wide: bool, opcode: u32, reg: u8, mem: Mem, bytes: bool) {
        let index = mem.index.map_or(0, |index| index.0);
        let base = mem.base.map_or(0, |base| base.0);
        self.rex(wide, reg, index, base, bytes && reg >= 4);
        self.opcode(opcode);
        self.modrm(reg, mem);
    }

    fn modrm(&mut self, reg: u8, mem: Mem) {
        let reg = (reg & 7) << 3;
        let Some(base) = mem.base else {
            // An index alone has four bytes of offset.
            let index = mem.index.map_or(4, |index| index.0 & 7);
            self.bytes.extend([reg | 4, mem.scale << 6 | index << 3 | 5]);
            self.imm32(mem.offset);
            return;
        };
        let low = base.0 & 7;
        // Without an offset, the code of rbp and r13 means something else.
        let mode = match mem.offset {
            0 if low != 5 => 0x00,
            -128..=127 => 0x40,
            _ => 0x80,
        };
        match mem.index {
            Some(index) => {
                self.bytes.extend([mode | reg | 4, mem.scale << 6 | (index.0 & 7) << 3 | low]);
            }
            None if low == 4 => self.bytes.extend([mode | reg | 4, 0x24]),
            None => self.byte(mode | reg | low),
        }
        match mode {
            0x40 => self.byte(mem.offset as u8),
            0x80 => self.imm32(mem.offset),
            _ => {}
        }
    }

    pub fn mov(&mut self, width: Width, dst: Reg, src: Reg) {
        self.op_reg(width == W64, 0x8b, dst.0, src, false);
    }

    /// The shortest form that leaves `value` in the register.
    pub fn constant(&mut self, dst: Reg, value: u64) {
        if value == 0 {
            self.arith(Width::W32, Arith::Xor, dst, dst);
        } else {
            self.constant_keeping_flags(dst, value);
        }
    }

    pub fn constant_keeping_flags(&mut self, dst: Reg, value: u64) {
        if let Ok(value) = u32::try_from(value) {
            self.rex(false, 0, 0, dst.0, false);
            self.byte(0xb8 | dst.0 & 7);
            self.imm32(value.cast_signed());
        } else if let Ok(value) = i32::try_from(value.cast_signed()) {
            self.op_reg(true, 0xc7, 0, dst, false);
            self.imm32(value);
        } else {
            self.rex(true, 0, 0, dst.0, false);
            self.byte(0xb8 | dst.0 & 7);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub fn arith(&mut self, width: Width, op: Arith, dst: Reg, src: Reg) {
        self.op_reg(width == W64, (op as u32) << 3 | 3, dst.0, src, false);
    }

    pub fn arith_imm(&mut self, width: Width, op: Arith, dst: Reg, imm: i32) {
        if let Ok(short) = i8::try_from(imm) {
            self.op_reg(width == W64, 0x83, op as u8, dst, false);
            self.byte(short as u8);
        } else if dst == Reg::RAX {
            self.rex(width == W64, 0, 0, 0, false);
            self.byte((op as u8) << 3 | 5);
            self.imm32(imm);
        } else {
            self.op_reg(width == W64, 0x81, op as u8, dst, false);
            self.imm32(imm);
        }
    }

    /// `op dst, [mem]`
    pub fn arith_load(&mut self, width: Width, op: Arith, dst: Reg, mem: Mem) {
        self.op_mem(width == W64, (op as u32) << 3 | 3, dst.0, mem, false);
    }

    /// `op [mem], imm`
    pub fn arith_mem_imm(&mut self, width: Width, op: Arith, mem: Mem, imm: i32) {
        if let Ok(short) = i8::try_from(imm) {
            self.op_mem(width == W64, 0x83, op as u8, mem, false);
            self.byte(short as u8);
        } else {
            self.op_mem(width == W64, 0x81, op as u8, mem, false);
            self.imm32(imm);
        }
    }

    pub fn test(&mut self, width: Width, a: Reg, b: Reg) {
        self.op_reg(width == W64, 0x85, b.0, a, false);
    }

    pub fn test_imm(&mut self, width: Width, a: Reg, imm: i32) {
        if (0..=0x7f).contains(&imm) {
            self.op_reg(false, 0xf6, 0, a, true);
            self.byte(imm as u8);
            return;
        }
        // A mask without a sign doesn't touch the upper half.
        let wide = width == W64 && imm < 0;
        self.op_reg(wide, 0xf7, 0, a, false);
        self.imm32(imm);
    }

    /// `dst = src` if the condition holds.
    pub fn mov_if(&mut self, cond: Cond, dst: Reg, src: Reg) {
        self.op_reg(true, 0x0f40 | cond as u32, dst.0, src, false);
    }

    pub fn lea(&mut self, width: Width, dst: Reg, mem: Mem) {
        self.op_mem(width == W64, 0x8d, dst.0, mem, false);
    }

    pub fn imul(&mut self, width: Width, dst: Reg, src: Reg) {
        self.op_reg(width == W64, 0x0faf, dst.0, src, false);
    }

    pub fn imul_imm(&mut self, width: Width, dst: Reg, src: Reg, imm: i32) {
        if let Ok(short) = i8::try_from(imm) {
            self.op_reg(width == W64, 0x6b, dst.0, src, false);
            self.byte(short as u8);
        } else {
            self.op_reg(width == W64, 0x69, dst.0, src, false);
            self.imm32(imm);
        }
    }

    /// `dst = [mem] * imm` on 64 bits.
    pub fn imul_mem(&mut self, dst: Reg, mem: Mem, imm: i32) {
        self.op_mem(true, 0x69, dst.0, mem, false);
        self.imm32(imm);
    }

    pub fn neg(&mut self, width: Width, dst: Reg) {
        self.op_reg(width == W64, 0xf7, 3, dst, false);
    }

    /// `rax`, `rdx` = `rdx:rax` divided by `src`.
    pub fn div(&mut self, width: Width, signed: bool, src: Reg) {
        self.op_reg(width == W64, 0xf7, if signed { 7 } else { 6 }, src, false);
    }

    /// Spreads the sign of `rax` over `rdx`.
    pub fn sign_to_rdx(&mut self, width: Width) {
        self.rex(width == W64, 0, 0, 0, false);
        self.byte(0x99);
    }

    pub fn shift_imm(&mut self, width: Width, op: Shift, dst: Reg, distance: u8) {
        if distance == 1 {
            self.op_reg(width == W64, 0xd1, op as u8, dst, false);
        } else {
            self.op_reg(width == W64, 0xc1, op as u8, dst, false);
            self.byte(distance);
        }
    }

    /// By `cl`.
    pub fn shift_cl(&mut self, width: Width, op: Shift, dst: Reg) {
        self.op_reg(width == W64, 0xd3, op as u8, dst, false);
    }

    /// The lower half of the register's lower half, its two bytes exchanged.
    pub fn swap16(&mut self, dst: Reg) {
        self.byte(0x66);
        self.op_reg(false, 0xc1, Shift::Rol as u8, dst, false);
        self.byte(8);
    }

    pub fn bswap(&mut self, width: Width, dst: Reg) {
        self.rex(width == W64, 0, 0, dst.0, false);
        self.bytes.extend([0x0f, 0xc8 | dst.0 & 7]);
    }

    fn vex(&mut self, map: u8, prefix: u8, width: Width, reg: Reg, second: u8, rm: Reg) {
        let inverted = |number: u8| u8::from(number < 8);
        let wide = u8::from(width == W64);
        self.bytes.extend([
            0xc4,
            inverted(reg.0) << 7 | 1 << 6 | inverted(rm.0) << 5 | map,
            wide << 7 | (!second & 0xf) << 3 | prefix,
        ]);
    }

    /// BMI2: `dst = src shifted by distance`; the flags stay.
    pub fn shift_by(&mut self, width: Width, op: Shift, dst: Reg, src: Reg, distance: Reg) {
        let prefix = match op {
            Shift::Shl => 1,
            Shift::Sar => 2,
            Shift::Shr | Shift::Rol => 3,
        };
        self.vex(2, prefix, width, dst, distance.0, src);
        self.bytes.extend([0xf7, 0xc0 | (dst.0 & 7) << 3 | src.0 & 7]);
    }

    /// BMI2: `dst = src` rotated to the right.
    pub fn rotate_right(&mut self, width: Width, dst: Reg, src: Reg, distance: u8) {
        self.vex(3, 3, width, dst, 0, src);
        self.bytes.extend([0xf0, 0xc0 | (dst.0 & 7) << 3 | src.0 & 7, distance]);
    }

    /// Zero extension of the lowest byte or two.
    pub fn zero_extend(&mut self, bytes: u8, dst: Reg, src: Reg) {
        let opcode = if bytes == 1 { 0x0fb6 } else { 0x0fb7 };
        self.op_reg(false, opcode, dst.0, src, bytes == 1);
    }

    pub fn sign_extend(&mut self, bytes: u8, width: Width, dst: Reg, src: Reg) {
        let opcode = match bytes {
            1 => 0x0fbe,
            2 => 0x0fbf,
            _ => 0x63,
        };
        self.op_reg(width == W64, opcode, dst.0, src, bytes == 1);
    }

    /// Zero extension to 64 bits.
    pub fn load(&mut self, bytes: u8, dst: Reg, mem: Mem) {
        match bytes {
            1 => self.op_mem(false, 0x0fb6, dst.0, mem, false),
            2 => self.op_mem(false, 0x0fb7, dst.0, mem, false),
            4 => self.op_mem(false, 0x8b, dst.0, mem, false),
            _ => self.op_mem(true, 0x8b, dst.0, mem, false),
        }
    }

    /// Sign extension to 64 bits.
    pub fn load_signed(&mut self, bytes: u8, dst: Reg, mem: Mem) {
        match bytes {
            1 => self.op_mem(true, 0x0fbe, dst.0, mem, false),
            2 => self.op_mem(true, 0x0fbf, dst.0, mem, false),
            _ => self.op_mem(true, 0x63, dst.0, mem, false),
        }
    }

    pub fn store(&mut self, bytes: u8, mem: Mem, src: Reg) {
        match bytes {
            1 => self.op_mem(false, 0x88, src.0, mem, true),
            2 => {
                self.byte(0x66);
                self.op_mem(false, 0x89, src.0, mem, false);
            }
            4 => self.op_mem(false, 0x89, src.0, mem, false),
            _ => self.op_mem(true, 0x89, src.0, mem, false),
        }
    }

    pub fn store_imm(&mut self, bytes: u8, mem: Mem, imm: i32) {
        match bytes {
            1 => {
                self.op_mem(false, 0xc6, 0, mem, false);
                self.byte(imm as u8);
            }
            2 => {
                self.byte(0x66);
                self.op_mem(false, 0xc7, 0, mem, false);
                self.bytes.extend_from_slice(&(imm as i16).to_le_bytes());
            }
            4 => {
                self.op_mem(false, 0xc7, 0, mem, false);
                self.imm32(imm);
            }
            _ => {
                self.op_mem(true, 0xc7, 0, mem, false);
                self.imm32(imm);
            }
        }
    }

    /// `lock op [mem], src` without a result.
    pub fn lock_arith(&mut self, width: Width, op: Arith, mem: Mem, src: Reg) {
        self.byte(0xf0);
        self.op_mem(width == W64, (op as u32) << 3 | 1, src.0, mem, false);
    }

    pub fn lock_xadd(&mut self, width: Width, mem: Mem, src: Reg) {
        self.byte(0xf0);
        self.op_mem(width == W64, 0x0fc1, src.0, mem, false);
    }

    pub fn lock_cmpxchg(&mut self, width: Width, mem: Mem, src: Reg) {
        self.byte(0xf0);
        self.op_mem(width == W64, 0x0fb1, src.0, mem, false);
    }

    /// Locks by itself.
    pub fn xchg(&mut self, width: Width, mem: Mem, src: Reg) {
        self.op_mem(width == W64, 0x87, src.0, mem, false);
    }

    pub fn push(&mut self, reg: Reg) {
        self.rex(false, 0, 0, reg.0, false);
        self.byte(0x50 | reg.0 & 7);
    }

    pub fn pop(&mut self, reg: Reg) {
        self.rex(false, 0, 0, reg.0, false);
        self.byte(0x58 | reg.0 & 7);
    }

    pub fn ret(&mut self) {
        self.byte(0xc3);
    }

    pub fn call_reg(&mut self, target: Reg) {
        self.op_reg(false, 0xff, 2, target, false);
    }

    /// A call, a jump or a conditional one over four bytes of distance, which are yet to be
    /// written; returns where.
    pub fn call_near(&mut self) -> usize {
        self.byte(0xe8);
        self.distance()
    }

    pub fn jump_near(&mut self) -> usize {
        self.byte(0xe9);
        self.distance()
    }

    pub fn jump_if_near(&mut self, cond: Cond) -> usize {
        self.bytes.extend([0x0f, 0x80 | cond as u8]);
        self.distance()
    }

    /// `call [rip + distance]`
    pub fn call_pool(&mut self) -> usize {
        self.bytes.extend([0xff, 0x15]);
        self.distance()
    }

    fn distance(&mut self) -> usize {
        self.imm32(0);
        self.position() - 4
    }

    pub fn jump_short(&mut self) -> Short {
        self.bytes.extend([0xeb, 0]);
        Short(self.position())
    }

    pub fn jump_if_short(&mut self, cond: Cond) -> Short {
        self.bytes.extend([0x70 | cond as u8, 0]);
        Short(self.position())
    }

    /// Ends a short jump here.
    pub fn land(&mut self, from: Short) {
        let distance = self.position() - from.0;
        debug_assert!(distance < 128);
        self.bytes[from.0 - 1] = distance as u8;
    }

    /// A jump back within one instruction's code.
    pub fn jump_back_if(&mut self, cond: Cond, to: usize) {
        let distance = to as i64 - (self.position() as i64 + 2);
        self.bytes.extend([0x70 | cond as u8, distance as u8]);
    }

    /// Sets the four bytes at `at` so that they lead to `target`.
    pub fn link(&mut self, at: usize, target: usize) {
        let distance = (target as i64 - (at as i64 + 4)) as i32;
        self.bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
    }

    /// Fills with as few instructions as possible that do nothing.
    pub fn fill(&mut self, mut length: usize) {
        const NOTHING: [&[u8]; 10] = [
            &[],
            &[0x90],
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x40, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
            &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        ];
        while length > 0 {
            let step = length.min(NOTHING.len() - 1);
            self.bytes.extend_from_slice(NOTHING[step]);
            length -= step;
        }
    }
}

#[cfg(test)]
mod tests;
