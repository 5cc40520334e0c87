//! Conditional jumps: which way can be taken, and what each way teaches (kernel/bpf/verifier.c,
//! Linux 6.12: check_cond_jmp_op).

use bpf_isa::{Condition, Source, Width};

use super::alu::forget_group;
use crate::change::{Change, Rules};
use crate::engine::{Engine, Next};
use crate::register::{AT_PACKET_END, BEYOND_PACKET_END, Flags, Kind, Register};
use crate::rule::Rule;
use crate::scalar::{Outcome, Scalar};
use crate::state::{Linked, State};
use crate::stop::{Check, refuse};

impl Engine<'_> {
    pub(super) fn branch(
        &mut self,
        condition: Condition,
        width: Width,
        left: u8,
        right: Source,
        target: usize,
    ) -> Check<Next> {
        let right_number = match right {
            Source::Register(right) => Some(right.number()),
            Source::Immediate(_) => None,
        };
        if let Some(right) = right_number {
            let value = self.read(right)?;
            let dst = self.register(left);
            let both_packet = is_packet_side(dst) && is_packet_side(&value);
            if !both_packet && self.is_secret(&value) {
                return refuse(
                    Rule::PointerComparison,
                    format!("R{right} pointer comparison prohibited"),
                );
            }
        }
        let a = self.read(left)?;
        let b = match right {
            Source::Register(right) => *self.register(right.number()),
            Source::Immediate(number) => Register::exactly(i64::from(number).cast_unsigned()),
        };
        let numbers = a.is_scalar() && b.is_scalar();
        let undecided = numbers && !exact(&a, width) && !exact(&b, width);
        let outcome = match undecided && !self.has(Change::Comparisons) {
            true => Outcome::Unknown,
            false => outcome(condition, width, &a, &b),
        };
        if outcome != Outcome::Unknown {
            if a.is_scalar() {
                self.mark_precise(left)?;
            }
            if let Some(right) = right_number
                && b.is_scalar()
            {
                self.mark_precise(right)?;
            }
            let always = outcome == Outcome::Always;
            let other_way = if always { self.slot + 1 } else { target };
            self.speculate_branch(other_way, left, right_number)?;
            return Ok(if always { Next::To(target) } else { Next::Through });
        }
        // Which registers go with these is noted before the state splits.
        let mut linked = Linked::default();
        for side in [&b, &a] {
            if side.is_scalar() && side.id != 0 && !linked_contains(&self.state, &linked, side.id) {
                self.collect_linked(side.id, &mut linked);
            }
        }
        if linked.count > 1 {
            self.remember_step(None, linked);
        }
        let mut other = self.state.clone();
        if a.is_scalar() && b.is_scalar() {
            let compared = Compared { condition, width, rules: self.request.options.rules };
            let (x, y) = ((left, &a), (right_number, &b));
            learn(&mut self.state, &compared, x, y, false, &linked);
            learn(&mut other, &compared, x, y, true, &linked);
        } else if a.is_pointer()
            && !b.is_scalar()
            && width == Width::W64
            && a.is_nullable() != b.is_nullable()
            && a.kind != Kind::Structure
            && b.kind != Kind::Structure
            && self.has(Change::EqualPointers)
        {
            self.equal_to_valid(condition, (left, &a), (right_number, &b), &mut other);
        }
        let null_check = width == Width::W64
            && matches!(right, Source::Immediate(0))
            && matches!(condition, Condition::Equal | Condition::NotEqual)
            && a.is_nullable();
        if null_check {
            self.settle_null(left, condition == Condition::NotEqual);
            let here = std::mem::replace(&mut self.state, other);
            self.settle_null(left, condition == Condition::Equal);
            other = std::mem::replace(&mut self.state, here);
        } else if !self.compare_packet(condition, width, (left, &a), (right_number, &b), &mut other)
            && self.is_secret(&a)
        {
            return refuse(
                Rule::PointerComparison,
                format!("R{left} pointer comparison prohibited"),
            );
        }
        self.push_state(other, target, self.slot)?;
        Ok(Next::Through)
    }

    /// A pointer that may be NULL equals one that isn't.
    fn equal_to_valid(
        &mut self,
        condition: Condition,
        (left, a): (u8, &Register),
        (right, _): (Option<u8>, &Register),
        other: &mut State,
    ) {
        let Some(right) = right else { return };
        let nullable = if a.is_nullable() { left } else { right };
        let here = match condition {
            Condition::Equal => std::mem::replace(&mut self.state, other.clone()),
            Condition::NotEqual => {
                let mut register = *self.register(nullable);
                self.not_null(&mut register);
                *self.register_mut(nullable) = register;
                return;
            }
            _ => return,
        };
        let mut register = *self.register(nullable);
        self.not_null(&mut register);
        *self.register_mut(nullable) = register;
        *other = std::mem::replace(&mut self.state, here);
    }

    /// All registers and stack slots that hold the group's number.
    fn collect_linked(&self, id: u32, linked: &mut Linked) {
        for (at, frame) in self.state.frames.iter().enumerate().rev() {
            let live =
                if at == self.state.current() { self.code.live[self.slot] } else { u16::MAX };
            for (number, register) in frame.registers.iter().enumerate().take(10) {
                let dead = live & (1 << number) == 0;
                if register.is_scalar() && register.id == id && !dead && !linked.push(at, number) {
                    return;
                }
            }
            for (index, slot) in frame.stack.iter().enumerate() {
                let same = slot.is_spilled_scalar() && slot.register.id == id;
                if same && !linked.push(at, 16 + index) {
                    return;
                }
            }
        }
    }

    /// The processor may fall through any number of times: the kernel counts.
    pub(super) fn may_goto(&mut self, target: usize) -> Check<Next> {
        self.bounded = false;
        let earlier = self.previous_visit(self.slot);
        let mut waiting = self.state.clone();
        waiting.may_goto_depth += 1;
        if let Some(earlier) = earlier {
            self.widen_from(earlier, &mut waiting);
        }
        self.push_state(waiting, self.slot + 1, self.slot)?;
        Ok(Next::To(target))
    }

    /// Comparisons of packet pointers with the packet's end tell how much of it is there. False if
    /// these aren't such.
    fn compare_packet(
        &mut self,
        condition: Condition,
        width: Width,
        (left, a): (u8, &Register),
        (right, b): (Option<u8>, &Register),
        other: &mut State,
    ) -> bool {
        let Some(right) = right else { return false };
        if width == Width::W32 {
            return false;
        }
        let is_limit = |pointer: &Register, limit: &Register| {
            (pointer.kind == Kind::Packet && limit.kind == Kind::PacketEnd)
                || (pointer.kind == Kind::PacketMeta && is_packet_start(limit))
        };
        // Written as `pointer condition limit`.
        let (number, pointer, condition) = if is_limit(a, b) {
            (left, a, condition)
        } else if is_limit(b, a) {
            (right, b, flipped(condition))
        } else {
            return false;
        };
        // Which way the pointer is inside; there, whether it is strictly below the limit.
        let (inside_is_taken, strictly) = match condition {
            Condition::Greater => (false, false),
            Condition::GreaterOrEqual => (false, true),
            Condition::Less => (true, true),
            Condition::LessOrEqual => (true, false),
            _ => return false,
        };
        let here = &mut self.state;
        let (inside, outside) = if inside_is_taken { (other, here) } else { (here, other) };
        super::packet_range::learn(inside, pointer, strictly);
        super::packet_range::mark_end(outside, number, !strictly);
        true
    }
}

fn linked_contains(state: &State, linked: &Linked, id: u32) -> bool {
    linked.iter().any(|(frame, place)| {
        let frame = &state.frames[frame];
        match place.checked_sub(16) {
            Some(slot) => frame.slot(slot).register.id == id,
            None => frame.registers[place].id == id,
        }
    })
}

fn is_packet_side(register: &Register) -> bool {
    matches!(register.kind, Kind::Packet | Kind::PacketMeta | Kind::PacketEnd)
}

/// A packet pointer as it comes from the context.
fn is_packet_start(register: &Register) -> bool {
    register.kind == Kind::Packet && register.off == 0 && register.number.is_zero()
}

/// `a condition b` as `b flipped a`.
fn flipped(condition: Condition) -> Condition {
    match condition {
        Condition::Greater => Condition::Less,
        Condition::GreaterOrEqual => Condition::LessOrEqual,
        Condition::Less => Condition::Greater,
        Condition::LessOrEqual => Condition::GreaterOrEqual,
        Condition::SignedGreater => Condition::SignedLess,
        Condition::SignedGreaterOrEqual => Condition::SignedLessOrEqual,
        Condition::SignedLess => Condition::SignedGreater,
        Condition::SignedLessOrEqual => Condition::SignedGreaterOrEqual,
        symmetric => symmetric,
    }
}

fn outcome(condition: Condition, width: Width, a: &Register, b: &Register) -> Outcome {
    if is_packet_side(a) && is_packet_side(b) && width == Width::W64 {
        return packet_outcome(condition, a, b);
    }
    match (a.is_pointer(), b.is_pointer()) {
        (false, false) => a.number.compare(condition, width, &b.number),
        (true, true) => Outcome::Unknown,
        (pointer_left, _) => {
            let (pointer, number) = if pointer_left { (a, b) } else { (b, a) };
            let zero = match width {
                Width::W64 => number.number.exact() == Some(0),
                Width::W32 => number.number.exact_low() == Some(0),
            };
            if !zero || !is_never_null(pointer) {
                return Outcome::Unknown;
            }
            match condition {
                Condition::Equal => Outcome::Never,
                Condition::NotEqual => Outcome::Always,
                _ => Outcome::Unknown,
            }
        }
    }
}

/// Pointers that can't be NULL (`reg_not_null`).
pub(crate) fn is_never_null(register: &Register) -> bool {
    !register.is_nullable()
        && match register.kind {
            Kind::Socket
            | Kind::TcpSock
            | Kind::MapValue
            | Kind::MapKey
            | Kind::SockCommon
            | Kind::Map => true,
            Kind::Structure => is_trusted(register),
            Kind::Memory => !register.flags.has(Flags::UNTRUSTED),
            _ => false,
        }
}

/// Whether a pointer to a structure is valid for sure (`is_trusted_reg`).
pub(crate) fn is_trusted(register: &Register) -> bool {
    if register.reference != 0 {
        return true;
    }
    let trusted = register.flags.has(Flags::TRUSTED)
        || (register.kind == Kind::Structure && register.flags.has(Flags::ALLOCATED));
    trusted && !register.flags.has(Flags::UNTRUSTED) && !register.is_nullable()
}

fn packet_outcome(condition: Condition, a: &Register, b: &Register) -> Outcome {
    let (pointer, condition) = if b.kind == Kind::PacketEnd {
        (a, condition)
    } else if a.kind == Kind::PacketEnd {
        (b, flipped(condition))
    } else {
        return Outcome::Unknown;
    };
    let (at, beyond) = (pointer.size == AT_PACKET_END, pointer.size == BEYOND_PACKET_END);
    if !pointer.is_packet() || !(at || beyond) {
        return Outcome::Unknown;
    }
    match condition {
        Condition::Greater if beyond => Outcome::Always,
        Condition::LessOrEqual if beyond => Outcome::Never,
        Condition::GreaterOrEqual => Outcome::Always,
        Condition::Less => Outcome::Never,
        _ => Outcome::Unknown,
    }
}

/// As much of the number as is compared is known.
fn exact(register: &Register, width: Width) -> bool {
    match width {
        Width::W64 => register.number.is_exact(),
        Width::W32 => register.number.exact_low().is_some(),
    }
}

/// A comparison, and by whose rules one learns from it.
struct Compared {
    condition: Condition,
    width: Width,
    rules: Rules,
}

impl Compared {
    fn teaches(&self, a: &Register, b: &Register, holds: bool) -> bool {
        let equal = match self.condition {
            Condition::Equal => Some(holds),
            Condition::NotEqual => Some(!holds),
            _ => None,
        };
        if equal == Some(false) {
            return self.rules.has(Change::Differences);
        }
        exact(a, self.width)
            || exact(b, self.width)
            || equal == Some(true) && self.width == Width::W64
            || self.rules.has(Change::Comparisons)
    }
}

/// What the two numbers are if the condition holds or not, for them and their copies.
fn learn(
    state: &mut State,
    compared: &Compared,
    (left, a): (u8, &Register),
    (right, b): (Option<u8>, &Register),
    holds: bool,
    linked: &Linked,
) {
    let (mut x, mut y) = (a.number, b.number);
    if !compared.teaches(a, b, holds) {
        return;
    }
    if compared.condition == Condition::Set && !holds && compared.rules.has(Change::ForgottenRanges)
    {
        // The side that learns.
        match (exact(b, compared.width), exact(a, compared.width)) {
            (true, _) => x.forget_bounds(),
            (false, true) => y.forget_bounds(),
            (false, false) => {}
        }
    }
    Scalar::refine(&mut x, &mut y, compared.condition, compared.width, holds);
    if right == Some(left) {
        // Both sides are one register, which learns what each side does (the kernel passes it twice
        // to regs_refine_cond_op, Linux 6.12): on a way that can't be taken, mostly nonsense.
        x.meet(&y);
        y = x;
    }
    for number in [&mut x, &mut y] {
        if number.is_contradiction() {
            // The way can't be taken; it is walked with nothing known. (The kernel still knows the
            // bits that it has worked out, but takes no bounds from them; __mark_reg_unbounded,
            // Linux 6.18.)
            *number = Scalar::UNKNOWN;
        }
    }
    let frame = state.frame_mut();
    frame.registers[usize::from(left)].number = x;
    if let Some(right) = right {
        frame.registers[usize::from(right)].number = y;
    }
    for (number, before) in [(right, b), (Some(left), a)] {
        if let Some(number) = number
            && before.id != 0
        {
            let known = state.frame().registers[usize::from(number)];
            spread(state, &known, linked);
        }
    }
}

/// Copies of the register learn what it has learnt.
fn spread(state: &mut State, known: &Register, linked: &Linked) {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (at, frame) in state.frames.iter().enumerate() {
        for (number, register) in frame.registers.iter().enumerate() {
            if register.is_scalar() && register.id == known.id && register != known {
                places.push((at, number));
            }
        }
        for (index, slot) in frame.stack.iter().enumerate() {
            if slot.is_spilled_scalar() && slot.register.id == known.id && slot.register != *known {
                places.push((at, 16 + index));
            }
        }
    }
    for (at, place) in places {
        let frame = state.frame_at_mut(at);
        let register = match place.checked_sub(16) {
            Some(slot) => &mut frame.slot_mut(slot).register,
            None => &mut frame.registers[place],
        };
        if !linked.iter().any(|entry| entry == (at, place)) {
            // Too many copies to keep a note of all: this one goes its own way.
            forget_group(register);
            continue;
        }
        let (own_off, own_flags) = (register.off, register.flags);
        let same = register.off == known.off
            && register.flags.has(Flags::PLUS) == known.flags.has(Flags::PLUS);
        register.number = known.number;
        if !same {
            // base = known - its step; this = base + own step
            let delta =
                i64::from(step_of(own_flags, own_off)) - i64::from(step_of(known.flags, known.off));
            register.number.alu(
                bpf_isa::AluOp::Add,
                Width::W64,
                &Scalar::exactly(delta.cast_unsigned()),
            );
        }
        (register.off, register.flags) = (own_off, own_flags);
    }
}

fn step_of(flags: Flags, off: i32) -> i32 {
    if flags.has(Flags::PLUS) { off } else { 0 }
}
