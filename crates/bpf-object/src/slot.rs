//! The fields of an instruction's slot, for patching. Meaning is `bpf-isa`'s.

/// What `src` says of a 64-bit immediate or a call.
pub mod pseudo {
    pub const MAP_BY_INDEX: u8 = 5;
    pub const MAP_VALUE_BY_INDEX: u8 = 6;
    pub const VARIABLE: u8 = 3;
    pub const CODE: u8 = 4;
    pub const LOCAL_CALL: u8 = 1;
    pub const KERNEL_CALL: u8 = 2;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub opcode: u8,
    pub dst: u8,
    pub src: u8,
    pub offset: i16,
    pub imm: i32,
}

impl Slot {
    pub const BYTES: usize = 8;

    pub fn read_all(bytes: &[u8]) -> Vec<Self> {
        let (slots, _) = bytes.as_chunks::<8>();
        let read = |slot: &[u8; 8]| {
            let [opcode, registers, low, high, imm @ ..] = *slot;
            Self {
                opcode,
                dst: registers & 0xf,
                src: registers >> 4,
                offset: i16::from_le_bytes([low, high]),
                imm: i32::from_le_bytes(imm),
            }
        };
        slots.iter().map(read).collect()
    }

    pub fn write_all(slots: &[Self]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(slots.len() * Self::BYTES);
        for slot in slots {
            bytes.extend([slot.opcode, slot.src << 4 | slot.dst]);
            bytes.extend(slot.offset.to_le_bytes());
            bytes.extend(slot.imm.to_le_bytes());
        }
        bytes
    }

    /// The first of the two slots of a 64-bit immediate.
    pub fn is_wide(&self) -> bool {
        self.opcode == 0x18
    }

    pub fn is_call(&self) -> bool {
        self.opcode == 0x85
    }

    pub fn is_local_call(&self) -> bool {
        self.is_call() && self.src == pseudo::LOCAL_CALL
    }

    /// Calls a helper that doesn't exist. A verifier refuses it unless it can't be reached.
    pub fn poison(helper: i32) -> Self {
        Self { opcode: 0x85, dst: 0, src: 0, offset: 0, imm: helper }
    }
}
