//! Types to bytes.

use super::*;

impl Btf {
    /// The bytes of the section `.BTF`: what was read and added, in the same order.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut types = Words::default();
        for entry in &self.types {
            types.entry(entry);
        }
        let (types, strings) = (types.0, &self.strings);
        let mut header = Words::default();
        header.0.extend(MAGIC.to_le_bytes());
        // Version, flags.
        header.0.extend([1, 0]);
        header.words(&[24, 0, types.len() as u32, types.len() as u32, strings.len() as u32]);
        [header.0.as_slice(), &types, strings].concat()
    }
}

#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn words(&mut self, words: &[u32]) {
        self.0.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    fn entry(&mut self, entry: &Type) {
        let mut head = |number: u32, count: usize, flag: bool, size: u32| {
            let info = number << 24 | (count as u32 & 0xffff) | u32::from(flag) << 31;
            self.words(&[entry.name.0, info, size]);
        };
        match &entry.kind {
            Kind::Int(int) => {
                head(1, 0, false, int.size);
                self.0.extend([int.bits, 0, int.bit_offset, int.encoding]);
            }
            Kind::Pointer(target) => head(2, 0, false, target.0),
            Kind::Array(array) => {
                head(3, 0, false, 0);
                self.words(&[array.element.0, array.index.0, array.count]);
            }
            Kind::Struct(composite) | Kind::Union(composite) => {
                let number = if matches!(entry.kind, Kind::Struct(_)) { 4 } else { 5 };
                let flag = composite.has_bit_fields;
                head(number, composite.members.len(), flag, composite.size);
                for member in &composite.members {
                    let offset = if flag {
                        u32::from(member.bits) << 24 | member.bit_offset & 0xff_ffff
                    } else {
                        member.bit_offset
                    };
                    self.words(&[member.name.0, member.kind.0, offset]);
                }
            }
            Kind::Enum(list) => {
                head(6, list.values.len(), list.signed, list.size);
                for (name, value) in &list.values {
                    self.words(&[name.0, *value]);
                }
            }
            Kind::Forward { union } => head(7, 0, *union, 0),
            Kind::Typedef(target) => head(8, 0, false, target.0),
            Kind::Volatile(target) => head(9, 0, false, target.0),
            Kind::Const(target) => head(10, 0, false, target.0),
            Kind::Restrict(target) => head(11, 0, false, target.0),
            Kind::Function { prototype, linkage } => {
                head(12, number(*linkage) as usize, false, prototype.0);
            }
            Kind::Prototype { returns, parameters } => {
                head(13, parameters.len(), false, returns.0);
                for parameter in parameters {
                    self.words(&[parameter.name.0, parameter.kind.0]);
                }
            }
            Kind::Variable { kind, linkage } => {
                head(14, 0, false, kind.0);
                self.words(&[number(*linkage)]);
            }
            Kind::DataSection { size, variables } => {
                head(15, variables.len(), false, *size);
                for place in variables {
                    self.words(&[place.variable.0, place.offset, place.size]);
                }
            }
            Kind::Float { size } => head(16, 0, false, *size),
            Kind::DeclarationTag { target, component, attribute } => {
                head(17, 0, *attribute, target.0);
                self.words(&[component.cast_unsigned()]);
            }
            Kind::TypeTag { target, attribute } => head(18, 0, *attribute, target.0),
            Kind::Enum64(list) => {
                head(19, list.values.len(), list.signed, list.size);
                for (name, value) in &list.values {
                    self.words(&[name.0, *value as u32, (*value >> 32) as u32]);
                }
            }
        }
    }
}

fn number(linkage: Linkage) -> u32 {
    match linkage {
        Linkage::Static => 0,
        Linkage::Global => 1,
        Linkage::Extern => 2,
    }
}
