//! What a program needs of a kernel, and what of it a kernel lacks.

use std::collections::BTreeMap;

use bpf_isa::{Access, AluOp, AtomicOp, Callee, Distance, Instruction, Order, Wide, Width};
use bpf_object::{
    AttachType as A, ExternSort, MapType, Object, Program, ProgramType as P,
    btf::{Kind, Linkage},
};

use crate::{
    feature::{Ability, Feature},
    profile::{Has, Profile},
};

/// A feature and the first place that needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    pub feature: Feature,
    /// In the program; `None` for what the program needs as a whole.
    pub slot: Option<usize>,
}

impl Need {
    /// Where the need comes from in the source: file, line and the line's text.
    pub fn line<'a>(&self, program: &'a Program) -> Option<&'a bpf_object::Line> {
        let slot = self.slot?;
        let after = program.lines.partition_point(|line| line.slot <= slot);
        program.lines.get(after.checked_sub(1)?)
    }
}

/// What the program needs, each feature once, all its instructions taken as reached.
pub fn needs(program: &Program, object: &Object) -> Vec<Need> {
    needs_of(program, object, |_| true)
}

/// As [`needs`], for the slots that the verifier has found to be `reached`: the kernel doesn't look
/// at others, so that a program may use there what its kernel lacks.
pub fn needs_of(program: &Program, object: &Object, reached: impl Fn(usize) -> bool) -> Vec<Need> {
    let mut found = Found::default();
    let kind = program.kind.as_ref();
    if let Some(kind) = kind {
        found.add(Feature::Program(kind.program), None);
        if let Some(attach) = kind.attach.filter(|attach| is_checked(*attach, &program.section)) {
            found.add(Feature::Attach(attach), None);
        }
        if kind.sleepable {
            found.ability(Ability::Sleepable, None);
        }
        if kind.fragments {
            found.ability(Ability::XdpFragments, None);
        }
    }
    if program.code.len() / bpf_isa::SLOT > SMALL {
        found.ability(Ability::LargePrograms, None);
    }
    let mut calls_locally = false;
    let mut tail_call = None;
    for placed in program.instructions.iter().filter(|placed| reached(placed.slot)) {
        let at = Some(placed.slot);
        if let Some(ability) = of_instruction(&placed.instruction) {
            found.ability(ability, at);
        }
        match placed.instruction {
            Instruction::JumpIf { offset, .. } if offset < 0 => {
                found.ability(Ability::BoundedLoops, at);
            }
            Instruction::Jump { distance } if distance.slots() < 0 => {
                found.ability(Ability::BoundedLoops, at);
            }
            Instruction::Call { callee: Callee::Helper(helper) } => {
                let helper = helper as u32;
                if helper == TAIL_CALL {
                    tail_call = tail_call.or(at);
                }
                if let Some(kind) = kind {
                    found.add(Feature::Helper { program: kind.program, helper }, at);
                }
            }
            Instruction::Call { callee: Callee::Local(_) } => calls_locally = true,
            Instruction::LoadWide { value, .. } => {
                if let Some(map) = map_of(value).and_then(|index| object.maps.get(index)) {
                    found.map(map.kind, at);
                }
            }
            _ => {}
        }
    }
    if calls_locally && tail_call.is_some() {
        found.ability(Ability::TailCallsInLocalCalls, tail_call);
    }
    externs(program, object, kind.map(|kind| kind.program), &reached, &mut found);
    let is_global = |function: &&bpf_object::LinkedFunction| {
        let kind = function.kind.and_then(|id| object.types.as_ref()?.kind(id));
        matches!(kind, Some(Kind::Function { linkage: Linkage::Global, .. }))
    };
    let functions = program.functions.iter().skip(1);
    if let Some(function) = functions.filter(|f| reached(f.slot)).find(is_global) {
        found.ability(Ability::GlobalFunctions, Some(function.slot));
    }
    // All maps of the object are made before the program is loaded.
    for map in &object.maps {
        found.map(map.kind, None);
        if let Some(inner) = &map.inner {
            found.map(inner.kind, None);
        }
    }
    found.into_needs()
}

fn externs(
    program: &Program,
    object: &Object,
    kind: Option<P>,
    reached: &impl Fn(usize) -> bool,
    found: &mut Found,
) {
    for used in program.externs.iter().filter(|used| reached(used.slot)) {
        let Some(external) = object.externs.get(used.external) else { continue };
        // What is weak may be missing: the program asks before it calls.
        if external.weak {
            continue;
        }
        let at = Some(used.slot);
        match external.sort {
            ExternSort::Function => {
                found.ability(Ability::KernelFunctions, at);
                if let Some(program) = kind {
                    let name = external.name.clone();
                    found.add(Feature::KernelFunction { program, name }, at);
                }
            }
            ExternSort::Variable { typed: true } => found.ability(Ability::KernelVariables, at),
            ExternSort::Variable { typed: false } | ExternSort::Configuration { .. } => {}
        }
    }
}

/// What of `needs` the kernel doesn't have, or probably not.
pub fn missing<'a>(needs: &'a [Need], profile: &Profile) -> Vec<(&'a Need, Has)> {
    let lacked = needs.iter().filter_map(|need| {
        let has = profile.has(&need.feature);
        (!has.is_likely()).then_some((need, has))
    });
    lacked.collect()
}

const TAIL_CALL: u32 = 12;
/// BPF_MAXINSNS, the limit before Linux 5.2.
const SMALL: usize = 4096;

/// Attach types that a kernel looks at when it loads the program, or without which the program's
/// place can't be had. Others are named by sections only, and loaders leave them out on old kernels.
fn is_checked(attach: A, section: &str) -> bool {
    match attach {
        A::XDP
        | A::CGROUP_INET_INGRESS
        | A::CGROUP_INET_EGRESS
        | A::CGROUP_SOCK_CREATE
        | A::CGROUP_SOCK_OPS
        | A::CGROUP_DEVICE
        | A::SK_MSG_VERDICT
        | A::SK_SKB_STREAM_PARSER
        | A::SK_SKB_STREAM_VERDICT
        | A::SK_REUSEPORT_SELECT
        | A::PERF_EVENT
        | A::STRUCT_OPS
        | A::LIRC_MODE2
        | A::FLOW_DISSECTOR => false,
        // `tc/ingress` goes to clsact as well.
        A::TCX_INGRESS | A::TCX_EGRESS => section.starts_with("tcx"),
        _ => true,
    }
}

fn map_of(value: Wide) -> Option<usize> {
    match value {
        Wide::MapByIndex(map) | Wide::MapValueByIndex { map, .. } => usize::try_from(map).ok(),
        _ => None,
    }
}

fn of_instruction(instruction: &Instruction) -> Option<Ability> {
    Some(match instruction {
        Instruction::JumpIf { width: Width::W32, .. } => Ability::Jump32,
        Instruction::Jump { distance: Distance::Far(_) } => Ability::V4,
        Instruction::Atomic { op, .. } if *op != AtomicOp::Add => Ability::Atomics,
        Instruction::Alu { op: AluOp::SignedDiv | AluOp::SignedMod, .. }
        | Instruction::MoveSigned { .. }
        | Instruction::Load { access: Access::Signed(_), .. }
        | Instruction::ByteOrder { order: Order::Swap, .. } => Ability::V4,
        Instruction::MayGoto { .. } => Ability::MayGoto,
        Instruction::LoadAcquire { .. } | Instruction::StoreRelease { .. } => Ability::LoadAcquire,
        Instruction::CastAddress { .. } => Ability::AddressSpaces,
        Instruction::Call { callee: Callee::Local(_) } => Ability::LocalCalls,
        Instruction::LoadWide { value, .. } => match value {
            Wide::Code(_) => Ability::Callbacks,
            Wide::MapValueByIndex { .. } => Ability::GlobalVariables,
            _ => return None,
        },
        _ => return None,
    })
}

/// Features in the order in which they were found, each with its first place.
#[derive(Default)]
struct Found {
    order: BTreeMap<Feature, (usize, Option<usize>)>,
}

impl Found {
    fn add(&mut self, feature: Feature, slot: Option<usize>) {
        let next = self.order.len();
        self.order.entry(feature).or_insert((next, slot));
    }

    fn ability(&mut self, ability: Ability, slot: Option<usize>) {
        self.add(Feature::Ability(ability), slot);
    }

    fn map(&mut self, map: MapType, slot: Option<usize>) {
        // Old objects define maps without a type that no program uses.
        if map != MapType::UNSPECIFIED {
            self.add(Feature::Map(map), slot);
        }
    }

    fn into_needs(self) -> Vec<Need> {
        let mut all: Vec<_> = self.order.into_iter().collect();
        all.sort_by_key(|(_, (order, _))| *order);
        all.into_iter().map(|(feature, (_, slot))| Need { feature, slot }).collect()
    }
}

#[cfg(test)]
mod tests;
