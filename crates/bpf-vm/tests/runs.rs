//! Runs that keep what they need from one to the next answer as those that begin anew.

use bpf_isa::text::{Syntax, assemble};
use bpf_isa::{encode, place};
use bpf_object::{Object, object_of_code};
use bpf_vm::context::{Skb, Xdp};
use bpf_vm::{Engine, Errno, Packet, ProgramHandle, Runtime, RuntimeError};

fn program(text: &str) -> ProgramHandle {
    let instructions = place(assemble(text, Syntax::Llvm).unwrap());
    Runtime::default().bind("program", &instructions, &[]).unwrap()
}

#[test]
fn xdp() {
    // Takes two bytes off, and leaves four before the packet.
    let program = program(
        "r6 = r1\nr2 = 2\ncall 44\nr1 = r6\nr2 = -4\ncall 54\nr0 = *(u32 *)(r6 + 12)\nexit",
    );
    let context = Xdp { ingress_ifindex: 5, ..Xdp::default() };
    let bytes: Vec<u8> = (0..64).collect();
    let (mut one, mut other) = (Packet::new(&bytes).unwrap(), Packet::new(&bytes).unwrap());
    let mut runs = program.xdp_runs(&context).unwrap();
    for _ in 0..4 {
        let expected = program.run_xdp(&mut one, &context).unwrap();
        assert_eq!(runs.run(&mut other).unwrap(), expected.value);
        assert_eq!((other.bytes(), other.metadata()), (one.bytes(), one.metadata()));
        let outcome = runs.outcome();
        // The addresses of two packets are different.
        assert_eq!(outcome.context[12..], expected.context[12..]);
        assert_eq!((outcome.value, outcome.redirect), (expected.value, expected.redirect));
    }
    assert_eq!(other.len(), 56);
}

#[test]
fn classifiers() {
    // Marks the packet, redirects it, and sums up what it is told of it.
    let program = program(
        "r6 = r1
        r7 = *(u32 *)(r6 + 8)
        r1 = *(u32 *)(r6 + 16)
        r7 += r1
        r1 = *(u32 *)(r6 + 48)
        r7 += r1
        *(u32 *)(r6 + 8) = 7
        *(u32 *)(r6 + 48) = 9
        r1 = 3
        r2 = 0
        call 23
        r7 <<= 8
        r0 |= r7
        exit",
    );
    let context = Skb { mark: 4, cb: [1, 2, 3, 4, 5], ..Skb::default() };
    let mut runs = program.skb_runs(&context).unwrap();
    for ethertype in [[0x08, 0x00], [0x86, 0xdd], [0x08, 0x06]] {
        let mut bytes = vec![0; 60];
        bytes[12..14].copy_from_slice(&ethertype);
        let (mut one, mut other) = (Packet::new(&bytes).unwrap(), Packet::new(&bytes).unwrap());
        let expected = program.run_skb(&mut one, &context).unwrap();
        assert_eq!(runs.run(&mut other).unwrap(), expected.value);
        let outcome = runs.outcome();
        assert_eq!((outcome.skb, outcome.redirect), (expected.skb, expected.redirect));
        assert_eq!(other.bytes(), one.bytes());
    }
}

/// What a program returns on one packet, the packet's bytes and where it is to go; `None` where there
/// is no compiler.
type Left = (u64, Vec<u8>, Option<bpf_vm::Redirect>);

fn run_as(engine: Engine, section: &str, text: &str, repeated: bool) -> Option<Left> {
    let code = encode(&assemble(text, Syntax::Llvm).unwrap());
    let object = Object::parse(&object_of_code("main", section, "GPL", &code)).unwrap();
    let runtime = Runtime::builder().engine(engine).build();
    let program = match runtime.load(&object).and_then(|instance| instance.program("main")) {
        Err(RuntimeError::Compile { .. }) => return None,
        program => program.unwrap(),
    };
    assert!(engine != Engine::VerifiedJit || program.is_unchecked(), "{text}");
    let bytes: Vec<u8> = (1..=100).collect();
    let mut packet = Packet::new(&bytes).unwrap();
    let (skb, xdp) = (Skb { hash: 5, ..Skb::default() }, Xdp::default());
    let (value, redirect) = match (section, repeated) {
        ("tc", false) => {
            let outcome = program.run_skb(&mut packet, &skb).unwrap();
            (outcome.value, outcome.redirect)
        }
        ("tc", true) => {
            let mut runs = program.skb_runs(&skb).unwrap();
            (runs.run(&mut packet).unwrap(), runs.outcome().redirect)
        }
        _ => {
            let mut runs = program.xdp_runs(&xdp).unwrap();
            (runs.run(&mut packet).unwrap(), runs.outcome().redirect)
        }
    };
    Some((value, packet.bytes(), redirect))
}

/// Whatever a run leaves in its context or its state, the next one doesn't see it.
#[test]
fn runs_leave_nothing_to_the_next() {
    let programs = [
        // Nothing that could be left.
        "r0 = *(u32 *)(r1 + 8)\nexit",
        // The mark, stored by the program itself, and a word of the control buffer.
        "r0 = *(u32 *)(r1 + 8)\nr2 = 7\n*(u32 *)(r1 + 8) = r2\nexit",
        "r0 = *(u32 *)(r1 + 48)\n*(u32 *)(r1 + 48) = 9\nexit",
        // The type of the packet and its hash, changed by helpers.
        "r6 = r1\nr7 = *(u32 *)(r1 + 4)\nr2 = 3\ncall 32\nr0 <<= 8\nr0 |= r7\nexit",
        "r6 = r1\nr7 = *(u32 *)(r1 + 68)\ncall 41\nr0 = r7\nexit",
        "r6 = r1\nr7 = *(u32 *)(r1 + 68)\n*(u32 *)(r10 - 4) = 1\nr2 = 0\nr3 = r10\nr3 += -4\nr4 = 4\n\
         r5 = 2\ncall 9\nr0 = r7\nexit",
        // A tag, which later ones would go into the packet behind.
        "r6 = r1\nr7 = *(u32 *)(r1 + 20)\nr2 = 129\nr3 = 5\ncall 18\nr0 = r7\nexit",
        // Where the packet goes.
        "r1 = 3\nr2 = 0\ncall 23\nexit",
    ];
    for text in programs {
        let code = encode(&assemble(text, Syntax::Llvm).unwrap());
        let object = Object::parse(&object_of_code("main", "tc", "GPL", &code)).unwrap();
        for engine in [Engine::Interpreter, Engine::Jit, Engine::VerifiedJit] {
            let runtime = Runtime::builder().engine(engine).build();
            let program = match runtime.load(&object).and_then(|loaded| loaded.program("main")) {
                Err(RuntimeError::Compile { .. }) => continue,
                program => program.unwrap(),
            };
            let context = Skb { mark: 4, hash: 5, cb: [6; 5], ..Skb::default() };
            let mut runs = program.skb_runs(&context).unwrap();
            let mut run = || {
                let mut packet = Packet::new(&[7; 60]).unwrap();
                (runs.run(&mut packet).unwrap(), packet.bytes(), runs.outcome().skb)
            };
            let first = run();
            let expected = program.run_skb(&mut Packet::new(&[7; 60]).unwrap(), &context).unwrap();
            assert_eq!((first.0, &first.2), (expected.value, &expected.skb), "{text}, {engine:?}");
            for _ in 0..3 {
                assert_eq!(run(), first, "{text}, {engine:?}");
            }
        }
    }
    // A redirect that the next run doesn't ask for.
    let mut runs = program(
        "r2 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r2 + 0)\nif r0 == 0 goto +3\nr1 = 3\n\
                            r2 = 0\ncall 23\nexit",
    )
    .xdp_runs(&Xdp::default())
    .unwrap();
    let mut redirect = |byte| {
        runs.run(&mut Packet::new(&[byte; 60]).unwrap()).unwrap();
        runs.outcome().redirect.is_some()
    };
    assert!(redirect(1) && !redirect(0));
}

/// What a verifier has accepted calls some helpers without a detour.
#[test]
fn helpers_on_packets_do_the_same_without_checks() {
    // After the call: what came of it, the frame, and the hash.
    let classifier = |call: &str| {
        format!(
            "r6 = r1
            r7 = 0x0102030405060708 ll
            *(u64 *)(r10 - 64) = r7
            *(u64 *)(r10 - 56) = r7
            *(u64 *)(r10 - 48) = r7
            *(u64 *)(r10 - 40) = r7
            *(u64 *)(r10 - 32) = r7
            *(u64 *)(r10 - 24) = r7
            *(u64 *)(r10 - 16) = r7
            *(u64 *)(r10 - 8) = r7
            {call}
            r7 = *(u64 *)(r10 - 64)
            r0 ^= r7
            r7 = *(u64 *)(r10 - 56)
            r0 += r7
            r7 = *(u64 *)(r10 - 48)
            r0 ^= r7
            r7 = *(u64 *)(r10 - 40)
            r0 += r7
            r7 = *(u64 *)(r10 - 24)
            r0 ^= r7
            r7 = *(u32 *)(r6 + 68)
            r0 += r7
            exit"
        )
    };
    let mut programs = Vec::new();
    for length in [1, 3, 4, 7, 8, 15, 16, 20, 32, 33, 64] {
        for offset in [7, 68, 96, -1] {
            for (helper, flags) in [(26, 0), (9, 0), (9, 2), (9, 8)] {
                programs.push(classifier(&format!(
                    "r2 = {offset}\nr3 = r10\nr3 += -64\nr4 = {length}\nr5 = {flags}\ncall {helper}"
                )));
            }
        }
    }
    for helper in [10, 11] {
        for flags in [0, 1, 2, 4, 0x12, 0x14, 0x20, 0x34, 0x60, 0x100] {
            for (offset, from, to) in
                [(24, 0, 77), (24, 5, 0x7788), (98, 0, 1), (99, 0, 1), (25, 0, 1)]
            {
                programs.push(classifier(&format!(
                    "r2 = {offset}\nr3 = {from}\nr4 = {to}\nr5 = {flags}\ncall {helper}"
                )));
            }
        }
    }
    for (from, to) in [(0, 0), (4, 0), (0, 12), (8, 8), (20, 32), (6, 3), (1, 63)] {
        for seed in [0, 0xffff, -1] {
            // Nothing may be anywhere.
            let side = |register: u32, length: i32| match length {
                0 => format!("r{register} = 0"),
                _ => format!("r{register} = r10\nr{register} += -64"),
            };
            programs.push(classifier(&format!(
                "{}\nr2 = {from}\n{}\nr4 = {to}\nr5 = {seed}\ncall 28",
                side(1, from),
                side(3, to)
            )));
        }
    }
    for length in [0, 50, 100, 101] {
        programs.push(classifier(&format!("r2 = {length}\ncall 39")));
    }
    for (helper, flags) in [(23, 0), (23, 1), (23, 2), (155, 0), (155, 1)] {
        programs.push(classifier(&format!("r1 = 9\nr2 = {flags}\ncall {helper}")));
    }
    for text in &programs {
        let expected = run_as(Engine::Interpreter, "tc", text, false);
        for (engine, repeated) in [
            (Engine::Interpreter, true),
            (Engine::Jit, false),
            (Engine::VerifiedJit, false),
            (Engine::VerifiedJit, true),
        ] {
            let Some(found) = run_as(engine, "tc", text, repeated) else { continue };
            assert_eq!(Some(found), expected, "{engine:?}, {repeated}:\n{text}");
        }
    }
    for (helper, deltas) in
        [(44, [-14, 20, -300, 90]), (54, [-8, -3, 4, -300]), (65, [10, -20, 4000, -90])]
    {
        for delta in deltas {
            let text = format!(
                "r6 = r1\nr2 = {delta}\ncall {helper}\nr7 = r0\nr1 = r6\nr2 = -4\ncall 44\n\
                 r2 = *(u32 *)(r6 + 0)\nr3 = *(u32 *)(r6 + 4)\nr4 = r2\nr4 += 8\n\
                 if r4 > r3 goto +1\n*(u16 *)(r2 + 6) = 7\nr0 <<= 32\nr0 |= r7\nexit"
            );
            let expected = run_as(Engine::Interpreter, "xdp", &text, true);
            let found = run_as(Engine::VerifiedJit, "xdp", &text, true);
            assert!(found.is_none() || found == expected, "{found:x?} {expected:x?}\n{text}");
        }
    }
}

#[test]
fn what_runs_leave_behind_has_bounds() {
    // Prints its name and sends the packet, a few thousand times each.
    let text = "r6 = r1
        r7 = 5000
        *(u64 *)(r10 - 8) = 0x6869
        again:
        r1 = r10
        r1 += -8
        r2 = 3
        call 6
        r1 = r6
        r2 = 1
        r3 = 0
        call 13
        r8 = r0
        r7 += -1
        if r7 != 0 goto again
        r0 = r8
        exit";
    let mut packet = Packet::new(&[0; 60]).unwrap();
    let outcome = program(text).run_skb(&mut packet, &Skb::default()).unwrap();
    // As the kernel, if it has no memory for a copy.
    assert_eq!(outcome.value, Errno::ENOMEM.result());
    assert_eq!(outcome.trace.len() as u64 + outcome.lost_lines, 5000);
    assert_eq!(outcome.clones.len() as u64 + outcome.lost_clones, 5000);
    assert!(outcome.lost_lines > 0 && outcome.lost_clones > 0);
}

/// As where the kernel puts the loop in place of the call.
#[test]
fn too_many_rounds_are_an_error_of_32_bits() {
    let program =
        program("r1 = -1\nld_pseudo r2, 0x4, 0x5\nr3 = 0\nr4 = 0\ncall 181\nexit\nr0 = 0\nexit");
    let mut packet = Packet::new(&[0; 60]).unwrap();
    let outcome = program.run_skb(&mut packet, &Skb::default()).unwrap();
    assert_eq!(outcome.value, Errno::E2BIG.result() & 0xffff_ffff);
}
