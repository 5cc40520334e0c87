//! What instructions are made of: registers, sizes, operations.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Register {
    /// Holds results.
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    /// Points behind the stack frame, can't be written.
    R10,
}

impl Register {
    pub const ALL: [Self; 11] = [
        Self::R0,
        Self::R1,
        Self::R2,
        Self::R3,
        Self::R4,
        Self::R5,
        Self::R6,
        Self::R7,
        Self::R8,
        Self::R9,
        Self::R10,
    ];

    pub fn new(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.number())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// On the lower halves of the registers; the upper half of the result is zero.
    W32,
    W64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size {
    Byte,
    Half,
    Word,
    Double,
}

impl Size {
    pub const fn bytes(self) -> u8 {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Word => 4,
            Self::Double => 8,
        }
    }
}

/// A size below that of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Narrow {
    Byte,
    Half,
    Word,
}

impl From<Narrow> for Size {
    fn from(narrow: Narrow) -> Self {
        match narrow {
            Narrow::Byte => Self::Byte,
            Narrow::Half => Self::Half,
            Narrow::Word => Self::Word,
        }
    }
}

/// How many bytes are put into another order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    Half,
    Word,
    Double,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    ToLittle,
    ToBig,
    Swap,
}

/// From which size to which a sign is spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extension {
    ByteTo32,
    HalfTo32,
    ByteTo64,
    HalfTo64,
    WordTo64,
}

/// What a load does to the upper bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    Unsigned(Size),
    Signed(Narrow),
}

impl Access {
    pub fn size(self) -> Size {
        match self {
            Self::Unsigned(size) => size,
            Self::Signed(narrow) => narrow.into(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The sign is spread to 64 bits.
    Immediate(i32),
    Register(Register),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AluOp {
    Add,
    Sub,
    Mul,
    Div,
    SignedDiv,
    Or,
    And,
    Lsh,
    Rsh,
    Mod,
    SignedMod,
    Xor,
    Mov,
    Arsh,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtomicOp {
    Add,
    Or,
    And,
    Xor,
    /// The `Fetch` forms leave the old value in `src`.
    FetchAdd,
    FetchOr,
    FetchAnd,
    FetchXor,
    /// The old value is left in `src`.
    Exchange,
    /// Writes `src` if the old value equals `r0`; the old value is left in `r0`.
    CompareExchange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    SignedGreater,
    SignedGreaterOrEqual,
    SignedLess,
    SignedLessOrEqual,
    /// `left & right` is not zero.
    Set,
}

/// How far an unconditional jump goes; the two kinds are different instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distance {
    Near(i16),
    Far(i32),
}

impl Distance {
    pub fn slots(self) -> i32 {
        match self {
            Self::Near(slots) => slots.into(),
            Self::Far(slots) => slots,
        }
    }
}

/// What a 64-bit immediate stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wide {
    Value(u64),
    MapByFd(i32),
    /// The address of a byte in the map's first value.
    MapValueByFd {
        map: i32,
        offset: i32,
    },
    /// The address of a variable of the platform: on Linux, one of the kernel, by BTF id.
    Variable(i32),
    /// The address of the function so many slots from the slot after the first one.
    Code(i32),
    MapByIndex(i32),
    MapValueByIndex {
        map: i32,
        offset: i32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Callee {
    Helper(i32),
    /// The function so many slots from the next instruction.
    Local(i32),
    /// A function of the platform, by BTF id; `module` is 0 for the kernel's own BTF, otherwise
    /// an index into the table of BTF objects that is loaded with the program.
    Kernel {
        btf_id: i32,
        module: i16,
    },
}
