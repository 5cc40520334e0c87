use super::*;

#[test]
fn the_form_of_programs() {
    for (text, expected) in [
        ("r0 = 0\n goto +5\n exit", "jump out of range from insn 1 to 7"),
        ("r0 = 0\n if r0 == 1 goto -9\n exit", "jump out of range"),
        ("r0 = 0", "last insn is not an exit or jmp"),
        ("r0 = 0\n exit\n r0 = 1\n exit", "unreachable insn 2"),
        ("r0 = 0\n goto +1\n r1 = 0 ll\n exit", "jump into the middle of ldimm64 insn 2"),
    ] {
        check("socket", text, expected);
    }
}

#[test]
fn loops() {
    for (text, expected) in [
        ("r0 = 0\n r0 += 1\n if r0 < 100 goto -2\n exit", "ok"),
        ("r0 = 0\n goto -1", "infinite loop detected"),
        ("r0 = 0\n r6 = 0\n if r6 == 0 goto -1\n exit", "infinite loop detected"),
        (
            "r6 = *(u32 *)(r1 + 0)\n r0 = 0\n r0 += 1\n if r0 < r6 goto -2\n exit",
            "too large|infinite loop",
        ),
        ("r0 = 0\n r0 += 1\n may_goto +1\n goto -3\n exit", "ok"),
    ] {
        let options = Options { instruction_limit: 20_000, ..Options::default() };
        if expected.contains('|') {
            let verdict = verdict_of("socket", text, options);
            let Verdict::Refused(refusal) = verdict else { panic!("{verdict:?}") };
            assert!(matches!(refusal.rule, Rule::TooComplex | Rule::InfiniteLoop), "{refusal}");
            continue;
        }
        check_with("socket", text, options, expected);
    }
    let options = Options { privileged: false, ..Options::default() };
    check_with(
        "socket",
        "r0 = 0\n r0 += 1\n if r0 < 100 goto -2\n exit",
        options,
        "back-edge from insn 2 to 1",
    );
}

/// Two ways that meet again with nothing that matters differing are walked as one.
#[test]
fn equal_states_are_walked_once() {
    let mut text = String::from("r6 = *(u32 *)(r1 + 0)\n r7 = 0\n");
    for bit in 0..16 {
        text.push_str(&format!("r8 = r6\n r8 &= {}\n if r8 == 0 goto +1\n r7 = {bit}\n", 1 << bit));
    }
    text.push_str("r0 = 0\n exit");
    let Verdict::Accepted(proof) = verdict_of("tc", &text, Options::default()) else {
        panic!("refused");
    };
    assert!(proof.facts().processed < 400, "{}", proof.facts().processed);
}

/// A number on which an access depends is told apart where ways meet.
#[test]
fn what_matters_is_told_apart() {
    let text = "r6 = *(u32 *)(r1 + 0)
        r7 = 4
        if r6 == 0 goto +1
        r7 = 600
        r6 = 0
        r6 = 0
        r6 = 0
        if r6 != 0 goto +0
        if r6 != 0 goto +0
        if r6 != 0 goto +0
        r2 = r10
        r2 -= r7
        r0 = 0
        exit";
    check("tc", text, "subtraction from stack pointer prohibited");
    let text = text.replace("r2 -= r7", "r7 = -r7\n r2 += r7\n *(u8 *)(r2 + 0) = 1");
    check("tc", &text, "unbounded");
    let text = text.replace("r7 = -r7\n r2 += r7", "r3 = 0\n r3 -= r7\n r2 += r3");
    check("tc", &text, "invalid write to stack R2 off=-600 size=1");
}

#[test]
fn results() {
    for (section, text, expected) in [
        ("cgroup/connect4", "r0 = 1\n exit", "ok"),
        (
            "cgroup/connect4",
            "r0 = 2\n exit",
            "At program exit the register R0 has smin=2 smax=2 should have been in [0, 1]",
        ),
        ("cgroup/connect4", "r0 = *(u32 *)(r1 + 0)\n exit", "should have been in [0, 1]"),
        ("cgroup/connect4", "r0 = *(u32 *)(r1 + 0)\n r0 &= 1\n exit", "ok"),
        ("tc", "r0 = *(u32 *)(r1 + 0)\n exit", "ok"),
    ] {
        check(section, text, expected);
    }
}
