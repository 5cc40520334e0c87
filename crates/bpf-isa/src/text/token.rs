//! Lines as tokens: words, numbers, and single characters for everything else.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Word,
    Number(u64),
    /// A number that has more than 64 bits or isn't one in the end.
    BadNumber,
    Punctuation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Bytes from the beginning of the line.
    pub start: usize,
}

impl Token<'_> {
    pub fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

/// The tokens of a line up to a comment.
pub fn tokens(line: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(first) = line[start..].chars().next() {
        let rest = &line[start..];
        if first.is_whitespace() {
            start += first.len_utf8();
            continue;
        }
        if first == '#' || first == ';' || rest.starts_with("//") {
            break;
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_.$".contains(c);
        let (kind, length) = if first.is_ascii_digit() {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            (number(&rest[..length]), length)
        } else if is_word(first) || first == '%' && rest[1..].starts_with(is_word) {
            // A register with its `%` is one token.
            (Kind::Word, rest[1..].find(|c| !is_word(c)).map_or(rest.len(), |end| end + 1))
        } else {
            (Kind::Punctuation, first.len_utf8())
        };
        tokens.push(Token { kind, text: &rest[..length], start });
        start += length;
    }
    tokens
}

fn number(text: &str) -> Kind {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let parsed = match hexadecimal {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_or(Kind::BadNumber, Kind::Number)
}
