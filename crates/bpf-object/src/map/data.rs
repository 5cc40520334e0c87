//! Variables as maps.

use super::*;
use crate::btf::{Btf, Kind};
use crate::elf::Section;
use crate::error::{Error, Problem};

/// A section of variables is an array with one value.
pub fn data_map(section: &Section<'_>, kind: DataKind, btf: Option<&Btf>) -> Result<Map, Error> {
    let mut map = array(section.name, Origin::Data(kind), section.size)?;
    map.flags = MAPPABLE;
    if kind == DataKind::ReadOnly {
        map.flags |= READ_ONLY_FOR_PROGRAMS;
    }
    map.value_type =
        btf.and_then(|btf| btf.find(section.name, |kind| matches!(kind, Kind::DataSection { .. })));
    let mut contents = section.data.to_vec();
    // `.bss` has no bytes in the file; a damaged object could claim any number of them.
    if contents.is_empty() && section.size <= 1 << 30 {
        contents = vec![0; section.size as usize];
    }
    if contents.len() as u64 != section.size {
        return Err(Error::Map { map: section.name.to_owned(), problem: Problem::ValueSize });
    }
    map.contents = Some(contents);
    Ok(map)
}

/// An array with one value of `size` bytes.
pub fn array(name: &str, origin: Origin, size: u64) -> Result<Map, Error> {
    let value_size = u32::try_from(size)
        .map_err(|_| Error::Map { map: name.to_owned(), problem: Problem::ValueSize })?;
    let map = Map::new(name, origin);
    Ok(Map { kind: MapType::ARRAY, key_size: 4, value_size, max_entries: 1, ..map })
}

/// The variables of a section of operations that the kernel is to call, with their offsets.
pub fn struct_ops(section: &Section<'_>, btf: &Btf) -> Vec<(u64, Map)> {
    let link = section.name == ".struct_ops.link";
    let list = btf.find(section.name, |kind| matches!(kind, Kind::DataSection { .. }));
    let Some(Kind::DataSection { variables, .. }) = list.and_then(|id| btf.kind(id)) else {
        return Vec::new();
    };
    let map = |place: &crate::btf::Placement| {
        let Some(Kind::Variable { kind, .. }) = btf.kind(place.variable) else { return None };
        let size = btf.size(*kind)?;
        let start = place.offset as usize;
        let contents = section.data.get(start..start.checked_add(size as usize)?)?;
        let name = btf.name(place.variable);
        let mut map = array(name, Origin::StructOps { link }, size).ok()?;
        map.kind = MapType::STRUCT_OPS;
        map.value_type = Some(*kind);
        map.contents = Some(contents.to_vec());
        Some((u64::from(place.offset), map))
    };
    variables.iter().filter_map(map).collect()
}
