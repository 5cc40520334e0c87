//! The frames along chains of calls (kernel/bpf/verifier.c, Linux 6.12: check_max_stack_depth).

use crate::change::Change;
use crate::engine::Engine;
use crate::rule::Rule;
use crate::state::MAX_FRAMES;
use crate::stop::{Check, refuse};

impl Engine<'_> {
    /// The frames of all chains of calls together (`check_max_stack_depth`).
    pub(crate) fn check_stack_depth(&self) -> Check {
        let mut chain = vec![0];
        self.check_chain(&mut chain, 0)?;
        for (index, function) in self.code.functions.iter().enumerate() {
            if function.is_callback && !chain.contains(&index) {
                self.check_chain(&mut vec![index], 0)?;
            }
        }
        Ok(())
    }

    fn check_chain(&self, chain: &mut Vec<usize>, above: i32) -> Check {
        let Some(&index) = chain.last() else { return Ok(()) };
        let function = &self.code.functions[index];
        let directly = (function.start..function.end).any(|slot| {
            matches!(
                self.code.at(slot),
                Some(bpf_isa::Instruction::Call { callee: bpf_isa::Callee::Helper(12) })
            )
        });
        if index != 0 && directly && above >= 256 {
            return refuse(
                Rule::TailCallStack,
                format!(
                    "tail_calls are not allowed when call stack of previous frames is {above} bytes. Too large"
                ),
            );
        }
        let own = match self.has(Change::FineStack) {
            true => (self.own_depth(index) + 15) / 16 * 16,
            false => (self.own_depth(index).max(1) + 31) / 32 * 32,
        };
        let total = above + own;
        if total > crate::stack::MAX_STACK {
            return refuse(
                Rule::StackSize,
                format!("combined stack size of {} calls is {total}. Too large", chain.len()),
            );
        }
        for slot in function.start..function.end {
            let Some(callee) = self.code.callee_at(slot).or_else(|| self.code.callback_at(slot))
            else {
                continue;
            };
            if chain.contains(&callee) {
                if self.code.callee_at(slot).is_some() {
                    return refuse(Rule::CallDepth, format!("recursive call from insn {slot}"));
                }
                continue;
            }
            chain.push(callee);
            if chain.len() > MAX_FRAMES {
                return refuse(
                    Rule::CallDepth,
                    format!("the call stack of {} frames is too deep !", chain.len()),
                );
            }
            self.check_chain(chain, total)?;
            chain.pop();
        }
        Ok(())
    }

    /// What the function's frame takes. Spills around fast calls go, if nothing else uses their
    /// place.
    fn own_depth(&self, index: usize) -> i32 {
        match self.code.functions[index].depth_without_spills {
            Some(depth) if self.depth_without_spills[index] <= depth => depth,
            _ => self.stack_depth[index],
        }
    }
}
