//! Help, completions and manual pages.

use crate::ran::{Ran, skep};

fn ok(line: &str) -> String {
    let ran = Ran::of(skep(line));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}");
    ran.out
}

/// Every command, subcommands of commands included.
fn commands() -> Vec<String> {
    let mut names = vec![String::new()];
    for command in cli::command().get_subcommands() {
        names.push(command.get_name().to_owned());
        for below in command.get_subcommands() {
            names.push(format!("{} {}", command.get_name(), below.get_name()));
        }
    }
    names
}

#[test]
fn help_texts() {
    for name in commands() {
        let text = ok(&format!("{name} --help"));
        insta::assert_snapshot!(format!("help {name}").trim().replace(' ', "_"), text);
    }
}

#[test]
fn every_command_that_does_something_has_examples() {
    for name in commands() {
        let has_subcommands = !name.contains(' ')
            && ["policy", "endpoint", "service", "identity", "monitor", "prog"]
                .contains(&name.as_str());
        if !has_subcommands {
            assert!(ok(&format!("{name} --help")).contains("Examples:"), "{name}");
        }
    }
}

#[test]
fn completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ok(&format!("completions {shell}"));
        assert!(script.contains("from-workload"), "{shell}");
    }
}

#[test]
fn manual_pages() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man1");
    ok(&format!("man --out {}", out.display()));
    for page in ["skep.1", "skep-apply.1", "skep-policy-explain.1", "skep-monitor-drops.1"] {
        let text = std::fs::read_to_string(out.join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
}
