//! Names that the object leaves to the kernel.

use super::*;
use crate::kind::MapType;

impl Object {
    /// Reads them from the undefined symbols. Index of the symbol to index of the extern.
    pub(super) fn read_externs(&mut self, elf: &Elf<'_>) -> Result<HashMap<usize, usize>, Error> {
        let mut found = HashMap::new();
        let mut configuration = Vec::new();
        for (index, symbol) in elf.symbols.iter().enumerate() {
            if symbol.section.is_some() || symbol.is_local() || symbol.name.is_empty() {
                continue;
            }
            let (sort, kind) = self.extern_sort(symbol.name, &mut configuration);
            found.insert(index, self.externs.len());
            let name = symbol.name.to_owned();
            self.externs.push(Extern { name, sort, weak: symbol.is_weak(), kind });
        }
        if !configuration.is_empty() {
            let mut map = Map::new(".kconfig", Origin::Configuration);
            map.kind = MapType::ARRAY;
            map.key_size = 4;
            map.value_size = configuration.len() as u32;
            map.max_entries = 1;
            map.flags = crate::map::MAPPABLE | crate::map::READ_ONLY_FOR_PROGRAMS;
            map.contents = Some(configuration);
            self.maps.push(map);
        }
        Ok(found)
    }

    fn extern_sort(&self, name: &str, configuration: &mut Vec<u8>) -> (ExternSort, Option<TypeId>) {
        // Compilers write no types for functions of theirs, such as `memcpy`.
        let unknown = (ExternSort::Function, None);
        let Some(types) = &self.types else { return unknown };
        let declared = types.find(name, |kind| {
            matches!(
                kind,
                Kind::Function { linkage: Linkage::Extern, .. }
                    | Kind::Variable { linkage: Linkage::Extern, .. }
            )
        });
        let Some((id, kind)) = declared.and_then(|id| Some((id, types.kind(id)?))) else {
            return unknown;
        };
        let Kind::Variable { kind, .. } = kind else { return (ExternSort::Function, Some(id)) };
        if !self.is_configuration(id) {
            let typed = types.resolve(*kind).is_some();
            return (ExternSort::Variable { typed }, Some(*kind));
        }
        // The longest are strings; nobody needs more than a page.
        let size = types.size(*kind).unwrap_or(8).clamp(1, 4096);
        let offset = (configuration.len() as u64).next_multiple_of(8);
        configuration.resize((offset + size) as usize, 0);
        (ExternSort::Configuration { map: self.maps.len(), offset, size }, Some(*kind))
    }

    fn is_configuration(&self, id: TypeId) -> bool {
        let list = self.types.as_ref().and_then(|types| {
            let list = types.find(".kconfig", |kind| matches!(kind, Kind::DataSection { .. }))?;
            types.kind(list)
        });
        matches!(list, Some(Kind::DataSection { variables, .. })
            if variables.iter().any(|place| place.variable == id))
    }
}
