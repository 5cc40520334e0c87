//! The processor's registers, and which of them stand for the program's.

use bpf_isa::Register;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reg(pub u8);

impl Reg {
    pub const RAX: Self = Self(0);
    pub const RCX: Self = Self(1);
    pub const RDX: Self = Self(2);
    pub const RBX: Self = Self(3);
    pub const RSP: Self = Self(4);
    pub const RBP: Self = Self(5);
    pub const RSI: Self = Self(6);
    pub const RDI: Self = Self(7);
    pub const R8: Self = Self(8);
    pub const R9: Self = Self(9);
    pub const R10: Self = Self(10);
    pub const R11: Self = Self(11);
    pub const R12: Self = Self(12);
    pub const R13: Self = Self(13);
    pub const R14: Self = Self(14);
    pub const R15: Self = Self(15);

    /// What the calling convention lets a function change only if it restores it.
    pub const SAVED: [Self; 6] = [Self::RBX, Self::RBP, Self::R12, Self::R13, Self::R14, Self::R15];
}

/// The address of the run.
pub(super) const RUN: Reg = Reg::R12;
/// What is left of the fuel, in checked programs.
pub(super) const FUEL: Reg = Reg::R11;
/// Free within an instruction.
pub(super) const SCRATCH: Reg = Reg::R10;
pub(super) const SECOND: Reg = Reg::R9;

/// Arguments lie where the calling convention wants them, so that calls move nothing.
pub(super) const fn of(register: Register) -> Reg {
    match register {
        Register::R0 => Reg::RAX,
        Register::R1 => Reg::RDI,
        Register::R2 => Reg::RSI,
        Register::R3 => Reg::RDX,
        Register::R4 => Reg::RCX,
        Register::R5 => Reg::R8,
        Register::R6 => Reg::RBX,
        Register::R7 => Reg::R13,
        Register::R8 => Reg::R14,
        Register::R9 => Reg::R15,
        Register::R10 => Reg::RBP,
    }
}
