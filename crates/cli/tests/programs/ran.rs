//! `skep`, run to its end.

use std::process::{Command, Output, Stdio};

pub fn skep(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command
        .args(line.split_whitespace())
        .env("TZ", "UTC")
        .env("COLUMNS", "100")
        .env_remove("SKEP_SOCKET")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    command
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(mut command: Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        Ran {
            code: status.code().unwrap(),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }
}

/// For snapshots.
impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.out)?;
        for line in self.err.lines() {
            writeln!(f, "{}", format!("stderr: {line}").trim_end())?;
        }
        write!(f, "exit code {}", self.code)
    }
}
