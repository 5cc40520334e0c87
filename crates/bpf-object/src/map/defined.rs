//! Maps defined by types: a variable in section `.maps` is a struct whose members say by their
//! types what the map is like. A number is the length of an array behind a pointer.

use super::*;
use crate::btf::{Btf, Kind, TypeId};
use crate::elf::{Elf, Section};
use crate::error::{Error, Problem};

/// A map and where its definition lies.
#[derive(Debug)]
pub struct Defined {
    pub offset: u64,
    pub size: u64,
    /// Where in the definition the list of initial values begins.
    pub values: Option<u64>,
    pub map: Map,
}

pub fn defined(
    elf: &Elf<'_>,
    index: usize,
    section: &Section<'_>,
    btf: Option<&Btf>,
) -> Result<Vec<Defined>, Error> {
    let btf = btf.ok_or_else(|| Error::At {
        section: section.name.to_owned(),
        offset: 0,
        problem: Problem::NoBtf,
    })?;
    let mut maps = Vec::new();
    for symbol in elf.symbols_in(index).filter(|s| !s.is_function() && !s.name.is_empty()) {
        let fail = |what: &str| Error::Map {
            map: symbol.name.to_owned(),
            problem: Problem::Definition(what.to_owned()),
        };
        let variable = btf.find(symbol.name, |kind| matches!(kind, Kind::Variable { .. }));
        let Some(Kind::Variable { kind, .. }) = variable.and_then(|id| btf.kind(id)) else {
            return Err(fail("a symbol without a variable of that name"));
        };
        let mut map = Map::new(symbol.name, Origin::Types);
        let values = define(btf, *kind, &mut map, true).map_err(|member| fail(&member))?;
        // A list of initial values has no length in the type.
        let size = btf.size(*kind).unwrap_or(0).max(symbol.size);
        maps.push(Defined { offset: symbol.value, size, values, map });
    }
    maps.sort_by_key(|defined| defined.offset);
    Ok(maps)
}

/// Fills the map by a struct's members. The offset of the list of values, if it has one; the name
/// of the member that isn't understood.
fn define(btf: &Btf, kind: TypeId, map: &mut Map, outer: bool) -> Result<Option<u64>, String> {
    let Some((_, Kind::Struct(definition))) = btf.resolve(kind) else {
        return Err(btf.describe(kind));
    };
    let mut values = None;
    for member in &definition.members {
        let name = btf.string(member.name).unwrap_or_default();
        let long = || number(btf, member.kind).ok_or_else(|| name.to_owned());
        let number = || long().and_then(|long| u32::try_from(long).map_err(|_| name.to_owned()));
        let pointed = || match btf.resolve(member.kind) {
            Some((_, Kind::Pointer(target))) => Ok(*target),
            _ => Err(name.to_owned()),
        };
        let size = |id: TypeId| {
            btf.size(id).and_then(|size| u32::try_from(size).ok()).ok_or_else(|| name.to_owned())
        };
        match name {
            "type" => map.kind = MapType(number()?),
            "max_entries" => map.max_entries = number()?,
            "map_flags" => map.flags = number()?,
            "numa_node" => map.numa_node = Some(number()?),
            "map_extra" => map.extra = long()?,
            "key_size" => map.key_size = number()?,
            "value_size" => map.value_size = number()?,
            "pinning" => {
                map.pinned_by_name = match number()? {
                    0 => false,
                    1 => true,
                    other => return Err(format!("pinning = {other}")),
                };
            }
            "key" => {
                let id = pointed()?;
                (map.key_size, map.key_type) = (size(id)?, Some(id));
            }
            "value" => {
                let id = pointed()?;
                (map.value_size, map.value_type) = (size(id)?, Some(id));
            }
            "values" if outer => {
                values = Some(u64::from(member.bit_offset / 8));
                let Some((_, Kind::Array(array))) = btf.resolve(member.kind) else {
                    return Err(name.to_owned());
                };
                let Some((_, Kind::Pointer(element))) = btf.resolve(array.element) else {
                    return Err(name.to_owned());
                };
                (map.key_size, map.value_size) = (4, 4);
                if let Some((_, Kind::Struct(_))) = btf.resolve(*element) {
                    let mut inner = Map::new("", Origin::Types);
                    define(btf, *element, &mut inner, false)?;
                    map.inner = Some(Box::new(inner));
                }
            }
            other => return Err(other.to_owned()),
        }
    }
    if map.kind.holds_maps() || map.kind == MapType::PROGRAM_ARRAY {
        // The value is an object's number, whatever the definition calls it.
        map.value_size = 4;
        if map.key_size == 0 {
            map.key_size = 4;
        }
    }
    Ok(values)
}

/// `int (*name)[number]`, or the only value of an enumeration.
fn number(btf: &Btf, kind: TypeId) -> Option<u64> {
    match btf.resolve(kind)?.1 {
        Kind::Pointer(target) => match btf.resolve(*target)?.1 {
            Kind::Array(array) => Some(array.count.into()),
            _ => None,
        },
        Kind::Enum(list) if list.values.len() == 1 => Some(list.values[0].1.into()),
        Kind::Enum64(list) if list.values.len() == 1 => Some(list.values[0].1),
        _ => None,
    }
}
