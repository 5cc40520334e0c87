//! Maps defined by records of numbers.

use super::*;
use crate::bytes::word;
use crate::elf::{Elf, Section};
use crate::error::{Error, Problem};

/// The maps of a section `maps`, with their offsets. All records are of the same size, which
/// nothing tells but the number of symbols.
pub fn legacy(
    elf: &Elf<'_>,
    index: usize,
    section: &Section<'_>,
) -> Result<Vec<(u64, Map)>, Error> {
    let symbols: Vec<_> =
        elf.symbols_in(index).filter(|s| !s.is_function() && !s.name.is_empty()).collect();
    if symbols.is_empty() {
        return Ok(Vec::new());
    }
    let size = section.size / symbols.len() as u64;
    let wrong = |offset| Error::At {
        section: section.name.to_owned(),
        offset,
        problem: Problem::LegacySize,
    };
    if size < 16 || size * symbols.len() as u64 != section.size {
        return Err(wrong(section.size));
    }
    let mut maps = Vec::new();
    for symbol in symbols {
        let field = |index: usize| {
            let at = usize::try_from(symbol.value).ok()?.checked_add(index * 4)?;
            // Short records end before the flags.
            if index as u64 * 4 < size { word(section.data, at) } else { Some(0) }
        };
        let fields: Option<Vec<u32>> = (0..5).map(field).collect();
        let Some([kind, key_size, value_size, max_entries, flags]) = fields.as_deref() else {
            return Err(wrong(symbol.value));
        };
        let map = Map {
            kind: MapType(*kind),
            key_size: *key_size,
            value_size: *value_size,
            max_entries: *max_entries,
            flags: *flags,
            ..Map::new(symbol.name, Origin::Legacy)
        };
        maps.push((symbol.value, map));
    }
    Ok(maps)
}
