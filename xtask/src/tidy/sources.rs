//! Rules for the text of files: where `unsafe` may stand and with what, how long a file may be,
//! what must not be in one.

use std::path::Path;

use super::Finding;
use super::layers::UNSAFE;
use super::lexer::{Lexed, words};
use super::metadata::Member;

/// Where a file should be split, and where it must be.
const LONG: usize = 600;
const TOO_LONG: usize = 800;

/// Code that a program wrote. Its length and style are not ours.
const GENERATED: &[&str] = &["crates/api/src/generated"];

/// What a file must not be called: such a module is about nothing in particular.
const NAMES: &[&str] = &["mod", "utils", "util", "common", "misc", "helpers", "manager"];

/// Folders of one machine. Split, so that this file itself passes.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// Macros that stand for code that isn't there.
const PLACEHOLDERS: &[&str] = &["todo", "unimplemented", "dbg"];

pub fn check_manifest(member: &Member, manifest: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let folder = Path::new(&member.folder).file_name().unwrap_or_default();
    if *folder != *member.name {
        let text = format!("the folder of crate {} is named otherwise", member.name);
        findings.push(Finding::problem(&member.manifest, None, text));
    }
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]");
    if lines.nth(1) != Some("workspace = true") {
        let text = "add `[lints]` with `workspace = true`: the lints are the workspace's";
        findings.push(Finding::problem(&member.manifest, None, text));
    }
    findings
}

/// Rules for every text file.
pub fn check_text(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for forbidden in MACHINE_PATHS {
            // At the start of a path only: "/a/work/b" is no folder of this machine.
            let starts_path = |at: usize| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~/}".contains(c))
            };
            if line.match_indices(forbidden).any(|(at, _)| starts_path(at)) {
                let text = format!("{forbidden} is a path of one machine");
                findings.push(Finding::problem(path, Some(index + 1), text));
            }
        }
    }
    findings
}

/// Rules for Rust files.
pub fn check_rust(path: &str, source: &str, members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_generated = GENERATED.iter().any(|folder| path.starts_with(folder));
    if !is_generated {
        findings.extend(check_length(path, source));
    }
    let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if NAMES.contains(&stem) {
        let text = format!("`{stem}` says nothing: name the file for its one idea");
        findings.push(Finding::problem(path, None, text));
    }
    let lexed = Lexed::new(source);
    findings.extend(check_placeholders(path, &lexed));

    let member = members.iter().find(|m| path.starts_with(&format!("{}/", m.folder)));
    let may_be_unsafe = member.is_some_and(|m| UNSAFE.iter().any(|(name, _)| *name == m.name));
    findings.extend(check_unsafe(path, &lexed, may_be_unsafe));
    if member.is_some_and(|member| member.roots.iter().any(|root| root == path)) {
        findings.extend(check_root(path, source, &lexed, may_be_unsafe));
    }
    findings
}

fn check_length(path: &str, source: &str) -> Option<Finding> {
    match source.lines().count() {
        lines if lines > TOO_LONG => {
            let text = format!("{lines} lines, {TOO_LONG} at most: find the seam");
            Some(Finding::problem(path, None, text))
        }
        lines if lines > LONG => {
            let text = format!("{lines} lines: past {LONG} look for the seam");
            Some(Finding::warning(path, None, text))
        }
        _ => None,
    }
}

fn check_placeholders(path: &str, lexed: &Lexed) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in lexed.code.lines().enumerate() {
        for (at, word) in words(line) {
            let after = &line[at + word.len()..];
            let is_macro = after.starts_with('!') && !after.starts_with("!=");
            if PLACEHOLDERS.contains(&word) && is_macro {
                let text = format!("`{word}!` has no place in what we ship");
                findings.push(Finding::problem(path, Some(index + 1), text));
            }
            if word == "ignore" && line[..at].trim_end().ends_with("#[") {
                let text = "an ignored test tests nothing: make it skip with a printed reason";
                findings.push(Finding::problem(path, Some(index + 1), text));
            }
        }
    }
    findings
}

fn check_unsafe(path: &str, lexed: &Lexed, allowed: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines: Vec<_> = lexed.code.lines().collect();
    for number in lexed.lines_with_word("unsafe") {
        if !allowed {
            let text = "`unsafe` in a crate that must not have any (xtask/src/tidy/layers.rs)";
            findings.push(Finding::problem(path, Some(number), text));
            continue;
        }
        if needs_reason(&lines, number) && !has_reason(lexed, &lines, number) {
            let text = "no `// SAFETY:` above: why may this be done here?";
            findings.push(Finding::problem(path, Some(number), text));
        }
    }
    findings
}

/// Blocks and impls assert something; `unsafe fn`, `unsafe trait` and `unsafe extern` ask for it,
/// and in `#[unsafe(no_mangle)]` the compiler asks nothing of us.
fn needs_reason(lines: &[&str], number: usize) -> bool {
    let line = lines[number - 1];
    words(line).filter(|(_, word)| *word == "unsafe").any(|(at, word)| {
        let mut after = line[at + word.len()..].trim_start();
        if after.is_empty() {
            after = lines.get(number).map_or("", |next| next.trim_start());
        }
        after.starts_with('{') || after.starts_with("impl")
    })
}

/// Whether a comment with `SAFETY:` stands on this line or above it, at the latest where the
/// statement begins.
fn has_reason(lexed: &Lexed, lines: &[&str], number: usize) -> bool {
    let mut current = number;
    loop {
        if lexed.comment_on(current).is_some_and(|comment| comment.text.contains("SAFETY:")) {
            return true;
        }
        if current == 1 {
            return false;
        }
        current -= 1;
        let code = lines[current - 1].trim();
        // The end of another statement, or an empty line: what is above belongs to something else.
        let is_empty = code.is_empty() && lexed.comment_on(current).is_none();
        if is_empty || code.ends_with([';', '{', '}']) {
            return false;
        }
    }
}

fn check_root(path: &str, source: &str, lexed: &Lexed, may_be_unsafe: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !source.starts_with("//!") {
        let text = "begin with `//!`: what this crate is for and what it refuses to know";
        findings.push(Finding::problem(path, Some(1), text));
    }
    if !may_be_unsafe && !lexed.code.contains("#![forbid(unsafe_code)]") {
        findings.push(Finding::problem(path, None, "add `#![forbid(unsafe_code)]`"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Member {
        Member {
            name: name.to_owned(),
            folder: format!("crates/{name}"),
            manifest: format!("crates/{name}/Cargo.toml"),
            dependencies: Vec::new(),
            roots: vec![format!("crates/{name}/src/lib.rs")],
        }
    }

    /// The findings in a file of a crate, as "line: text".
    fn check(name: &str, file: &str, source: &str, expect: &[&str]) {
        let findings = check_rust(&format!("crates/{name}/src/{file}"), source, &[member(name)]);
        let texts: Vec<_> =
            findings.iter().map(|f| format!("{}: {}", f.line.unwrap_or(0), f.text)).collect();
        assert_eq!(texts.len(), expect.len(), "{texts:?}");
        for (text, start) in texts.iter().zip(expect) {
            assert!(text.starts_with(start), "{text:?} does not start with {start:?}");
        }
    }

    #[test]
    fn unsafe_is_found_only_where_it_is_code() {
        check("model", "node.rs", "fn f() { unsafe { g() } }\n", &["1: `unsafe` in a crate"]);
        check("model", "node.rs", "// unsafe {\nconst A: &str = \"unsafe {\";\n", &[]);
    }

    #[test]
    fn unsafe_has_a_reason_that_belongs_to_it() {
        check("abi", "a.rs", "    // SAFETY: it is.\n    unsafe { f() }\n", &[]);
        check("abi", "a.rs", "// SAFETY: it is,\n// really.\nlet x =\n    unsafe { f() };\n", &[]);
        check(
            "abi",
            "a.rs",
            "// SAFETY: of another.\ng();\nunsafe { f() }\n",
            &["3: no `// SAFETY"],
        );
        check("abi", "a.rs", "// SAFETY: far.\n\nunsafe impl A for B {}\n", &["3: no `// SAFETY"]);
        check("abi", "a.rs", "unsafe fn f() {}\n#[unsafe(no_mangle)]\nfn g() {}\n", &[]);
        check("abi", "a.rs", "unsafe\n{ f() }\n", &["1: no `// SAFETY"]);
    }

    #[test]
    fn a_root_says_what_it_is_for_and_forbids_unsafe() {
        check("model", "lib.rs", "//! The model.\n#![forbid(unsafe_code)]\n", &[]);
        check("model", "lib.rs", "pub mod node;\n", &["1: begin with `//!`", "0: add `#![forbid"]);
        check("abi", "lib.rs", "//! The contract.\n", &[]);
    }

    #[test]
    fn placeholders_are_found() {
        check("model", "a.rs", "fn f() { todo!() }\n", &["1: `todo!`"]);
        check("model", "a.rs", "#[test]\n#[ignore]\nfn f() {}\n", &["2: an ignored test"]);
        check("model", "a.rs", "// todo!\nfn ignore(todo: u8) -> bool { todo != 1 }\n", &[]);
    }

    #[test]
    fn long_files_are_found_unless_generated() {
        let lines = |count| "x();\n".repeat(count);
        check("api", "a.rs", &lines(600), &[]);
        check("api", "a.rs", &lines(601), &["0: 601 lines"]);
        check("api", "a.rs", &lines(801), &["0: 801 lines, 800 at most"]);
        check("api", "generated/a.rs", &lines(5000), &[]);
    }

    #[test]
    fn names_say_something() {
        check("api", "utils.rs", "", &["0: `utils` says nothing"]);
        check("api", "node/mod.rs", "", &["0: `mod` says nothing"]);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let found = |text: &str| check_text("README.md", text).len();
        for path in MACHINE_PATHS {
            assert_eq!(found(&format!("see {path}x")), 1);
            assert_eq!(found(&format!("\"{path}x\"")), 1);
            assert_eq!(found(&format!("https://example.org{path}x or a{path}x")), 0);
        }
    }

    #[test]
    fn a_manifest_takes_the_lints_of_the_workspace() {
        let check = |text| check_manifest(&member("abi"), text).len();
        assert_eq!(check("[package]\n[lints]\nworkspace = true\n"), 0);
        assert_eq!(check("[package]\nworkspace = true\n"), 1);
    }
}
