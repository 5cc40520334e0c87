//! Which registers are read later on, so that states are not told apart by leftovers.

use super::*;

impl Code {
    /// Backwards over each function until nothing changes. A call reads its arguments and loses r0
    /// to r5; r6 to r9 belong to the caller.
    pub(super) fn find_live(&mut self, calls: &impl Calls) {
        let effects: Vec<(u16, u16)> = (0..self.len())
            .map(|slot| match self.at(slot) {
                Some(instruction) => {
                    reads_and_writes(&instruction, |callee| calls.arguments(callee))
                }
                None => (0, 0),
            })
            .collect();
        for index in 0..self.functions.len() {
            let (start, end) = (self.functions[index].start, self.functions[index].end);
            loop {
                let mut changed = false;
                for slot in (start..end).rev() {
                    if self.slots[slot].is_none() {
                        continue;
                    }
                    let (successors, count) = self.successors(slot);
                    let after = successors[..count]
                        .iter()
                        .fold(0, |live, next| live | self.live.get(*next).copied().unwrap_or(0));
                    let (reads, writes) = effects[slot];
                    let before = reads | after & !writes;
                    changed |= before != self.live[slot];
                    self.live[slot] = before;
                }
                if !changed {
                    break;
                }
            }
        }
    }
}
