//! What the table's `forms` become: the type of an instruction, and its visitor.

use crate::operands::*;
use crate::table::for_each_instruction;

macro_rules! define_forms {
    (
        forms { $($(#[$doc:meta])* $form:ident, $method:ident { $($field:ident: $type:ty),* })* }
        encodings { $($encodings:tt)* }
    ) => {
        /// One instruction. Every value of this type has exactly one encoding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Instruction {
            $($(#[$doc])* $form { $($field: $type),* },)*
        }

        /// One method per form of instruction. [`Instruction::accept`] calls the right one.
        pub trait Visitor {
            type Output;

            $($(#[$doc])* fn $method(&mut self, $($field: $type),*) -> Self::Output;)*
        }

        impl Instruction {
            pub fn accept<V: Visitor>(self, visitor: &mut V) -> V::Output {
                match self {
                    $(Self::$form { $($field),* } => visitor.$method($($field),*),)*
                }
            }
        }
    };
}

for_each_instruction!(define_forms);

impl Instruction {
    /// How many slots it takes.
    pub const fn slots(&self) -> usize {
        if matches!(self, Self::LoadWide { .. }) { 2 } else { 1 }
    }
}

/// An instruction and the slot where it begins. Jumps count in slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Placed {
    pub slot: usize,
    pub instruction: Instruction,
}

/// Gives each instruction its slot.
pub fn place(instructions: impl IntoIterator<Item = Instruction>) -> Vec<Placed> {
    let mut slot = 0;
    let mut place = |instruction: Instruction| {
        let placed = Placed { slot, instruction };
        slot += instruction.slots();
        placed
    };
    instructions.into_iter().map(&mut place).collect()
}
