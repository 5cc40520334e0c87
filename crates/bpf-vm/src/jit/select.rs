//! Jumps over a single copy: the copy becomes one that depends on the comparison.

use bpf_isa::{Condition, Source, Width};

use super::ir::Inst;
use crate::program::Program;

/// Done before anything else, so that such a jump isn't one for whoever comes later.
pub(super) fn form(program: &Program, code: &mut [Inst]) {
    let Some(last) = code.len().checked_sub(2) else { return };
    let is_short = |position: usize, inst: &Inst| matches!(inst, Inst::JumpIf { target, .. } if *target as usize == position + 2);
    let mut candidates: Vec<usize> = Vec::new();
    for position in 0..last {
        let is_copy = matches!(
            code[position + 1],
            Inst::Move { width: Width::W64, .. } | Inst::Constant { .. }
        );
        if is_copy && is_short(position, &code[position]) {
            candidates.push(position);
        }
    }
    if candidates.is_empty() {
        return;
    }
    // Nobody else may come in between.
    let mut is_target = vec![false; code.len()];
    for target in code.iter().filter_map(Inst::target).chain(program.functions.values().copied()) {
        is_target[target as usize] = true;
    }
    for position in candidates {
        let Inst::JumpIf { condition, width, left, right, .. } = code[position] else { continue };
        let Some(condition) = negated(condition).filter(|_| !is_target[position + 1]) else {
            continue;
        };
        let (dst, value) = match code[position + 1] {
            Inst::Move { dst, src, .. } => (dst, Source::Register(src)),
            Inst::Constant { dst, value } => match i32::try_from(value.cast_signed()) {
                Ok(value) => (dst, Source::Immediate(value)),
                Err(_) => continue,
            },
            _ => continue,
        };
        code[position] = Inst::Nothing;
        code[position + 1] = Inst::Select { condition, width, left, right, dst, value };
    }
}

fn negated(condition: Condition) -> Option<Condition> {
    Some(match condition {
        Condition::Equal => Condition::NotEqual,
        Condition::NotEqual => Condition::Equal,
        Condition::Greater => Condition::LessOrEqual,
        Condition::LessOrEqual => Condition::Greater,
        Condition::Less => Condition::GreaterOrEqual,
        Condition::GreaterOrEqual => Condition::Less,
        Condition::SignedGreater => Condition::SignedLessOrEqual,
        Condition::SignedLessOrEqual => Condition::SignedGreater,
        Condition::SignedLess => Condition::SignedGreaterOrEqual,
        Condition::SignedGreaterOrEqual => Condition::SignedLess,
        Condition::Set => return None,
    })
}
