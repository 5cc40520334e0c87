//! What a run did, instruction by instruction: [`crate::Builder::trace`].

use crate::program::Program;

/// Registers that a program has: `r0` to `r10`.
pub const REGISTERS: usize = 11;

/// The first instructions of a run, as the interpreter carried them out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// In their order, at most as many as were asked for.
    pub steps: Vec<Step>,
    /// All that were carried out.
    pub executed: u64,
    limit: usize,
    /// The programs that were run, by where they lie in memory.
    programs: Vec<usize>,
    /// Before the first instruction that isn't in `steps` any more.
    end: Option<[u64; REGISTERS]>,
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The program it is of: 0 is the one that was started, others come by tail calls.
    pub program: usize,
    pub slot: usize,
    /// Functions that wait for this one.
    pub depth: usize,
    /// The registers before it.
    pub registers: [u64; REGISTERS],
}

impl Trace {
    /// For the first so many instructions. A program that was loaded by a
    /// [`Platform`](crate::Platform) that isn't traced may have two of them made one.
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    #[cold]
    pub(crate) fn observe(
        &mut self,
        program: &Program,
        slot: usize,
        depth: usize,
        registers: &[u64; REGISTERS],
    ) {
        self.executed += 1;
        let registers = *registers;
        if self.steps.len() == self.limit {
            self.end.get_or_insert(registers);
            return;
        }
        let address = std::ptr::from_ref(program).addr();
        let known = self.programs.iter().position(|known| *known == address);
        let program = known.unwrap_or_else(|| {
            self.programs.push(address);
            self.programs.len() - 1
        });
        self.steps.push(Step { program, slot, depth, registers });
    }

    /// Whether the run went on behind the last of the steps.
    pub fn is_cut(&self) -> bool {
        self.executed > self.steps.len() as u64
    }

    /// The registers that a step changed, with their values after it. The frame pointer, which
    /// calls and returns move, is left out.
    pub fn changes(&self, step: usize) -> Vec<(usize, u64)> {
        let Some(before) = self.steps.get(step) else { return Vec::new() };
        let next = self.steps.get(step + 1).map(|next| next.registers);
        let Some(after) = next.or(self.end) else { return Vec::new() };
        (0..REGISTERS - 1)
            .filter(|number| before.registers[*number] != after[*number])
            .map(|number| (number, after[number]))
            .collect()
    }
}
