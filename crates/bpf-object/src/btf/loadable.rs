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

    /// As [`Btf::loadable`], by the kinds of types that Linux 5.10 has: floats came with 5.13, tags of
    /// declarations with 5.16, those of types with 5.17, signed and wide enumerations with 6.0.
    pub fn loadable_by_old(&self) -> Self {
        let mut old = self.loadable();
        for entry in &mut old.types {
            let number =
                |size: u32, encoding| Int { size, encoding, bit_offset: 0, bits: size as u8 * 8 };
            match &mut entry.kind {
                Kind::Float { size } => {
                    let composite = Composite { size: *size, ..Composite::default() };
                    (entry.name, entry.kind) = (StringId(0), Kind::Struct(composite));
                }
                // The smallest type, so that it fits wherever it stands.
                Kind::DeclarationTag { .. } => entry.kind = Kind::Int(number(1, 0)),
                Kind::TypeTag { target, .. } => {
                    (entry.name, entry.kind) = (StringId(0), Kind::Const(*target));
                }
                Kind::Enum(list) => list.signed = false,
                Kind::Enum64(list) => {
                    let encoding = if list.signed { Int::SIGNED } else { 0 };
                    entry.kind = Kind::Int(number(list.size.clamp(1, 8), encoding));
                }
                _ => {}
            }
        }
        old
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
    fn old_kernels_get_kinds_that_they_know() {
        let mut btf = Btf::new();
        let float = btf.add("double", Kind::Float { size: 8 });
        let tag = Kind::DeclarationTag { target: float, component: -1, attribute: false };
        let tag = btf.add("comment:more than a name", tag);
        let user = btf.add("user", Kind::TypeTag { target: float, attribute: false });
        let values = vec![(StringId(0), 1 << 40)];
        let wide = btf.add("wide", Kind::Enum64(Enum64 { size: 8, signed: true, values }));
        let old = btf.loadable_by_old();
        let told: Vec<(&str, String)> = [float, tag, user, wide]
            .map(|id| (old.name(id), format!("{:?}", old.kind(id).unwrap())))
            .into();
        let kind = |at: usize| told[at].1.split(['(', ' ']).next().unwrap();
        assert_eq!(["Struct", "Int", "Const", "Int"], [kind(0), kind(1), kind(2), kind(3)]);
        assert_eq!(("", "", "wide"), (told[0].0, told[2].0, told[3].0));
        assert_eq!((old.size(float), old.size(wide)), (Some(8), Some(8)));
        assert_eq!(Btf::parse(&old.to_bytes()).unwrap().count(), btf.count());
    }

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
