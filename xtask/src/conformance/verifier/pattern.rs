//! Patterns of messages: plain text, with regular expressions between `{{` and `}}`.

use anyhow::{Context as _, Result, bail};
use regex::Regex;

/// The whole as a regular expression.
pub fn compile(pattern: &str) -> Result<Regex> {
    let mut expression = String::new();
    let mut rest = pattern;
    while let Some((text, inner)) = rest.split_once("{{") {
        let Some((inner, after)) = inner.split_once("}}") else {
            bail!("`{pattern}` opens a regular expression and doesn't close it");
        };
        expression += &regex::escape(text);
        expression += &format!("(?:{inner})");
        rest = after;
    }
    expression += &regex::escape(rest);
    Regex::new(&expression).with_context(|| format!("the pattern `{pattern}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_taken_literally_and_expressions_are_not() {
        let check = |pattern: &str, text: &str, expected| {
            assert_eq!(compile(pattern).unwrap().is_match(text), expected, "{pattern} in {text}");
        };
        check("R1 (x", "log: R1 (x) y", true);
        check("a.c", "abc", false);
        check("R{{[0-9]+}}=fp-{{[0-9]+}} ok", "R10=fp-8 ok", true);
        check("R{{[0-9]}} ok", "R10 ok", false);
        check("{{a|b}}c", "xbc", true);
        assert!(compile("{{open").is_err());
    }
}
