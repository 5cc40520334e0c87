//! What the running kernel says of a test, for reference: it is newer than the tests.

use bpf_kernel::linked::{Load, Maps};
use bpf_object::btf::Btf;
use bpf_object::{Object, Program};

use super::engine::{self, Answer};
use super::expectation::Expectation;

/// The running kernel, with the maps of one object.
#[derive(Debug)]
pub struct Kernel {
    maps: Result<Maps, String>,
}

impl Kernel {
    pub fn new(object: &Object) -> Self {
        Self { maps: Maps::create(object).map_err(|error| error.to_string()) }
    }

    /// Asks the kernel. `types` are the running kernel's.
    pub fn judge(
        &self,
        object: &Object,
        program: &Program,
        types: &Btf,
        expectation: &Expectation,
    ) -> Answer {
        let maps = match &self.maps {
            Ok(maps) => maps,
            Err(problem) => return Answer::Broken(problem.clone()),
        };
        let Some(kind) = engine::kind(program, expectation) else {
            return Answer::Broken("the section's name says no program type".to_owned());
        };
        let log_level = if expectation.log_level == 0 { 1 } else { expectation.log_level } | 4;
        let load = Load { kind: &kind, flags: expectation.flags, log_level, kernel: types };
        let verdict = maps.load(object, program, &load);
        match &verdict.program {
            Ok(_) => Answer::Accepted { processed: verdict.processed().unwrap_or(0) },
            Err(error) => Answer::Refused { rule: None, message: last_words(&verdict.log, error) },
        }
    }
}

/// The last line of the log that isn't statistics.
fn last_words(log: &str, error: &std::io::Error) -> String {
    let statistics = ["processed ", "verification time ", "stack depth ", "insns "];
    let mut lines = log.lines().rev().filter(|line| !line.trim().is_empty());
    let line = lines.find(|line| !statistics.iter().any(|start| line.starts_with(start)));
    line.map_or_else(|| error.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_not_the_reason() {
        let error = std::io::Error::from_raw_os_error(13);
        let log = "0: (95) exit\nR0 !read_ok\nverification time 5 usec\nstack depth 0\n\
                   processed 1 insns (limit 1000000)\n";
        assert_eq!(last_words(log, &error), "R0 !read_ok");
        assert!(last_words("", &error).contains("denied"));
    }
}
