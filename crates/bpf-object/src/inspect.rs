//! An object's contents as data, for a user to read and for tools to compare.

use std::collections::{BTreeMap, BTreeSet};

use bpf_isa::{Access, AluOp, AtomicOp, Callee, Distance, Instruction, Wide, Width};

use crate::btf::{CoreKind, Kind, Linkage, TypeId};
use crate::kind::{AttachType, MapType, ProgramType};
use crate::link::Program;
use crate::map::Map;
use crate::object::{Extern, ExternSort, Object, SectionSummary};

/// What is in an object.
#[derive(Clone, Debug)]
pub struct Inspection<'a> {
    pub license: &'a str,
    pub sections: &'a [SectionSummary],
    pub programs: Vec<ProgramSummary>,
    pub maps: &'a [Map],
    pub externs: &'a [Extern],
    pub types: TypeSummary,
    /// CO-RE relocations of all functions.
    pub core: Vec<CoreSummary>,
    pub needs: BTreeSet<Need>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSummary {
    pub name: String,
    pub section: String,
    pub program: Option<ProgramType>,
    pub attach: Option<AttachType>,
    /// What it attaches to, as its section says.
    pub target: String,
    /// Slots of 8 bytes with all that it calls.
    pub slots: usize,
    /// What it calls, with itself in the first place.
    pub functions: Vec<String>,
    /// Indices in the list of maps, sorted.
    pub maps: Vec<usize>,
    /// Numbers of helpers, sorted.
    pub helpers: Vec<i32>,
}

/// How many types there are of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeSummary {
    pub total: u32,
    pub kinds: BTreeMap<&'static str, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreSummary {
    pub function: String,
    /// In the function.
    pub slot: u32,
    pub kind: CoreKind,
    /// The type it begins at, as C writes it.
    pub root: String,
    pub path: String,
}

/// Something that a kernel or runtime must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    Program(ProgramType),
    Attach(AttachType),
    Sleepable,
    /// XDP with packets of several fragments.
    Fragments,
    Map(MapType),
    Helper(i32),
    KernelFunction(String),
    KernelVariable(String),
    /// Instructions that came after the first ones.
    Instructions(Group),
    /// Variables in maps, addressed directly.
    GlobalVariables,
    LocalCalls,
    /// Functions that are verified on their own.
    GlobalFunctions,
    /// Addresses of functions.
    Callbacks,
    /// The kernel's own types, for CO-RE relocations or typed externs.
    KernelTypes,
    Types,
}

/// Groups of instructions, by what must be there to run them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Jumps that compare halves of registers.
    Jump32,
    /// Atomics other than adding without a result.
    Atomics,
    /// Of cpu v4: signed division, loads and moves that extend the sign, swaps, far jumps.
    V4,
    MayGoto,
    LoadAcquire,
    /// Casts between address spaces.
    Arena,
    /// Of the first BPF: loads from a packet.
    Packet,
    CallRegister,
}

impl Object {
    /// Looks at the object and at the given programs, which are its own, linked.
    pub fn inspect(&self, programs: &[Program]) -> Inspection<'_> {
        let mut needs = BTreeSet::new();
        let programs = programs.iter().map(|program| summary(self, program, &mut needs)).collect();
        needs.extend(self.maps.iter().map(|map| Need::Map(map.kind)));
        for external in &self.externs {
            let name = external.name.clone();
            match external.sort {
                _ if external.weak => {}
                ExternSort::Function => {
                    needs.insert(Need::KernelFunction(name));
                }
                ExternSort::Variable { .. } => {
                    needs.insert(Need::KernelVariable(name));
                }
                ExternSort::Configuration { .. } => {}
            }
        }
        if self.types.is_some() {
            needs.insert(Need::Types);
        }
        let core: Vec<CoreSummary> = self.core_summaries();
        if core.iter().any(|record| record.kind != CoreKind::TypeIdLocal) {
            needs.insert(Need::KernelTypes);
        }
        Inspection {
            license: &self.license,
            sections: &self.sections,
            programs,
            maps: &self.maps,
            externs: &self.externs,
            types: self.type_summary(),
            core,
            needs,
        }
    }

    fn core_summaries(&self) -> Vec<CoreSummary> {
        let Some(types) = &self.types else { return Vec::new() };
        let functions = self.functions.iter();
        let all = functions.flat_map(|function| function.core.iter().map(move |r| (function, r)));
        all.map(|(function, record)| CoreSummary {
            function: function.name.clone(),
            slot: record.offset,
            kind: record.kind,
            root: types.describe(record.root),
            path: types.string(record.path).unwrap_or_default().to_owned(),
        })
        .collect()
    }

    fn type_summary(&self) -> TypeSummary {
        let Some(types) = &self.types else { return TypeSummary::default() };
        let mut kinds: BTreeMap<&'static str, u32> = BTreeMap::new();
        for (_, entry) in types.own_types() {
            *kinds.entry(kind_name(&entry.kind)).or_default() += 1;
        }
        TypeSummary { total: types.count() - 1, kinds }
    }
}

fn summary(object: &Object, program: &Program, needs: &mut BTreeSet<Need>) -> ProgramSummary {
    let (mut maps, mut helpers) = (BTreeSet::new(), BTreeSet::new());
    if let Some(kind) = &program.kind {
        needs.insert(Need::Program(kind.program));
        needs.extend(kind.attach.map(Need::Attach));
        needs.extend(kind.sleepable.then_some(Need::Sleepable));
        needs.extend(kind.fragments.then_some(Need::Fragments));
    }
    for placed in &program.instructions {
        needs.extend(group(&placed.instruction).map(Need::Instructions));
        match placed.instruction {
            Instruction::Call { callee: Callee::Helper(id) } => {
                helpers.insert(id);
                needs.insert(Need::Helper(id));
            }
            Instruction::Call { callee: Callee::Local(_) } => {
                needs.insert(Need::LocalCalls);
            }
            Instruction::LoadWide { value, .. } => match value {
                Wide::MapByIndex(map) => {
                    maps.insert(map as usize);
                }
                Wide::MapValueByIndex { map, .. } => {
                    maps.insert(map as usize);
                    needs.insert(Need::GlobalVariables);
                }
                Wide::Code(_) => {
                    needs.insert(Need::Callbacks);
                }
                Wide::Variable(_) => {
                    needs.insert(Need::KernelTypes);
                }
                _ => {}
            },
            _ => {}
        }
    }
    let is_global = |kind: Option<TypeId>| {
        let kind = kind.and_then(|id| object.types.as_ref()?.kind(id));
        matches!(kind, Some(Kind::Function { linkage: Linkage::Global, .. }))
    };
    if program.functions.iter().skip(1).any(|function| is_global(function.kind)) {
        needs.insert(Need::GlobalFunctions);
    }
    ProgramSummary {
        name: program.name.clone(),
        section: program.section.clone(),
        program: program.kind.as_ref().map(|kind| kind.program),
        attach: program.kind.as_ref().and_then(|kind| kind.attach),
        target: program.kind.as_ref().map(|kind| kind.target.clone()).unwrap_or_default(),
        slots: program.code.len() / bpf_isa::SLOT,
        functions: program.functions.iter().map(|function| function.name.clone()).collect(),
        maps: maps.into_iter().collect(),
        helpers: helpers.into_iter().collect(),
    }
}

fn group(instruction: &Instruction) -> Option<Group> {
    Some(match instruction {
        Instruction::JumpIf { width: Width::W32, .. } => Group::Jump32,
        Instruction::Atomic { op, .. } if *op != AtomicOp::Add => Group::Atomics,
        Instruction::Alu { op: AluOp::SignedDiv | AluOp::SignedMod, .. }
        | Instruction::MoveSigned { .. }
        | Instruction::Load { access: Access::Signed(_), .. }
        | Instruction::ByteOrder { order: bpf_isa::Order::Swap, .. }
        | Instruction::Jump { distance: Distance::Far(_) } => Group::V4,
        Instruction::MayGoto { .. } => Group::MayGoto,
        Instruction::LoadAcquire { .. } | Instruction::StoreRelease { .. } => Group::LoadAcquire,
        Instruction::CastAddress { .. } => Group::Arena,
        Instruction::LoadPacket { .. } => Group::Packet,
        Instruction::CallRegister { .. } => Group::CallRegister,
        _ => return None,
    })
}

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Int(_) => "int",
        Kind::Pointer(_) => "pointer",
        Kind::Array(_) => "array",
        Kind::Struct(_) => "struct",
        Kind::Union(_) => "union",
        Kind::Enum(_) => "enum",
        Kind::Forward { .. } => "forward",
        Kind::Typedef(_) => "typedef",
        Kind::Volatile(_) => "volatile",
        Kind::Const(_) => "const",
        Kind::Restrict(_) => "restrict",
        Kind::Function { .. } => "function",
        Kind::Prototype { .. } => "prototype",
        Kind::Variable { .. } => "variable",
        Kind::DataSection { .. } => "section",
        Kind::Float { .. } => "float",
        Kind::DeclarationTag { .. } => "declaration tag",
        Kind::TypeTag { .. } => "type tag",
        Kind::Enum64(_) => "enum64",
    }
}
