//! Runs that keep what they need from one to the next answer as those that begin anew.

use bpf_isa::place;
use bpf_isa::text::{Syntax, assemble};
use bpf_vm::context::{Skb, Xdp};
use bpf_vm::{Packet, ProgramHandle, Runtime};

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
