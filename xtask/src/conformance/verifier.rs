//! The kernel's own tests of its verifier, put to ours.
//!
//! Each program in the selftests' `progs/verifier_*.c` is labelled with the verdict it should get,
//! the messages and what it returns when it is run. We compile them, ask our verifier (and the
//! running kernel, for reference) and print how far the answers agree.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use bpf_object::btf::Btf;
use bpf_object::{Object, Program};
use bpf_vm::Engine;
use clap::Args;

use crate::report::Step;
use crate::setup;

mod agreement;
mod compile;
mod engine;
mod execution;
mod expectation;
mod kernel;
mod pattern;
mod source;
mod tally;

use agreement::Relation;
use execution::{Place, Results};
use expectation::{Expectation, Side};
use kernel::Kernel;
use source::Source;
use tally::{Outcome, Tally};

#[derive(Args)]
pub struct Verifier {
    /// Only files whose name has this in it, such as `spill_fill`
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// Only tests whose function or description has this in it
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// Also show what agrees, and the whole of our verifier's refusals
    #[arg(long)]
    verbose: bool,
    /// Also ask the running kernel, which takes root, and print how its answers agree
    #[arg(long)]
    kernel: bool,
    /// Print what doesn't agree as rows of a table, as in SPECIFICATION.md
    #[arg(long)]
    table: bool,
    /// Fail unless at least this share of the privileged tests agrees, in percent
    #[arg(long, value_name = "PERCENT")]
    at_least: Option<f64>,
}

/// A test with the program that it is about.
struct Test {
    name: String,
    expectation: Expectation,
    /// What answers its CO-RE relocations instead of the kernel's types.
    types: Option<Rc<Btf>>,
    /// Linked for the kernel that the tests are of; what couldn't be linked is told.
    program: Result<Program, bpf_object::Error>,
}

pub fn run(options: &Verifier) -> Result<()> {
    setup::packages(&[setup::Group::Selftests])?;
    let source = Source::fetch()?;
    let objects = compile::compile(&source)?;
    let kernel = Btf::parse(&fs::read(&source.types)?)?;

    let step = Step::start("verifying");
    let running = match options.kernel {
        true => Some(Btf::parse(&fs::read("/sys/kernel/btf/vmlinux")?)?),
        false => None,
    };
    let mut tally = Tally::default();
    let mut reference = Tally::default();
    let mut results = Results::default();
    let mut lines = Vec::new();
    for path in &objects {
        let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if options.file.as_ref().is_some_and(|wanted| !file.contains(wanted)) {
            continue;
        }
        let object = Object::parse(&fs::read(path)?).with_context(|| file.clone())?;
        let on_kernel = running.as_ref().map(|types| (Kernel::new(&object), types));
        for test in tests(&source, &object, &kernel)? {
            if options.test.as_ref().is_some_and(|wanted| !test.is_called(wanted)) {
                continue;
            }
            for outcome in outcomes(&file, &object, &kernel, &test) {
                if options.verbose || outcome.relation() != Relation::Agrees {
                    lines.push(outcome.to_string());
                }
                tally.add(outcome);
            }
            run_everywhere(&mut results, &file, &object, &kernel, running.as_ref(), &test);
            if let Some((kernel, types)) = &on_kernel
                && let Some(outcome) = kernel_outcome(&file, &object, kernel, types, &test)
            {
                if options.verbose || outcome.relation() != Relation::Agrees {
                    lines.push(format!("kernel: {outcome}"));
                }
                reference.add(outcome);
            }
        }
    }
    if tally.is_empty() {
        bail!("no test was chosen");
    }
    step.done(format!("{} answers", tally.len()));
    for line in lines.iter().chain(&results.lines) {
        println!("{line}");
    }
    if options.table {
        print!("{}", tally.table());
    }
    println!("{tally}{results}");
    if options.kernel {
        println!("\nthe running kernel, for reference\n{reference}");
        println!("{}", tally.compare_processed(&reference));
    }
    let share = tally.agreement();
    if options.at_least.is_some_and(|least| share < least) {
        println!("{share:.1}% is less than was asked for");
        process::exit(1);
    }
    Ok(())
}

impl Test {
    fn is_called(&self, wanted: &str) -> bool {
        let description = self.expectation.description.as_deref();
        self.name.contains(wanted) || description.is_some_and(|text| text.contains(wanted))
    }
}

/// The tests of an object that are for this processor.
fn tests(source: &Source, object: &Object, kernel: &Btf) -> Result<Vec<Test>> {
    let types = object.types.as_ref().context("the object has no types")?;
    let mut others: HashMap<String, Rc<Btf>> = HashMap::new();
    let mut tests = Vec::new();
    for function in object.programs() {
        let kind = function.kind.with_context(|| format!("{} has no type", function.name))?;
        let expectation =
            Expectation::of(types, kind).with_context(|| format!("of {}", function.name))?;
        if expectation.auxiliary || !expectation.is_for_us() {
            continue;
        }
        let own = match &expectation.types {
            None => None,
            Some(name) => {
                if !others.contains_key(name) {
                    let types = types_of(&compile::other_types(source, name)?)?;
                    others.insert(name.clone(), Rc::new(types));
                }
                others.get(name).cloned()
            }
        };
        let program = object.link(&function.name, Some(own.as_deref().unwrap_or(kernel)));
        tests.push(Test { name: function.name.clone(), expectation, types: own, program });
    }
    Ok(tests)
}

fn types_of(path: &Path) -> Result<Btf> {
    let object = Object::parse(&fs::read(path)?)?;
    object.types.with_context(|| format!("{} has no types", path.display()))
}

/// Runs a test that says what it returns: in our engines, and in the running kernel if its types
/// are given.
fn run_everywhere(
    results: &mut Results,
    file: &str,
    object: &Object,
    kernel: &Btf,
    running: Option<&Btf>,
    test: &Test,
) {
    let Some(Side { accepted: true, result: Some(expected), .. }) = test.expectation.privileged
    else {
        return;
    };
    let name = format!("{file}/{}", test.name);
    for (place, engine) in [(Place::Interpreter, Engine::Interpreter), (Place::Jit, Engine::Jit)] {
        let types = test.types.as_deref().unwrap_or(kernel);
        let result = execution::in_runtime(engine, file, object, &test.name, types);
        results.add(&name, place, expected, result);
    }
    if let Some(types) = running {
        let program = linked_for(object, types, test).map_err(|error| error.to_string());
        let result = program.and_then(|program| {
            execution::in_kernel(file, object, &program, types, &test.expectation)
        });
        results.add(&name, Place::Kernel, expected, result);
    }
}

/// Linked for the running kernel: numbers of functions and offsets of fields are that one's, unless
/// the test brings the types to link with.
fn linked_for(object: &Object, types: &Btf, test: &Test) -> Result<Program, bpf_object::Error> {
    match test.expectation.types {
        Some(_) => test.program.clone(),
        None => object.link(&test.name, Some(types)),
    }
}

/// One outcome for each of the two sides that is labelled.
fn outcomes(file: &str, object: &Object, kernel: &Btf, test: &Test) -> Vec<Outcome> {
    let sides = [(true, &test.expectation.privileged), (false, &test.expectation.unprivileged)];
    let outcome = |(privileged, side): (bool, &Option<Side>)| {
        let expected = side.clone()?;
        // Every test can be without CAP_PERFMON, but this file's are so in the kernel's runner.
        let trusted = privileged && file != "verifier_mtu";
        let (answer, took) = match &test.program {
            Err(error) => (engine::not_linked(error), None),
            Ok(program) => {
                let (answer, took) =
                    engine::judge(object, program, kernel, &test.expectation, trusted);
                (answer, Some(took))
            }
        };
        Some(Outcome {
            file: file.to_owned(),
            test: test.name.clone(),
            privileged,
            expected,
            answer,
            took,
        })
    };
    sides.into_iter().filter_map(outcome).collect()
}

/// The running kernel's answer to the privileged side.
fn kernel_outcome(
    file: &str,
    object: &Object,
    kernel: &Kernel,
    types: &Btf,
    test: &Test,
) -> Option<Outcome> {
    let expected = test.expectation.privileged.clone()?;
    let answer = match linked_for(object, types, test) {
        Err(error) => engine::not_linked(&error),
        Ok(program) => kernel.judge(object, &program, types, &test.expectation),
    };
    Some(Outcome {
        file: file.to_owned(),
        test: test.name.clone(),
        privileged: true,
        expected,
        answer,
        took: None,
    })
}
