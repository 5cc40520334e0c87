//! The kernel as another engine.

use bpf_kernel::linked::{Load, Maps};
use bpf_object::btf::Btf;
use bpf_object::{Object, Program};

use super::world;

/// What the kernel makes of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With the last line of the verifier's log that isn't statistics.
    Refused(String),
    Returned(u32),
}

/// Loads and runs a program, on fresh maps.
pub fn ask(object: &Object, program: &Program) -> Result<Answer, bpf_kernel::Error> {
    let maps = Maps::create(object)?;
    let types = Btf::new();
    let kind = world::kind();
    let load = Load { kind: &kind, flags: 0, log_level: 4, kernel: &types };
    let verdict = maps.load(object, program, &load);
    match verdict.program {
        Ok(loaded) => Ok(Answer::Returned(loaded.run(&world::packet(), 1)?)),
        Err(error) => {
            let is_reason = |line: &&str| {
                let statistics = ["processed ", "verification time ", "stack depth ", "insns "];
                !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start))
            };
            let line = verdict.log.lines().rev().find(is_reason);
            Ok(Answer::Refused(line.map_or_else(|| error.to_string(), str::to_owned)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;
    use crate::programs::generate;

    #[test]
    fn the_kernel_takes_most_programs() {
        let object = world::object();
        let mut taken = 0;
        for seed in 0..300 {
            let program = world::linked(&generate(&mut Random::new(seed)));
            match ask(&object, &program) {
                Ok(Answer::Returned(_)) => taken += 1,
                Ok(Answer::Refused(_)) => {}
                Err(error) => {
                    println!("skipped: the kernel can't be asked here: {error}");
                    return;
                }
            }
        }
        assert!(taken > 200, "{taken} of 300");
    }
}
