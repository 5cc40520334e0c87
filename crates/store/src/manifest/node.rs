//! A YAML or JSON value that knows where it was written.

use std::rc::Rc;

/// Where a node begins, and how much of its first line it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Both from 1; the column counts characters.
    pub line: u32,
    pub column: u32,
    /// In bytes.
    pub start: usize,
    pub end: usize,
}

/// Cheap to clone: an alias shares what its anchor holds.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    pub place: Place,
    /// How many nodes there are in it, and how deep they are nested. Both bound what aliases can
    /// blow up.
    pub weight: usize,
    pub height: usize,
}

#[derive(Clone, Debug)]
pub enum Value {
    Scalar { text: Rc<str>, quoted: bool },
    Sequence(Rc<[Node]>),
    Mapping(Rc<[Entry]>),
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Rc<str>,
    pub key_place: Place,
    pub value: Node,
}

/// What a scalar is by the YAML 1.2 core schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'n> {
    Null,
    Bool(bool),
    /// `None` if it doesn't fit.
    Integer(Option<i64>),
    Float,
    Text(&'n str),
}

impl Node {
    pub fn new(value: Value, place: Place) -> Self {
        let (weight, height) = match &value {
            Value::Scalar { .. } => (0, 0),
            Value::Sequence(items) => size(items.iter()),
            Value::Mapping(entries) => size(entries.iter().map(|entry| &entry.value)),
        };
        Node { value, place, weight: weight.saturating_add(1), height: height + 1 }
    }

    pub fn scalar(&self) -> Option<Scalar<'_>> {
        match &self.value {
            Value::Scalar { text, quoted: true } => Some(Scalar::Text(text)),
            Value::Scalar { text, quoted: false } => Some(resolve(text)),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.scalar() == Some(Scalar::Null)
    }

    pub fn is_text(&self) -> bool {
        matches!(self.scalar(), Some(Scalar::Text(_)))
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key, unless it is missing or null.
    pub fn field(&self, key: &str) -> Option<&Node> {
        let entry = self.entries().iter().find(|entry| &*entry.key == key)?;
        (!entry.value.is_null()).then_some(&entry.value)
    }

    /// As an error names it: `text`, `a number`, ...
    pub fn describe(&self) -> &'static str {
        match self.scalar() {
            Some(Scalar::Null) => "null",
            Some(Scalar::Bool(_)) => "true or false",
            Some(Scalar::Integer(_)) | Some(Scalar::Float) => "a number",
            Some(Scalar::Text(_)) => "text",
            None if matches!(self.value, Value::Sequence(_)) => "a list",
            None => "a mapping",
        }
    }
}

fn size<'n>(children: impl Iterator<Item = &'n Node>) -> (usize, usize) {
    children.fold((0, 0), |(weight, height): (usize, usize), child| {
        (weight.saturating_add(child.weight), height.max(child.height))
    })
}

fn resolve(text: &str) -> Scalar<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        _ => {}
    }
    if let Some(digits) = text.strip_prefix("0x")
        && !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_hexdigit())
    {
        return Scalar::Integer(i64::from_str_radix(digits, 16).ok());
    }
    if let Some(digits) = text.strip_prefix("0o")
        && !digits.is_empty()
        && digits.bytes().all(|b| matches!(b, b'0'..=b'7'))
    {
        return Scalar::Integer(i64::from_str_radix(digits, 8).ok());
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return Scalar::Integer(text.parse().ok());
    }
    if is_float(unsigned) { Scalar::Float } else { Scalar::Text(text) }
}

/// `[0-9]*.?[0-9]*([eE][+-]?[0-9]+)?` with a digit before the exponent, `.inf`, `.nan`.
fn is_float(text: &str) -> bool {
    if matches!(text, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars() {
        let check = |text, expect| assert_eq!(resolve(text), expect, "{text}");
        check("~", Scalar::Null);
        check("True", Scalar::Bool(true));
        check("yes", Scalar::Text("yes"));
        check("80", Scalar::Integer(Some(80)));
        check("-7", Scalar::Integer(Some(-7)));
        check("0x50", Scalar::Integer(Some(80)));
        check("0o17", Scalar::Integer(Some(15)));
        check("99999999999999999999", Scalar::Integer(None));
        for float in ["1.10", "1e3", ".5", "5.", "-1.5E+7", ".inf", "-.inf", ".nan"] {
            check(float, Scalar::Float);
        }
        for word in ["e3", ".", "-", "1.2.3", "5d59d67564", "1e", "0x", "10.0.0.1", "2026-01-01"] {
            check(word, Scalar::Text(word));
        }
    }
}
