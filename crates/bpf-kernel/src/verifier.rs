//! A refused program, told by the verifier's last words and the source line they are about.

use std::{fmt, io};

use crate::error::advice;

/// How much of the verifier's log an error carries.
const TAIL_LINES: usize = 20;

/// Why a program was not loaded.
#[derive(Debug)]
pub struct LoadFailure {
    pub object: String,
    pub program: String,
    pub source: io::Error,
    /// The last lines of the verifier's log, without its statistics.
    pub log: Vec<String>,
    /// The line of our source the refused instruction comes from.
    pub location: Option<SourceLine>,
}

/// A line of source text, as type information names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    pub file: String,
    pub line: u32,
    /// The text of the line, where the object carries it.
    pub text: String,
}

impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for LoadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, program, source, log, location } = self;
        write!(f, "the kernel refused program `{program}` of object `{object}`: {source}")?;
        if let Some(location) = location {
            write!(f, "\n  at {location}")?;
            if !location.text.is_empty() {
                write!(f, "   {}", location.text.trim())?;
            }
        }
        for line in log {
            write!(f, "\n  | {line}")?;
        }
        if log.is_empty() {
            f.write_str(advice(source))?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// What is worth keeping of a verifier log.
pub(crate) fn tail(log: &str) -> Vec<String> {
    let lines: Vec<&str> =
        log.lines().filter(|line| !line.trim().is_empty() && !is_statistics(line)).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

fn is_statistics(line: &str) -> bool {
    ["processed ", "verification time ", "stack depth "].iter().any(|start| line.starts_with(start))
}

/// The instruction the verifier looked at last: `12: (79) r1 = *(u64 *)(r1 +0)`.
pub(crate) fn last_instruction(log: &str) -> Option<u32> {
    log.lines().rev().find_map(|line| {
        let (number, rest) = line.split_once(": ")?;
        let state = rest.trim_start();
        (state.starts_with('(') && state.get(3..4) == Some(")")).then(|| number.parse().ok())?
    })
}

/// The line of our own source that instruction `at` comes from, given where each line begins.
///
/// What was inlined from `core` or a library says little: then it is the line of ours before it.
pub(crate) fn own_line(
    at: u32,
    lines: impl Iterator<Item = (u32, SourceLine)>,
) -> Option<SourceLine> {
    let (_, mut line) =
        lines.filter(|(begin, line)| *begin <= at && is_own(&line.file)).max_by_key(|(b, _)| *b)?;
    // The path within the workspace is enough, wherever the object was built.
    for folder in ["/crates/", "/ebpf/"] {
        if let Some(begin) = line.file.rfind(folder) {
            line.file.drain(..=begin);
        }
    }
    Some(line)
}

fn is_own(file: &str) -> bool {
    !["/registry/src/", "/rustlib/src/", "/rustc/"].iter().any(|foreign| file.contains(foreign))
}

/// The source line the log itself names, since Linux 6.8: `; let x = map.get(&key) @ main.rs:12`.
pub(crate) fn last_comment(log: &str) -> Option<SourceLine> {
    log.lines().rev().find_map(|line| {
        let (text, place) = line.strip_prefix("; ")?.rsplit_once(" @ ")?;
        let (file, line) = place.rsplit_once(':')?;
        Some(SourceLine {
            file: file.to_owned(),
            line: line.trim().parse().ok()?,
            text: text.to_owned(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
0: R1=ctx() R10=fp0
; let port = load(data.add(36)); @ endpoint.rs:41
0: (61) r2 = *(u32 *)(r1 +76)         ; R1=ctx() R2_w=pkt(r=0)
1: (69) r0 = *(u16 *)(r2 +36)
invalid access to packet, off=36 size=2, R2(id=0,off=36,r=0)
R2 offset is outside of the packet
verification time 61 usec
stack depth 0
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
";

    #[test]
    fn the_log_names_instruction_and_line() {
        assert_eq!(last_instruction(LOG), Some(1));
        let line = last_comment(LOG).unwrap();
        assert_eq!(line.to_string(), "endpoint.rs:41");
        assert_eq!(line.text, "let port = load(data.add(36));");
    }

    #[test]
    fn the_line_is_one_of_ours() {
        let lines = |at| {
            let lines = [
                (0, "/home/me/skep/ebpf/net/src/endpoint.rs"),
                (4, "/home/me/skep/crates/dataplane/src/forward.rs"),
                (6, "/home/me/.cargo/registry/src/index/aya-ebpf-0.2.1/src/lib.rs"),
                (9, "/home/me/.rustup/lib/rustlib/src/rust/library/core/src/cell.rs"),
            ];
            let lines = lines.map(|(begin, file)| {
                let (file, text) = (file.to_owned(), String::new());
                (begin, SourceLine { file, line: begin + 1, text })
            });
            own_line(at, lines.into_iter()).map(|line| line.to_string())
        };
        assert_eq!(lines(3).as_deref(), Some("ebpf/net/src/endpoint.rs:1"));
        assert_eq!(lines(10).as_deref(), Some("crates/dataplane/src/forward.rs:5"));
        assert_eq!(own_line(3, std::iter::empty()), None);
    }

    #[test]
    fn statistics_are_left_out_of_the_tail() {
        assert_eq!(tail(LOG).last().unwrap(), "R2 offset is outside of the packet");
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let long: String = (0..100).map(|n| format!("{n}: (b7) r0 = 0\n")).collect();
        assert_eq!(tail(&long).len(), TAIL_LINES);
        assert_eq!(last_instruction(&long), Some(99));
    }

    #[test]
    fn other_text_names_nothing() {
        for log in ["", "a: b", "1: R1=ctx()", "; text without a place", "1: (é"] {
            assert_eq!(last_instruction(log), None, "{log}");
            assert_eq!(last_comment(log), None, "{log}");
        }
    }
}
