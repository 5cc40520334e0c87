use super::*;

#[test]
fn registers_are_written_before_they_are_read() {
    for (text, expected) in [
        ("r0 = 0\n exit", "ok"),
        ("exit", "R0 !read_ok"),
        ("r0 = r2\n exit", "R2 !read_ok"),
        ("r10 = 0\n r0 = 0\n exit", "frame pointer is read only"),
        ("r0 = 0\n if r0 == 1 goto +1\n exit\n r0 = r5\n exit", "ok"),
        ("r2 = r1\n r0 = r2\n r0 = 0\n exit", "ok"),
    ] {
        check("socket", text, expected);
    }
}

#[test]
fn arithmetic() {
    for (text, expected) in [
        ("r0 = 4\n r0 /= 0\n exit", "div by zero"),
        ("w0 = 4\n w0 %= 0\n exit", "div by zero"),
        ("r0 = 4\n r0 <<= 64\n exit", "invalid shift 64"),
        ("w0 = 4\n w0 >>= 32\n exit", "invalid shift 32"),
        ("r0 = r10\n r0 *= 2\n exit", "pointer arithmetic with *= operator prohibited"),
        ("r0 = r10\n r0 &= 8\n exit", "bitwise operator &= on pointer prohibited"),
        ("w0 = w10\n w0 += 1\n r0 = 0\n exit", "ok"),
        ("r0 = r10\n w0 += 1\n exit", "32-bit pointer arithmetic prohibited"),
        ("r0 = r10\n r0 += r1\n exit", "pointer += pointer prohibited"),
        ("r0 = r10\n r0 -= 8\n exit", "subtraction from stack pointer prohibited"),
        ("r2 = 8\n r2 -= r10\n r0 = 0\n exit", "tried to subtract pointer from scalar"),
        (
            "r0 = r10\n r2 = *(u64 *)(r10 - 8)\n r0 += r2\n exit",
            "math between fp pointer and register with unbounded min value is not allowed",
        ),
        (
            "r0 = r10\n r0 += 0x40000000\n exit",
            "math between fp pointer and 1073741824 is not allowed",
        ),
    ] {
        check("socket", text, expected);
    }
}

/// A map's value at an index that comes from the packet's length.
fn indexed(bound: &str) -> String {
    format!(
        "r6 = *(u32 *)(r1 + 0)
         *(u32 *)(r10 - 4) = 0
         r2 = r10
         r2 += -4
         ld_pseudo r1, 0x5, 0x0
         call 1
         if r0 == 0 goto end
         {bound}
         r0 += r6
         r0 = *(u8 *)(r0 + 0)
         end:
         r0 = 0
         exit"
    )
}

#[test]
fn bounds_of_an_index() {
    for (bound, expected) in [
        ("if r6 > 47 goto end", "ok"),
        ("if r6 >= 48 goto end", "ok"),
        ("if w6 > 47 goto end", "ok"),
        ("r6 &= 31", "ok"),
        ("r6 %= 48", "register with unbounded min value is not allowed"),
        ("r6 &= 63", "max value is outside of the allowed memory range"),
        ("if r6 > 48 goto end", "invalid access to map value, value_size=48 off=48 size=1"),
        ("if r6 s> 47 goto end", "ok"),
        ("r6 -= 1\n if r6 s> 40 goto end", "R0 min value is negative"),
        (
            "r6 <<= 32\n r6 s>>= 32\n if r6 s> 40 goto end",
            "value -2147483648 makes map_value pointer be out of bounds",
        ),
        ("r6 <<= 32\n r6 s>>= 32\n if r6 s> 40 goto end\n if r6 s< 0 goto end", "ok"),
        ("r7 = r6\n if r7 > 40 goto end", "ok"),
        ("r7 = r6\n r7 += 4\n if r7 > 40 goto end\n", "ok"),
        ("r6 >>= 27", "ok"),
        ("r6 *= 2\n if r6 > 47 goto end", "ok"),
        ("if r6 != 5 goto end", "ok"),
        ("if r6 & 0xffffffc0 goto end\n r6 &= 47", "ok"),
        ("", "max value is outside of the allowed memory range|unbounded memory access"),
    ] {
        let mut alternatives = expected.split('|');
        let first = alternatives.next().unwrap_or_default();
        let second = alternatives.next();
        let text = indexed(bound);
        match (verdict_of("tc", &text, Options::default()), second) {
            (Verdict::Refused(refusal), Some(second)) => {
                assert!(refusal.message.contains(first) || refusal.message.contains(second));
            }
            _ => check("tc", &text, first),
        }
    }
}

/// A sum that is small, of a number and a constant that is large.
#[test]
fn constants_of_sums_are_offsets() {
    let sum = |constant: &str| {
        format!(
            "call 7\n r2 = r0\n r3 = r2\n r3 += {constant}\n if r3 > 7 goto out
             r4 = r10\n r4 += -8\n *(u64 *)(r4 + 0) = 0\n r4 += r3\n r0 = *(u8 *)(r4 + 0)\n exit
             out: r0 = 0\n exit"
        )
    };
    check("socket", &sum("536870911"), "ok");
    check("socket", &sum("536870912"), "fp pointer offset 536870912 is not allowed");
}

/// Only 0 isn't negative, but the kernel takes the number for 0 to 42.
#[test]
fn what_the_kernel_does_not_know() {
    check(
        "socket",
        "r6 = *(u32 *)(r1 + 0)\n r2 = 0\n r2 -= r6\n r0 = 0\n if r2 > 42 goto out
         *(u64 *)(r10 - 8) = 0\n r4 = r10\n r4 += -8\n r4 += r2\n r0 = *(u8 *)(r4 + 0)
         out: exit",
        "invalid variable-offset read from stack R4",
    );
}
