//! The file format of the public conformance vectors (`*.data`).
//!
//! A file consists of sections, each begun by a line `-- name`. What counts is the program (`asm`,
//! or `raw` as numbers of 64 bits), the memory it is given, and its result.

use crate::encode;
use crate::text::{AssembleError, Syntax, assemble};

/// One conformance test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vector {
    /// The assembly, with empty lines for the rest of the file, so that lines keep their numbers.
    pub asm: Option<String>,
    pub raw: Option<Vec<u64>>,
    pub memory: Vec<u8>,
    pub expected: Expected,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    Result(u64),
    /// The program must be refused or fail; what others say then.
    Error(String),
}

impl Default for Expected {
    fn default() -> Self {
        Self::Error(String::new())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    #[error("line {line}: {text:?} is not a number in hexadecimal")]
    Number { line: usize, text: String },
    #[error("there is no section `asm` or `raw`")]
    NoProgram,
    #[error("there is no section `result` or `error`")]
    NoResult,
}

impl Vector {
    pub fn parse(text: &str) -> Result<Self, VectorError> {
        let mut vector = Self::default();
        let mut expected = None;
        let mut section = String::new();
        for (index, line) in text.lines().enumerate() {
            if let Some(name) = line.strip_prefix("--") {
                section = name.trim().to_owned();
                match section.as_str() {
                    "asm" => vector.asm = Some("\n".repeat(index + 1)),
                    "raw" => vector.raw = Some(Vec::new()),
                    "error" => expected = Some(Expected::Error(String::new())),
                    _ => {}
                }
                continue;
            }
            let content = line.split('#').next().unwrap_or_default().trim();
            let number = |text: &str| {
                let digits = text.trim_start_matches("0x").trim_start_matches("0X");
                let wrong = || VectorError::Number { line: index + 1, text: text.to_owned() };
                u64::from_str_radix(digits, 16).map_err(|_| wrong())
            };
            match section.as_str() {
                "asm" => {
                    if let Some(asm) = &mut vector.asm {
                        asm.push_str(line);
                        asm.push('\n');
                    }
                }
                "raw" => {
                    let raw = vector.raw.get_or_insert_default();
                    for word in content.split_whitespace() {
                        raw.push(number(word)?);
                    }
                }
                "mem" => {
                    for byte in content.split_whitespace() {
                        let value = u8::try_from(number(byte)?);
                        let wrong = |_| VectorError::Number { line: index + 1, text: byte.into() };
                        vector.memory.push(value.map_err(wrong)?);
                    }
                }
                "result" if !content.is_empty() => {
                    expected = Some(Expected::Result(number(content)?));
                }
                "error" if !content.is_empty() => {
                    expected = Some(Expected::Error(content.to_owned()));
                }
                _ => {}
            }
        }
        if vector.asm.is_none() && vector.raw.is_none() {
            return Err(VectorError::NoProgram);
        }
        vector.expected = expected.ok_or(VectorError::NoResult)?;
        Ok(vector)
    }

    /// The program's bytes: `raw` if there is one, otherwise what the assembly stands for.
    pub fn program(&self) -> Result<Vec<u8>, AssembleError> {
        match (&self.raw, &self.asm) {
            (Some(raw), _) => Ok(raw.iter().flat_map(|word| word.to_le_bytes()).collect()),
            (None, Some(asm)) => Ok(encode(&assemble(asm, Syntax::Mnemonic)?)),
            (None, None) => Ok(Vec::new()),
        }
    }
}
