//! Programs: what our verifier accepts runs alike in all engines, and never goes wrong.

use std::fmt::Write as _;

use bpf_isa::place;
use bpf_isa::text::{Syntax, disassemble};
use bpf_object::{Object, Program};
use bpf_verifier::{Request, Verdict};
use bpf_vm::{Engine, RuntimeError};

use crate::{Random, Target};

mod engines;
mod generate;
mod kernel;
mod world;

use engines::{Ours, Traces};
use generate::{Generated, generate};
use kernel::Answer;

/// What is accepted runs without a fault, with one result in the interpreter, the compiler and the
/// kernel.
#[derive(Debug)]
pub struct Programs {
    object: Object,
    engines: Vec<(&'static str, Ours)>,
    /// The kernel is asked about one program in so many; 0 for none.
    kernel: usize,
}

impl Programs {
    pub fn new(kernel: usize) -> Result<Self, RuntimeError> {
        let object = world::object();
        let mut engines = vec![("interpreter", Ours::new(Engine::Interpreter, &object)?)];
        for (name, engine) in [("JIT", Engine::Jit), ("unchecked JIT", Engine::VerifiedJit)] {
            match Ours::new(engine, &object) {
                Ok(jit) => engines.push((name, jit)),
                // Elsewhere there is less to compare.
                Err(RuntimeError::Compile { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { object, engines, kernel })
    }

    /// Runs an accepted program everywhere. What it returned.
    fn run(&mut self, program: &Program, guarded: bool) -> Result<Traces, String> {
        let mut first: Option<(&str, Traces)> = None;
        for (name, engine) in &mut self.engines {
            let traces = engine
                .run(program, guarded)
                .map_err(|fault| format!("accepted, but in the {name}: {fault}"))?;
            match &first {
                Some((other, expected)) if *expected != traces => {
                    let what = difference(expected, &traces);
                    return Err(format!("{other} and {name} differ in {what}"));
                }
                Some(_) => {}
                None => first = Some((*name, traces)),
            }
        }
        first.map(|(_, traces)| traces).ok_or_else(|| "there is no engine".to_owned())
    }
}

impl Target for Programs {
    fn attempt(&mut self, random: &mut Random) -> Result<&'static str, String> {
        let asks_kernel = self.kernel > 0 && random.one_in(self.kernel);
        // What the kernel gives has room behind the packet.
        let guarded = !asks_kernel && random.one_in(2);
        let generated = generate(random);
        let program = world::linked(&generated);
        let request = Request::of_kind(&program, world::kind()).object(&self.object);
        let verdict = bpf_verifier::verify(&request);
        let kernel = match asks_kernel {
            true => Some(kernel::ask(&self.object, &program).map_err(|error| error.to_string())?),
            false => None,
        };
        let fail = |what: String| Err(format!("{what}\n{}", listing(&generated)));
        match verdict {
            Verdict::NotModelled(_) => return Ok("not modelled"),
            Verdict::Refused(_) => {
                return Ok(match kernel {
                    // A newer kernel knows more than the one that we follow.
                    Some(Answer::Returned(_)) => "refused by us alone",
                    Some(Answer::Refused(_)) => "refused by both",
                    None => "refused",
                });
            }
            Verdict::Accepted(_) => {}
        }
        if let Some(Answer::Refused(reason)) = kernel {
            // Linux 6.18 drops a callback that is never called, but not its address.
            if reason.starts_with("verifier bug") {
                return Ok("refused by a bug of the kernel");
            }
            return fail(format!("accepted, but the kernel refuses: {reason}"));
        }
        let traces = match self.run(&program, guarded) {
            Ok(traces) => traces,
            // Two runs see different addresses.
            Err(what) if generated.depends_on_addresses && what.contains("differ") => {
                return Ok("of addresses");
            }
            Err(what) => return fail(what),
        };
        match kernel {
            Some(Answer::Returned(value))
                if value != traces.value as u32 && !generated.depends_on_addresses =>
            {
                fail(format!("the kernel returns {value:#x}, we return {:#x}", traces.value))
            }
            Some(_) => Ok("run as in the kernel"),
            None => Ok("run"),
        }
    }
}

fn difference(one: &Traces, other: &Traces) -> String {
    if one.value != other.value {
        format!("the result: {:#x} and {:#x}", one.value, other.value)
    } else if one.packet != other.packet {
        "the packet".to_owned()
    } else {
        "the maps".to_owned()
    }
}

fn listing(generated: &Generated) -> String {
    let placed = place(generated.instructions.iter().copied());
    let mut text = String::new();
    for one in &placed {
        let line = disassemble(std::slice::from_ref(one), Syntax::Llvm, &Default::default());
        // Writing to a string succeeds.
        let _ = write!(text, "{:>4}: {line}", one.slot);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::holds;

    #[test]
    fn a_short_run() {
        let report = holds(&mut Programs::new(0).expect("there is memory"), 1_000);
        assert!(report.sorts["run"] > 700, "{report}");
    }
}
