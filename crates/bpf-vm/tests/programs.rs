//! What the vectors don't cover: faults, fuel, calls in all forms, addresses, the packet
//! instructions, ordered and atomic access.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bpf_isa::text::{Syntax, assemble};
use bpf_isa::{Wide, encode};
use bpf_vm::{
    AccessError, Call, CompileOptions, FRAMES, Fault, Helper, Input, LoadError, Memory, Platform,
    Program, Reason, Stop,
};

/// Helper 1 adds its first two arguments, 2 calls a function so many times, 3 fails, 4 reads a
/// byte and writes its double, 5 ends the program, 6 calls a function and doesn't mind if it fails.
struct Helpers;

impl Platform for Helpers {
    fn helper(&self, id: i32) -> Option<Helper> {
        let helper: Helper = match id {
            1 => Arc::new(|call: &mut Call<'_, '_>| Ok(call.arguments[0] + call.arguments[1])),
            2 => Arc::new(|call: &mut Call<'_, '_>| {
                let [times, function, context, ..] = call.arguments;
                let mut rounds = 0;
                while rounds < times {
                    let result = call.invoke(function, [rounds, context, 0, 0, 0])?;
                    rounds += 1;
                    if result == 1 {
                        break;
                    }
                }
                Ok(rounds)
            }),
            3 => Arc::new(|_: &mut Call<'_, '_>| Err(Reason::Helper("no".to_owned()).into())),
            4 => Arc::new(|call: &mut Call<'_, '_>| {
                let [from, to, ..] = call.arguments;
                let mut byte = [0];
                call.read(from, &mut byte)?;
                call.write(to, &[byte[0] * 2])?;
                Ok(0)
            }),
            5 => Arc::new(|call: &mut Call<'_, '_>| Err(Stop::Exit(call.arguments[0]))),
            6 => Arc::new(|call: &mut Call<'_, '_>| {
                Ok(call.invoke(call.arguments[0], [0; 5]).unwrap_or(66))
            }),
            _ => return None,
        };
        Some(helper)
    }

    fn kernel_function(&self, btf_id: i32, module: i16) -> Option<Helper> {
        let value = (btf_id == 77).then_some(700 + module as u64)?;
        Some(Arc::new(move |_: &mut Call<'_, '_>| Ok(value)))
    }

    fn address(&self, what: Wide) -> Option<u64> {
        match what {
            Wide::MapByFd(fd) => Some(0x1000 + fd as u64),
            Wide::MapValueByFd { map: 3, offset } => Some(0x2000 + offset as u64),
            Wide::Variable(id) => Some(0x3000 + id as u64),
            Wide::MapByIndex(index) => Some(0x4000 + index as u64),
            Wide::MapValueByIndex { map: 3, offset } => Some(0x5000 + offset as u64),
            _ => None,
        }
    }
}

fn load(source: &str) -> Result<Program, LoadError> {
    Program::load(&encode(&assemble(source, Syntax::Llvm).expect(source)), &Helpers)
}

/// The interpreter's result, which that of compiled code equals.
fn run_with(source: &str, input: &mut Input<'_>) -> Result<u64, Fault> {
    let result = load(source).expect(source).run(input);
    for blind_constants in [false, true] {
        let options = CompileOptions { blind_constants };
        let compiled = load(source).expect(source).compile(options).expect("memory").run(input);
        match (&compiled, &result) {
            // Addresses of the stack can differ from run to run.
            (
                Err(Fault { slot: a, reason: Reason::Access(_) }),
                Err(Fault { slot: b, reason: Reason::Access(_) }),
            ) => assert_eq!(a, b, "{source}"),
            _ => assert_eq!(compiled, result, "{source}"),
        }
    }
    result
}

/// Loads the program for both engines.
fn engines(source: &str, platform: &dyn Platform) -> [Program; 2] {
    let bytes = encode(&assemble(source, Syntax::Llvm).expect(source));
    let load = || Program::load(&bytes, platform).expect(source);
    [load(), load().compile(CompileOptions::default()).expect("memory")]
}

fn check(source: &str, result: u64) {
    assert_eq!(run_with(source, &mut Input::default()), Ok(result), "{source}");
}

fn check_fault(source: &str, slot: usize, reason: Reason) {
    let mut input = Input { fuel: 1_000_000, ..Input::default() };
    assert_eq!(run_with(source, &mut input), Err(Fault { slot, reason }), "{source}");
}

#[test]
fn refused_when_loaded() {
    let check = |source: &str, error| assert_eq!(load(source).err(), Some(error), "{source}");
    check("", LoadError::Empty);
    check("goto +1\nexit", LoadError::NoSuchTarget { slot: 0, target: 2 });
    check("goto -2\nexit", LoadError::NoSuchTarget { slot: 0, target: -1 });
    check("goto +1\nr0 = 1 ll\nexit", LoadError::NoSuchTarget { slot: 0, target: 2 });
    check("call +7\nexit", LoadError::NoSuchTarget { slot: 0, target: 8 });
    check("call 99\nexit", LoadError::UnknownHelper { slot: 0, id: 99 });
    let unknown = LoadError::UnknownKernelFunction { slot: 0, btf_id: 1, module: 0 };
    check("call kfunc 1\nexit", unknown);
    let what = Wide::MapValueByFd { map: 4, offset: 0 };
    check("ld_pseudo r1, 2, 4\nexit", LoadError::UnknownAddress { slot: 0, what });
    check("r1 = addr_space_cast(r1, 0, 1)\nexit", LoadError::NoArena { slot: 0 });
}

#[test]
fn memory_that_is_not_the_programs() {
    let read = |address, length| AccessError::Read { address, length }.into();
    let write = |address, length| AccessError::Write { address, length }.into();
    check_fault("r1 = 0\nr0 = *(u64 *)(r1 + 0)\nexit", 1, read(0, 8));
    check_fault("r1 = -4 ll\nr0 = *(u64 *)(r1 + 0)\nexit", 2, read(-4i64 as u64, 8));
    check_fault("r1 = 16\n*(u8 *)(r1 - 1) = 1\nexit", 1, write(15, 1));
    check_fault("r1 = 16\nlock *(u64 *)(r1 + 0) += r1\nexit", 1, write(16, 8));
    for (offset, access) in [(-520, "u64"), (-516, "u64"), (-4, "u64"), (0, "u8"), (-1, "u16")] {
        let source = format!("r0 = *({access} *)(r10 + {offset})\nexit").replace("+ -", "- ");
        let fault = run_with(&source, &mut Input::default()).expect_err(&source);
        assert!(matches!(fault.reason, Reason::Access(AccessError::Read { .. })), "{source}");
    }

    let mut bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    let constant = [7; 4];
    let mut input = Input::default();
    input.arguments[0] = input.memory.lend(&mut bytes);
    input.arguments[1] = input.memory.share(&constant);
    let [lent, shared, ..] = input.arguments;
    let mut fails = |source: &str, slot, reason| {
        assert_eq!(run_with(source, &mut input), Err(Fault { slot, reason }), "{source}");
    };
    fails("r0 = *(u64 *)(r1 + 2)\nexit", 0, read(lent + 2, 8));
    fails("r0 = *(u8 *)(r1 - 1)\nexit", 0, read(lent - 1, 1));
    fails("r0 = *(u32 *)(r2 + 0)\n*(u8 *)(r2 + 0) = 1\nexit", 1, write(shared, 1));
    let odd = lent | 1;
    let source = "r1 |= 1\nr3 = 1\nlock *(u32 *)(r1 + 0) += r3\nexit";
    fails(source, 2, AccessError::Misaligned { address: odd, length: 4 }.into());
    assert_eq!(run_with("*(u64 *)(r1 + 1) = 5\nr0 = *(u8 *)(r1 + 8)\nexit", &mut input), Ok(0));
    drop(input);
    assert_eq!(bytes, [1, 5, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn programs_end() {
    check_fault("goto -1\nexit", 0, Reason::OutOfFuel);
    check_fault("r0 = 0\nr0 += 1\nif r0 != 0 goto -2\nexit", 2, Reason::OutOfFuel);
    check_fault("call -1\nexit", 0, Reason::TooManyFrames);
    check_fault("r0 = 0", 0, Reason::PastTheEnd);
    check_fault("r0 = 1 ll\nr10 += 8\nexit", 2, Reason::WritesFramePointer);
    check_fault("r10 = xchg_64(r1 + 0, r10)\nexit", 0, Reason::WritesFramePointer);
    check_fault("r10 = 1 ll\nexit", 0, Reason::WritesFramePointer);
    check("r0 = 1\nif r0 == 1 goto +1\nr10 += 8\nexit", 1);
    // Counts 8 Mi rounds, then lets go.
    check("r0 = 0\nr0 += 1\nmay_goto +1\ngoto -3\nexit", (8 << 20) + 1);
    // Forward jumps are free.
    let mut input = Input { fuel: 0, ..Input::default() };
    assert_eq!(run_with("goto +1\nexit\nr0 = 3\nexit", &mut input), Ok(3));
}

#[test]
fn local_calls() {
    // Callee-saved registers come back, each function has its frame, the caller's can be passed.
    check(
        "
        r6 = 6
        r1 = r10
        r1 += -8
        *(u64 *)(r10 - 8) = 5
        call f
        r0 += r6
        r1 = *(u64 *)(r10 - 8)
        r0 += r1
        exit
        f:
        r6 = 100
        r0 = *(u64 *)(r10 - 8)
        *(u64 *)(r10 - 8) = 200
        *(u64 *)(r1 + 0) = 7
        exit",
        13,
    );
    // As deep as it goes.
    let mut source = String::new();
    for _ in 1..FRAMES {
        source.push_str("r0 = 1\ncall +1\nexit\n");
    }
    source.push_str("r0 = 42\nexit");
    check(&source, 42);
    // A frame that has been left is gone.
    let source =
        "call f\nr0 = *(u64 *)(r0 + 0)\nexit\nf:\nr0 = r10\nr0 += -8\n*(u64 *)(r0 + 0) = 1\nexit";
    let fault = run_with(source, &mut Input::default()).expect_err(source);
    assert!(matches!(fault, Fault { slot: 1, reason: Reason::Access(_) }), "{fault}");
}

#[test]
fn helpers_and_callbacks() {
    check("r1 = 4\nr2 = 5\ncall 1\nexit", 9);
    check("call kfunc 77@2\nexit", 702);
    check("r1 = 9\ncall 5\nr0 = 1\nexit", 9);
    check_fault("r0 = 0\ncall 3\nexit", 1, Reason::Helper("no".to_owned()));
    check(
        "*(u8 *)(r10 - 1) = 21\nr1 = r10\nr1 += -1\nr2 = r1\nr2 += -1\ncall 4\nr0 = *(u8 *)(r10 - 2)\nexit",
        42,
    );
    // The function adds its number to the context, and stops at 4.
    let function = "
        f:
        if r1 == 5 goto stop
        r3 = *(u64 *)(r2 + 0)
        r3 += r1
        *(u64 *)(r2 + 0) = r3
        r0 = 0
        exit
        stop:
        r0 = 1
        exit";
    let source = format!(
        "
        *(u64 *)(r10 - 8) = 0
        r1 = 100
        ld_pseudo r2, 4, 8
        r3 = r10
        r3 += -8
        call 2
        r1 = *(u64 *)(r10 - 8)
        r0 *= 100
        r0 += r1
        exit
        {function}"
    );
    check(&source, 610);
    // By register: a function, and something that is none.
    check("ld_pseudo r3, 4, 3\ncallx r3\nexit\nr0 = 11\nexit", 11);
    check_fault("r3 = 12345\ncallx r3\nexit", 1, Reason::NoSuchFunction { target: 12345 });
    check_fault("r3 = 1\ncallx r3\nexit", 1, Reason::NoSuchFunction { target: 1 });
    let numbered: HashMap<i32, Helper> = HashMap::from([(9, Helpers.helper(1).expect("there"))]);
    for program in engines("r1 = 2\nr2 = 9\ncallx r2\nexit", &numbered) {
        assert_eq!(program.run(&mut Input::default()), Ok(11));
    }
    // A program ended or failing inside a callback.
    check("r1 = 1\nld_pseudo r2, 4, 4\ncall 2\nr0 = 5\nexit\nr1 = 33\ncall 5\nexit", 33);
    let source = "r1 = 1\nld_pseudo r2, 4, 4\ncall 2\nr0 = 5\nexit\nr0 = 0\ncall 3\nexit";
    check_fault(source, 7, Reason::Helper("no".to_owned()));
}

#[test]
fn failures_that_a_helper_hides() {
    // The function fails three calls deep; its caller goes on in its own frame.
    check(
        "
        call g
        r0 += 1
        exit
        g:
        *(u64 *)(r10 - 8) = 5
        ld_pseudo r1, 4, 5
        call 6
        r1 = *(u64 *)(r10 - 8)
        r0 += r1
        exit
        call +1
        exit
        call +1
        exit
        r0 = 0
        call 3
        exit",
        72,
    );
}

#[test]
fn tail_calls() {
    // The target adds what the context holds to its argument 1, and looks at the frame it got.
    let target = "
        r0 = *(u64 *)(r10 - 8)
        r0 += r1
        *(u64 *)(r10 - 8) = 0
        exit";
    let targets = engines(target, &Helpers).map(Arc::new);
    let check = |source: &str, result| {
        for target in &targets {
            let target = target.clone();
            let jump: Helper =
                Arc::new(move |_: &mut Call<'_, '_>| Err(Stop::TailCall(target.clone())));
            for program in engines(source, &HashMap::from([(12, jump)])) {
                assert_eq!(program.run(&mut Input::default()), Ok(result), "{source}");
            }
        }
    };
    check("r1 = 5\n*(u64 *)(r10 - 8) = 100\ncall 12\nr0 = 1\nexit", 105);
    // In a function, it is the function that is replaced.
    check(
        "
        r6 = 6
        *(u64 *)(r10 - 8) = 1000
        r1 = 5
        call f
        r1 = *(u64 *)(r10 - 8)
        r0 += r1
        r0 += r6
        exit
        f:
        *(u64 *)(r10 - 8) = 100
        r6 = 1
        call 12
        exit",
        1111,
    );
}

#[test]
fn tail_calls_are_limited() {
    let source = "
        r1 = *(u64 *)(r10 - 8)
        r1 += 1
        *(u64 *)(r10 - 8) = r1
        call 12
        r1 = *(u64 *)(r10 - 8)
        r0 += r1
        exit";
    // A program that goes on with itself, and counts.
    let own: Arc<Mutex<Option<Arc<Program>>>> = Arc::default();
    let again = own.clone();
    let jump: Helper = Arc::new(move |_: &mut Call<'_, '_>| {
        let program = again.lock().expect("nobody panics").clone();
        Err(Stop::TailCall(program.expect("set below")))
    });
    for program in engines(source, &HashMap::from([(12, jump)])) {
        let program = Arc::new(program);
        *own.lock().expect("nobody panics") = Some(program.clone());
        // The first run, 33 tail calls, and the refusal of one more.
        assert_eq!(program.run(&mut Input::default()), Ok(34 - 1));
    }
}

#[test]
fn helpers_find_the_runs_state() {
    let count: Helper = Arc::new(|call: &mut Call<'_, '_>| {
        let step = call.arguments[0];
        let total = call.state::<u64>()?;
        *total += step;
        Ok(*total)
    });
    for program in engines("r1 = 5\ncall 1\nexit", &HashMap::from([(1, count)])) {
        let mut total = 1u64;
        let mut input = Input { state: Some(&mut total), ..Input::default() };
        assert_eq!(program.run(&mut input), Ok(6));
        assert_eq!(program.run(&mut input), Ok(11));
        let mut other = 1u8;
        let mut input = Input { state: Some(&mut other), ..Input::default() };
        let reason = Reason::NoState { wanted: "u64" };
        assert_eq!(program.run(&mut input), Err(Fault { slot: 1, reason }));
    }
}

#[test]
fn immediates_of_all_kinds() {
    check("r0 = 0x8000000000000001 ll\nexit", 0x8000_0000_0000_0001);
    check("ld_pseudo r0, 1, 5\nexit", 0x1005);
    check("ld_pseudo r0, 2, 0x700000003\nexit", 0x2007);
    check("ld_pseudo r0, 3, 5\nexit", 0x3005);
    check("ld_pseudo r0, 5, 5\nexit", 0x4005);
    check("ld_pseudo r0, 6, 0x700000003\nexit", 0x5007);
    // A function's address is the same from everywhere.
    check("ld_pseudo r1, 4, 5\nld_pseudo r0, 4, 3\nr0 -= r1\nexit\nexit", 0);
}

#[test]
fn packet_instructions() {
    let mut packet = [0x11, 0x22, 0x33, 0x44, 0x55];
    let mut input = Input::default();
    input.memory.lend_packet(&mut packet);
    let mut check =
        |source: &str, result| assert_eq!(run_with(source, &mut input), Ok(result), "{source}");
    check("r0 = *(u8 *)skb[4]\nexit", 0x55);
    check("r0 = *(u16 *)skb[1]\nexit", 0x2233);
    check("r0 = *(u32 *)skb[1]\nexit", 0x2233_4455);
    check("r2 = 2\nr0 = *(u16 *)skb[r2]\nexit", 0x3344);
    check("r2 = 2\nr0 = *(u16 *)skb[r2 + 1]\nexit", 0x4455);
    check("r2 = 2\nr0 = *(u8 *)skb[r2 - 1]\nexit", 0x22);
    // What isn't there ends the program.
    check("r0 = 7\nr0 = *(u32 *)skb[2]\nr0 = 1\nexit", 0);
    check("r0 = *(u8 *)skb[-1]\nr0 = 1\nexit", 0);
    let source = "r0 = *(u8 *)skb[0]\nr0 = 1\nexit";
    assert_eq!(run_with(source, &mut Input { memory: Memory::new(), ..Input::default() }), Ok(0));
}

#[test]
fn ordered_and_atomic_access() {
    let stack = "*(u64 *)(r10 - 8) = -2\nr1 = r10\nr1 += -8\n";
    let check = |source: &str, result| check(&format!("{stack}{source}\nexit"), result);
    check("w0 = load_acquire((u8 *)(r1 + 0))", 0xfe);
    check("w0 = load_acquire((u16 *)(r1 + 0))", 0xfffe);
    check("w0 = load_acquire((u32 *)(r1 + 0))", 0xffff_fffe);
    check("r0 = load_acquire((u64 *)(r1 + 0))", -2i64 as u64);
    check(
        "r2 = 5\nstore_release((u16 *)(r1 + 0), w2)\nr0 = *(u64 *)(r1 + 0)",
        0xffff_ffff_ffff_0005,
    );
    check("r0 = 3\nr0 = atomic_fetch_add((u64 *)(r1 + 0), r0)", -2i64 as u64);
    check("w0 = 3\nw0 = xchg32_32(r1 + 0, w0)", 0xffff_fffe);
    check("r0 = -2\nr2 = 9\nr0 = cmpxchg_64(r1 + 0, r0, r2)\nr0 = *(u64 *)(r1 + 0)", 9);
    check("r0 = -3\nr2 = 9\nr0 = cmpxchg_64(r1 + 0, r0, r2)", -2i64 as u64);
    check("r2 = 1\nlock *(u32 *)(r1 + 0) += w2\nr0 = *(u64 *)(r1 + 0)", -1i64 as u64);
}

#[test]
#[should_panic(expected = "a helper's own")]
fn panics_of_helpers_pass_compiled_code() {
    let panics: Helper = Arc::new(|_: &mut Call<'_, '_>| panic!("a helper's own"));
    let [_, compiled] = engines("call 1\nexit", &HashMap::from([(1, panics)]));
    let _ = compiled.run(&mut Input::default());
}

#[test]
fn one_program_on_several_threads() {
    let source = "r0 = 0\nr0 += r1\nr1 += -1\nif r1 != 0 goto -3\nexit";
    let [_, program] = engines(source, &Helpers);
    std::thread::scope(|scope| {
        for number in 1..5u64 {
            let program = &program;
            scope.spawn(move || {
                let mut input = Input { arguments: [number * 100, 0, 0, 0, 0], ..Input::default() };
                let count = number * 100;
                assert_eq!(program.run(&mut input), Ok(count * (count + 1) / 2));
            });
        }
    });
}
