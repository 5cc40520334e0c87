//! Nanoseconds per run and per compilation: our engines, rbpf's and the kernel's compiler.
//!
//! `cargo bench -p bpf-vm --bench engines`, or `cargo xtask bench vm`. All run the same bytes on
//! the same packet, in turns; the minima of many rounds count, since the machine has other things
//! to do. The kernel is asked by `BPF_PROG_TEST_RUN`; without root its column stays empty.

#[path = "engines/kernel.rs"]
mod kernel;
#[path = "engines/programs.rs"]
mod programs;

use std::collections::HashMap;
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

struct Figures {
    name: &'static str,
    instructions: usize,
    interpreter: f64,
    checked: f64,
    verified: f64,
    rbpf_interpreter: f64,
    rbpf: f64,
    kernel: Option<f64>,
    compile: f64,
    compile_rbpf: f64,
}

fn measure(case: &Case, frame: &[u8]) -> Figures {
    let code = encode(&assemble(&case.source, Syntax::Llvm).expect(case.name));
    let none = HashMap::<i32, Helper>::new();
    let load = || Program::load(&code, &none).expect(case.name);
    let interpreted = load();
    let checked = load().compile(CompileOptions::default()).expect("memory");
    // SAFETY: the kernel's verifier takes these programs, with such packets; where it isn't asked
    // below, it was by whoever wrote them.
    let verified = unsafe { load().compile_unchecked(CompileOptions::default()) }.expect("memory");
    let mut packet = Packet::new(frame);
    let context = packet.context;
    let mut rbpf = rbpf::EbpfVmRaw::new(Some(&code)).expect(case.name);
    let start = packet.bytes.as_ptr().addr() as u64;
    rbpf.register_allowed_memory(start..start + frame.len() as u64);
    rbpf.jit_compile().expect(case.name);
    let kernel = match kernel::Program::load(&code) {
        Ok(program) => Some(program),
        Err(error) => {
            eprintln!("{}: not in the kernel: {error}", case.name);
            None
        }
    };

    let mut input = packet.input();
    let expected = interpreted.run(&mut input).expect(case.name);
    assert_eq!(checked.run(&mut input), Ok(expected), "{}", case.name);
    assert_eq!(verified.run(&mut input), Ok(expected), "{}", case.name);
    let times = times_for(|| verified.run(&mut input).expect(case.name));
    let slow_times = times_for(|| interpreted.run(&mut input).expect(case.name));
    let mut figures = Figures {
        name: case.name,
        instructions: code.len() / 8,
        interpreter: f64::MAX,
        checked: f64::MAX,
        verified: f64::MAX,
        rbpf_interpreter: f64::MAX,
        rbpf: f64::MAX,
        kernel: None,
        compile: f64::MAX,
        compile_rbpf: f64::MAX,
    };
    let mut mbuff = context;
    // SAFETY: as above: rbpf checks nothing in compiled code.
    let result = unsafe { rbpf.execute_program_jit(&mut mbuff) }.expect(case.name);
    if result != expected {
        eprintln!("{}: rbpf's compiler gives {result:#x}, not {expected:#x}", case.name);
    }
    let rbpf_interprets = rbpf.execute_program(&mut context.clone()).is_ok();
    for _ in 0..ROUNDS {
        let run = |program: &Program, input: &mut Input<'_>| program.run(input).expect(case.name);
        let keep = |best: &mut f64, time: f64| *best = best.min(time);
        keep(&mut figures.interpreter, time(slow_times, || run(&interpreted, &mut input)));
        keep(&mut figures.checked, time(times, || run(&checked, &mut input)));
        keep(&mut figures.verified, time(times, || run(&verified, &mut input)));
        if rbpf_interprets {
            let mut mbuff = context;
            let pointer: *mut [u8] = &mut mbuff;
            let call = || {
                // SAFETY: nobody else uses it; rbpf wants a borrow as long as itself.
                rbpf.execute_program(unsafe { &mut *pointer }).expect(case.name)
            };
            keep(&mut figures.rbpf_interpreter, time(slow_times, call));
        }
        let pointer: *mut [u8] = &mut mbuff;
        // SAFETY: as above.
        let call = || unsafe { rbpf.execute_program_jit(&mut *pointer) }.expect(case.name);
        keep(&mut figures.rbpf, time(times, call));
        if let Some(program) = &kernel {
            let (action, time) = program.run(frame, times).expect("a test run");
            assert_eq!(action, expected as u32, "{}", case.name);
            keep(figures.kernel.get_or_insert(f64::MAX), time);
        }
        // What is compiled is thrown away outside of the measurement. Of several in a row, the
        // first finds nothing in the caches.
        for _ in 0..8 {
            let loaded = load();
            let start = Instant::now();
            // SAFETY: it isn't run.
            let compiled = unsafe { loaded.compile_unchecked(CompileOptions::default()) };
            keep(&mut figures.compile, start.elapsed().as_secs_f64() * 1e6);
            drop(black_box(compiled));
            let mut other = rbpf::EbpfVmRaw::new(Some(&code)).expect(case.name);
            let start = Instant::now();
            other.jit_compile().expect(case.name);
            keep(&mut figures.compile_rbpf, start.elapsed().as_secs_f64() * 1e6);
        }
    }
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

fn main() {
    println!("nanoseconds per run, minima of {ROUNDS} rounds; microseconds per compilation");
    println!(
        "{:<10} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9} {:>9}",
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
    let frame = frame();
    let only = std::env::var("ONLY").ok();
    let mut all = Vec::new();
    for case in programs::cases() {
        if only.as_ref().is_some_and(|only| !only.split(',').any(|name| name == case.name)) {
            continue;
        }
        let figures = measure(&case, &frame);
        let kernel = figures.kernel.map_or("skipped".to_owned(), |time| format!("{time:.1}"));
        let ratio =
            figures.kernel.map_or(String::new(), |time| format!("{:.2}", figures.verified / time));
        println!(
            "{:<10} {:>5} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {kernel:>9} {ratio:>8} {:>8.2} {:>9.1} {:>9.1}",
            figures.name,
            figures.instructions,
            figures.interpreter,
            figures.checked,
            figures.verified,
            if figures.rbpf_interpreter == f64::MAX { f64::NAN } else { figures.rbpf_interpreter },
            figures.rbpf,
            figures.verified / figures.rbpf,
            figures.compile,
            figures.compile_rbpf,
        );
        all.push(figures);
    }
    let kernel = |of: fn(&Figures) -> f64| mean(all.iter().filter_map(|f| Some(of(f) / f.kernel?)));
    println!(
        "geometric means over the kernel: verified {:.2}, checked {:.2}, rbpf {:.2}, interpreter {:.1}",
        kernel(|f| f.verified),
        kernel(|f| f.checked),
        kernel(|f| f.rbpf),
        kernel(|f| f.interpreter),
    );
    println!(
        "over rbpf's compiler: verified {:.2}, checked {:.2}",
        mean(all.iter().map(|f| f.verified / f.rbpf)),
        mean(all.iter().map(|f| f.checked / f.rbpf)),
    );
    let per_hundred = |of: fn(&Figures) -> f64| {
        let long = all.iter().filter(|f| f.instructions >= 40);
        long.map(|f| of(f) * 100.0 / f.instructions as f64).fold(0.0, f64::max)
    };
    println!(
        "compilation of 100 instructions (programs of at least 40, the worst): {:.1} us, rbpf {:.1} us",
        per_hundred(|f| f.compile),
        per_hundred(|f| f.compile_rbpf),
    );
}
