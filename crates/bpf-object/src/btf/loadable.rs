//! What the kernel takes of an object's types.

use super::*;

impl Btf {
    /// The same types as the kernel takes them, under the same numbers. What it refuses to have in
    /// an object's types (externs, sections without a size) becomes a name for `void`: programs
    /// name externs by the kernel's own types.
    pub fn loadable(&self) -> Self {
        let mut loadable = self.clone();
        let replaced: Vec<(TypeId, Kind)> = self
            .own_types()
            .filter_map(|(id, entry)| Some((id, self.replacement(entry)?)))
            .collect();
        for (id, kind) in replaced {
            loadable.replace(id, kind);
        }
        loadable
    }

    fn replacement(&self, entry: &Type) -> Option<Kind> {
        match &entry.kind {
            Kind::Function { linkage: Linkage::Extern, .. }
            | Kind::Variable { linkage: Linkage::Extern, .. } => Some(Kind::Typedef(TypeId::VOID)),
            // kernel/bpf/btf.c (6.12), btf_datasec_check_meta: a size of 0 is refused.
            Kind::DataSection { size, variables } => {
                let external = variables.iter().any(|place| {
                    matches!(
                        self.kind(place.variable),
                        Some(
                            Kind::Function { .. } | Kind::Variable { linkage: Linkage::Extern, .. }
                        )
                    )
                });
                (external || *size == 0)
                    .then(|| Kind::DataSection { size: (*size).max(1), variables: Vec::new() })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn externs_become_names() {
        let mut btf = Btf::new();
        let prototype =
            btf.add("", Kind::Prototype { returns: TypeId::VOID, parameters: Vec::new() });
        let own = btf.add("own", Kind::Function { prototype, linkage: Linkage::Global });
        let foreign = btf.add("foreign", Kind::Function { prototype, linkage: Linkage::Extern });
        let place = Placement { variable: foreign, offset: 0, size: 0 };
        let section = btf.add(".ksyms", Kind::DataSection { size: 0, variables: vec![place] });
        let loadable = btf.loadable();
        assert_eq!(loadable.kind(own), btf.kind(own));
        assert_eq!(loadable.kind(foreign), Some(&Kind::Typedef(TypeId::VOID)));
        assert_eq!(loadable.name(foreign), "foreign");
        let empty = Kind::DataSection { size: 1, variables: Vec::new() };
        assert_eq!(loadable.kind(section), Some(&empty));
    }
}
