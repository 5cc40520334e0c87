//! `skep-conformance` as the public runner starts it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use bpf_isa::encode;
use bpf_isa::text::{Syntax, assemble};

fn run(arguments: &[&str], input: &str) -> (bool, String, String) {
    let mut plugin = Command::new(env!("CARGO_BIN_EXE_skep-conformance"));
    plugin.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = plugin.spawn().expect("the plugin is built");
    let mut stdin = child.stdin.take().expect("a pipe");
    // One that refuses its options doesn't read.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// As the runner writes it: pairs of digits, two spaces between them.
fn hex(asm: &str) -> String {
    pairs(&encode(&assemble(asm, Syntax::Mnemonic).expect(asm)))
}

fn pairs(bytes: &[u8]) -> String {
    let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join("  ") + "  \n"
}

#[test]
fn results_go_to_standard_output() {
    let program = hex("ldxw %r0, [%r1+4]\nadd %r0, %r2\nexit");
    let expected = (true, "55667790\n".to_owned(), String::new());
    assert_eq!(run(&["11223344 88776655", "--interp"], &program), expected);
    assert_eq!(run(&["1122334488776655"], &program), expected);
    assert_eq!(run(&["1122334488776655", "--jit"], &program), expected);
    let code = encode(
        &assemble("ldxw %r0, [%r1+4]\nadd %r0, %r2\nexit", Syntax::Mnemonic).expect("valid"),
    );
    let object = pairs(&bpf_object::object_of_code("main", ".text", "", &code));
    assert_eq!(run(&["1122334488776655", "--jit", "--elf"], &object), expected);
    assert_eq!(run(&["1122334488776655", "--elf"], &object), expected);
    let program = hex("mov %r0, -1\nexit");
    assert_eq!(run(&[], &program), (true, "ffffffffffffffff\n".to_owned(), String::new()));
}

#[test]
fn reasons_go_to_standard_error() {
    let check = |arguments: &[&str], input: &str, reason: &str| {
        let (success, output, error) = run(arguments, input);
        assert!(!success && output.is_empty(), "{output}");
        assert_eq!(error.lines().next(), Some(reason));
    };
    check(
        &[],
        "95 01 00 00 00 00 00 00",
        concat!(
            "refused: instruction 0: the destination register field is 1, ",
            "but must be zero in this instruction (opcode 0x95)"
        ),
    );
    let fault = "ended: instruction 0: 8 bytes at 0x0 are not the program's to read";
    check(&[], &hex("ldxdw %r0, [%r1]\nexit"), fault);
    check(&[], "95 0", "the program: there is half a byte");
    check(&[], "zz", "the program: \"zz\" is not a byte in hexadecimal");
    check(&["--jit"], &hex("ldxdw %r0, [%r1]\nexit"), fault);
    check(&["--wasm"], &hex("exit"), "--wasm is not supported");
    check(
        &["--elf"],
        "00",
        concat!(
            "the object: this is no ELF object for little-endian eBPF: ",
            "Invalid ELF header size or alignment"
        ),
    );
}
