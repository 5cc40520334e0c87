//! Nanoseconds per executed instruction, ours against rbpf's interpreter, in one run.
//!
//! `cargo bench -p bpf-vm --bench interpreter`. Rounds of both alternate; the minima count, since
//! the machine has other things to do. How many instructions a program executes is counted by
//! its author and stands beside it.

use std::hint::black_box;
use std::time::Instant;

use bpf_isa::encode;
use bpf_isa::text::{Syntax, assemble};
use bpf_vm::{Helper, Input, Program};

struct Case {
    name: &'static str,
    source: &'static str,
    /// How many instructions are executed with these arguments.
    executed: u64,
    memory: usize,
}

const CASES: &[Case] = &[
    Case {
        name: "sum",
        source: "
            r0 = 0
            r1 = 100000
            loop:
            r0 += r1
            r1 += -1
            if r1 != 0 goto loop
            exit",
        executed: 2 + 3 * 100_000 + 1,
        memory: 0,
    },
    Case {
        // A multiplicative hash over the memory, one byte at a time.
        name: "hash",
        source: "
            r3 = 0
            r0 = 0x811c9dc5
            r5 = 16384
            loop:
            r4 = r1
            r4 += r3
            w4 = *(u8 *)(r4 + 0)
            w0 ^= w4
            w0 *= 0x01000193
            r3 += 1
            if r3 < r5 goto loop
            exit",
        executed: 3 + 7 * 16384 + 1,
        memory: 16384,
    },
    Case {
        // Primes below 16384: one byte for each number.
        name: "sieve",
        source: "
            r2 = 16384
            r3 = 2
            r0 = 0
            next:
            r4 = r1
            r4 += r3
            w5 = *(u8 *)(r4 + 0)
            if w5 != 0 goto skip
            r0 += 1
            r6 = r3
            r6 += r3
            mark:
            if r6 >= r2 goto skip
            r7 = r1
            r7 += r6
            *(u8 *)(r7 + 0) = 1
            r6 += r3
            goto mark
            skip:
            r3 += 1
            if r3 < r2 goto next
            exit",
        executed: 0,
        memory: 16384,
    },
    Case {
        name: "xorshift",
        source: "
            r1 = 88172645463325252 ll
            r2 = 20000
            r0 = 0
            loop:
            r3 = r1
            r3 <<= 13
            r1 ^= r3
            r3 = r1
            r3 >>= 7
            r1 ^= r3
            r3 = r1
            r3 <<= 17
            r1 ^= r3
            r0 += r1
            r2 += -1
            if r2 != 0 goto loop
            exit",
        executed: 3 + 12 * 20_000 + 1,
        memory: 0,
    },
    Case {
        // Words spilled to and filled from the stack.
        name: "stack",
        source: "
            r1 = 30000
            r0 = 0
            *(u64 *)(r10 - 8) = r0
            loop:
            r2 = *(u64 *)(r10 - 8)
            r2 += r1
            *(u64 *)(r10 - 8) = r2
            *(u32 *)(r10 - 16) = w2
            w3 = *(u32 *)(r10 - 16)
            r0 ^= r3
            r1 += -1
            if r1 != 0 goto loop
            exit",
        executed: 3 + 8 * 30_000 + 1,
        memory: 0,
    },
];

/// The sieve's instructions, from the algorithm.
fn sieve_instructions(limit: u64) -> u64 {
    let mut marked = vec![false; limit as usize];
    let mut executed = 3 + 1;
    for number in 2..limit {
        executed += 4 + 2;
        if !marked[number as usize] {
            executed += 3 + 1;
            for multiple in (2 * number..limit).step_by(number as usize) {
                marked[multiple as usize] = true;
                executed += 6;
            }
        }
    }
    executed
}

fn nanoseconds(mut run: impl FnMut() -> u64) -> f64 {
    let start = Instant::now();
    black_box(run());
    start.elapsed().as_secs_f64() * 1e9
}

fn main() {
    println!("{:<10} {:>10} {:>9} {:>9} {:>7}", "program", "executed", "ours", "rbpf", "ratio");
    let mut product = 1.0f64;
    for case in CASES {
        let instructions = assemble(case.source, Syntax::Llvm).expect(case.name);
        let bytes = encode(&instructions);
        let program = Program::load(&bytes, &std::collections::HashMap::<i32, Helper>::new())
            .expect(case.name);
        let baseline = rbpf::EbpfVmRaw::new(Some(&bytes)).expect(case.name);
        let executed = match case.executed {
            0 => sieve_instructions(case.memory as u64),
            executed => executed,
        };
        let memory: Vec<u8> = match case.name {
            "sieve" => vec![0; case.memory],
            _ => (0..case.memory).map(|index| (index * 7) as u8).collect(),
        };
        let (mut best, mut best_baseline) = (f64::MAX, f64::MAX);
        for _ in 0..40 {
            let (mut a, mut b) = (memory.clone(), memory.clone());
            let (mut ours, mut theirs) = (0, 0);
            best = best.min(nanoseconds(|| {
                let mut input = Input::default();
                input.arguments[0] = input.memory.lend(&mut a);
                ours = program.run(&mut input).expect(case.name);
                ours
            }));
            best_baseline = best_baseline.min(nanoseconds(|| {
                theirs = baseline.execute_program(&mut b).expect(case.name);
                theirs
            }));
            assert_eq!(ours, theirs, "{}", case.name);
        }
        let per = |total: f64| total / executed as f64;
        let (ours, theirs) = (per(best), per(best_baseline));
        product *= ours;
        println!(
            "{:<10} {executed:>10} {ours:>7.2}ns {theirs:>7.2}ns {:>7.2}",
            case.name,
            ours / theirs
        );
    }
    let mean = product.powf(1.0 / CASES.len() as f64);
    println!("geometric mean: {mean:.2} ns per instruction");
}
