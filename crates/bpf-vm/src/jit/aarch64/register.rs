//! The processor's registers, and which of them stand for the program's.

use bpf_isa::Register;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reg(pub u8);

impl Reg {
    pub const X0: Self = Self(0);
    pub const X1: Self = Self(1);
    pub const X2: Self = Self(2);
    pub const X3: Self = Self(3);
    pub const X4: Self = Self(4);
    pub const X5: Self = Self(5);
    pub const X7: Self = Self(7);
    /// What a jump of the linker's may change, too.
    pub const X16: Self = Self(16);
    pub const X19: Self = Self(19);
    pub const X20: Self = Self(20);
    pub const X21: Self = Self(21);
    pub const X22: Self = Self(22);
    pub const X23: Self = Self(23);
    pub const X24: Self = Self(24);
    /// The frame pointer, which some systems want to lead to a chain at any time.
    pub const X29: Self = Self(29);
    /// Where to return to.
    pub const X30: Self = Self(30);
    /// Zero, in most places, ...
    pub const ZERO: Self = Self(31);
    /// ... and in the others the stack pointer.
    pub const SP: Self = Self(31);

    /// What the calling convention lets a function change only if it restores it. The others of
    /// these are not used; neither is x18, which belongs to the system.
    pub const SAVED: [Self; 6] = [Self::X19, Self::X20, Self::X21, Self::X22, Self::X23, Self::X24];
}

/// The address of the run.
pub(super) const RUN: Reg = Reg::X23;
/// What is left of the fuel, in checked programs.
pub(super) const FUEL: Reg = Reg(13);
/// Free within an instruction.
pub(super) const SCRATCH: Reg = Reg(9);
pub(super) const SECOND: Reg = Reg(10);
/// As the others, and what sums of immediates are computed with.
pub(super) const THIRD: Reg = Reg(11);
pub(super) const FOURTH: Reg = Reg(12);

/// Arguments lie where the calling convention wants them, so that calls move nothing but the
/// result: that would be in the way of the first argument.
pub(super) const fn of(register: Register) -> Reg {
    match register {
        Register::R0 => Reg::X7,
        Register::R1 => Reg::X0,
        Register::R2 => Reg::X1,
        Register::R3 => Reg::X2,
        Register::R4 => Reg::X3,
        Register::R5 => Reg::X4,
        Register::R6 => Reg::X19,
        Register::R7 => Reg::X20,
        Register::R8 => Reg::X21,
        Register::R9 => Reg::X22,
        Register::R10 => Reg::X24,
    }
}
