//! Damaged type information.

use std::hint::black_box;

use bpf_object::Object;
use bpf_object::btf::{Btf, Composite, Int, Kind, Linkage, Member, TypeId};

use crate::objects::damaged;
use crate::{Random, Target};

/// Whatever bytes come, there are types that can be asked, or an error; and what was read is
/// written so that it reads the same.
#[derive(Debug)]
pub struct Types {
    originals: Vec<Vec<u8>>,
}

impl Types {
    /// The types of objects.
    pub fn new(files: &[Vec<u8>]) -> Self {
        let types = files.iter().filter_map(|file| Object::parse(file).ok()?.types);
        let originals = types.chain([small()]).map(|types| types.to_bytes()).collect();
        Self { originals }
    }
}

fn small() -> Btf {
    let mut types = Btf::new();
    let int = Kind::Int(Int { size: 4, encoding: Int::SIGNED, bit_offset: 0, bits: 32 });
    let int = types.add("int", int);
    let name = types.intern("next");
    let members = vec![Member { name, kind: TypeId(3), bit_offset: 64, bits: 0 }];
    types.add("node", Kind::Struct(Composite { size: 16, has_bit_fields: false, members }));
    types.add("", Kind::Pointer(TypeId(2)));
    let prototype = types.add("", Kind::Prototype { returns: int, parameters: Vec::new() });
    types.add("run", Kind::Function { prototype, linkage: Linkage::Global });
    types
}

impl Target for Types {
    fn attempt(&mut self, random: &mut Random) -> Result<&'static str, String> {
        let original = &self.originals[random.below(self.originals.len())];
        let bytes = damaged(original, random);
        let Ok(types) = Btf::parse(&bytes) else { return Ok("refused") };
        for (id, _) in types.own_types().take(300) {
            black_box((types.describe(id), types.size(id), types.member(id, "next")));
            black_box(types.field_of(id, ".next[1].next"));
        }
        black_box((types.field("node.next"), types.named_essentially("node")));
        let written = types.to_bytes();
        match Btf::parse(&written) {
            Ok(again) if again == types => Ok("read"),
            Ok(_) => Err(format!("{} bytes read as other types once written", bytes.len())),
            Err(error) => Err(format!("what was read is written and refused: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::holds;

    #[test]
    fn a_short_run() {
        let report = holds(&mut Types::new(&[]), 5_000);
        assert!(report.sorts["read"].count > 100, "{report}");
    }
}
