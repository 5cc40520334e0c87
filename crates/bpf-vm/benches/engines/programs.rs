//! The programs: each is taken by the kernel as an XDP program, by rbpf and by our engines, in the
//! same bytes. They find their packet as XDP programs do, and their results differ if anything
//! goes wrong.

pub struct Case {
    pub name: &'static str,
    pub source: String,
}

/// Finds the packet in `r2` and its end in `r3`, of which so many bytes are there.
fn packet(bytes: usize) -> String {
    format!(
        "
        r2 = *(u32 *)(r1 + 0)
        r3 = *(u32 *)(r1 + 4)
        r4 = r2
        r4 += {bytes}
        if r4 > r3 goto none
        "
    )
}

const NONE: &str = "
        exit
        none:
        r0 = 0
        exit";

fn sum() -> String {
    "
    r0 = 0
    r1 = 1000
    loop:
    r0 += r1
    r1 += -1
    if r1 != 0 goto loop
    exit"
        .to_owned()
}

/// FNV-1a over 256 bytes.
fn fnv() -> String {
    let begin = packet(256);
    format!(
        "{begin}
        w0 = 0x811c9dc5
        r5 = r2
        r5 += 256
        loop:
        r4 = *(u8 *)(r2 + 0)
        w0 ^= w4
        w0 *= 0x01000193
        r2 += 1
        if r2 != r5 goto loop
        {NONE}"
    )
    .replace("if r2 != r5 goto loop", "r6 += -1\n        if r6 != 0 goto loop")
    .replace("r5 = r2\n        r5 += 256", "r6 = 256")
}

/// Bob Jenkins' mixing of three words, as in the kernel's `jhash`, over 240 bytes.
fn jhash() -> String {
    let begin = packet(240);
    let mut source = format!(
        "{begin}
        w6 = 0xdeadbeef
        w7 = w6
        w8 = w6
        r9 = 20
        loop:
        r1 = *(u32 *)(r2 + 0)
        w6 += w1
        r1 = *(u32 *)(r2 + 4)
        w7 += w1
        r1 = *(u32 *)(r2 + 8)
        w8 += w1
        r2 += 12
        "
    );
    let (a, b, c) = ("w6", "w7", "w8");
    for (x, y, z, distance) in
        [(a, c, b, 4), (b, a, c, 6), (c, b, a, 8), (a, c, b, 16), (b, a, c, 19), (c, b, a, 4)]
    {
        source += &format!(
            "{x} -= {y}
            w3 = {y}
            w3 <<= {distance}
            w4 = {y}
            w4 >>= {}
            w3 |= w4
            {x} ^= w3
            {y} += {z}
            ",
            32 - distance
        );
    }
    source
        + "r9 += -1
        if r9 != 0 goto loop
        w0 = w8
        "
        + NONE
}

/// Primes below 200, which are struck out in the packet.
fn sieve() -> String {
    let mut source = packet(208);
    for word in 0..26 {
        source += &format!("*(u64 *)(r2 + {}) = 0\n", 8 * word);
    }
    source
        + "
        r0 = 0
        r3 = 2
        next:
        r4 = r2
        r4 += r3
        r5 = *(u8 *)(r4 + 0)
        if r5 != 0 goto skip
        r0 += 1
        r6 = r3
        r6 += r3
        mark:
        if r6 > 199 goto skip
        r7 = r2
        r7 += r6
        *(u8 *)(r7 + 0) = 1
        r6 += r3
        goto mark
        skip:
        r3 += 1
        if r3 != 200 goto next
        "
        + NONE
}

/// Two functions, one of which calls the other, from a loop.
fn calls() -> String {
    "
    r6 = 0
    r7 = 100
    loop:
    r1 = r6
    r2 = r7
    call outer
    r6 = r0
    r7 += -1
    if r7 != 0 goto loop
    r0 = r6
    exit
    outer:
    r6 = r1
    r1 = r2
    call inner
    r0 += r6
    exit
    inner:
    r0 = r1
    r0 *= 3
    r0 += 1
    exit"
        .to_owned()
}

fn xorshift() -> String {
    "
    r1 = 88172645463325252 ll
    r2 = 200
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
    exit"
        .to_owned()
}

/// A number of `bytes` in network order, byte by byte, as compilers load what may be unaligned.
fn compose(dst: &str, base: &str, at: usize, bytes: usize, scratch: &str) -> String {
    let mut source = format!("{dst} = *(u8 *)({base} + {at})\n");
    for index in 1..bytes {
        source += &format!(
            "{dst} <<= 8
            {scratch} = *(u8 *)({base} + {})
            {dst} |= {scratch}
            ",
            at + index
        );
    }
    source
}

/// Ethernet, IPv4 and TCP headers, byte by byte.
fn headers() -> String {
    let mut source = packet(54);
    source += &compose("r4", "r2", 12, 2, "r5");
    source += "if r4 != 0x800 goto none\n";
    source += "r5 = *(u8 *)(r2 + 23)\nif r5 != 6 goto none\n";
    source += &compose("r0", "r2", 26, 4, "r5");
    source += &compose("r4", "r2", 30, 4, "r5");
    source += "r0 ^= r4\n";
    source += &compose("r4", "r2", 34, 2, "r5");
    source += &compose("r6", "r2", 36, 2, "r5");
    source += "r4 <<= 16\nr4 |= r6\nr0 += r4\n";
    source += &compose("r4", "r2", 38, 4, "r5");
    source += &compose("r6", "r2", 42, 4, "r5");
    source += "r6 -= r4\nr0 ^= r6\n";
    source += "r4 = *(u8 *)(r2 + 47)\nr4 &= 0x3f\nr0 += r4\n";
    source += "r0 <<= 32\nr0 >>= 32\n";
    source + NONE
}

/// The same headers as structures, with conversions; then the checksum of the IPv4 header.
fn checksum() -> String {
    let mut source = packet(54);
    source += "
        r4 = *(u16 *)(r2 + 12)
        r4 = be16 r4
        if r4 != 0x800 goto none
        r0 = 0
        ";
    for at in (14..34).step_by(2) {
        source += &format!("r4 = *(u16 *)(r2 + {at})\nr4 = be16 r4\nr0 += r4\n");
    }
    source += "
        r4 = r0
        r4 >>= 16
        r0 &= 0xffff
        r0 += r4
        r4 = r0
        r4 >>= 16
        r0 &= 0xffff
        r0 += r4
        r4 = *(u32 *)(r2 + 38)
        r4 = be32 r4
        r0 += r4
        ";
    source + NONE
}

/// A classifier: many comparisons, few of which hold.
fn branches() -> String {
    let mut source = packet(64);
    source += "r0 = 0\nr5 = 16\nagain:\n";
    for (at, value) in (0..24).map(|index| (index * 2, 40 + index * 11)) {
        let condition = ["==", ">", "<", "s>"][at % 4];
        source += &format!(
            "r4 = *(u8 *)(r2 + {at})
            if r4 {condition} {value} goto skip{at}
            r0 += {}
            skip{at}:
            ",
            at + 1
        );
    }
    source += "r5 += -1\nif r5 != 0 goto again\n";
    source + NONE
}

pub fn cases() -> Vec<Case> {
    let case = |name, source| Case { name, source };
    vec![
        case("sum", sum()),
        case("fnv", fnv()),
        case("jhash", jhash()),
        case("xorshift", xorshift()),
        case("sieve", sieve()),
        case("calls", calls()),
        case("headers", headers()),
        case("checksum", checksum()),
        case("branches", branches()),
    ]
}
