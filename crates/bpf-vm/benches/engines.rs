//! Nanoseconds per run and per compilation: our engines, rbpf's and the kernel's compiler.
//!
//! `cargo bench -p bpf-vm --bench engines`, or `cargo xtask bench vm`. All run the same bytes on
//! the same packet, in turns; the minima of many rounds count, since the machine has other things
//! to do. The kernel is asked by `BPF_PROG_TEST_RUN`; without root its column stays empty.

#[path = "../tests/kernel/bpf.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod bpf;
#[path = "engines/kernel.rs"]
mod kernel;
#[path = "engines/overhead.rs"]
mod overhead;
#[path = "engines/programs.rs"]
mod programs;
#[path = "engines/tables.rs"]
mod tables;

use std::collections::HashMap;
use std::fmt;
use std::hint::black_box;
use std::time::Instant;

use bpf_isa::encode;
use bpf_isa::text::{Syntax, assemble};
use bpf_vm::{CompileOptions, Helper, Input, Program};
use programs::Case;

const ROUNDS: usize = 60;

/// How long one measurement takes, about.
const MEASURE: f64 = 200_000.0;

/// A packet where 32 bits find it, and the context that says so.
struct Packet {
    bytes: &'static mut [u8],
    context: [u8; 24],
}

impl Packet {
    fn new(content: &[u8]) -> Self {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
        );
        // SAFETY: a new mapping of one page.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED, "low memory");
        // SAFETY: the page is mapped until the end, zeroed and nobody else's.
        let page = unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), 4096) };
        let bytes = &mut page[..content.len()];
        bytes.copy_from_slice(content);
        let data = u32::try_from(bytes.as_ptr().addr()).expect("below 4 GiB");
        let mut context = [0; 24];
        context[..4].copy_from_slice(&data.to_ne_bytes());
        context[4..8].copy_from_slice(&(data + content.len() as u32).to_ne_bytes());
        Self { bytes, context }
    }

    fn input(&mut self) -> Input<'_> {
        let mut input = Input::default();
        input.arguments[0] = input.memory.share(&self.context);
        input.memory.lend(self.bytes);
        input
    }
}

/// Nanoseconds of one call, from as many as fit.
fn time(times: u32, mut call: impl FnMut() -> u64) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        black_box(call());
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(times)
}

fn times_for(call: impl FnMut() -> u64) -> u32 {
    (MEASURE / time(3, call)).clamp(1.0, 20_000.0) as u32
}

#[derive(Default)]
struct Figures {
    name: &'static str,
    instructions: usize,
    interpreter: Best,
    checked: Best,
    verified: Best,
    rbpf_interpreter: Best,
    rbpf: Best,
    kernel: Best,
    compile: Best,
    compile_rbpf: Best,
}

/// The least of what was measured, if anything was.
#[derive(Clone, Copy, Default)]
struct Best(Option<f64>);

impl Best {
    fn keep(&mut self, time: f64) {
        self.0 = Some(self.0.map_or(time, |best| best.min(time)));
    }

    fn over(self, other: Self) -> Option<f64> {
        Some(self.0? / other.0?)
    }
}

impl fmt::Display for Best {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => f.pad(&format!("{time:.1}")),
            None => f.pad("-"),
        }
    }
}

/// One program in each of our engines, and in the kernel.
struct Subject<'a> {
    name: &'static str,
    interpreted: &'a mut dyn FnMut() -> u64,
    checked: &'a mut dyn FnMut() -> u64,
    verified: &'a mut dyn FnMut() -> u64,
    kernel: Option<&'a kernel::Program>,
}

impl Subject<'_> {
    /// Measures everybody in turns, `others` with them.
    fn measure(
        self,
        figures: &mut Figures,
        frame: &[u8],
        mut others: impl FnMut(&mut Figures, u64, [u32; 2]),
    ) {
        let Self { name, interpreted, checked, verified, kernel } = self;
        let expected = interpreted();
        assert_eq!(checked(), expected, "{name}, checked");
        assert_eq!(verified(), expected, "{name}, verified");
        let times = times_for(&mut *verified);
        let slow_times = times_for(&mut *interpreted);
        for _ in 0..ROUNDS {
            figures.interpreter.keep(time(slow_times, &mut *interpreted));
            figures.checked.keep(time(times, &mut *checked));
            figures.verified.keep(time(times, &mut *verified));
            if let Some(program) = kernel {
                let (action, time) = program.run(frame, times).expect("a test run");
                assert_eq!(action, expected as u32, "{name}, in the kernel");
                figures.kernel.keep(time);
            }
            others(figures, expected, [times, slow_times]);
        }
    }
}

fn measure(case: &Case, frame: &[u8]) -> Figures {
    let name = case.name;
    let code = encode(&assemble(&case.source, Syntax::Llvm).expect(name));
    let none = HashMap::<i32, Helper>::new();
    let load = || Program::load(&code, &none).expect(name);
    let interpreted = load();
    let checked = load().compile(CompileOptions::default()).expect("memory");
    // SAFETY: the kernel's verifier takes these programs, with such packets; where it isn't asked
    // below, it was by whoever wrote them.
    let verified = unsafe { load().compile_unchecked(CompileOptions::default()) }.expect("memory");
    let mut packets = [(); 3].map(|()| Packet::new(frame));
    let [first, second, third] = &mut packets;
    let (mut first, mut second, mut third) = (first.input(), second.input(), third.input());
    let packet = Packet::new(frame);
    let mut mbuff = packet.context;
    let mut rbpf = rbpf::EbpfVmRaw::new(Some(&code)).expect(name);
    let start = packet.bytes.as_ptr().addr() as u64;
    rbpf.register_allowed_memory(start..start + frame.len() as u64);
    rbpf.jit_compile().expect(name);
    let kernel = kernel::Program::load(&code);
    if let Err(error) = &kernel {
        eprintln!("{name}: not in the kernel: {error}");
    }
    let mut figures = Figures { name, instructions: code.len() / 8, ..Figures::default() };
    let subject = Subject {
        name,
        interpreted: &mut || interpreted.run(&mut first).expect(name),
        checked: &mut || checked.run(&mut second).expect(name),
        verified: &mut || verified.run(&mut third).expect(name),
        kernel: kernel.as_ref().ok(),
    };
    let rbpf_interprets = rbpf.execute_program(&mut packet.context.clone()).is_ok();
    let pointer: *mut [u8] = &mut mbuff;
    subject.measure(&mut figures, frame, |figures, expected, [times, slow_times]| {
        if rbpf_interprets {
            let call = || {
                // SAFETY: nobody else uses it; rbpf wants a borrow as long as itself.
                rbpf.execute_program(unsafe { &mut *pointer }).expect(name)
            };
            figures.rbpf_interpreter.keep(time(slow_times, call));
        }
        // SAFETY: as above: rbpf checks nothing in compiled code.
        let call = || unsafe { rbpf.execute_program_jit(&mut *pointer) }.expect(name);
        assert_eq!(call(), expected, "{name}, rbpf");
        figures.rbpf.keep(time(times, call));
        // What is compiled is thrown away outside of the measurement. Of several in a row, the
        // first finds nothing in the caches.
        for _ in 0..8 {
            let loaded = load();
            let start = Instant::now();
            // SAFETY: it isn't run.
            let compiled = unsafe { loaded.compile_unchecked(CompileOptions::default()) };
            figures.compile.keep(start.elapsed().as_secs_f64() * 1e6);
            drop(black_box(compiled));
            let mut other = rbpf::EbpfVmRaw::new(Some(&code)).expect(name);
            let start = Instant::now();
            other.jit_compile().expect(name);
            figures.compile_rbpf.keep(start.elapsed().as_secs_f64() * 1e6);
        }
    });
    figures
}

fn measure_with_tables(case: &tables::Case, frame: &[u8]) -> Figures {
    let name = case.name;
    let theirs = tables::Theirs::load(case);
    if let Err(error) = &theirs {
        eprintln!("{name}: not in the kernel: {error}");
    }
    let tables::Ours { mut interpreted, mut checked, verified, slots, .. } =
        tables::Ours::load(case);
    let mut packets = [(); 2].map(|()| bpf_vm::Packet::new(frame).expect("low memory"));
    let [first, second] = &mut packets;
    let mut third = Packet::new(frame);
    let mut third = third.input();
    let mut figures = Figures { name, instructions: slots, ..Figures::default() };
    let subject = Subject {
        name,
        interpreted: &mut || interpreted.run(first).expect(name),
        checked: &mut || checked.run(second).expect(name),
        verified: &mut || verified.run(&mut third).expect(name),
        kernel: theirs.as_ref().ok().map(|theirs| &theirs.program),
    };
    subject.measure(&mut figures, frame, |_, _, _| {});
    figures
}

/// Ethernet, IPv4, TCP, and a payload.
fn frame() -> Vec<u8> {
    let mut frame: Vec<u8> = (0..320u32).map(|index| (index * 37 + 11) as u8).collect();
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14..24].copy_from_slice(&[0x45, 0, 1, 0x32, 0x12, 0x34, 0, 0, 64, 6]);
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 192, 168, 7, 9]);
    frame[34..38].copy_from_slice(&[0x9c, 0x40, 0, 80]);
    frame
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value.ln(), count + 1));
    if count == 0 { f64::NAN } else { (sum / f64::from(count)).exp() }
}

fn header() {
    println!(
        "{:<12} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9} {:>9}",
        "program",
        "slots",
        "interp.",
        "checked",
        "verified",
        "rbpf int.",
        "rbpf jit",
        "kernel",
        "/kernel",
        "/rbpf",
        "compile",
        "rbpf's"
    );
}

fn row(figures: &Figures) {
    let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    println!(
        "{:<12} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9} {:>9}",
        figures.name,
        figures.instructions,
        figures.interpreter,
        figures.checked,
        figures.verified,
        figures.rbpf_interpreter,
        figures.rbpf,
        figures.kernel,
        ratio(figures.verified.over(figures.kernel)),
        ratio(figures.verified.over(figures.rbpf)),
        figures.compile,
        figures.compile_rbpf,
    );
}

fn main() -> std::io::Result<()> {
    println!("nanoseconds per run, minima of {ROUNDS} rounds; microseconds per compilation");
    header();
    let frame = frame();
    let only = std::env::var("ONLY").ok();
    let is_wanted =
        |name: &str| only.as_ref().is_none_or(|only| only.split(',').any(|wanted| wanted == name));
    let mut all = Vec::new();
    for case in programs::cases().iter().filter(|case| is_wanted(case.name)) {
        all.push(measure(case, &frame));
        row(&all[all.len() - 1]);
    }
    for case in tables::cases().iter().filter(|case| is_wanted(case.name)) {
        all.push(measure_with_tables(case, &frame));
        row(&all[all.len() - 1]);
    }
    let kernel = |of: fn(&Figures) -> Best| mean(all.iter().filter_map(|f| of(f).over(f.kernel)));
    println!(
        "geometric means over the kernel: verified {:.2}, checked {:.2}, rbpf {:.2}, interpreter {:.1}",
        kernel(|f| f.verified),
        kernel(|f| f.checked),
        kernel(|f| f.rbpf),
        kernel(|f| f.interpreter),
    );
    println!(
        "over rbpf's compiler: verified {:.2}, checked {:.2}",
        mean(all.iter().filter_map(|f| f.verified.over(f.rbpf))),
        mean(all.iter().filter_map(|f| f.checked.over(f.rbpf))),
    );
    let per_hundred = |of: fn(&Figures) -> Best| {
        let long = all.iter().filter(|f| f.instructions >= 40);
        long.filter_map(|f| Some(of(f).0? * 100.0 / f.instructions as f64)).fold(0.0, f64::max)
    };
    println!(
        "compilation of 100 instructions (programs of at least 40, the worst): {:.1} us, rbpf {:.1} us",
        per_hundred(|f| f.compile),
        per_hundred(|f| f.compile_rbpf),
    );
    if let Some(sum) = all.iter().find(|f| f.name == "sum") {
        // It accesses no memory: what is checked in it is the fuel alone.
        println!(
            "fuel, by `sum`: {} ns with, {} ns where the verifier has bounded the program",
            sum.checked, sum.verified
        );
    }
    overhead::print();
    // For whoever goes on with other programs: `cargo xtask bench vm`.
    if let Some(file) = std::env::var_os("SKEP_BENCH_RATIOS") {
        let lines = all.iter().filter_map(|f| Some(format!("{}\n", f.verified.over(f.kernel)?)));
        std::fs::write(file, lines.collect::<String>())?;
    }
    Ok(())
}
