use super::*;

#[test]
fn helpers() {
    for (section, text, expected) in [
        ("tc", "call 7\n exit", "ok"),
        ("tc", "call 99999\n exit", "invalid func unknown#99999"),
        (
            "socket",
            "r2 = 0\n call 44\n r0 = 0\n exit",
            "program of this type cannot use helper bpf_xdp_adjust_head#44",
        ),
        ("tc", "call 7\n r0 = r1\n exit", "R1 !read_ok"),
        ("tc", "r1 = 0\n r2 = r10\n call 1\n exit", "R1 type=scalar expected=map_ptr"),
        (
            "tc",
            "ld_pseudo r1, 0x5, 0\n r2 = r10\n call 1\n exit",
            "invalid indirect access to stack R2 off=0 size=4",
        ),
        (
            "tc",
            "ld_pseudo r1, 0x5, 0\n r2 = r10\n r2 += -4\n call 12\n exit",
            "R1 type=map_ptr expected=ctx",
        ),
        (
            "tc",
            "ld_pseudo r1, 0x5, 2\n *(u32 *)(r10 - 4) = 0\n r2 = r10\n r2 += -4\n call 1\n exit",
            "cannot pass map_type 3 into func bpf_map_lookup_elem#1",
        ),
        // Memory and its size.
        ("tc", "r2 = 0\n r3 = r10\n r3 += -16\n r4 = 16\n call 26\n r0 = 0\n exit", "ok"),
        (
            "tc",
            "r2 = 0\n r3 = r10\n r3 += -16\n r4 = 24\n call 26\n r0 = 0\n exit",
            "invalid indirect access to stack R3 off=-16 size=24",
        ),
        (
            "tc",
            "r2 = 0\n r3 = r10\n r3 += -16\n r4 = 0\n call 26\n r0 = 0\n exit",
            "invalid zero-sized read",
        ),
        (
            "tc",
            "r4 = *(u32 *)(r1 + 0)\n r2 = 0\n r3 = r10\n r3 += -16\n call 26\n r0 = 0\n exit",
            "invalid zero-sized read",
        ),
        (
            "tc",
            "r4 = *(u32 *)(r1 + 0)\n r4 += 1\n r2 = 0\n r3 = r10\n r3 += -16\n call 26\n r0 = 0\n exit",
            "unbounded memory access|",
        ),
    ] {
        if expected.ends_with('|') {
            let Verdict::Refused(refusal) = verdict_of(section, text, Options::default()) else {
                panic!("{text}");
            };
            assert_eq!(refusal.rule, Rule::ArgumentSize, "{refusal}");
            continue;
        }
        check(section, text, expected);
    }
}

#[test]
fn references() {
    let reserve = "ld_pseudo r1, 0x5, 3\n r2 = 8\n r3 = 0\n call 131\n";
    for (body, expected) in [
        ("r0 = 0\n exit", "Unreleased reference id="),
        ("if r0 == 0 goto +3\n r1 = r0\n r2 = 0\n call 132\n r0 = 0\n exit", "ok"),
        (
            "if r0 == 0 goto +4\n *(u64 *)(r0 + 0) = 1\n r1 = r0\n r2 = 0\n call 132\n r0 = 0\n exit",
            "ok",
        ),
        (
            "if r0 == 0 goto +4\n *(u64 *)(r0 + 8) = 1\n r1 = r0\n r2 = 0\n call 132\n r0 = 0\n exit",
            "invalid access to memory, mem_size=8 off=8 size=8",
        ),
        (
            "if r0 == 0 goto +5\n r6 = r0\n r1 = r0\n r2 = 0\n call 132\n *(u64 *)(r6 + 0) = 1\n r0 = 0\n exit",
            "R6 invalid mem access 'scalar'",
        ),
        (
            "r1 = r0\n r2 = 0\n call 132\n r0 = 0\n exit",
            "type=ringbuf_mem_or_null expected=ringbuf_mem",
        ),
    ] {
        check("tc", &format!("{reserve}{body}"), expected);
    }
}

#[test]
fn spin_locks() {
    let address = "ld_pseudo r6, 0x6, 5\n r1 = r6\n r1 += 4\n call 93\n";
    for (body, expected) in [
        ("r1 = r6\n r1 += 4\n call 94\n r0 = 0\n exit", "ok"),
        ("r0 = 0\n exit", "bpf_spin_unlock is missing"),
        ("call 7\n r0 = 0\n exit", "function calls are not allowed while holding a lock"),
        (
            "r1 = r6\n r1 += 4\n call 93\n r0 = 0\n exit",
            "function calls are not allowed|Locking two",
        ),
        (
            "r1 = r6\n call 94\n r0 = 0\n exit",
            "off 0 doesn't point to 'struct bpf_spin_lock' that is at 4",
        ),
    ] {
        let expected = expected.split('|').next().unwrap_or_default();
        check("tc", &format!("{address}{body}"), expected);
    }
}

#[test]
fn local_functions() {
    for (text, expected) in [
        ("r1 = 4\n call +1\n exit\n r0 = r1\n exit", "ok"),
        ("call +1\n exit\n r0 = r6\n exit", "R6 !read_ok"),
        ("r6 = 1\n call +2\n r0 = r6\n exit\n r0 = 0\n exit", "ok"),
        ("call +1\n exit\n r0 = r10\n exit", "cannot return stack pointer to the caller"),
        // Memory of the caller.
        (
            "r1 = r10\n r1 += -8\n call +2\n r0 = *(u64 *)(r10 - 8)\n exit\n *(u64 *)(r1 + 0) = 7\n r0 = 0\n exit",
            "ok",
        ),
        ("r0 = 0\n call -2\n exit", "call stack"),
        (
            "*(u64 *)(r10 - 300) = 1\n call +1\n exit\n *(u64 *)(r10 - 304) = 1\n r0 = 0\n exit",
            "misaligned",
        ),
        (
            "*(u64 *)(r10 - 304) = 1\n call +1\n exit\n *(u64 *)(r10 - 304) = 1\n r0 = 0\n exit",
            "combined stack size of 2 calls is 608. Too large",
        ),
    ] {
        check("tc", text, expected);
    }
}

#[test]
fn callbacks() {
    // bpf_loop(10, callback, 0, 0)
    let call = |body: &str| {
        format!(
            "r1 = 10
             r2 = ld_callback
             r3 = r10
             r3 += -8
             r4 = 0
             call 181
             r0 = 0
             exit
             {body}"
        )
        .replace("r2 = ld_callback", "ld_pseudo r2, 0x4, 0x7")
    };
    for (body, expected) in [
        ("r0 = 0\n exit", "ok"),
        ("*(u64 *)(r2 + 0) = 1\n r0 = 0\n exit", "ok"),
        ("r0 = 2\n exit", "should have been in [0, 1]"),
        ("*(u64 *)(r3 + 0) = 1\n r0 = 0\n exit", "R3 !read_ok"),
        ("r0 = *(u64 *)(r1 + 0)\n exit", "R1 invalid mem access 'scalar'"),
    ] {
        check("tc", &call(body), expected);
    }
}

/// A refusal names what is called, and a call that has moved the packet away.
#[test]
fn refusals_name_calls() {
    let text = "r6 = *(u32 *)(r1 + 76)
        r2 = *(u32 *)(r1 + 80)
        r3 = r6
        r3 += 14
        r0 = 0
        if r3 > r2 goto +5
        r2 = 100
        call 39
        r0 = *(u8 *)(r6 + 0)
        r0 = 0
        r0 = 0
        exit";
    let Verdict::Refused(refusal) = verdict_of("tc", text, Options::default()) else {
        panic!("accepted");
    };
    assert_eq!(refusal.rule, Rule::InvalidAccess, "{refusal}");
    assert!(refusal.hint.starts_with("the call at 7 may move the packet"), "{refusal}");
    let step = refusal.path.iter().find(|step| step.slot == 7).expect("the call is shown");
    assert_eq!(step.what, "call 0x27   ; bpf_skb_pull_data");
    let text = "r1 = 0\n r2 = 0\n r3 = 0\n call 1\n exit";
    let Verdict::Refused(refusal) = verdict_of("tc", text, Options::default()) else {
        panic!("accepted");
    };
    let place = refusal.place.expect("a place");
    assert_eq!(place.instruction, "call 0x1   ; bpf_map_lookup_elem");
}
