use super::*;

#[test]
fn the_stack() {
    for (text, expected) in [
        ("*(u64 *)(r10 - 8) = 1\n r0 = *(u64 *)(r10 - 8)\n exit", "ok"),
        ("*(u64 *)(r10 - 520) = 1\n r0 = 0\n exit", "invalid write to stack R10 off=-520 size=8"),
        ("*(u64 *)(r10 + 0) = 1\n r0 = 0\n exit", "invalid write to stack R10 off=0 size=8"),
        ("r0 = *(u64 *)(r10 - 516)\n exit", "misaligned stack access"),
        ("*(u32 *)(r10 - 6) = 1\n r0 = 0\n exit", "misaligned stack access"),
        ("*(u64 *)(r10 - 8) = r1\n r1 = *(u64 *)(r10 - 8)\n r0 = *(u32 *)(r1 + 0)\n exit", "ok"),
        ("*(u64 *)(r10 - 8) = r1\n r0 = *(u32 *)(r10 - 8)\n exit", "invalid size of register fill"),
        ("*(u32 *)(r10 - 8) = r1\n r0 = 0\n exit", "invalid size of register spill"),
        // A spilled number keeps its bounds.
        (
            "r2 = *(u32 *)(r1 + 0)\n r2 &= 7\n *(u64 *)(r10 - 8) = r2\n r2 = *(u64 *)(r10 - 8)
             r3 = r10\n r3 += -16\n r3 += r2\n *(u8 *)(r3 + 0) = 1\n r0 = 0\n exit",
            "ok",
        ),
        (
            "r2 = *(u32 *)(r1 + 0)\n r2 &= 31\n r3 = r10\n r3 += -16\n r3 += r2
             *(u8 *)(r3 + 0) = 1\n r0 = 0\n exit",
            "invalid variable-offset write to stack R3",
        ),
    ] {
        check("socket", text, expected);
    }
}

/// The first 14 bytes and more of a packet.
fn packet(body: &str) -> String {
    format!(
        "r2 = *(u32 *)(r1 + 0)
         r3 = *(u32 *)(r1 + 4)
         r0 = 2
         {body}
         end:
         r0 = 2
         exit"
    )
}

#[test]
fn packets() {
    for (body, expected) in [
        ("r0 = *(u8 *)(r2 + 0)", "invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)"),
        ("r4 = r2\n r4 += 14\n if r4 > r3 goto end\n r0 = *(u8 *)(r2 + 13)", "ok"),
        (
            "r4 = r2\n r4 += 14\n if r4 > r3 goto end\n r0 = *(u16 *)(r2 + 13)",
            "R2 offset is outside of the packet",
        ),
        ("r4 = r2\n r4 += 14\n if r3 >= r4 goto +1\n goto end\n r0 = *(u8 *)(r2 + 13)", "ok"),
        ("r4 = r2\n r4 += 14\n if r4 >= r3 goto end\n r0 = *(u8 *)(r2 + 14)", "ok"),
        ("r4 = r2\n r4 += 14\n if r4 > r3 goto end\n *(u8 *)(r2 + 0) = 1", "ok"),
        ("r2 = r3\n r0 = *(u8 *)(r2 + 0)", "R2 invalid mem access 'pkt_end'"),
        ("r3 += 1", "pointer arithmetic on pkt_end prohibited"),
        // What was learnt is lost when the packet changes.
        (
            "r6 = r1\n r4 = r2\n r4 += 14\n if r4 > r3 goto end\n r7 = r2\n r2 = 0\n call 44\n r0 = *(u8 *)(r7 + 0)",
            "R7 invalid mem access 'scalar'",
        ),
        // A header length of the packet itself.
        (
            "r4 = r2\n r4 += 14\n if r4 > r3 goto end\n r5 = *(u8 *)(r2 + 0)\n r5 &= 15\n r5 <<= 2
             r2 += r5\n r4 = r2\n r4 += 8\n if r4 > r3 goto end\n r0 = *(u64 *)(r2 + 0)",
            "ok",
        ),
        (
            "r4 = r2\n r4 += 14\n if r4 > r3 goto end\n r5 = *(u8 *)(r2 + 0)
             r2 += r5\n r0 = *(u8 *)(r2 + 0)",
            "offset is outside of the packet",
        ),
    ] {
        check("xdp", &packet(body), expected);
    }
}

#[test]
fn contexts() {
    for (section, text, expected) in [
        ("xdp", "r0 = *(u32 *)(r1 + 24)\n exit", "invalid bpf_context access off=24 size=4"),
        ("xdp", "*(u32 *)(r1 + 0) = 1\n r0 = 2\n exit", "invalid bpf_context access off=0 size=4"),
        ("tc", "*(u32 *)(r1 + 8) = 1\n r0 = 0\n exit", "ok"),
        ("socket", "*(u32 *)(r1 + 8) = 1\n r0 = 0\n exit", "invalid bpf_context access"),
        (
            "tc",
            "r1 += 8\n r0 = *(u32 *)(r1 + 0)\n exit",
            "dereference of modified ctx ptr R1 off=8 disallowed",
        ),
        ("tc", "r0 = *(u64 *)(r1 + 0)\n exit", "invalid bpf_context access off=0 size=8"),
    ] {
        check(section, text, expected);
    }
}

/// A look-up in the array, then `body` with the value in r0.
fn looked_up(map: u32, body: &str) -> String {
    format!(
        "*(u64 *)(r10 - 8) = 0
         r2 = r10
         r2 += -8
         ld_pseudo r1, 0x5, {map}
         call 1
         {body}
         r0 = 0
         exit"
    )
}

#[test]
fn values_of_maps() {
    for (map, body, expected) in [
        (0, "r1 = *(u64 *)(r0 + 0)", "R0 invalid mem access 'map_value_or_null'"),
        (0, "if r0 == 0 goto +1\n r1 = *(u64 *)(r0 + 40)", "ok"),
        (
            0,
            "if r0 == 0 goto +1\n r1 = *(u64 *)(r0 + 41)",
            "invalid access to map value, value_size=48 off=41 size=8",
        ),
        (0, "if r0 == 0 goto +1\n r1 = *(u64 *)(r0 - 1)", "off=-1 size=8"),
        (0, "if r0 != 0 goto +1\n r1 = *(u64 *)(r0 + 0)", "R0 invalid mem access 'scalar'"),
        (0, "r6 = r0\n if r6 == 0 goto +1\n r1 = *(u64 *)(r0 + 0)", "ok"),
        (0, "r0 += 4\n", "pointer arithmetic on map_value_or_null prohibited, null-check it first"),
        (1, "if r0 == 0 goto +1\n lock *(u64 *)(r0 + 0) += r0", "ok"),
        (
            5,
            "if r0 == 0 goto +1\n r1 = *(u32 *)(r0 + 4)",
            "bpf_spin_lock cannot be accessed directly by load/store",
        ),
    ] {
        check("tc", &looked_up(map, body), expected);
    }
    // A pointer in a map could be read by anybody.
    let options = Options { privileged: false, ..Options::default() };
    let text = looked_up(1, "if r0 == 0 goto +1\n *(u64 *)(r0 + 0) = r10");
    check_with("socket", &text, options, "R10 leaks addr into map");
}

#[test]
fn values_that_never_change_are_known() {
    for (text, expected) in [
        // r2 is 0x04030201: only the way that is taken is looked at.
        (
            "ld_pseudo r1, 0x6, 4\n r2 = *(u32 *)(r1 + 0)\n r0 = 0\n if r2 == 0x4030201 goto +1\n r0 = r9\n exit",
            "ok",
        ),
        (
            "ld_pseudo r1, 0x6, 4\n *(u32 *)(r1 + 0) = 1\n r0 = 0\n exit",
            "write into map forbidden, value_size=8 off=0 size=4",
        ),
    ] {
        check("tc", text, expected);
    }
}

#[test]
fn what_instructions_touch_is_known() {
    let text = "*(u64 *)(r10 - 8) = 1\n r2 = *(u32 *)(r1 + 0)\n r0 = 2\n exit";
    let Verdict::Accepted(proof) = verdict_of("xdp", text, Options::default()) else {
        panic!("refused");
    };
    let facts = proof.facts();
    let expected = [Touched::Stack, Touched::Context, Touched::Nothing, Touched::Nothing];
    assert_eq!(facts.touched, expected);
    assert_eq!((facts.processed, facts.functions[0].stack, facts.bounded), (4, 8, true));
    assert!(proof.covers(&program(assembled(text), "xdp").instructions));
    assert!(!proof.covers(&program(assembled("r0 = 2\n exit"), "xdp").instructions));
    // The frame on one path, the packet on the other.
    let text = "*(u64 *)(r10 - 8) = 1\n r2 = r10\n r2 += -8\n r3 = *(u32 *)(r1 + 0)\n \
                r4 = *(u32 *)(r1 + 4)\n r5 = r3\n r5 += 8\n if r5 > r4 goto +1\n r2 = r3\n \
                r0 = *(u8 *)(r2 + 0)\n exit";
    let Verdict::Accepted(proof) = verdict_of("xdp", text, Options::default()) else {
        panic!("refused");
    };
    assert_eq!(proof.facts().touched[9], Touched::Data);
}

/// The kernel looks them up before it walks.
#[test]
fn addresses_of_values_in_dead_code() {
    // Map and offset, in the halves of a number.
    for (value, expected) in [
        (4u64, "ok"),
        (4 | 7 << 32, "ok"),
        (4 | 8 << 32, "invalid access to map value pointer, value_size=8 off=8"),
        (0, "only maps of one value have addresses that are known"),
    ] {
        let text =
            format!("r0 = 0\n if r0 == 0 goto end\n ld_pseudo r1, 0x6, {value:#x}\n end:\n exit");
        check("socket", &text, expected);
    }
}

/// Accesses of the context are rewritten, others aren't.
#[test]
fn one_kind_of_pointer_for_each_access() {
    let either = |access: &str, other: &str| {
        format!(
            "r6 = r1\n r7 = r10\n r7 += -16\n *(u64 *)(r10 - 16) = 0\n *(u64 *)(r10 - 8) = 0
             {other}\n if r0 == 0 goto use\n r7 = r6\n use: {access}\n r0 = 0\n exit"
        )
    };
    let different = "same insn cannot be used with different pointers";
    for access in ["r1 = *(u32 *)(r7 + 8)", "*(u32 *)(r7 + 8) = 1", "*(u32 *)(r7 + 8) = r0"] {
        check("tc", &either(access, "call 7"), different);
    }
    // Stack and value.
    let value = "*(u32 *)(r10 - 4) = 1\n r2 = r10\n r2 += -4\n ld_pseudo r1, 0x5, 0\n call 1
                 if r0 == 0 goto use\n r6 = r0";
    check("tc", &either("r1 = *(u32 *)(r7 + 8)", value), "ok");
}
