//! `.BTF.ext`: which function and which source line each instruction belongs to, and the records
//! of relocations against the kernel's types (CO-RE).

use super::read::header;
use super::*;
use crate::bytes::{Reader, word};

/// The records of all sections. Offsets count bytes from the start of the section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extension {
    pub functions: Records<FunctionRecord>,
    pub lines: Records<LineRecord>,
    pub relocations: Records<CoreRecord>,
}

/// Records of one sort, grouped by the section of instructions they are about.
pub type Records<R> = Vec<SectionRecords<R>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionRecords<R> {
    /// The section's name.
    pub section: StringId,
    pub records: Vec<R>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionRecord {
    pub offset: u32,
    pub kind: TypeId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRecord {
    pub offset: u32,
    pub file: StringId,
    /// The line's text, often empty.
    pub text: StringId,
    pub line: u32,
    pub column: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreRecord {
    pub offset: u32,
    /// The local type that the path begins at.
    pub root: TypeId,
    /// Such as `0:1:2`: index of the element, then of members.
    pub path: StringId,
    pub kind: CoreKind,
}

/// What a CO-RE relocation asks of the target's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum CoreKind {
    FieldOffset,
    FieldSize,
    FieldExists,
    FieldSigned,
    /// How far a loaded word is shifted left, so that a bit field's top bit is the word's.
    FieldShiftLeft,
    FieldShiftRight,
    TypeIdLocal,
    TypeIdTarget,
    TypeExists,
    TypeSize,
    EnumeratorExists,
    EnumeratorValue,
    TypeMatches,
}

impl CoreKind {
    pub const ALL: [Self; 13] = [
        Self::FieldOffset,
        Self::FieldSize,
        Self::FieldExists,
        Self::FieldSigned,
        Self::FieldShiftLeft,
        Self::FieldShiftRight,
        Self::TypeIdLocal,
        Self::TypeIdTarget,
        Self::TypeExists,
        Self::TypeSize,
        Self::EnumeratorExists,
        Self::EnumeratorValue,
        Self::TypeMatches,
    ];
}

impl Extension {
    /// Reads the section `.BTF.ext`.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        let header = header(bytes)?;
        let part = |field: usize| -> Result<&[u8], BtfError> {
            let cut = BtfError { offset: field, reason: "it is cut off" };
            // Old compilers' headers end before the CO-RE records.
            let (Some(start), Some(length)) = (header.word(field), header.word(field + 4)) else {
                return Ok(&[]);
            };
            let start = (start as usize).checked_add(header.bytes.len()).ok_or(cut)?;
            let end = start.checked_add(length as usize).ok_or(cut)?;
            bytes.get(start..end).ok_or(cut)
        };
        let relocation = |record: &[u8]| {
            let kind = CoreKind::ALL.get(word(record, 12)? as usize)?;
            let root = TypeId(word(record, 4)?);
            let (offset, path) = (word(record, 0)?, StringId(word(record, 8)?));
            Some(CoreRecord { offset, root, path, kind: *kind })
        };
        Ok(Self {
            functions: records(part(8)?, 8, |record| {
                Some(FunctionRecord { offset: word(record, 0)?, kind: TypeId(word(record, 4)?) })
            })?,
            lines: records(part(16)?, 16, |record| {
                let position = word(record, 12)?;
                Some(LineRecord {
                    offset: word(record, 0)?,
                    file: StringId(word(record, 4)?),
                    text: StringId(word(record, 8)?),
                    line: position >> 10,
                    column: position & 0x3ff,
                })
            })?,
            relocations: records(part(24)?, 16, relocation)?,
        })
    }
}

impl Extension {
    /// The bytes of the section `.BTF.ext`.
    pub fn to_bytes(&self) -> Vec<u8> {
        const HEADER: u32 = 32;
        let functions = written(&self.functions, 8, |record| vec![record.offset, record.kind.0]);
        let lines = written(&self.lines, 16, |record| {
            let position = record.line << 10 | record.column & 0x3ff;
            vec![record.offset, record.file.0, record.text.0, position]
        });
        let relocations = written(&self.relocations, 16, |record| {
            vec![record.offset, record.root.0, record.path.0, record.kind as u32]
        });
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_le_bytes());
        // Version, flags.
        bytes.extend([1, 0]);
        bytes.extend(HEADER.to_le_bytes());
        let mut start = 0;
        for part in [&functions, &lines, &relocations] {
            bytes.extend((start as u32).to_le_bytes());
            bytes.extend((part.len() as u32).to_le_bytes());
            start += part.len();
        }
        [bytes, functions, lines, relocations].concat()
    }
}

fn written<R>(groups: &Records<R>, size: u32, words: impl Fn(&R) -> Vec<u32>) -> Vec<u8> {
    if groups.is_empty() {
        return Vec::new();
    }
    let mut all = vec![size];
    for group in groups {
        all.extend([group.section.0, group.records.len() as u32]);
        all.extend(group.records.iter().flat_map(&words));
    }
    all.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// `smallest` is the size of a record that we know; newer compilers may append fields.
fn records<R>(
    bytes: &[u8],
    smallest: usize,
    read: impl Fn(&[u8]) -> Option<R>,
) -> Result<Records<R>, BtfError> {
    let mut groups = Vec::new();
    if bytes.is_empty() {
        return Ok(groups);
    }
    let wrong = |offset, reason| BtfError { offset, reason };
    let mut reader = Reader::new(bytes);
    let size = reader.next_word().ok_or(wrong(0, "the size of records is cut off"))? as usize;
    if size < smallest || !size.is_multiple_of(4) {
        return Err(wrong(0, "the size of records is too small or no multiple of four"));
    }
    let mut at = 4;
    while at < bytes.len() {
        let cut = wrong(at, "a list of records is cut off");
        let section = StringId(word(bytes, at).ok_or(cut)?);
        let count = word(bytes, at + 4).ok_or(cut)? as usize;
        let length = count.checked_mul(size).ok_or(cut)?;
        let end = (at + 8).checked_add(length).ok_or(cut)?;
        let list = bytes.get(at + 8..end).ok_or(cut)?.chunks_exact(size);
        let list: Option<Vec<R>> = list.map(&read).collect();
        let records = list.ok_or(wrong(at, "a record is of a kind that is not known"))?;
        groups.push(SectionRecords { section, records });
        at = end;
    }
    Ok(groups)
}
