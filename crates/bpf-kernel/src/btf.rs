//! A reader for type information (BTF): names, structs, members. Nothing is interpreted beyond
//! what finding a field or a string needs.
//!
//! Layout: Documentation/bpf/btf.rst. Damaged input gives `None` or an error, never a panic.

use crate::Error;

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// How deep typedefs and anonymous members may nest before we call it a loop.
const MAX_DEPTH: u32 = 32;

/// Type information of a kernel or an object.
#[derive(Clone, Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    /// Where each type begins; index 0 is `void`.
    types: Vec<u32>,
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug)]
struct Member {
    name: u32,
    kind: u32,
    /// From the start of the struct.
    bits: u32,
}

impl Btf {
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Error> {
        let damaged = Error::KernelBtf;
        let word = |at: usize| read(&bytes, at).ok_or(damaged("the header is cut off"));
        if word(0)? as u16 != MAGIC {
            return Err(damaged("it does not begin as BTF does, or has another byte order"));
        }
        let header = word(4)? as usize;
        let (types_at, types_len) = (header + word(8)? as usize, word(12)? as usize);
        let strings = header + word(16)? as usize;
        let end = types_at + types_len;
        if end > bytes.len() || strings > bytes.len() {
            return Err(damaged("the sections are longer than the whole"));
        }
        let mut types = vec![u32::MAX];
        let mut at = types_at;
        while at + 12 <= end {
            types.push(at as u32);
            let info = word(at + 4)?;
            let count = (info & 0xffff) as usize;
            at += 12
                + match info >> 24 & 0x1f {
                    KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                    KIND_ARRAY => 12,
                    KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * count,
                    KIND_ENUM | KIND_FUNC_PROTO => 8 * count,
                    // FWD (7) and FLOAT (16) have nothing behind them either.
                    KIND_PTR | KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT
                    | KIND_FUNC | KIND_TYPE_TAG | 7 | 16 => 0,
                    _ => return Err(damaged("it holds a kind of type we do not know")),
                };
        }
        Ok(Self { bytes, strings, types })
    }

    pub(crate) fn string(&self, offset: u32) -> Option<&str> {
        let rest = self.bytes.get(self.strings.checked_add(offset as usize)?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }

    fn word(&self, id: u32, index: usize) -> Option<u32> {
        read(&self.bytes, *self.types.get(id as usize)? as usize + index * 4)
    }

    fn kind(&self, id: u32) -> Option<u32> {
        Some(self.word(id, 1)? >> 24 & 0x1f)
    }

    fn struct_named(&self, name: &str) -> Option<u32> {
        (1..self.types.len() as u32).find(|id| {
            self.kind(*id) == Some(KIND_STRUCT)
                && self.word(*id, 0).and_then(|at| self.string(at)) == Some(name)
        })
    }

    /// The struct or union behind typedefs and qualifiers.
    fn resolved(&self, mut id: u32) -> Option<u32> {
        for _ in 0..MAX_DEPTH {
            match self.kind(id)? {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = self.word(id, 2)?;
                }
                KIND_STRUCT | KIND_UNION => return Some(id),
                _ => return None,
            }
        }
        None
    }

    fn members(&self, id: u32) -> impl Iterator<Item = Member> {
        let info = self.word(id, 1).unwrap_or(0);
        (0..(info & 0xffff) as usize).map_while(move |index| {
            let offset = self.word(id, 3 + index * 3 + 2)?;
            // With the kind flag the upper 8 bits are the size of a bit field.
            let bits = if info >> 31 == 1 { offset & 0xff_ffff } else { offset };
            Some(Member {
                name: self.word(id, 3 + index * 3)?,
                kind: self.word(id, 3 + index * 3 + 1)?,
                bits,
            })
        })
    }

    /// The member of that name, also inside anonymous structs and unions: its bit offset and type.
    fn member(&self, id: u32, name: &str, depth: u32) -> Option<(u32, u32)> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.members(id).find_map(|member| {
            if member.name != 0 {
                return (self.string(member.name) == Some(name))
                    .then_some((member.bits, member.kind));
            }
            let (bits, kind) = self.member(self.resolved(member.kind)?, name, depth + 1)?;
            Some((member.bits + bits, kind))
        })
    }

    /// The byte offset of `struct.field`, or of `struct.field.field` where the outer field is
    /// itself a struct (not a pointer). `None` if this kernel has no such field.
    pub fn offset(&self, path: &str) -> Option<u32> {
        let mut parts = path.split('.');
        let mut id = self.struct_named(parts.next()?)?;
        let (mut bits, mut parts) = (0, parts.peekable());
        parts.peek()?;
        while let Some(part) = parts.next() {
            let (offset, kind) = self.member(id, part, 0)?;
            bits += offset;
            if parts.peek().is_some() {
                id = self.resolved(kind)?;
            }
        }
        (bits % 8 == 0).then_some(bits / 8)
    }
}

fn read(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
