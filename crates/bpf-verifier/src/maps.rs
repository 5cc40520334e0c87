//! Maps as far as programs depend on them.

use bpf_interface::program::Special;
use bpf_object::btf::{Btf, Kind, TypeId};
use bpf_object::{Map, MapType, Object, Origin};

/// Programs may only read values (`BPF_F_RDONLY_PROG`), or only write them (`BPF_F_WRONLY_PROG`).
const READ_ONLY: u32 = 1 << 7;
const WRITE_ONLY: u32 = 1 << 8;

/// With more special fields the kernel takes a value as one without any (`BTF_FIELDS_MAX`).
const MAX_FIELDS: usize = 11;

#[derive(Clone, Debug)]
pub(crate) struct MapInfo {
    pub name: String,
    pub kind: MapType,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
    /// What its values are like, for maps of maps: an index behind the object's own.
    pub inner: Option<usize>,
    pub record: Record,
    /// In the object's types.
    pub value_type: Option<TypeId>,
    /// The value, if it never changes.
    pub constant: Option<Vec<u8>>,
}

/// What the kernel looks after in a value or an allocated object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub fields: Vec<SpecialField>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SpecialField {
    pub special: Special,
    pub offset: u32,
    pub kptr: Option<Kptr>,
}

/// A field that holds a pointer to a kernel structure, or to one of the program's own types.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kptr {
    /// In the object's types.
    pub target: TypeId,
    pub sort: KptrSort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KptrSort {
    Untrusted,
    Referenced,
    PerCpu,
}

impl Record {
    pub fn find(&self, special: Special) -> Option<&SpecialField> {
        self.fields.iter().find(|field| field.special == special)
    }

    pub fn lock(&self) -> Option<&SpecialField> {
        self.find(Special::SpinLock)
    }

    pub fn at(&self, special: Special, offset: i64) -> Option<&SpecialField> {
        self.fields.iter().find(|f| f.special == special && i64::from(f.offset) == offset)
    }

    pub fn kptr_at(&self, offset: i64) -> Option<SpecialField> {
        self.at(Special::Kptr, offset).copied()
    }
}

impl MapInfo {
    pub fn writable(&self) -> bool {
        self.flags & READ_ONLY == 0
    }

    pub fn readable(&self) -> bool {
        self.flags & WRITE_ONLY == 0
    }

    /// The number at that place, if it never changes.
    pub fn constant(&self, offset: i64, size: u8) -> Option<u64> {
        let start = usize::try_from(offset).ok()?;
        let bytes = self.constant.as_ref()?.get(start..start.checked_add(size.into())?)?;
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        Some(u64::from_le_bytes(word))
    }
}

/// The object's maps, and behind them what maps of maps hold.
pub(crate) fn maps(object: Option<&Object>) -> Vec<MapInfo> {
    let Some(object) = object else { return Vec::new() };
    let types = object.types.as_ref();
    let mut maps: Vec<MapInfo> = object.maps.iter().map(|map| info(map, types)).collect();
    for (index, map) in object.maps.iter().enumerate() {
        // Without a definition, an initial value shows what its values are like.
        let example = map.values.iter().find_map(|value| match value.target {
            bpf_object::PointerTarget::Map(inner) => object.maps.get(inner),
            _ => None,
        });
        let inner = map.inner.as_deref().or(example);
        if let Some(inner) = inner.filter(|_| map.kind.holds_maps()) {
            maps[index].inner = Some(maps.len());
            let mut info = info(inner, types);
            info.constant = None;
            maps.push(info);
        }
    }
    maps
}

fn info(map: &Map, types: Option<&Btf>) -> MapInfo {
    let value = map.value_type.zip(types);
    let record = value.map_or_else(Record::default, |(id, types)| record(types, id));
    let never_changes =
        matches!(map.origin, Origin::Data(bpf_object::DataKind::ReadOnly) | Origin::Configuration);
    MapInfo {
        name: map.name.clone(),
        kind: map.kind,
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        flags: map.flags,
        inner: None,
        record,
        value_type: map.value_type,
        constant: map.contents.clone().filter(|_| never_changes && map.pointers.is_empty()),
    }
}

/// The special fields of a structure or a list of variables.
pub(crate) fn record(types: &Btf, id: TypeId) -> Record {
    let mut record = Record::default();
    collect(types, id, 0, &mut record, 8);
    if record.fields.len() > MAX_FIELDS {
        return Record::default();
    }
    record.fields.sort_by_key(|field| field.offset);
    record
}

fn collect(types: &Btf, id: TypeId, base: u32, record: &mut Record, depth: u32) {
    if depth == 0 {
        return;
    }
    match types.resolve(id) {
        Some((_, Kind::Struct(composite))) => {
            for member in &composite.members {
                collect_member(types, member.kind, base + member.bit_offset / 8, record, depth - 1);
            }
        }
        Some((_, Kind::DataSection { variables, .. })) => {
            for place in variables {
                if let Some(Kind::Variable { kind, .. }) = types.kind(place.variable) {
                    collect_member(types, *kind, base + place.offset, record, depth - 1);
                }
            }
        }
        _ => {}
    }
}

fn collect_member(types: &Btf, id: TypeId, offset: u32, record: &mut Record, depth: u32) {
    if record.fields.len() > 1024 {
        return;
    }
    match types.resolve(id) {
        Some((inner, Kind::Struct(_))) => match Special::from_type(types.name(inner)) {
            Some(special) => record.fields.push(SpecialField { special, offset, kptr: None }),
            None => collect(types, inner, offset, record, depth),
        },
        Some((_, Kind::Array(array))) => {
            let Some(size) = types.size(array.element).and_then(|s| u32::try_from(s).ok()) else {
                return;
            };
            // Only small arrays have any in practice; plain ones are skipped at once.
            let mut probe = Record::default();
            collect_member(types, array.element, 0, &mut probe, depth.saturating_sub(1));
            if probe.fields.is_empty() {
                return;
            }
            for index in 0..array.count.min(1024) {
                let at = offset.saturating_add(index.saturating_mul(size));
                record.fields.extend(
                    probe.fields.iter().map(|f| SpecialField { offset: at + f.offset, ..*f }),
                );
            }
        }
        Some((_, Kind::Pointer(target))) => {
            if let Some(kptr) = kptr(types, *target) {
                let special = Special::Kptr;
                record.fields.push(SpecialField { special, offset, kptr: Some(kptr) });
            }
        }
        _ => {}
    }
}

/// Pointers are kernel pointers by their tag.
fn kptr(types: &Btf, target: TypeId) -> Option<Kptr> {
    let Some(Kind::TypeTag { target: tagged, .. }) = types.kind(target) else { return None };
    let sort = match types.name(target) {
        "kptr_untrusted" => KptrSort::Untrusted,
        "kptr" => KptrSort::Referenced,
        "percpu_kptr" => KptrSort::PerCpu,
        _ => return None,
    };
    let (structure, _) = types.resolve(*tagged)?;
    Some(Kptr { target: structure, sort })
}

/// As the kernel calls it (include/linux/bpf.h: btf_field_type_name).
pub(crate) fn special_name(special: Special) -> &'static str {
    match special {
        Special::SpinLock => "bpf_spin_lock",
        Special::Timer => "bpf_timer",
        Special::WorkQueue => "bpf_wq",
        Special::Kptr => "kptr",
        Special::ListHead => "bpf_list_head",
        Special::ListNode => "bpf_list_node",
        Special::TreeRoot => "bpf_rb_root",
        Special::TreeNode => "bpf_rb_node",
        Special::ReferenceCount => "bpf_refcount",
    }
}
