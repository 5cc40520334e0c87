//! What the host reads on the console. Every line of ours begins with [`MARK`], since the kernel
//! writes there too; the host's half is `xtask/src/kernels/guest.rs`.

use std::fmt::Display;

const MARK: &str = "skep-guest:";

#[derive(Debug)]
pub struct Report {
    failures: usize,
}

impl Report {
    pub fn new() -> Self {
        println!("{MARK} begin");
        Self { failures: 0 }
    }

    pub fn ok(&mut self, what: &str, detail: &str) {
        self.line("ok", what, detail);
    }

    pub fn failed(&mut self, what: &str, detail: &str) {
        self.failures += 1;
        self.line("failed", what, detail);
    }

    pub fn tell<E: Display>(&mut self, what: &str, result: Result<String, E>) {
        match result {
            Ok(detail) => self.ok(what, &detail),
            // With the causes, where the error has them.
            Err(error) => self.failed(what, &format!("{error:#}")),
        }
    }

    pub fn end(self) {
        println!("{MARK} end {}", self.failures);
    }

    fn line(&mut self, verdict: &str, what: &str, detail: &str) {
        let mut lines = detail.lines();
        println!("{MARK} {verdict}\t{what}\t{}", lines.next().unwrap_or_default());
        for line in lines {
            println!("{MARK} more\t{line}");
        }
    }
}
