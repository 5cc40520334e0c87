use super::*;

/// Types of `word`s each, strings as given, in a valid frame.
fn btf(types: &[&[u32]], strings: &str) -> Vec<u8> {
    let types: Vec<u8> = types.concat().iter().flat_map(|word| word.to_le_bytes()).collect();
    let header = [
        u32::from(MAGIC) | 1 << 16,
        24,
        0,
        types.len() as u32,
        types.len() as u32,
        strings.len() as u32,
    ];
    let header = header.iter().flat_map(|word| word.to_le_bytes());
    header.chain(types.iter().copied()).chain(strings.bytes()).collect()
}

const fn info(kind: u32, count: u32) -> u32 {
    kind << 24 | count
}

/// ```c
/// struct inner { int a; int b; };
/// struct outer { int a; union { int c; struct { int d; const struct inner e; }; }; int bits : 3; };
/// ```
fn example() -> Btf {
    // Strings: 1 int, 5 inner, 11 outer, 17 a, 19 b, 21 c, 23 d, 25 e, 27 bits.
    let strings = "\0int\0inner\0outer\0a\0b\0c\0d\0e\0bits\0";
    let types: [&[u32]; 6] = [
        &[1, info(KIND_INT, 0), 4, 0],
        &[5, info(KIND_STRUCT, 2), 8, 17, 1, 0, 19, 1, 32],
        &[0, info(KIND_CONST, 0), 2],
        &[0, info(KIND_STRUCT, 2), 12, 23, 1, 0, 25, 3, 32],
        &[0, info(KIND_UNION, 2), 12, 21, 1, 0, 0, 4, 0],
        &[11, info(KIND_STRUCT, 3) | 1 << 31, 20, 17, 1, 0, 0, 5, 32, 27, 1, 3 << 24 | 130],
    ];
    Btf::parse(btf(&types, strings)).unwrap()
}

#[test]
fn fields_are_found_in_anonymous_and_nested_structs() {
    let btf = example();
    for (path, expected) in [
        ("inner.b", Some(4)),
        ("outer.a", Some(0)),
        ("outer.c", Some(4)),
        ("outer.d", Some(4)),
        ("outer.e", Some(8)),
        ("outer.e.b", Some(12)),
        // A bit field that begins inside a byte has no byte offset.
        ("outer.bits", None),
        ("outer.a.b", None),
        ("outer.none", None),
        ("none.a", None),
        ("outer", None),
        ("outer.", None),
        ("", None),
    ] {
        assert_eq!(btf.offset(path), expected, "{path}");
    }
}

#[test]
fn damage_is_an_error_not_a_panic() {
    let whole = example().bytes;
    for length in 0..whole.len() {
        // Cut off strings are found out later, when one is asked for.
        if let Ok(btf) = Btf::parse(whole[..length].to_vec()) {
            btf.offset("outer.e.b");
        }
    }
    for at in 0..whole.len() {
        for byte in [0x00, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            if let Ok(btf) = Btf::parse(bytes) {
                btf.offset("outer.e.b");
            }
        }
    }
}

#[test]
fn a_loop_of_types_ends() {
    let types: [&[u32]; 3] = [
        &[0, info(KIND_CONST, 0), 2],
        &[0, info(KIND_TYPEDEF, 0), 1],
        &[1, info(KIND_STRUCT, 2), 8, 0, 3, 0, 3, 1, 0],
    ];
    let btf = Btf::parse(btf(&types, "\0s\0a\0")).unwrap();
    assert_eq!(btf.offset("s.a.b"), None);
    assert_eq!(btf.offset("s.none"), None);
}
