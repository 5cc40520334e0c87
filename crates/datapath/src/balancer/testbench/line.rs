//! Files of frames with what must become of them: one JSON object a line.

use serde_json::Value;

/// A frame and what must become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub group: String,
    pub index: u64,
    pub name: String,
    pub input: Vec<u8>,
    pub expected: Vec<u8>,
    pub verdict: String,
    /// Of the socket buffer; for health checks.
    pub mark: u32,
    /// Offsets of bytes of the expected frame that may be anything.
    pub any: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct BadLine {
    pub line: usize,
    pub problem: String,
}

/// All lines of a file; empty ones are skipped.
pub fn read_lines(text: &str) -> Result<Vec<Line>, BadLine> {
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let read = read_line(line).map_err(|problem| BadLine { line: number + 1, problem })?;
        lines.push(read);
    }
    Ok(lines)
}

fn read_line(line: &str) -> Result<Line, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let text = |field: &str| -> Result<String, String> {
        let text = value.get(field).ok_or_else(|| format!("`{field}` is missing"))?;
        text.as_str().map(str::to_owned).ok_or_else(|| format!("`{field}` is not a string"))
    };
    let number = |field: &str| -> Result<u64, String> {
        match value.get(field) {
            None => Ok(0),
            Some(number) => number.as_u64().ok_or_else(|| format!("`{field}` is not a number")),
        }
    };
    let optional = |field: &str| match value.get(field) {
        None => Ok(String::new()),
        Some(_) => text(field),
    };
    let mut any = Vec::new();
    for offset in value.get("any").and_then(Value::as_array).into_iter().flatten() {
        any.push(offset.as_u64().ok_or("`any` is not a list of offsets")? as usize);
    }
    Ok(Line {
        group: optional("group")?,
        index: number("index")?,
        name: optional("name")?,
        input: bytes("input", &text("input")?)?,
        expected: bytes("expected", &text("expected")?)?,
        verdict: text("verdict")?,
        mark: u32::try_from(number("mark")?).map_err(|_| "`mark` is more than 32 bits")?,
        any,
    })
}

fn bytes(field: &str, hex: &str) -> Result<Vec<u8>, String> {
    let digits = hex.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return Err(format!("`{field}` has an odd number of digits"));
    }
    let pairs = digits.chunks_exact(2).map(|pair| {
        let digit = |at: usize| (pair[at] as char).to_digit(16);
        Some((digit(0)? * 16 + digit(1)?) as u8)
    });
    pairs.collect::<Option<Vec<u8>>>().ok_or_else(|| format!("`{field}` is not hexadecimal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<(&str, u32, &[u8]), &str>) {
        let read = read_lines(line).map(|lines| lines[0].clone());
        match (read, expected) {
            (Ok(line), Ok((group, mark, input))) => {
                assert_eq!((line.group.as_str(), line.mark), (group, mark));
                assert_eq!(line.input, input);
            }
            (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected),
            (read, expected) => panic!("{read:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn lines() {
        check(
            r#"{"group": "hc", "mark": 2, "input": "00ff", "expected": "", "verdict": "XDP_TX"}"#,
            Ok(("hc", 2, &[0, 255])),
        );
        check(
            r#"{"input": "0", "expected": "", "verdict": ""}"#,
            Err("line 1: `input` has an odd number of digits"),
        );
        check(r#"{"input": "00", "expected": ""}"#, Err("line 1: `verdict` is missing"));
        check(
            r#"{"input": "0g", "expected": "", "verdict": ""}"#,
            Err("line 1: `input` is not hexadecimal"),
        );
    }
}
