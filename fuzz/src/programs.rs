//! Programs: what our verifier accepts runs alike in all engines, and never goes wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bpf_isa::place;
use bpf_isa::text::{Syntax, disassemble};
use bpf_object::{Object, Program};
use bpf_verifier::{Options, Request, Rules, Verdict};
use bpf_vm::{Engine, RuntimeError};

use crate::{Random, Target};

mod engines;
mod generate;
mod kernel;
mod traces;
mod world;

use engines::Ours;
use generate::{Generated, generate};
use kernel::{Answer, Kernel};
use traces::Traces;
use world::{Setting, Surroundings};

/// What is accepted runs without a fault, with the same result and the same bytes in packet, context
/// and maps in the interpreter, the compiler and the kernel.
#[derive(Debug)]
pub struct Programs {
    hooks: Vec<Hook>,
    /// The kernel is asked about one program in so many; 0 for none.
    kernel: usize,
    mix: Mix,
}

/// All engines, for programs of one setting.
#[derive(Debug)]
struct Hook {
    setting: Setting,
    object: Object,
    engines: Vec<(&'static str, Ours)>,
    kernel: Option<Kernel>,
    /// Whose verdict ours is to be: the kernel's, if it is asked.
    rules: Rules,
}

/// How many of the programs that ran did what.
#[derive(Debug, Default)]
struct Mix {
    ran: u64,
    marks: BTreeMap<&'static str, u64>,
    /// How many were refused by which rule.
    refused: BTreeMap<&'static str, u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Kernel(#[from] bpf_kernel::Error),
}

impl Programs {
    pub fn new(kernel: usize) -> Result<Self, SetupError> {
        let hooks = Setting::ALL.into_iter().map(|setting| Hook::new(setting, kernel > 0));
        let hooks = hooks.collect::<Result<_, _>>()?;
        Ok(Self { hooks, kernel, mix: Mix::default() })
    }
}

impl Hook {
    fn new(setting: Setting, with_kernel: bool) -> Result<Self, SetupError> {
        let object = world::object(setting);
        let mut engines = Vec::new();
        let known = [("interpreter", Engine::Interpreter), ("JIT", Engine::VerifiedJit)];
        for (name, engine) in known {
            match Ours::new(engine, setting, &object) {
                Ok(ours) => engines.push((name, ours)),
                // Elsewhere there is less to compare.
                Err(RuntimeError::Compile { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let kernel = with_kernel.then(|| Kernel::new(setting, &object)).transpose()?;
        let rules = match &kernel {
            Some(kernel) => Rules::of_version(kernel.version()),
            None => Rules::default(),
        };
        Ok(Self { setting, object, engines, kernel, rules })
    }

    /// Runs an accepted program everywhere: on packets of each kind, with a guard page behind them or
    /// with room. What it left behind on those of the last.
    fn run(
        &mut self,
        program: &Program,
        maps: &[usize],
        surroundings: &Surroundings,
        guarded: &[bool],
    ) -> Result<Traces, String> {
        let fault = |name: &str, fault| format!("accepted, but in the {name}: {fault}");
        let mut loaded = Vec::new();
        for (name, engine) in &mut self.engines {
            let program = engine.load(program).map_err(|what| fault(name, what))?;
            let unchecked = program.is_unchecked().then(|| ("unchecked JIT", program.clone()));
            let all: Vec<_> = [(*name, program.checked())].into_iter().chain(unchecked).collect();
            loaded.push((engine, all));
        }
        let mut last = Err("there is no engine".to_owned());
        for &guarded in guarded {
            let mut first: Option<(&str, Traces)> = None;
            for (engine, programs) in &mut loaded {
                for (name, program) in programs {
                    let traces = engine
                        .run(program, maps, surroundings, guarded)
                        .map_err(|what| fault(name, what))?;
                    match &first {
                        Some((other, expected)) => {
                            if let Some(what) = expected.difference(&traces, 64) {
                                return Err(format!("{other} and {name} differ in {what}"));
                            }
                        }
                        None => first = Some((name, traces)),
                    }
                }
            }
            last = first.map(|(_, traces)| traces).ok_or_else(|| "there is no engine".to_owned());
        }
        last
    }

    /// Asks the kernel about a program of which we say what it leaves behind, or nothing, if we
    /// refuse it.
    fn ask(
        &mut self,
        program: &Program,
        maps: &[usize],
        surroundings: &Surroundings,
    ) -> Result<Option<Answer>, String> {
        let Some(kernel) = &mut self.kernel else { return Ok(None) };
        let answer = kernel.ask(&self.object, program, maps, surroundings);
        answer.map(Some).map_err(|error| error.to_string())
    }

    fn attempt(
        &mut self,
        random: &mut Random,
        asks_kernel: bool,
        mix: &mut Mix,
    ) -> Result<&'static str, String> {
        let setting = self.setting;
        let generated = generate(random, setting);
        let surroundings = Surroundings::new(random);
        // What the kernel gives has room behind the packet.
        let guarded = if asks_kernel { &[true, false][..] } else { &[random.one_in(2)] };
        let program = world::linked(&generated, self.setting);
        let maps = &generated.maps;
        let request = Request::of_kind(&program, self.setting.kind())
            .object(&self.object)
            .options(Options { rules: self.rules, ..Options::default() });
        let fail = |what: String| Err(format!("{setting:?}: {what}\n{}", listing(&generated)));
        match bpf_verifier::verify(&request) {
            Verdict::NotModelled(_) => return Ok("not modelled"),
            Verdict::Refused(refusal) => {
                mix.refusal(refusal.rule.code());
                // Nothing runs then: a few will do.
                return match &self.kernel {
                    // A newer kernel knows more than the one that we follow.
                    Some(kernel) if asks_kernel && random.one_in(8) => {
                        match kernel.takes(&self.object, &program) {
                            true => Ok("refused by us alone"),
                            false => Ok("refused by both"),
                        }
                    }
                    _ => Ok("refused"),
                };
            }
            Verdict::Accepted(_) => {}
        }
        mix.add(&generated, self.setting);
        let ours = match self.run(&program, maps, &surroundings, guarded) {
            Ok(traces) => traces,
            // Two runs see different addresses.
            Err(what) if generated.depends_on_addresses && what.contains("differ") => {
                return Ok("of addresses");
            }
            Err(what) => return fail(what),
        };
        if !asks_kernel {
            return Ok("run");
        }
        // Per-CPU values change under a program that the scheduler has moved: once more, then.
        let attempts = if maps.contains(&world::PER_CPU) { 3 } else { 1 };
        let mut found = None;
        for _ in 0..attempts {
            found = match self.ask(&program, maps, &surroundings)? {
                None => return Ok("run"),
                Some(Answer::Ran(traces)) => ours.difference(&traces, 32),
                Some(Answer::Refused(reason)) => {
                    if let Some(cause) = known_cause(&reason) {
                        return Ok(cause);
                    }
                    return fail(format!("accepted, but the kernel refuses: {reason}"));
                }
            };
            if found.is_none() {
                break;
            }
        }
        match found {
            None => Ok("run as in the kernel"),
            Some(_) if generated.depends_on_addresses => Ok("of addresses"),
            // Where Linux 6.18 compares states it doesn't count what atomics read from the stack, so
            // in loops it takes for dead what isn't (its log of 2083976 shows it), and removes that.
            Some(_) if generated.marks.contains("atomics on the stack") => {
                Ok("different with atomics on the stack")
            }
            Some(what) => fail(format!("we and the kernel differ in {what}")),
        }
    }
}

/// Why Linux 6.18 refuses what our verifier accepts for a good cause.
fn known_cause(reason: &str) -> Option<&'static str> {
    if reason.starts_with("verifier bug") {
        // It drops a callback that is never called, but not its address.
        Some("refused by a bug of the kernel")
    } else if reason.starts_with("BPF program is too large") {
        // Which paths are followed twice differs.
        Some("too complex for the kernel")
    } else if reason.contains(" pointer offset ") {
        // What is added to a pointer is another number plus a large constant: the kernel takes that
        // for an offset, in newer versions also where the constant is negative or has 32 bits.
        Some("refused by a newer rule")
    } else {
        None
    }
}

impl Mix {
    fn refusal(&mut self, rule: &'static str) {
        *self.refused.entry(rule).or_default() += 1;
    }

    fn add(&mut self, generated: &Generated, setting: Setting) {
        self.ran += 1;
        let hook = match setting {
            Setting::Xdp => "XDP",
            Setting::Classifier => "tc",
            Setting::CgroupFilter => "cgroup",
            Setting::SocketFilter => "socket filter",
        };
        for mark in generated.marks.iter().copied().chain([hook]) {
            *self.marks.entry(mark).or_default() += 1;
        }
    }
}

impl Target for Programs {
    fn attempt(&mut self, random: &mut Random) -> Result<&'static str, String> {
        let asks_kernel = self.kernel > 0 && random.one_in(self.kernel);
        // As often as there is to try in each.
        let hook = random.pick(&[0, 0, 1, 1, 2, 3]);
        self.hooks[hook].attempt(random, asks_kernel, &mut self.mix)
    }

    fn mix(&self) -> Vec<(&'static str, f64)> {
        let Mix { ran, marks, refused } = &self.mix;
        let share = |of: u64| {
            move |(what, count): (&&'static str, &u64)| (*what, *count as f64 / of.max(1) as f64)
        };
        let all_refused = refused.values().sum();
        marks.iter().map(share(*ran)).chain(refused.iter().map(share(all_refused))).collect()
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
        assert!(report.sorts["run"].count > 700, "{report}");
    }

    #[test]
    fn a_short_run_beside_the_kernel() {
        match Programs::new(1) {
            Ok(mut programs) => {
                let report = holds(&mut programs, 300);
                assert!(report.sorts["run as in the kernel"].count > 200, "{report}");
            }
            Err(error) => println!("skipped: the kernel can't be asked here: {error}"),
        }
    }
}
