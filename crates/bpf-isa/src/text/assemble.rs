//! Text to instructions: each line is held against the templates of all rows.

use std::collections::HashMap;

use super::token::{Kind, Token, tokens};
use super::{Part, Placeholder, Syntax, parts};
use crate::decode::ROWS;
use crate::encoding::{SLOT, Word};
use crate::{Instruction, Register};

/// Why a text is no program. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct AssembleError {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// A label that an instruction refers to, to be put in once all labels are known.
struct Reference<'a> {
    name: Token<'a>,
    is_far: bool,
}

struct Line<'a> {
    number: usize,
    text: &'a str,
    slot: usize,
    word: Word,
    reference: Option<Reference<'a>>,
}

/// The program that `text` is.
///
/// A jump may name a label. In [`Syntax::Mnemonic`], `exit` is also a label: that of the first
/// `exit` instruction.
pub fn assemble(text: &str, syntax: Syntax) -> Result<Vec<Instruction>, AssembleError> {
    let mut labels: HashMap<&str, usize> = HashMap::new();
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut slot = 0;
    for (index, text) in text.lines().enumerate() {
        let number = index + 1;
        let tokens = tokens(text);
        let mut tokens = tokens.as_slice();
        while let Some((label, rest)) = label(tokens) {
            if labels.insert(label.text, slot).is_some() {
                let message = format!("the label `{}` exists already", label.text);
                return Err(error(number, text, label.start, message));
            }
            tokens = rest;
        }
        let (bytes, tokens) = listing(tokens);
        if tokens.is_empty() {
            continue;
        }
        let (mut word, reference) = instruction(tokens, syntax).map_err(|mismatch| {
            let at = mismatch.at.unwrap_or(text.trim_end().len());
            error(number, text, at, mismatch.message)
        })?;
        if let Some(given) = bytes.map(Word::read)
            && (Word { src: 0, ..given } == word && given.opcode == CALL)
        {
            // LLVM writes calls of helpers, of the kernel and of some local functions alike.
            word = given;
        }
        lines.push(Line { number, text, slot, word, reference });
        slot += if word.is_wide() { 2 } else { 1 };
    }
    if syntax == Syntax::Mnemonic
        && let Some(exit) = lines.iter().find(|line| line.word.opcode == EXIT)
    {
        labels.entry("exit").or_insert(exit.slot);
    }
    lines.into_iter().map(|line| finish(line, &labels)).collect()
}

const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

fn finish(mut line: Line<'_>, labels: &HashMap<&str, usize>) -> Result<Instruction, AssembleError> {
    let start = line.text.len() - line.text.trim_start().len();
    if let Some(Reference { name, is_far }) = line.reference {
        let fail = |message| error(line.number, line.text, name.start, message);
        let Some(target) = labels.get(name.text) else {
            return Err(fail(format!("there is no label `{}`", name.text)));
        };
        let distance = *target as i64 - line.slot as i64 - 1;
        let fits = if is_far {
            i32::try_from(distance).map(|distance| line.word.imm = distance)
        } else {
            i16::try_from(distance).map(|distance| line.word.offset = distance)
        };
        let too_far = |_| fail(format!("the label `{}` is {distance} slots away", name.text));
        fits.map_err(too_far)?;
    }
    // Catches values in fields that are reserved.
    Instruction::from_word(&line.word)
        .map_err(|reason| error(line.number, line.text, start, reason.to_string()))
}

fn error(line: usize, text: &str, at: usize, message: String) -> AssembleError {
    let column = text[..at].chars().count() + 1;
    AssembleError { line, column, message }
}

/// `name:`, or `0000000000000000 <name>:` of a listing.
fn label<'a, 't>(tokens: &'t [Token<'a>]) -> Option<(Token<'a>, &'t [Token<'a>])> {
    match tokens {
        [name, colon, rest @ ..] if name.kind == Kind::Word && colon.is(":") => Some((*name, rest)),
        [address, open, name, close, colon, rest @ ..]
            if address.text.len() == 16
                && (open.is("<") && name.kind == Kind::Word && close.is(">") && colon.is(":")) =>
        {
            Some((*name, rest))
        }
        _ => None,
    }
}

/// Takes off what a listing puts before an instruction: `12:` and the bytes, of which the first
/// slot's are returned.
fn listing<'a, 't>(tokens: &'t [Token<'a>]) -> (Option<[u8; SLOT]>, &'t [Token<'a>]) {
    let [Token { kind: Kind::Number(_), .. }, colon, rest @ ..] = tokens else {
        return (None, tokens);
    };
    if !colon.is(":") {
        return (None, tokens);
    }
    let byte = |token: &Token<'_>| {
        u8::from_str_radix(token.text, 16).ok().filter(|_| token.text.len() == 2)
    };
    // No instruction begins with eight such words.
    let bytes: Vec<u8> = rest.iter().take(2 * SLOT).map_while(byte).collect();
    let slots = bytes.len() / SLOT * SLOT;
    (bytes.first_chunk().copied(), &rest[slots..])
}

/// Where a line stops being like a template, and what should be there.
struct Mismatch {
    /// `None`: at the end.
    at: Option<usize>,
    message: String,
}

/// Why a template doesn't fit.
#[derive(PartialEq, Eq)]
enum Failure {
    /// Something else should stand here.
    Expected(String),
    /// This should stand here, but not with this value.
    Wrong(String),
}

impl Failure {
    fn expected(what: &str) -> Self {
        Self::Expected(what.to_owned())
    }
}

type Matched<'a> = (Word, Option<Reference<'a>>);

fn instruction<'a>(tokens: &[Token<'a>], syntax: Syntax) -> Result<Matched<'a>, Mismatch> {
    let mut furthest = 0;
    let mut failures: Vec<Failure> = Vec::new();
    for row in ROWS {
        for template in syntax.templates(row) {
            let mut attempt = Attempt {
                tokens,
                position: 0,
                word: row.template(),
                seen: [None; 2],
                reference: None,
                syntax,
            };
            let Err(failure) = attempt.template(template) else {
                return Ok((attempt.word, attempt.reference));
            };
            if attempt.position > furthest {
                furthest = attempt.position;
                failures.clear();
            }
            if attempt.position == furthest && !failures.contains(&failure) {
                failures.push(failure);
            }
        }
    }
    let found = tokens.get(furthest);
    let at = found.map(|token| token.start);
    let what = match found {
        Some(token) => format!("`{}`", token.text),
        None => "the end of the line".to_owned(),
    };
    if furthest == 0 {
        return Err(Mismatch { at, message: format!("{what} begins no instruction") });
    }
    let mut expected = Vec::new();
    for failure in failures {
        match failure {
            Failure::Expected(what) => expected.push(what),
            Failure::Wrong(message) => return Err(Mismatch { at, message }),
        }
    }
    let message = format!("expected {}, found {what}", expected.join(" or "));
    Err(Mismatch { at, message })
}

/// One template held against one line.
struct Attempt<'a, 't> {
    tokens: &'t [Token<'a>],
    position: usize,
    word: Word,
    /// Registers that have been read, since a template may name one twice.
    seen: [Option<u8>; 2],
    reference: Option<Reference<'a>>,
    syntax: Syntax,
}

impl<'a> Attempt<'a, '_> {
    fn template(&mut self, template: &'static str) -> Result<(), Failure> {
        for part in parts(template) {
            match part {
                Part::Literal(literal) => {
                    for token in tokens(literal) {
                        self.literal(token)?;
                    }
                }
                Part::Placeholder(placeholder) => self.operand(placeholder)?,
            }
        }
        if self.position == self.tokens.len() {
            Ok(())
        } else {
            Err(Failure::expected("the end of the line"))
        }
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.position).copied()
    }

    fn accept(&mut self, text: &str) -> bool {
        let is_next = self.peek().is_some_and(|token| token.is(text));
        self.position += usize::from(is_next);
        is_next
    }

    fn literal(&mut self, literal: Token<'_>) -> Result<(), Failure> {
        let same = |token: Token<'_>| match literal.kind {
            Kind::Number(_) => token.kind == literal.kind,
            _ => token.text == literal.text,
        };
        if self.peek().is_some_and(same) {
            self.position += 1;
            Ok(())
        } else {
            Err(Failure::Expected(format!("`{}`", literal.text)))
        }
    }

    fn operand(&mut self, placeholder: Placeholder) -> Result<(), Failure> {
        match placeholder {
            Placeholder::Dst { half } => self.word.dst = self.register(0, half)?,
            Placeholder::Src { half } => self.word.src = self.register(1, half)?,
            Placeholder::Imm => self.word.imm = self.immediate()?,
            Placeholder::Id => self.word.imm = self.unsigned::<u32>(32)?.cast_signed(),
            Placeholder::Wide => {
                let value = self.signed()?;
                let fits = (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value);
                let value = self.read(fits.then_some(value as u64), 64)?;
                self.word.set_pair(value);
            }
            Placeholder::Pair => {
                let value = self.unsigned(64)?;
                self.word.set_pair(value);
            }
            Placeholder::Next => self.word.next = self.immediate()?,
            Placeholder::High => {
                let value: u16 = self.unsigned(16)?;
                self.word.imm = (u32::from(value) << 16).cast_signed();
            }
            Placeholder::Low => self.word.imm |= i32::from(self.unsigned::<u16>(16)?),
            Placeholder::Offset => self.word.offset = self.added::<i16>(16)?,
            Placeholder::Plus => self.word.imm = self.added::<i32>(32)?,
            Placeholder::Target => self.word.offset = self.target(false, 16)?,
            Placeholder::Far => self.word.imm = self.target(true, 32)?,
            Placeholder::Module => {
                if self.accept("@") {
                    let value = self.signed()?;
                    self.word.offset = self.read(i16::try_from(value).ok(), 16)?;
                }
            }
        }
        Ok(())
    }

    fn register(&mut self, index: usize, half: bool) -> Result<u8, Failure> {
        let sigil = self.syntax.sigil();
        let letter = if half { 'w' } else { 'r' };
        let name = self.peek().and_then(|token| token.text.strip_prefix(sigil));
        let number = name.and_then(|name| name.strip_prefix(letter)?.parse().ok());
        let Some(number) = number.and_then(Register::new).map(Register::number) else {
            return Err(Failure::Expected(format!("a register `{sigil}{letter}…`")));
        };
        match self.seen[index].replace(number) {
            Some(before) if before != number => {
                Err(Failure::Expected(format!("`{sigil}{letter}{before}` again")))
            }
            _ => {
                self.position += 1;
                Ok(number)
            }
        }
    }

    /// A number with or without a sign. Steps over it.
    fn signed(&mut self) -> Result<i128, Failure> {
        let before = self.position;
        let is_negative = self.accept("-");
        if !is_negative {
            self.accept("+");
        }
        match self.peek().map(|token| token.kind) {
            Some(Kind::Number(value)) => {
                self.position += 1;
                Ok(if is_negative { -i128::from(value) } else { value.into() })
            }
            Some(Kind::BadNumber) => Err(Failure::expected("a number of at most 64 bits")),
            _ => {
                self.position = before;
                Err(Failure::expected("a number"))
            }
        }
    }

    /// A value that was read and may not have fitted.
    fn read<T>(&mut self, value: Option<T>, bits: u32) -> Result<T, Failure> {
        value.ok_or_else(|| {
            self.position -= 1;
            Failure::Wrong(format!("the number does not fit into {bits} bits"))
        })
    }

    fn unsigned<T: TryFrom<u64>>(&mut self, bits: u32) -> Result<T, Failure> {
        match self.peek().map(|token| token.kind) {
            Some(Kind::Number(value)) => {
                self.position += 1;
                self.read(T::try_from(value).ok(), bits)
            }
            _ => Err(Failure::expected("a number without a sign")),
        }
    }

    /// 32 bits, also written without a sign or with all the 64 bits that they are extended to.
    fn immediate(&mut self) -> Result<i32, Failure> {
        let value = self.signed()?;
        let extended = || i32::try_from(u64::try_from(value).ok()?.cast_signed()).ok();
        let unsigned = || u32::try_from(value).ok().map(u32::cast_signed);
        self.read(i32::try_from(value).ok().or_else(unsigned).or_else(extended), 32)
    }

    /// A sign and a number, or nothing.
    fn added<T: TryFrom<i128> + Default>(&mut self, bits: u32) -> Result<T, Failure> {
        if !self.peek().is_some_and(|token| token.is("+") || token.is("-")) {
            return Ok(T::default());
        }
        let value = self.signed()?;
        self.read(T::try_from(value).ok(), bits)
    }

    /// A distance with its sign, with or without a label in angle brackets; or a label.
    fn target<T: TryFrom<i128> + Default>(
        &mut self,
        is_far: bool,
        bits: u32,
    ) -> Result<T, Failure> {
        match self.peek() {
            Some(name) if name.kind == Kind::Word => {
                self.position += 1;
                self.reference = Some(Reference { name, is_far });
                Ok(T::default())
            }
            Some(sign) if sign.is("+") || sign.is("-") => {
                let value = self.signed()?;
                let value = self.read(T::try_from(value).ok(), bits)?;
                if self.accept("<") {
                    let rest = &self.tokens[self.position..];
                    let close = rest.iter().position(|token| token.is(">"));
                    self.position += close.map_or(0, |close| close + 1);
                }
                Ok(value)
            }
            _ => Err(Failure::expected("a label or a distance with its sign")),
        }
    }
}
