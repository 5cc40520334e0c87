//! Label selectors in one line, as kubectl takes them: `app=web,tier in (a,b),!canary`.

use model::{Operator, Requirement, Selector};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a label selector: {problem}; write for example app=web,tier in (a,b),!old"
)]
pub struct SelectorError {
    /// The selector, or the part of it that is wrong.
    pub text: String,
    pub problem: &'static str,
}

/// Empty text picks everything.
pub fn parse(text: &str) -> Result<Selector, SelectorError> {
    let mut requirements = Vec::new();
    if !text.trim().is_empty() {
        for part in split(text)? {
            requirements.push(requirement(part.trim())?);
        }
    }
    Ok(Selector { requirements })
}

/// At the commas that are not between parentheses.
fn split(text: &str) -> Result<Vec<&str>, SelectorError> {
    let fail = |problem| SelectorError { text: text.to_owned(), problem };
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (position, character) in text.char_indices() {
        match character {
            '(' if inside => return Err(fail("a parenthesis inside another")),
            '(' => inside = true,
            ')' if !inside => return Err(fail("a parenthesis is closed that was not opened")),
            ')' => inside = false,
            ',' if !inside => {
                parts.push(&text[start..position]);
                start = position + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(fail("a parenthesis is not closed"));
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn requirement(part: &str) -> Result<Requirement, SelectorError> {
    let fail = |problem| SelectorError { text: part.to_owned(), problem };
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement { key: label_key(key, part)?, operator: Operator::DoesNotExist });
    }
    if let Some(head) = part.strip_suffix(')') {
        let (head, values) = head.split_once('(').ok_or_else(|| fail("`(` is missing"))?;
        let values: Vec<String> = values.split(',').map(|v| v.trim().to_owned()).collect();
        if let Some(value) = values.iter().find(|value| !is_value(value)) {
            return Err(SelectorError { text: value.clone(), problem: "not a label's value" });
        }
        let (key, word) = head
            .trim()
            .split_once(char::is_whitespace)
            .ok_or_else(|| fail("`in` or `notin` is missing before the parenthesis"))?;
        let operator = match word.trim() {
            "in" => Operator::In(values),
            "notin" => Operator::NotIn(values),
            _ => return Err(fail("only `in` and `notin` take a list")),
        };
        return Ok(Requirement { key: label_key(key, part)?, operator });
    }
    let (key, value, equal) = if let Some((key, value)) = part.split_once("!=") {
        (key, value, false)
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (key, value, true)
    } else {
        return Ok(Requirement { key: label_key(part, part)?, operator: Operator::Exists });
    };
    let value = value.trim();
    if !is_value(value) {
        return Err(fail("what stands behind the sign is not a label's value"));
    }
    let values = vec![value.to_owned()];
    let operator = if equal { Operator::In(values) } else { Operator::NotIn(values) };
    Ok(Requirement { key: label_key(key, part)?, operator })
}

fn label_key(key: &str, part: &str) -> Result<String, SelectorError> {
    let key = key.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if key.is_empty() || !key.chars().all(fits) {
        let problem = if key.is_empty() { "the key is missing" } else { "not a label's key" };
        return Err(SelectorError { text: part.to_owned(), problem });
    }
    Ok(key.to_owned())
}

fn is_value(value: &str) -> bool {
    value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_back_as_written() {
        for text in ["app=web", "app=web,tier in (a,b),!canary", "app notin (x)", "app", ""] {
            let expect = if text.is_empty() { "everything" } else { text };
            assert_eq!(parse(text).unwrap().to_string(), expect);
        }
        assert_eq!(parse(" app == web , a!=b ").unwrap().to_string(), "app=web,a notin (b)");
        assert_eq!(parse("skep.dev/tier= ").unwrap().to_string(), "skep.dev/tier=");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "=x",
            "a,,b",
            "a in b",
            "a in (b",
            "a)",
            "in (b)",
            "a of (b)",
            "a b",
            "a=b=c",
            "!",
            "a=ü",
            "a in ((b))",
            ",",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        insta::assert_snapshot!(
            parse("app of (a)").unwrap_err(),
            @"`app of (a)` is not a label selector: only `in` and `notin` take a list; write for example app=web,tier in (a,b),!old"
        );
    }
}
