//! Paths that go on as an earlier one did need not be walked again (kernel/bpf/verifier.c, Linux
//! 6.12: is_state_visited, states_equal).

use std::rc::Rc;

use crate::engine::{Checkpoint, Engine, Return};
use crate::precision::Needed;
use crate::register::{Flags, Kind, Register};
use crate::rule::Rule;
use crate::stack::{Byte, Slot};
use crate::state::{CheckpointId, Frame, Linked, MAX_FRAMES, State};
use crate::stop::{Check, refuse};

/// States that may be kept per instruction without privilege
/// (`BPF_COMPLEXITY_LIMIT_STATES`).
const MAX_UNPRIVILEGED: usize = 64;

/// How much alike two states must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Likeness {
    /// What the earlier path didn't look at may differ.
    AsFarAsRead,
    /// All values are inside of the earlier ones.
    Within,
    Same,
}

/// Numbers of references and groups in two states, as far as they go together.
#[derive(Debug, Default)]
struct Pairs {
    pairs: Vec<(u32, u32)>,
    /// For scalars without a group.
    fresh: u32,
}

impl Pairs {
    fn check(&mut self, old: u32, new: u32) -> bool {
        if (old == 0) != (new == 0) {
            return false;
        }
        if old == 0 {
            return true;
        }
        for (known_old, known_new) in &self.pairs {
            if *known_old == old {
                return *known_new == new;
            }
            if *known_new == new {
                return false;
            }
        }
        self.pairs.push((old, new));
        true
    }

    /// A number in no group may stand for one in a group, if it is its only member.
    fn check_scalar(&mut self, old: &Register, new: &Register) -> bool {
        if old.id == 0 {
            return true;
        }
        let new_id = if new.id != 0 {
            new.id
        } else {
            self.fresh += 1;
            1 << 31 | self.fresh
        };
        self.check(old.id, new_id)
    }
}

impl Engine<'_> {
    /// Whether an earlier path has been here in the same state, or a more general one. If not, the
    /// state may be remembered.
    pub(crate) fn is_visited(&mut self) -> Check<bool> {
        let slot = self.slot;
        let point = self.code.points[slot];
        let force = self.request.options.test_state_frequency
            || point.checkpoint
            || self.state.history.len() > 40;
        let mut add = force
            || (self.jumps - self.jumps_before >= 2 && self.processed - self.processed_before >= 8);
        self.state.last = self.previous;
        let list = std::mem::take(&mut self.at[slot]);
        let mut keep: Vec<CheckpointId> = Vec::new();
        let mut outcome = Ok(None);
        for (index, id) in list.iter().enumerate().rev() {
            match self.compare_with(*id, force, &mut add) {
                Ok(true) => {
                    outcome = Ok(Some(*id));
                    keep.extend(list[..=index].iter().rev());
                    break;
                }
                Ok(false) => {
                    let checkpoint = &mut self.checkpoints[*id as usize];
                    if add {
                        checkpoint.misses += 1;
                    }
                    let patience = if point.checkpoint && checkpoint.branches > 0 { 64 } else { 3 };
                    // One that never fits only costs time.
                    if checkpoint.misses <= checkpoint.hits * patience + patience {
                        keep.push(*id);
                    }
                }
                Err(stop) => {
                    outcome = Err(stop);
                    break;
                }
            }
        }
        keep.reverse();
        self.at[slot] = keep;
        if let Some(id) = outcome? {
            self.checkpoints[id as usize].hits += 1;
            let unfinished = self.is_unfinished(id);
            self.join(id);
            if unfinished {
                self.join_again_later(id);
            }
            return Ok(true);
        }
        self.states_at_one = self.states_at_one.max(self.at[slot].len() as u32);
        if !self.privileged() && self.at[slot].len() > MAX_UNPRIVILEGED {
            return Ok(false);
        }
        if add {
            self.remember_state();
        }
        Ok(false)
    }

    fn compare_with(&mut self, id: CheckpointId, force: bool, add: &mut bool) -> Check<bool> {
        let slot = self.slot;
        let checkpoint = &self.checkpoints[id as usize];
        if checkpoint.branches > 0 {
            // The earlier path isn't at its end: this one may be going in circles.
            let old = &checkpoint.state;
            let different_entry = {
                let frame = old.frame();
                frame.asynchronous.is_some()
                    && frame.asynchronous != self.state.frame().asynchronous
            };
            if !different_entry {
                if self.is_iterator_step(slot) {
                    if self.alike(checkpoint, Likeness::Within) && self.iterator_goes_on(id) {
                        self.update_loop_entry(id);
                        return Ok(true);
                    }
                } else if matches!(self.code.at(slot), Some(bpf_isa::Instruction::MayGoto { .. })) {
                    if old.may_goto_depth != self.state.may_goto_depth
                        && self.alike(checkpoint, Likeness::Within)
                    {
                        self.update_loop_entry(id);
                        return Ok(true);
                    }
                } else if self.code.points[slot].calls_callback {
                    if self.alike(checkpoint, Likeness::Within) {
                        self.update_loop_entry(id);
                        return Ok(true);
                    }
                } else if self.may_loop(old)
                    && self.alike(checkpoint, Likeness::Same)
                    && !iterator_depths_differ(old, &self.state)
                    && old.may_goto_depth == self.state.may_goto_depth
                    && old.callback_unroll_depth == self.state.callback_unroll_depth
                {
                    return refuse(
                        Rule::InfiniteLoop,
                        format!("infinite loop detected at insn {slot}"),
                    );
                }
                // In a loop, not every turn is remembered.
                if !force
                    && self.jumps - self.jumps_before < 20
                    && self.processed - self.processed_before < 100
                {
                    *add = false;
                }
                return Ok(false);
            }
        }
        let entry = self.loop_entry_of(id);
        let exactly = entry.is_some_and(|entry| self.checkpoints[entry as usize].branches > 0);
        let likeness = if exactly { Likeness::Within } else { Likeness::AsFarAsRead };
        if !self.alike(&self.checkpoints[id as usize], likeness) {
            return Ok(false);
        }
        if let (true, Some(entry)) = (exactly, entry) {
            self.update_loop_entry(entry);
        }
        Ok(true)
    }

    fn may_loop(&self, old: &State) -> bool {
        old.frames.len() == self.state.frames.len()
            && old.frame().registers == self.state.frame().registers
    }

    /// The path goes on as the earlier one did: what that one read and needed, this one reads and
    /// needs.
    fn join(&mut self, id: CheckpointId) {
        let checkpoint = &self.checkpoints[id as usize];
        let read = checkpoint.read;
        let (registers, stack) = (checkpoint.precise_registers, checkpoint.precise_stack);
        let frames = checkpoint.state.frames.len();
        let mut needed = Needed::new(self.state.current());
        for index in 0..frames {
            let frame = &checkpoint.state.frames[index];
            let live = self.live_in(&checkpoint.state, index, self.slot);
            for number in 0..10 {
                let bit = 1 << number;
                if registers[index] & live & bit != 0 && frame.registers[number].is_scalar() {
                    needed.add_register(index, number);
                }
            }
            for (slot, content) in frame.stack.iter().enumerate() {
                let bit = 1u64 << slot;
                if stack[index] & read[index] & bit != 0 && content.is_spilled_scalar() {
                    needed.add_slot(index, slot);
                }
            }
        }
        for (index, mask) in read.iter().enumerate().take(frames) {
            let mut mask = *mask;
            while mask != 0 {
                let slot = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                self.mark_stack_read(index, slot);
            }
        }
        if self.code.points[self.slot].jump {
            self.remember_step(None, Linked::default());
        }
        self.mark_needed(needed);
    }

    /// Whether paths that go on from the checkpoint may still come to read and need more.
    fn is_unfinished(&self, id: CheckpointId) -> bool {
        let open = |id: CheckpointId| self.checkpoints[id as usize].branches > 0;
        open(id) || self.loop_entry_of(id).is_some_and(open)
    }

    /// A path that has come back into a loop needs what the loop needs, which is known only when
    /// the whole loop has been walked.
    fn join_again_later(&mut self, id: CheckpointId) {
        let (state, slot) = (self.state.clone(), self.slot);
        self.checkpoints[id as usize].is_header = true;
        self.returns.entry(id).or_default().push(Return { state, slot });
    }

    /// Some loop may be done: what is read and needed in it goes round until nothing is added.
    pub fn finish_loops(&mut self) {
        // Few checkpoints with many returns, and this is asked whenever a path ends.
        let finished = |to: &CheckpointId| !self.is_unfinished(*to);
        let finished: Vec<CheckpointId> = self.returns.keys().copied().filter(finished).collect();
        if finished.is_empty() {
            return;
        }
        let done: Vec<(CheckpointId, Vec<Return>)> =
            finished.iter().filter_map(|to| self.returns.remove_entry(to)).collect();
        let (state, slot) = (self.state.clone(), self.slot);
        loop {
            let before = self.marks;
            for (to, back) in done.iter().flat_map(|(to, all)| all.iter().map(move |it| (*to, it)))
            {
                self.state = back.state.clone();
                self.slot = back.slot;
                self.in_history = true;
                self.join(to);
            }
            if self.marks == before {
                break;
            }
        }
        (self.state, self.slot) = (state, slot);
    }

    fn remember_state(&mut self) {
        let slot = self.slot;
        self.states += 1;
        self.jumps_before = self.jumps;
        self.processed_before = self.processed;
        let id = self.checkpoints.len() as CheckpointId;
        let next = State {
            frames: self.state.frames.clone(),
            references: self.state.references.clone(),
            history: Vec::new(),
            parent: Some(id),
            first: slot,
            depth: self.state.depth + 1,
            loop_entry: None,
            written: [0; MAX_FRAMES],
            ..self.state
        };
        let state = std::mem::replace(&mut self.state, next);
        self.checkpoints.push(Checkpoint {
            state,
            slot,
            branches: 1,
            read: [0; MAX_FRAMES],
            precise_registers: [0; MAX_FRAMES],
            precise_stack: [0; MAX_FRAMES],
            hits: 0,
            misses: 0,
            is_header: false,
        });
        self.at[slot].push(id);
        self.note_open(slot, id);
    }

    pub fn mark_written(&mut self, frame: usize, slot: usize) {
        if slot < 64 {
            self.state.written[frame] |= 1 << slot;
        }
    }

    /// What was in the slot is read: so it was in the states before, back to where it was written.
    pub fn mark_stack_read(&mut self, frame: usize, slot: usize) {
        if slot >= 64 {
            return;
        }
        let bit = 1u64 << slot;
        if self.state.written[frame] & bit != 0 {
            return;
        }
        let mut parent = self.state.parent;
        while let Some(id) = parent {
            let checkpoint = &mut self.checkpoints[id as usize];
            if checkpoint.read[frame] & bit != 0 || frame >= checkpoint.state.frames.len() {
                return;
            }
            checkpoint.read[frame] |= bit;
            self.marks += 1;
            if checkpoint.state.written[frame] & bit != 0 {
                return;
            }
            parent = checkpoint.state.parent;
        }
    }

    /// The registers of that frame that are read later, if the path is at `slot` now.
    fn live_in(&self, state: &State, frame: usize, slot: usize) -> u16 {
        let at = match state.frames.get(frame + 1) {
            // The call itself is done: what it reads doesn't count, its result isn't there yet.
            Some(callee) => return self.live_over_call(callee),
            None => slot,
        };
        self.code.live.get(at).copied().unwrap_or(u16::MAX)
    }

    fn live_over_call(&self, callee: &Frame) -> u16 {
        if callee.in_callback() {
            return u16::MAX;
        }
        let after = self.code.live.get(callee.call + 1).copied().unwrap_or(u16::MAX);
        after & !0x3f
    }

    fn alike(&self, checkpoint: &Checkpoint, likeness: Likeness) -> bool {
        let (old, new) = (&checkpoint.state, &self.state);
        if old.frames.len() != new.frames.len()
            || old.lock.is_some() != new.lock.is_some()
            || old.rcu != new.rcu
            || old.preempt != new.preempt
            || old.sleepable != new.sleepable
            || (old.speculative && !new.speculative)
            || old.references.len() != new.references.len()
        {
            return false;
        }
        let mut pairs = Pairs::default();
        if let (Some(a), Some(b)) = (old.lock, new.lock)
            && (a.in_map != b.in_map || a.object != b.object || !pairs.check(a.id, b.id))
        {
            return false;
        }
        for index in 0..old.frames.len() {
            let (a, b) = (&old.frames[index], &new.frames[index]);
            if a.call != b.call || a.function != b.function || a.callback != b.callback {
                return false;
            }
            if Rc::ptr_eq(a, b) && likeness != Likeness::Same {
                // Untouched since: only identities count.
                if !self.same_identities(a, &mut pairs) {
                    return false;
                }
                continue;
            }
            if a.callback_depth > b.callback_depth {
                return false;
            }
            let live = self.live_in(old, index, self.slot);
            for number in 0..10 {
                let dead = live & 1 << number == 0;
                if dead && likeness != Likeness::Same {
                    continue;
                }
                let precise = checkpoint.precise_registers[index] & 1 << number != 0;
                let (x, y) = (&a.registers[number], &b.registers[number]);
                if !self.register_alike(x, y, precise, likeness, &mut pairs) {
                    return false;
                }
            }
            if !self.stack_alike(checkpoint, index, b, likeness, &mut pairs) {
                return false;
            }
        }
        old.references
            .iter()
            .zip(&new.references)
            .all(|(a, b)| a.callback_frame == b.callback_frame && pairs.check(a.id, b.id))
    }

    fn same_identities(&self, frame: &Frame, pairs: &mut Pairs) -> bool {
        let registers = frame.registers.iter();
        let stack = frame.stack.iter().filter(|slot| slot.is_spill() || slot.is_special());
        let all = registers.chain(stack.map(|slot| &slot.register));
        let mut same = |register: &Register| {
            pairs.check(register.id, register.id)
                && pairs.check(register.reference, register.reference)
        };
        all.into_iter().all(&mut same)
    }

    fn register_alike(
        &self,
        old: &Register,
        new: &Register,
        precise: bool,
        likeness: Likeness,
        pairs: &mut Pairs,
    ) -> bool {
        if likeness == Likeness::Same {
            return same(old, new, pairs);
        }
        if old.kind == Kind::Uninitialised {
            // Nobody read it.
            return likeness == Likeness::AsFarAsRead || new.kind == Kind::Uninitialised;
        }
        if old.kind != new.kind || old.flags.without(Flags::PLUS) != new.flags.without(Flags::PLUS)
        {
            return false;
        }
        match old.kind {
            Kind::Scalar => {
                let precise = precise || !self.privileged();
                if !precise && likeness == Likeness::AsFarAsRead {
                    return true;
                }
                let plus = |register: &Register| register.flags.has(Flags::PLUS);
                if (plus(old) != plus(new) && old.id != 0) || (plus(old) && old.off != new.off) {
                    return false;
                }
                let covered = match self.masks_unknowns {
                    true => old.number == new.number,
                    false => old.number.includes(&new.number),
                };
                pairs.check_scalar(old, new) && covered
            }
            Kind::MapKey
            | Kind::MapValue
            | Kind::Memory
            | Kind::Buffer
            | Kind::TracepointBuffer => {
                old.off == new.off
                    && old.what == new.what
                    && old.size == new.size
                    && pairs.check(old.instance, new.instance)
                    && old.number.includes(&new.number)
                    && pairs.check(old.id, new.id)
                    && pairs.check(old.reference, new.reference)
            }
            Kind::Packet | Kind::PacketMeta => {
                let ranges = match (old.range(), new.range()) {
                    (Some(old), Some(new)) => old <= new,
                    _ => old.size == new.size,
                };
                ranges
                    && old.off == new.off
                    && pairs.check(old.id, new.id)
                    && old.number.includes(&new.number)
            }
            Kind::Arena => true,
            _ => same(old, new, pairs),
        }
    }

    fn stack_alike(
        &self,
        checkpoint: &Checkpoint,
        index: usize,
        new: &Frame,
        likeness: Likeness,
        pairs: &mut Pairs,
    ) -> bool {
        let old = &checkpoint.state.frames[index];
        let read = checkpoint.read[index];
        for (at, slot) in old.stack.iter().enumerate() {
            let unread = read & 1u64 << at == 0;
            if unread && likeness == Likeness::AsFarAsRead {
                continue;
            }
            let other = new.slot(at);
            let precise = checkpoint.precise_stack[index] & 1u64 << at != 0;
            if !self.slot_alike(slot, &other, precise, likeness, pairs) {
                return false;
            }
        }
        true
    }

    fn slot_alike(
        &self,
        old: &Slot,
        new: &Slot,
        precise: bool,
        likeness: Likeness,
        pairs: &mut Pairs,
    ) -> bool {
        let uninitialised = self.privileged();
        if likeness != Likeness::AsFarAsRead && old.bytes != new.bytes {
            return false;
        }
        // 8 bytes that are some number are as good as a spilled number.
        let as_number = |slot: &Slot| -> Option<Register> {
            if slot.is_full_scalar() && slot.is_spill() {
                return Some(slot.register);
            }
            let misc =
                |byte: &Byte| *byte == Byte::Misc || (*byte == Byte::Invalid && uninitialised);
            slot.bytes.iter().all(misc).then_some(Register::UNKNOWN)
        };
        let all_invalid = old.bytes.iter().all(|byte| *byte == Byte::Invalid);
        if all_invalid {
            return true;
        }
        if let (Some(a), Some(b)) = (as_number(old), as_number(new)) {
            return self.register_alike(&a, &b, precise, likeness, pairs);
        }
        for (a, b) in old.bytes.iter().zip(&new.bytes) {
            let fits = match a {
                Byte::Invalid => true,
                Byte::Misc if uninitialised => true,
                Byte::Misc => matches!(b, Byte::Misc | Byte::Zero),
                _ => a == b,
            };
            if !fits {
                return false;
            }
        }
        match old.bytes[7] {
            Byte::Spill => {
                self.register_alike(&old.register, &new.register, precise, likeness, pairs)
            }
            Byte::Dynptr => {
                let (a, b) = (&old.register, &new.register);
                new.bytes[7] == Byte::Dynptr
                    && a.what == b.what
                    && a.size == b.size
                    && a.flags == b.flags
                    && pairs.check(a.id, b.id)
                    && pairs.check(a.reference, b.reference)
            }
            Byte::Iterator => {
                let (a, b) = (&old.register, &new.register);
                // How often it was advanced doesn't matter.
                new.bytes[7] == Byte::Iterator
                    && a.what == b.what
                    && a.size == b.size
                    && pairs.check(a.reference, b.reference)
            }
            _ => true,
        }
    }
}

fn same(old: &Register, new: &Register, pairs: &mut Pairs) -> bool {
    let strip = |register: &Register| Register { id: 0, reference: 0, instance: 0, ..*register };
    strip(old) == strip(new)
        && pairs.check(old.instance, new.instance)
        && pairs.check(old.id, new.id)
        && pairs.check(old.reference, new.reference)
}

/// An iterator that is active in both has been advanced in between.
fn iterator_depths_differ(old: &State, new: &State) -> bool {
    old.frames.iter().zip(&new.frames).any(|(a, b)| {
        a.stack.iter().enumerate().any(|(at, slot)| {
            slot.bytes[0] == Byte::Iterator
                && slot.register.size == crate::iterator::ACTIVE
                && b.slot(at).register.instance != slot.register.instance
        })
    })
}
