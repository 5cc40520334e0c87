//! Bytes to types.

use std::sync::{Arc, OnceLock};

use super::*;
use crate::bytes::Reader;

impl Btf {
    /// Reads the section `.BTF` of an object, or `/sys/kernel/btf/vmlinux`.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        Self::read(bytes, None)
    }

    /// Reads the types of a kernel module, which refer to those of the kernel.
    pub fn parse_split(bytes: &[u8], base: Arc<Btf>) -> Result<Self, BtfError> {
        Self::read(bytes, Some(base))
    }

    fn read(bytes: &[u8], base: Option<Arc<Btf>>) -> Result<Self, BtfError> {
        let header = header(bytes)?;
        let word = |at: usize| header.word(at).ok_or(cut(at));
        let section = |field: usize| {
            let (start, length) = (word(field)? as usize, word(field + 4)? as usize);
            let start = start.checked_add(header.bytes.len()).ok_or(cut(field))?;
            let end = start.checked_add(length).ok_or(cut(field))?;
            Ok((start, bytes.get(start..end).ok_or(cut(field))?))
        };
        let (start, types) = section(8)?;
        let (strings_at, strings) = section(16)?;
        match strings {
            [] if base.is_some() => {}
            // The first string of all is the empty one, for types without a name.
            [first, ..] if base.is_none() && *first != 0 => {
                return Err(BtfError {
                    offset: strings_at,
                    reason: "the first string isn't empty",
                });
            }
            [.., 0] => {}
            _ => return Err(BtfError { offset: strings_at, reason: "the strings have no end" }),
        }
        let first = base.as_ref().map_or(1, |base| base.count());
        let first_string =
            base.as_ref().map_or(0, |base| base.first_string + base.strings.len() as u32);
        let mut reader = Reader::new(types);
        let mut list = Vec::new();
        while !reader.is_empty() {
            let at = start + reader.position();
            let kind = read_type(&mut reader).map_err(|reason| BtfError { offset: at, reason })?;
            list.push(kind);
        }
        let strings = strings.to_vec();
        Ok(Self { base, strings, types: list, first, first_string, names: OnceLock::new() })
    }
}

fn cut(offset: usize) -> BtfError {
    BtfError { offset, reason: "it is cut off" }
}

/// The header that `.BTF` and `.BTF.ext` begin with, checked.
pub(super) fn header(bytes: &[u8]) -> Result<Reader<'_>, BtfError> {
    let whole = Reader::new(bytes);
    let magic = whole.half(0).ok_or(cut(0))?;
    let wrong = |offset, reason| Err(BtfError { offset, reason });
    if magic == MAGIC.swap_bytes() {
        return wrong(0, "it has big-endian byte order, which is not supported");
    }
    if magic != MAGIC {
        return wrong(0, "it does not begin with the magic number 0xeb9f");
    }
    if bytes.get(2) != Some(&1) {
        return wrong(2, "its version is not 1");
    }
    let length = whole.word(4).ok_or(cut(4))? as usize;
    if length < 24 {
        return wrong(4, "its header is too short");
    }
    Ok(Reader::new(bytes.get(..length).ok_or(cut(4))?))
}

fn read_type(reader: &mut Reader<'_>) -> Result<Type, &'static str> {
    let mut word = || reader.next_word().ok_or("a type is cut off");
    let name = StringId(word()?);
    let (info, size) = (word()?, word()?);
    if info & 0x60ff_0000 != 0 {
        return Err("reserved bits of a type are not zero");
    }
    let (number, count, flag) = (info >> 24 & 0x1f, (info & 0xffff) as usize, info >> 31 == 1);
    if count != 0 && !matches!(number, 4 | 5 | 6 | 12 | 13 | 15 | 19) {
        return Err("a type that has no list has a length");
    }
    if flag && !matches!(number, 4..=7 | 17..=19) {
        return Err("a type has a flag that its kind does not have");
    }
    let target = TypeId(size);
    let mut list = |words: usize| -> Result<Vec<[u32; 3]>, &'static str> {
        let mut list = Vec::new();
        for _ in 0..count {
            let mut record = [0; 3];
            for field in record.iter_mut().take(words) {
                *field = word()?;
            }
            list.push(record);
        }
        Ok(list)
    };
    let kind = match number {
        1 => {
            let data = word()?;
            let bytes = data.to_le_bytes();
            // Layout: bits, zero, bit offset, encoding.
            if bytes[1] != 0 {
                return Err("reserved bits of an integer are not zero");
            }
            Kind::Int(Int { size, encoding: bytes[3], bit_offset: bytes[2], bits: bytes[0] })
        }
        2 => Kind::Pointer(target),
        3 => {
            if size != 0 {
                return Err("an array has a size");
            }
            Kind::Array(Array { element: TypeId(word()?), index: TypeId(word()?), count: word()? })
        }
        4 | 5 => {
            let members = list(3)?.into_iter().map(|[name, kind, offset]| Member {
                name: StringId(name),
                kind: TypeId(kind),
                bit_offset: if flag { offset & 0xff_ffff } else { offset },
                bits: if flag { (offset >> 24) as u8 } else { 0 },
            });
            let composite = Composite { size, has_bit_fields: flag, members: members.collect() };
            if number == 4 { Kind::Struct(composite) } else { Kind::Union(composite) }
        }
        6 => {
            let values = list(2)?.into_iter().map(|[name, value, _]| (StringId(name), value));
            Kind::Enum(Enum { size, signed: flag, values: values.collect() })
        }
        7 => {
            if size != 0 {
                return Err("a forward declaration has a size");
            }
            Kind::Forward { union: flag }
        }
        8 => Kind::Typedef(target),
        9 => Kind::Volatile(target),
        10 => Kind::Const(target),
        11 => Kind::Restrict(target),
        // A function's linkage is where others have their length.
        12 => Kind::Function { prototype: target, linkage: linkage(count as u32)? },
        13 => {
            let parameters = list(2)?
                .into_iter()
                .map(|[name, kind, _]| Parameter { name: StringId(name), kind: TypeId(kind) });
            Kind::Prototype { returns: target, parameters: parameters.collect() }
        }
        14 => Kind::Variable { kind: target, linkage: linkage(word()?)? },
        15 => {
            let variables = list(3)?.into_iter().map(|[id, offset, size]| Placement {
                variable: TypeId(id),
                offset,
                size,
            });
            Kind::DataSection { size, variables: variables.collect() }
        }
        16 => Kind::Float { size },
        17 => Kind::DeclarationTag { target, component: word()?.cast_signed(), attribute: flag },
        18 => Kind::TypeTag { target, attribute: flag },
        19 => {
            let values = list(3)?
                .into_iter()
                .map(|[name, low, high]| (StringId(name), u64::from(high) << 32 | u64::from(low)));
            Kind::Enum64(Enum64 { size, signed: flag, values: values.collect() })
        }
        _ => return Err("it holds a kind of type that is not known"),
    };
    Ok(Type { name, kind })
}

fn linkage(number: u32) -> Result<Linkage, &'static str> {
    match number {
        0 => Ok(Linkage::Static),
        1 => Ok(Linkage::Global),
        2 => Ok(Linkage::Extern),
        _ => Err("a linkage is neither static nor global nor extern"),
    }
}
