//! CO-RE: what a program compiled against one kernel's types needs to know of another's.
//!
//! A record names a type of the object and a path in it. The type of the same name (without
//! flavour) is looked for in the target; members are matched by name, through anonymous structs,
//! and must be of compatible types. Several candidates must agree, or the answer is ambiguous.
//! The rules are those of libbpf, on which programs rely.

use crate::btf::{Btf, CoreKind, CoreRecord, Kind, MAX_DEPTH, TypeId};

mod compatible;
mod patch;
mod path;

pub(crate) use patch::patch;
use path::{Path, Step};

/// Why a relocation can't be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoreError {
    #[error("its path `{0}` leads nowhere in the object's own types")]
    Path(String),
    #[error("its type has no name, so no other can be looked for")]
    Anonymous,
    #[error("the target's types give different answers for `{0}`")]
    Ambiguous(String),
    #[error("it is about a bit field that no load of 8 bytes can hold")]
    WideBitField,
    #[error("this cannot be asked of an array element")]
    Element,
    #[error("the instruction holds {found} where the compiler's types say {expected}")]
    Unexpected { expected: u64, found: u64 },
    #[error("the new value {0} has no room in the instruction")]
    Range(u64),
    #[error("the instruction is of a kind that no such relocation changes")]
    Instruction,
    #[error("a load or store of {old} bytes cannot become one of {new}")]
    Size { old: u64, new: u64 },
}

/// What a relocation comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// With the object's own types, as the compiler has put it into the instruction.
    pub local: u64,
    /// With the target's types. `None`: the target has no such field, and the instruction must
    /// not be reached.
    pub target: Option<u64>,
    /// Whether the instruction must hold `local`. Compilers disagree about bit fields.
    pub(crate) checked: bool,
    /// Sizes of the field in bytes if they differ, and whether a load may be resized for it.
    pub(crate) resize: Option<Resize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resize {
    pub old: u64,
    pub new: u64,
    pub allowed: bool,
}

/// One side's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Value {
    value: u64,
    checked: bool,
    /// Size and type of the field whose offset is asked for.
    field: Option<(u64, TypeId)>,
}

/// Answers one record of an object with types `local` for `target`.
pub fn answer(record: &CoreRecord, local: &Btf, target: &Btf) -> Result<Answer, CoreError> {
    let text = local.string(record.path).unwrap_or_default();
    let path = Path::parse(local, record.root, text, record.kind)
        .ok_or_else(|| CoreError::Path(text.to_owned()))?;
    let own = value(record.kind, local, &path)?;
    let fixed = |target| Answer { local: own.value, target, checked: own.checked, resize: None };
    if record.kind == CoreKind::TypeIdLocal {
        return Ok(fixed(Some(own.value)));
    }
    let name = local.name(record.root);
    if name.is_empty() {
        return Err(CoreError::Anonymous);
    }
    let mut found: Option<(Path, Value)> = None;
    for candidate in candidates(local, record.root, target) {
        let Some(matched) = path.find_in(local, target, candidate, record.kind) else { continue };
        let value = value(record.kind, target, &matched)?;
        match &found {
            None => found = Some((matched, value)),
            Some((first, first_value)) => {
                if first.bit_offset != matched.bit_offset || first_value.value != value.value {
                    return Err(CoreError::Ambiguous(name.to_owned()));
                }
            }
        }
    }
    Ok(match found {
        Some((_, value)) => {
            Answer { resize: resize(local, &own, target, &value), ..fixed(Some(value.value)) }
        }
        None => fixed(absent(record.kind)),
    })
}

/// The target's types that may be what the object means by `root`.
fn candidates(local: &Btf, root: TypeId, target: &Btf) -> Vec<TypeId> {
    let Some(kind) = local.kind(root) else { return Vec::new() };
    let mut found = target.named_essentially(local.name(root));
    found.retain(|id| target.kind(*id).is_some_and(|other| compatible::same_sort(kind, other)));
    found
}

/// The answer if the target has no such type, field or enumerator.
fn absent(kind: CoreKind) -> Option<u64> {
    match kind {
        CoreKind::FieldExists
        | CoreKind::TypeExists
        | CoreKind::TypeMatches
        | CoreKind::TypeSize
        | CoreKind::TypeIdLocal
        | CoreKind::TypeIdTarget
        | CoreKind::EnumeratorExists => Some(0),
        _ => None,
    }
}

fn value(kind: CoreKind, btf: &Btf, path: &Path) -> Result<Value, CoreError> {
    let plain = |value| Ok(Value { value, checked: true, field: None });
    let size = |id| btf.size(id).ok_or_else(|| CoreError::Path(btf.describe(id)));
    match kind {
        CoreKind::FieldExists
        | CoreKind::TypeExists
        | CoreKind::TypeMatches
        | CoreKind::EnumeratorExists => plain(1),
        CoreKind::TypeIdLocal => plain(path.root.0.into()),
        CoreKind::TypeIdTarget => {
            Ok(Value { value: path.root.0.into(), checked: false, field: None })
        }
        CoreKind::TypeSize => plain(size(path.root)?),
        CoreKind::EnumeratorValue => {
            plain(path.enumerator(btf).ok_or_else(|| CoreError::Path(btf.describe(path.root)))?)
        }
        _ => field(kind, btf, path),
    }
}

fn field(kind: CoreKind, btf: &Btf, path: &Path) -> Result<Value, CoreError> {
    let lost = || CoreError::Path(btf.describe(path.root));
    let size = |id| btf.size(id).ok_or_else(lost);
    let plain = |value| Value { value, checked: true, field: None };
    let (composite, member) = match *path.steps.last().ok_or_else(lost)? {
        Step::Element { kind: element, .. } => {
            let size = size(element)?;
            return match kind {
                CoreKind::FieldOffset => {
                    Ok(Value { field: Some((size, element)), ..plain(path.bit_offset / 8) })
                }
                CoreKind::FieldSize => Ok(plain(size)),
                _ => Err(CoreError::Element),
            };
        }
        Step::Member { composite, index } => (composite, index),
    };
    let member = btf.composite(composite).and_then(|c| c.members.get(member)).ok_or_else(lost)?;
    let (id, resolved) = btf.resolve(member.kind).ok_or_else(lost)?;
    let is_bit_field = member.bits != 0;
    let (mut bytes, mut byte) = (size(id)?, path.bit_offset / 8);
    let bits = if is_bit_field { member.bits.into() } else { bytes.saturating_mul(8) };
    let end = path.bit_offset.checked_add(bits).ok_or_else(lost)?;
    if is_bit_field {
        // The smallest aligned word that holds all of its bits.
        while bytes != 0 {
            byte = path.bit_offset / 8 / bytes * bytes;
            if end - byte * 8 <= bytes.saturating_mul(8) {
                break;
            }
            bytes *= 2;
        }
        if !matches!(bytes, 1..=8) {
            return Err(CoreError::WideBitField);
        }
    }
    let checked = !is_bit_field;
    let unchecked = |value| Value { value, checked, field: None };
    Ok(match kind {
        CoreKind::FieldOffset => {
            Value { field: (!is_bit_field).then_some((bytes, id)), ..unchecked(byte) }
        }
        CoreKind::FieldSize => unchecked(bytes),
        CoreKind::FieldSigned => plain(u64::from(match resolved {
            Kind::Int(int) => int.is_signed(),
            Kind::Enum(list) => list.signed,
            Kind::Enum64(list) => list.signed,
            _ => false,
        })),
        CoreKind::FieldShiftLeft => unchecked(64u64.wrapping_sub(end - byte * 8)),
        _ => plain(64u64.wrapping_sub(bits)),
    })
}

/// Programs read 32-bit kernels' pointers, and unsigned integers that have become wider.
fn resize(local: &Btf, own: &Value, target: &Btf, other: &Value) -> Option<Resize> {
    let ((old, own), (new, other)) = (own.field?, other.field?);
    let allowed = match (local.resolve(own)?.1, target.resolve(other)?.1) {
        (Kind::Pointer(_), Kind::Pointer(_)) => true,
        (Kind::Int(old), Kind::Int(new)) => !old.is_signed() && !new.is_signed(),
        _ => false,
    };
    (old != new).then_some(Resize { old, new, allowed })
}
