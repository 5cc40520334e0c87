//! `skep prog`: on texts, on an object that clang makes here, and on our own objects.

use crate::agent::{Ran, skep};
use insta::assert_snapshot;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A folder with files that commands run in.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn with(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path().join(name), bytes).unwrap();
        self
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn skep(&self, line: &str) -> Ran {
        let mut command = skep(line);
        command.current_dir(self.path());
        Ran::of(command)
    }

    /// Compiles C for BPF. False, and says so, without a clang.
    fn clang(&self, name: &str, text: &str) -> bool {
        std::fs::write(self.path().join(format!("{name}.c")), text).unwrap();
        for clang in ["clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15"] {
            let done = Command::new(clang)
                .args(["-g", "-O2", "-mcpu=v3", "--target=bpf", "-c", "-o"])
                .args([format!("{name}.o"), format!("{name}.c")])
                .current_dir(self.path())
                .output();
            match done {
                Ok(output) if output.status.success() => return true,
                Ok(output) => println!("{clang}: {}", String::from_utf8_lossy(&output.stderr)),
                Err(_) => {}
            }
        }
        println!("skipped: no clang that compiles for BPF is installed");
        false
    }
}

const LOOP: &str = "\
; adds the numbers from 10 to 1
  r0 = 0
  r1 = 10
again:
  r0 += r1
  r1 += -1
  if r1 != 0 goto again
  exit
";

#[test]
fn text_to_object_and_back() {
    let place = Place::new().with("sum.s", LOOP);
    assert_snapshot!(place.skep("prog asm sum.s"), @r#"
    b7 00 00 00 00 00 00 00
    b7 01 00 00 0a 00 00 00
    0f 10 00 00 00 00 00 00
    07 01 00 00 ff ff ff ff
    55 01 fd ff 00 00 00 00
    95 00 00 00 00 00 00 00
    exit code 0
    "#);
    assert_snapshot!(place.skep("prog asm sum.s -o sum.o --section xdp"), @r#"
    exit code 0
    "#);
    assert_snapshot!(place.skep("prog disasm sum.o"), @r#"
    ; sum (xdp), section xdp, 6 instructions
         0: r0 = 0x0
         1: r1 = 0xa
    L1:
         2: r0 += r1
         3: r1 += -0x1
         4: if r1 != 0x0 goto -0x3 <L1>
         5: exit
    exit code 0
    "#);
    assert_snapshot!(place.skep("prog disasm sum.o --syntax mnemonic"), @r#"
    ; sum (xdp), section xdp, 6 instructions
         0: mov %r0, 0
         1: mov %r1, 10
    L1:
         2: add %r0, %r1
         3: add %r1, -1
         4: jne %r1, 0, L1
         5: exit
    exit code 0
    "#);
    assert_snapshot!(place.skep("prog inspect sum.o"), @r#"
    sum.o   licence GPL

    Programs
      NAME   KIND   SECTION   SLOTS   MAPS   CALLS
      sum    xdp    xdp       6       -      0 helpers

    Needs
      programs of type xdp
      attachment xdp
    exit code 0
    "#);
    let raw = place.skep("prog asm sum.s -o sum.bin --raw");
    assert_eq!((raw.code, raw.out.as_str(), raw.err.as_str()), (0, "", ""));
    assert_eq!(std::fs::read(place.path().join("sum.bin")).unwrap().len(), 48);
    assert!(place.skep("prog disasm sum.bin").out.contains("r0 += r1"));
}

#[test]
fn what_is_wrong_is_said() {
    let place = Place::new().with("bad.s", "  r0 = 1\n  r0 ?= 2\n  exit\n").with("text.o", "hello");
    assert_snapshot!(place.skep("prog asm bad.s"), @r#"
    stderr: error: this is no instruction
    stderr:   ┌─ bad.s:2:6
    stderr:   │
    stderr: 2 │   r0 ?= 2
    stderr:   │      ^ expected `+` or `-` or `*` or `s` or `/` or `|` or `&` or `<` or `>` or `%` or `^` or `=`, found `?`
    exit code 4
    "#);
    assert_snapshot!(place.skep("prog disasm missing.o"), @r#"
    stderr: error: cannot read missing.o: No such file or directory (os error 2)
    exit code 2
    "#);
    assert_snapshot!(place.skep("prog inspect text.o"), @r#"
    stderr: error: cannot read text.o: this is no ELF object for little-endian eBPF: Invalid ELF header size or alignment
    exit code 2
    "#);
    let place = place.with("sum.s", LOOP);
    place.skep("prog asm sum.s -o sum.o");
    assert_snapshot!(place.skep("prog disasm sum.o --prog other"), @r#"
    stderr: error: there is no program `other` in sum.o; it has sum
    exit code 1
    "#);
}

#[test]
fn own_objects() {
    for (name, bytes) in objects::ALL {
        let place = Place::new().with("own.o", bytes);
        let inspected = place.skep("prog inspect own.o -o json");
        assert_eq!((inspected.code, inspected.err.as_str()), (0, ""), "{name}");
        let value: serde_json::Value = serde_json::from_str(&inspected.out).unwrap();
        assert_eq!(value["unlinked"], serde_json::json!([]), "{name}");
        let programs = value["programs"].as_array().unwrap();
        assert!(!programs.is_empty(), "{name}");
        for program in programs {
            let program = program["name"].as_str().unwrap();
            // What is printed is read back as the same instructions.
            let text = place.skep(&format!("prog disasm own.o --prog {program}"));
            assert_eq!((text.code, text.err.as_str()), (0, ""), "{name} {program}");
            let place = Place::new().with("own.s", &text.out).with("own.o", bytes);
            let again = place.skep("prog asm own.s -o again.bin --raw");
            assert_eq!((again.code, again.err.as_str()), (0, ""), "{name} {program}");
            let object = bpf_object::Object::parse(bytes).unwrap();
            let code = object.link(program, None).unwrap().code;
            assert!(std::fs::read(place.path().join("again.bin")).unwrap() == code, "{program}");
        }
        assert!(place.skep("prog inspect own.o").out.contains("Programs\n"), "{name}");
    }
}

const COUNT: &str = r#"
#define SEC(name) __attribute__((section(name), used))
struct {
    int (*type)[1];
    unsigned *key;
    unsigned long long *value;
    int (*max_entries)[64];
} counts SEC(".maps");
static void *(*lookup)(void *map, const void *key) = (void *)1;
struct context { unsigned data, data_end, data_meta, ifindex; };
const volatile unsigned step = 1;

__attribute__((noinline)) int count(unsigned key)
{
    unsigned long long *value = lookup(&counts, &key);
    if (!value)
        return 0;
    *value += step;
    return 1;
}

SEC("xdp") int pass(struct context *context)
{
    return count(context->ifindex) + 1;
}
char license[] SEC("license") = "GPL";
"#;

#[test]
fn source_lines_and_names() {
    let place = Place::new();
    if !place.clang("count", COUNT) {
        return;
    }
    let text = place.skep("prog disasm count.o --prog pass").out;
    for part in [
        "; pass (xdp), section xdp, ",
        "; return count(context->ifindex) + 1;   ",
        "count.c:22",
        "; count",
        "; map counts",
        "; &step",
        "if r0 == 0x0 goto",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    let without = place.skep("prog disasm count.o --prog pass --no-source").out;
    assert!(!without.contains("count.c"), "{without}");
    let inspected = place.skep("prog inspect count.o");
    for part in
        ["counts", "hash", "unsigned int → unsigned long long", "rdonly-prog", "1 functions"]
    {
        assert!(inspected.out.contains(part), "`{part}` is not in\n{inspected}");
    }
}

#[test]
fn several_objects_become_one() {
    let place = Place::new().with("a.s", LOOP).with("b.s", "r0 = 2\nexit\n");
    assert_eq!(place.skep("prog asm a.s -o a.o --section xdp").code, 0);
    assert_eq!(place.skep("prog asm b.s -o b.o --section tc").code, 0);
    assert_snapshot!(place.skep("prog link a.o b.o -o both.o"), @r#"
    exit code 0
    "#);
    let inspected = place.skep("prog inspect both.o");
    assert!(inspected.out.contains("  a      xdp         xdp") && inspected.out.contains("  b "));
    assert_snapshot!(place.skep("prog link a.o a.o -o both.o"), @r#"
    stderr: error: `a` is defined in a.o and in a.o; one of them may be weak or static
    exit code 4
    "#);
    assert_eq!(place.skep("prog link missing.o -o both.o").code, 2);
}
