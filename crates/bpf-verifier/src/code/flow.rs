//! Jumps and calls, before any path is taken (kernel/bpf/verifier.c, Linux 6.12: check_subprogs,
//! check_cfg).

use bpf_isa::{Instruction, Wide};

use super::*;

/// As many functions as a program may have (`BPF_MAX_SUBPROGS`).
const MAX_FUNCTIONS: usize = 256;

impl Code {
    /// Where the instruction may go on in its function.
    pub fn successors(&self, slot: usize) -> ([usize; 2], usize) {
        let Some(instruction) = self.at(slot) else { return ([0; 2], 0) };
        let next = slot + instruction.slots();
        let to = |distance: i32| Self::target(slot, distance).unwrap_or(usize::MAX);
        match instruction {
            Instruction::Exit {} => ([0; 2], 0),
            Instruction::Jump { distance } => ([to(distance.slots()), 0], 1),
            Instruction::JumpIf { offset, .. } | Instruction::MayGoto { offset } => {
                ([next, to(offset.into())], 2)
            }
            _ => ([next, 0], 1),
        }
    }

    pub(super) fn check_functions(&self) -> Check {
        if self.functions.len() > MAX_FUNCTIONS {
            return refuse(Rule::TooManyFunctions, "too many subprograms");
        }
        for function in &self.functions {
            let mut last = None;
            for slot in function.start..function.end {
                let Some(instruction) = self.at(slot) else { continue };
                last = Some(instruction);
                let (targets, count) = match instruction {
                    Instruction::Jump { .. } => self.successors(slot),
                    Instruction::JumpIf { .. } | Instruction::MayGoto { .. } => {
                        let ([_, target], _) = self.successors(slot);
                        ([target, 0], 1)
                    }
                    _ => continue,
                };
                for target in &targets[..count] {
                    if !(function.start..function.end).contains(target) {
                        let target = Self::distance_text(*target);
                        return refuse(
                            Rule::JumpOutOfRange,
                            format!("jump out of range from insn {slot} to {target}"),
                        );
                    }
                    if self.at(*target).is_none() {
                        return refuse(
                            Rule::JumpOutOfRange,
                            format!("jump into the middle of ldimm64 insn {}", target - 1),
                        );
                    }
                }
            }
            if !matches!(last, Some(Instruction::Exit {} | Instruction::Jump { .. })) {
                return refuse(Rule::FallThrough, "last insn is not an exit or jmp");
            }
        }
        for slot in 0..self.len() {
            let distance = match self.at(slot) {
                Some(Instruction::Call { callee: Callee::Local(distance) })
                | Some(Instruction::LoadWide { value: Wide::Code(distance), .. }) => distance,
                _ => continue,
            };
            if Self::target(slot, distance).and_then(|to| self.function_at(to)).is_none() {
                return refuse(
                    Rule::JumpOutOfRange,
                    format!("invalid destination of the call at insn {slot}"),
                );
            }
        }
        Ok(())
    }

    fn distance_text(target: usize) -> String {
        if target == usize::MAX { "before the program".to_owned() } else { target.to_string() }
    }

    /// Marks where paths meet or split, and what can be reached.
    pub(super) fn mark_points(&mut self, calls: &impl Calls) {
        let mut waiting = vec![0];
        while let Some(slot) = waiting.pop() {
            if slot >= self.len() || self.points[slot].reachable {
                continue;
            }
            self.points[slot].reachable = true;
            let Some(instruction) = self.at(slot) else { continue };
            let (successors, count) = self.successors(slot);
            waiting.extend(&successors[..count]);
            let next = slot + instruction.slots();
            match instruction {
                Instruction::Jump { .. } => {
                    self.mark_target(successors[0]);
                }
                Instruction::JumpIf { .. } => {
                    self.points[slot].prune = true;
                    self.mark_target(successors[1]);
                }
                Instruction::MayGoto { .. } => {
                    self.points[slot].prune = true;
                    self.points[slot].checkpoint = true;
                    self.mark_target(successors[1]);
                }
                Instruction::Call { callee: Callee::Local(_) } => {
                    self.points[slot].prune = true;
                    if let Some(point) = self.points.get_mut(next) {
                        point.prune = true;
                        point.jump = true;
                    }
                    if let Some(function) = self.callee_at(slot) {
                        let start = self.functions[function].start;
                        self.mark_target(start);
                        waiting.push(start);
                    }
                }
                Instruction::LoadWide { value: Wide::Code(_), .. } => {
                    if let Some(function) = self.callback_at(slot) {
                        let start = self.functions[function].start;
                        self.mark_target(start);
                        waiting.push(start);
                    }
                }
                Instruction::Call { callee } => {
                    if calls.leaves_callback(slot, callee) {
                        self.points[slot].prune = true;
                    }
                    if calls.runs_callback(slot, callee) {
                        let point = &mut self.points[slot];
                        (point.prune, point.jump) = (true, true);
                        (point.checkpoint, point.calls_callback) = (true, true);
                    }
                    if calls.advances_iterator(slot, callee) {
                        let point = &mut self.points[slot];
                        (point.prune, point.checkpoint) = (true, true);
                        point.advances_iterator = true;
                    }
                }
                _ => {}
            }
        }
    }

    fn mark_target(&mut self, slot: usize) {
        if let Some(point) = self.points.get_mut(slot) {
            point.prune = true;
            point.jump = true;
        }
    }

    pub(super) fn check_reachable(&self) -> Check {
        for slot in 0..self.len() {
            if self.at(slot).is_some() && !self.points[slot].reachable {
                return refuse(Rule::Unreachable, format!("unreachable insn {slot}"));
            }
        }
        Ok(())
    }

    /// The first jump back to an instruction that is still on the way, if there is one.
    pub fn back_edge(&self) -> Option<(usize, usize)> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.len()];
        for function in &self.functions {
            let mut way: Vec<(usize, usize)> = vec![(function.start, 0)];
            marks[function.start] = Mark::Open;
            while let Some((slot, taken)) = way.last_mut() {
                let (successors, count) = self.successors(*slot);
                let Some(target) = successors[..count].get(*taken) else {
                    marks[*slot] = Mark::Done;
                    way.pop();
                    continue;
                };
                *taken += 1;
                match marks.get(*target) {
                    Some(Mark::Open) => return Some((*slot, *target)),
                    Some(Mark::New) => {
                        marks[*target] = Mark::Open;
                        way.push((*target, 0));
                    }
                    _ => {}
                }
            }
        }
        None
    }

    /// What functions do, with what they call.
    pub(super) fn summarise(&mut self, calls: &impl Calls) {
        for index in 0..self.functions.len() {
            let (start, end) = (self.functions[index].start, self.functions[index].end);
            for slot in start..end {
                let Some(instruction) = self.at(slot) else { continue };
                let function = &mut self.functions[index];
                match instruction {
                    Instruction::Call { callee: Callee::Local(_) } => {}
                    Instruction::Call { callee } => {
                        function.tail_calls |= callee == Callee::Helper(12);
                        function.changes_packet |= calls.changes_packet(slot, callee);
                        function.might_sleep |= calls.might_sleep(slot, callee);
                    }
                    Instruction::LoadPacket { .. } => function.has_packet_loads = true,
                    _ => {}
                }
            }
        }
        // What callees do, their callers do; the longest chain has as many links as functions.
        for _ in 0..self.functions.len() {
            let mut changed = false;
            for slot in 0..self.len() {
                let Some(callee) = self.callee_at(slot).or_else(|| self.callback_at(slot)) else {
                    continue;
                };
                let from = self.functions[callee].clone();
                let caller = self.function_of(slot);
                let to = &mut self.functions[caller];
                let before = (to.tail_calls, to.changes_packet, to.might_sleep);
                to.tail_calls |= from.tail_calls;
                to.changes_packet |= from.changes_packet;
                to.might_sleep |= from.might_sleep;
                changed |= before != (to.tail_calls, to.changes_packet, to.might_sleep);
            }
            if !changed {
                break;
            }
        }
    }
}
