//! What our verifier says of a test.

use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use bpf_object::btf::Btf;
use bpf_object::{Error, Object, Problem, Program, ProgramKind};
use bpf_verifier::{Options, Request, Rule, Verdict};

use super::expectation::Expectation;

/// The answer of an engine, ours or the kernel's.
#[derive(Clone, Debug)]
pub enum Answer {
    Accepted {
        processed: u32,
    },
    Refused {
        /// The rule that it breaks, if the engine names rules.
        rule: Option<Rule>,
        message: String,
    },
    NotModelled(String),
    /// It didn't get as far as an answer.
    Broken(String),
}

/// The kind of program, as the flags of the test change it.
pub fn kind(program: &Program, expectation: &Expectation) -> Option<ProgramKind> {
    let mut kind = program.kind.clone()?;
    kind.sleepable |= expectation.flag("BPF_F_SLEEPABLE");
    kind.fragments |= expectation.flag("BPF_F_XDP_HAS_FRAGS");
    Some(kind)
}

pub fn judge(
    object: &Object,
    program: &Program,
    kernel: &Btf,
    expectation: &Expectation,
    privileged: bool,
) -> (Answer, Duration) {
    let Some(kind) = kind(program, expectation) else {
        let section = &program.section;
        let problem = format!("the section's name `{section}` says no program type");
        return (Answer::Broken(problem), Duration::ZERO);
    };
    let options = Options {
        privileged,
        strict_alignment: expectation.flag("BPF_F_STRICT_ALIGNMENT"),
        any_alignment: expectation.flag("BPF_F_ANY_ALIGNMENT"),
        test_state_frequency: expectation.flag("BPF_F_TEST_STATE_FREQ"),
        test_invariants: expectation.flag("BPF_F_TEST_REG_INVARIANTS"),
        ..Options::default()
    };
    let request = Request::of_kind(program, kind).object(object).kernel(kernel).options(options);
    let started = Instant::now();
    // A panic is a fault of the verifier, and no reason to lose the other tests.
    let verdict = panic::catch_unwind(AssertUnwindSafe(|| bpf_verifier::verify(&request)));
    let took = started.elapsed();
    match verdict {
        Ok(verdict) => (answer(&verdict), took),
        Err(_) => (Answer::Broken("the verifier panicked".to_owned()), took),
    }
}

/// The answer for a program that can't be linked. What is no instruction never gets to a verifier
/// of ours: refusing it is the decoder's part.
pub fn not_linked(error: &Error) -> Answer {
    match error {
        Error::At { problem: Problem::Instruction(_), .. } => {
            Answer::Refused { rule: Some(Rule::Encoding), message: error.to_string() }
        }
        _ => Answer::Broken(format!("linking: {error}")),
    }
}

fn answer(verdict: &Verdict) -> Answer {
    match verdict {
        Verdict::Accepted(verified) => Answer::Accepted { processed: verified.facts().processed },
        Verdict::Refused(refusal) => {
            Answer::Refused { rule: Some(refusal.rule), message: refusal.message.clone() }
        }
        Verdict::NotModelled(gap) => Answer::NotModelled(gap.what.clone()),
    }
}
