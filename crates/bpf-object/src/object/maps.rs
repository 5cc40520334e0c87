//! Maps and variables of all sections, and the addresses in them.

use super::*;
use crate::bytes::double;
use crate::map::{InitialValue, Pointer, PointerTarget, data_map, defined, legacy, struct_ops};

/// Where a map's definition lies in its section, for the addresses in it.
pub(super) struct Pending {
    section: usize,
    start: u64,
    end: u64,
    map: usize,
    /// Where its list of initial values begins, if it is a definition by types.
    values: Option<u64>,
}

impl Object {
    pub(super) fn read_maps(&mut self, elf: &Elf<'_>) -> Result<Vec<Pending>, Error> {
        let mut pending = Vec::new();
        for (index, section) in elf.sections.iter().enumerate() {
            let next = self.maps.len();
            if let Some(kind) = section.data_kind() {
                if section.size == 0 {
                    continue;
                }
                self.maps.push(data_map(section, kind, self.types.as_ref())?);
                self.places.data.insert(index, next);
                self.read_variables(elf, index, next);
                let end = section.size;
                pending.push(Pending { section: index, start: 0, end, map: next, values: None });
            } else if section.name == ".maps" {
                for defined in defined(elf, index, section, self.types.as_ref())? {
                    let map = self.maps.len();
                    self.places.maps.insert((index, defined.offset), map);
                    pending.push(Pending {
                        section: index,
                        start: defined.offset,
                        end: defined.offset.saturating_add(defined.size),
                        map,
                        values: defined.values,
                    });
                    self.maps.push(defined.map);
                }
            } else if section.name == "maps" || section.name.starts_with("maps/") {
                for (offset, map) in legacy(elf, index, section)? {
                    self.places.maps.insert((index, offset), self.maps.len());
                    self.maps.push(map);
                }
            } else if matches!(section.name, ".struct_ops" | ".struct_ops.link")
                && let Some(types) = &self.types
            {
                for (start, map) in struct_ops(section, types) {
                    let end = start.saturating_add(map.value_size.into());
                    let number = self.maps.len();
                    self.places.maps.insert((index, start), number);
                    pending.push(Pending { section: index, start, end, map: number, values: None });
                    self.maps.push(map);
                }
            }
        }
        Ok(pending)
    }

    fn read_variables(&mut self, elf: &Elf<'_>, section: usize, map: usize) {
        for symbol in elf.symbols_in(section).filter(|s| !s.name.is_empty() && s.size > 0) {
            let is_variable = |kind: &Kind| matches!(kind, Kind::Variable { .. });
            let kind = self.types.as_ref().and_then(|types| {
                let id = types.find(symbol.name, is_variable)?;
                let Some(Kind::Variable { kind, .. }) = types.kind(id) else { return None };
                Some(*kind)
            });
            self.variables.push(Variable {
                name: symbol.name.to_owned(),
                map,
                offset: symbol.value,
                size: symbol.size,
                kind,
            });
        }
    }

    /// Addresses in sections of variables and in definitions of maps.
    pub(super) fn read_pointers(
        &mut self,
        elf: &Elf<'_>,
        pending: &[Pending],
    ) -> Result<(), Error> {
        for part in pending {
            let Some(section) = elf.sections.get(part.section) else { continue };
            let relocations = sorted(&section.relocations);
            for relocation in within(&relocations, part.start, part.end, |r| r.offset) {
                let fail = |problem| self.at(part.section, relocation.offset, problem);
                if relocation.sort == R_BPF_64_ABS32 {
                    return Err(fail(Problem::RelocationType(relocation.sort)));
                }
                if relocation.sort != R_BPF_64_ABS64 && relocation.sort != R_BPF_64_64 {
                    return Err(fail(Problem::RelocationType(relocation.sort)));
                }
                let symbol = elf.symbols.get(relocation.symbol);
                let symbol = symbol.ok_or_else(|| fail(Problem::NoSymbol))?;
                let addend = usize::try_from(relocation.offset)
                    .ok()
                    .and_then(|at| double(section.data, at))
                    .ok_or_else(|| fail(Problem::Misplaced))?;
                let target = self
                    .pointer_target(symbol.section, symbol.value.wrapping_add(addend))
                    .ok_or_else(|| fail(Problem::Target(symbol.name.to_owned())))?;
                let from_start = relocation.offset - part.start;
                if self.maps[part.map].origin != Origin::Types {
                    let pointer = Pointer { offset: from_start, target };
                    self.maps[part.map].pointers.push(pointer);
                    continue;
                }
                let index = part.values.and_then(|values| from_start.checked_sub(values));
                let index = index.filter(|index| index % 8 == 0).map(|index| (index / 8) as u32);
                let index = index.ok_or_else(|| fail(Problem::Misplaced))?;
                self.maps[part.map].values.push(InitialValue { index, target });
            }
        }
        Ok(())
    }

    fn pointer_target(&self, section: Option<usize>, offset: u64) -> Option<PointerTarget> {
        let section = section?;
        if let Some(map) = self.places.maps.get(&(section, offset)) {
            Some(PointerTarget::Map(*map))
        } else if let Some(map) = self.places.data.get(&section) {
            Some(PointerTarget::Value { map: *map, offset })
        } else {
            let function = self.functions.get(*self.places.functions.get(&(section, offset))?)?;
            Some(PointerTarget::Function(function.name.clone()))
        }
    }
}
