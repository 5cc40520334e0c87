//! What other kernels judge otherwise than Linux 6.12.

use bpf_interface::Version;

use super::*;
use crate::Rules;

/// `expected`: versions, and what they say from there on.
fn check(section: &str, text: &str, expected: &[((u16, u16), &str)]) {
    for ((major, minor), says) in expected {
        let rules = Rules::of_version(Version::new(*major, *minor));
        println!("{major}.{minor}");
        check_with(section, text, Options { rules, ..Options::default() }, says);
    }
}

#[test]
fn the_stack() {
    // A key that is a pointer.
    let text = "*(u64 *)(r10 - 8) = r1\n r2 = r10\n r2 += -8\n ld_pseudo r1, 0x5, 1\n call 1
                r0 = 0\n exit";
    check("tc", text, &[((5, 10), "invalid indirect read from stack R2"), ((5, 15), "ok")]);
    // It is a number afterwards, until helpers that only read were told from others.
    let text = "*(u64 *)(r10 - 8) = r1\n r2 = r10\n r2 += -8\n ld_pseudo r1, 0x5, 1\n call 1
                r1 = *(u64 *)(r10 - 8)\n r0 = *(u32 *)(r1 + 0)\n exit";
    let lost = "R1 invalid mem access 'scalar'";
    check("tc", text, &[((6, 1), lost), ((6, 12), lost), ((6, 14), "ok")]);
    // Bytes that nothing was written to.
    let text = "r0 = *(u64 *)(r10 - 8)\n exit";
    check("socket", text, &[((5, 15), "invalid read from stack"), ((6, 6), "ok")]);
    // A frame of 264 bytes and one of 240.
    let text = "*(u64 *)(r10 - 240) = 0\n call f\n r0 = 0\n exit
                f: *(u64 *)(r10 - 264) = 0\n r0 = 0\n exit";
    let deep = "combined stack size of 2 calls is 544";
    check("tc", text, &[((6, 6), deep), ((6, 12), "ok")]);
}

/// A byte that is read at r2 after r2 was made from what is on the stack.
fn at_spilled(spill: &str) -> String {
    format!(
        "r6 = 0\n *(u64 *)(r10 - 16) = r6\n *(u64 *)(r10 - 24) = r6
         r2 = *(u32 *)(r1 + 0)\n {spill}
         r3 = r10\n r3 += -24\n r3 += r2\n r0 = *(u8 *)(r3 + 0)\n exit\n out: r0 = 0\n exit"
    )
}

#[test]
fn numbers_on_the_stack() {
    let unbounded = "register with unbounded min value is not allowed";
    // What is learnt of the register is learnt of the copy.
    let copy = at_spilled(
        "call 7\n r2 = r0\n *(u64 *)(r10 - 8) = r2\n if r2 > 7 goto out\n r2 = *(u64 *)(r10 - 8)",
    );
    check("socket", &copy, &[((6, 6), unbounded), ((6, 12), "ok")]);
}

#[test]
fn comparisons() {
    let narrow = at_spilled("w4 = w2\n if w4 > 7 goto out");
    check("socket", &narrow, &[((6, 1), "variable-offset read"), ((6, 6), "ok")]);
    let sums = at_spilled("call 7\n r2 = r0\n r4 = r2\n r4 += 1\n if r2 > 7 goto out\n r2 = r4");
    check("socket", &sums, &[((6, 6), "unbounded"), ((6, 12), "ok")]);
    let both = at_spilled("r7 = r2\n call 7\n r2 = r0\n r7 &= 7\n if r2 > r7 goto out\n w2 = w2");
    check("socket", &both, &[((6, 6), "variable-offset read"), ((6, 12), "ok")]);
    // Sizes of which only zero is excluded.
    let size = "r6 = r1\n r7 = *(u32 *)(r1 + 0)\n r7 &= 15\n if r7 == 0 goto out\n r1 = r6
                r2 = 0\n r3 = r10\n r3 += -16\n r4 = r7\n call 26\n out: r0 = 0\n exit";
    check("tc", size, &[((6, 6), "invalid zero-sized read"), ((6, 12), "ok")]);
}

#[test]
fn records_as_keys() {
    let text = "r6 = r1\n ld_pseudo r1, 0x5, 3\n r2 = 8\n r3 = 0\n call 131\n if r0 == 0 goto out
                r6 = r0\n *(u64 *)(r6 + 0) = 0\n ld_pseudo r1, 0x5, 1\n r2 = r6\n call 1
                r1 = r6\n r2 = 0\n call 133\n out: r0 = 0\n exit";
    check("tc", text, &[((6, 1), "R2 type=ringbuf_mem expected=fp"), ((6, 6), "ok")]);
}

#[test]
fn bits_that_are_clear() {
    // A signed byte is small, unless its range is forgotten for its bits.
    let signed = at_spilled("call 7\n r2 = (s8)r0\n if w2 & -8 goto out");
    check("socket", &signed, &[((6, 11), "ok"), ((6, 12), "unbounded min value")]);
    let whole = at_spilled("call 7\n r2 = (s8)r0\n if r2 & -8 goto out");
    check("socket", &whole, &[((6, 11), "ok"), ((6, 12), "ok")]);
}

#[test]
fn negations() {
    let text = at_spilled("call 7\n if r0 == 99 goto out\n r2 = r0\n r2 &= 7\n r2 = -r2\n r2 += 7");
    check("socket", &text, &[((6, 12), "unbounded"), ((6, 17), "ok")]);
}

#[test]
fn tail_calls() {
    let packet = "r7 = *(u32 *)(r6 + 0)\n r8 = *(u32 *)(r6 + 4)\n r2 = r7\n r2 += 1
                  if r2 > r8 goto out";
    let tail = "ld_pseudo r2, 0x5, 2\n r3 = 0\n call 12";
    // Where it fails the packet is what it was.
    let main = format!(
        "r6 = r1\n {packet}\n r1 = r6\n {tail}\n r0 = *(u8 *)(r7 + 0)\n exit\n out: r0 = 0\n exit"
    );
    let lost = "R7 invalid mem access 'scalar'";
    check("xdp", &main, &[((6, 12), lost), ((6, 18), "ok")]);
    // Where it succeeds in a local function it returns from that, with a changed packet.
    let local = format!(
        "r6 = r1\n {packet}\n r1 = r6\n call f\n r0 = *(u8 *)(r7 + 0)\n exit\n out: r0 = 0\n exit
         f: {tail}\n r0 = 0\n exit"
    );
    check("xdp", &local, &[((6, 12), lost), ((6, 18), lost)]);
    let result = format!(
        "r6 = r1\n call f\n r2 = r0\n r2 += 1\n r3 = r10\n r3 += r2\n r0 = 0\n exit
         f: {tail}\n r0 = -9\n exit"
    );
    check("xdp", &result, &[((6, 12), "ok"), ((6, 18), "unbounded min value")]);
}
