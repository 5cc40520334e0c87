//! Programs: what our verifier accepts runs alike in all engines, and never goes wrong.

use std::fmt::Write as _;

use bpf_isa::place;
use bpf_isa::text::{Syntax, disassemble};
use bpf_object::Object;
use bpf_verifier::{Request, Verdict};

use crate::{Random, Target};

mod generate;
mod kernel;
mod world;

use generate::{Generated, generate};

/// What is accepted could be run by the kernel, with the same result.
#[derive(Debug)]
pub struct Programs {
    object: Object,
    /// The kernel is asked about one program in so many; 0 for none.
    kernel: usize,
}

impl Programs {
    pub fn new(kernel: usize) -> Self {
        Self { object: world::object(), kernel }
    }
}

impl Target for Programs {
    fn attempt(&mut self, random: &mut Random) -> Result<&'static str, String> {
        let asks_kernel = self.kernel > 0 && random.one_in(self.kernel);
        let generated = generate(random);
        let program = world::linked(&generated);
        let request = Request::of_kind(&program, world::kind()).object(&self.object);
        let verdict = bpf_verifier::verify(&request);
        let kernel = match asks_kernel {
            true => Some(kernel::ask(&self.object, &program).map_err(|error| error.to_string())?),
            false => None,
        };
        let fail = |what: &str| Err(format!("{what}\n{}", listing(&generated)));
        match (verdict, kernel) {
            (Verdict::NotModelled(_), _) => Ok("not modelled"),
            (Verdict::Refused(_), Some(kernel::Answer::Returned(_))) => Ok("refused by us alone"),
            (Verdict::Refused(_), _) => Ok("refused"),
            (Verdict::Accepted(_), Some(kernel::Answer::Refused(reason))) => {
                fail(&format!("accepted, but the kernel refuses: {reason}"))
            }
            (Verdict::Accepted(_), _) => Ok("accepted"),
        }
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
        holds(&mut Programs::new(0), 2_000);
    }
}
