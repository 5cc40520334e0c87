//! Loops whose number of turns the kernel bounds: iterators, `may_goto`, callbacks. They are walked
//! until another turn brings nothing new (kernel/bpf/verifier.c, Linux 6.12: process_iter_next_call,
//! update_loop_entry).

use std::rc::Rc;

use crate::engine::Engine;
use crate::register::Register;
use crate::scalar::Scalar;
use crate::state::{CheckpointId, State};

impl Engine<'_> {
    /// The topmost state of the loop that the checkpoint is in, if it is in one.
    pub fn loop_entry_of(&self, id: CheckpointId) -> Option<CheckpointId> {
        let mut top = self.checkpoints[id as usize].state.loop_entry?;
        // A chain of entries goes upwards; it ends at an entry of its own.
        for _ in 0..self.checkpoints.len() {
            match self.checkpoints[top as usize].state.loop_entry {
                Some(next) if next != top => top = next,
                _ => break,
            }
        }
        Some(top)
    }

    fn topmost(&self, entry: Option<CheckpointId>) -> Option<CheckpointId> {
        let entry = entry?;
        Some(self.loop_entry_of(entry).unwrap_or(entry))
    }

    /// The present path has come back to the checkpoint.
    pub fn update_loop_entry(&mut self, header: CheckpointId) {
        let top = self.loop_entry_of(header).unwrap_or(header);
        let top = &self.checkpoints[top as usize];
        let depth = match self.topmost(self.state.loop_entry) {
            Some(own) => self.checkpoints[own as usize].state.depth,
            None => self.state.depth,
        };
        if top.branches > 0 && top.state.depth <= depth {
            self.state.loop_entry = Some(header);
            self.checkpoints[header as usize].is_header = true;
        }
    }

    pub fn update_loop_entry_of_checkpoint(&mut self, id: CheckpointId, header: CheckpointId) {
        let top = self.loop_entry_of(header).unwrap_or(header);
        let own = self.loop_entry_of(id).unwrap_or(id);
        let (top, own) = (&self.checkpoints[top as usize], &self.checkpoints[own as usize]);
        if top.branches > 0 && top.state.depth <= own.state.depth {
            self.checkpoints[id as usize].state.loop_entry = Some(header);
            self.checkpoints[header as usize].is_header = true;
        }
    }

    /// The last checkpoint on the way that was at that instruction, in the same chain of calls.
    /// Checkpoints of this very visit don't count.
    pub fn previous_visit(&self, slot: usize) -> Option<CheckpointId> {
        self.visits_on_the_way(slot).nth(1)
    }

    /// Checkpoints on the way that were at that instruction, in the same chain of calls, the latest
    /// first.
    ///
    /// Those that paths still go through are the ones on the present way: of two paths that wait,
    /// the later goes on first, and what comes below a checkpoint waits behind it.
    pub fn visits_on_the_way(&self, slot: usize) -> impl Iterator<Item = CheckpointId> {
        self.open_at[slot].iter().rev().copied().filter(move |id| {
            let checkpoint = &self.checkpoints[*id as usize];
            let frames = &checkpoint.state.frames;
            checkpoint.branches > 0
                && frames.len() == self.state.frames.len()
                && frames.iter().zip(&self.state.frames).all(|(a, b)| a.call == b.call)
        })
    }

    /// Notes a new checkpoint. Of those before it the ones that no path goes through any more are
    /// the latest, and nobody asks for them again.
    pub fn note_open(&mut self, slot: usize, id: CheckpointId) {
        let open = &mut self.open_at[slot];
        while open.pop_if(|last| self.checkpoints[*last as usize].branches == 0).is_some() {}
        open.push(id);
    }

    /// Numbers that change from turn to turn are unknown from now on, unless it was found that
    /// something depends on them.
    pub fn widen_from(&self, id: CheckpointId, new: &mut State) {
        let checkpoint = &self.checkpoints[id as usize];
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for (index, (a, b)) in checkpoint.state.frames.iter().zip(&mut new.frames).enumerate() {
            if Rc::ptr_eq(a, b) {
                continue;
            }
            let frame = Rc::make_mut(b);
            let precise = checkpoint.precise_registers[index];
            for (number, (x, y)) in a.registers.iter().zip(&mut frame.registers).enumerate() {
                if precise & 1 << number == 0 {
                    widen_one(x, y, &mut pairs);
                }
            }
            let precise = checkpoint.precise_stack[index];
            if Rc::ptr_eq(&a.stack, &frame.stack) {
                continue;
            }
            for (at, y) in Rc::make_mut(&mut frame.stack).iter_mut().enumerate() {
                let Some(x) = a.stack.get(at) else { break };
                if x.is_spilled_scalar() && y.is_spilled_scalar() && precise & 1 << at == 0 {
                    widen_one(&x.register, &mut y.register, &mut pairs);
                }
            }
        }
    }

    pub fn is_iterator_step(&self, slot: usize) -> bool {
        self.code.points[slot].advances_iterator
    }
}

fn widen_one(old: &Register, new: &mut Register, pairs: &mut Vec<(u32, u32)>) {
    if !old.is_scalar() || !new.is_scalar() {
        return;
    }
    let same_group = match (old.id, new.id) {
        (0, 0) => true,
        (0, _) | (_, 0) => false,
        (a, b) => match pairs.iter().find(|(x, y)| *x == a || *y == b) {
            Some(pair) => *pair == (a, b),
            None => {
                pairs.push((a, b));
                true
            }
        },
    };
    if old.number == new.number && same_group && old.off == new.off {
        return;
    }
    *new = Register::scalar(Scalar::UNKNOWN);
}
