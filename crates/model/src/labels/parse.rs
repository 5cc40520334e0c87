//! Selectors as users type them: `app=web,tier in (a,b),env!=prod,canary,!old` (kubectl's syntax).

use super::{Operator, Requirement, Selector};

/// A selector that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSelector(String);

impl std::fmt::Display for BadSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; write it as app=web,tier in (a,b),env!=prod,canary,!old", self.0)
    }
}

impl std::error::Error for BadSelector {}

impl Selector {
    pub fn parse(text: &str) -> Result<Self, BadSelector> {
        let mut requirements = Vec::new();
        for part in split(text)? {
            requirements.push(requirement(part)?);
        }
        Ok(Selector { requirements })
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Result<Vec<&str>, BadSelector> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return Err(BadSelector("a `)` without a `(`".into())),
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err(BadSelector("a `(` without a `)`".into()));
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    Ok(parts)
}

fn requirement(part: &str) -> Result<Requirement, BadSelector> {
    let (key, operator) = if let Some(key) = part.strip_prefix('!') {
        (key, Operator::DoesNotExist)
    } else if let Some((key, value)) = part.split_once("!=") {
        (key, Operator::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (key, Operator::In(vec![value.trim().to_owned()]))
    } else if let Some((head, values)) = part.split_once('(') {
        let Some(values) = values.strip_suffix(')') else {
            return Err(BadSelector(format!("`{part}` goes on after its `)`")));
        };
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        match head.split_whitespace().collect::<Vec<_>>()[..] {
            [key, "in"] => (key, Operator::In(values)),
            [key, "notin"] => (key, Operator::NotIn(values)),
            _ => return Err(BadSelector(format!("`{part}` has neither `in` nor `notin`"))),
        }
    } else {
        (part, Operator::Exists)
    };
    let key = key.trim();
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(BadSelector(format!("`{part}` has no label key")));
    }
    Ok(Requirement { key: key.to_owned(), operator })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for text in
            ["app=web", "tier in (a,b)", "tier notin (a)", "canary", "!old", "a=1,b in (x,y),!c"]
        {
            assert_eq!(Selector::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Selector::parse("").unwrap(), Selector::everything());
        assert_eq!(Selector::parse("a!=b").unwrap().to_string(), "a notin (b)");
    }

    #[test]
    fn refuses_nonsense() {
        for text in ["a in (b", "a)", "a on (b)", "=x", "two words"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
