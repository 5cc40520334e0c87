//! `skep prog`: on texts, on an object that clang makes here, and on our own objects.

use crate::ran::{Ran, skep};
use insta::assert_snapshot;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A folder with files that commands run in.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn with(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn skep(&self, line: &str) -> Ran {
        let mut command = skep(line);
        command.current_dir(self.path());
        Ran::of(command)
    }

    /// Compiles C for BPF. False, and says so, without a clang.
    pub fn clang(&self, name: &str, text: &str) -> bool {
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
    assert_snapshot!(place.skep("prog asm sum.s -o sum.o --section xdp"), @"exit code 0");
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

    Needs of Linux
      5.3   loops              sum
      4.8   program type xdp   sum
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
    stderr: error: cannot read text.o: it is neither an ELF file nor bare instructions; give what `clang --target=bpf -c` makes
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
            // Each is taken by our own verifier, also by the rules of kernels where frames are larger.
            let kernels = match program {
                // `bpf_xdp_load_bytes` is there since Linux 5.18.
                "balance_and_capture" => "6.1,6.12,newest",
                _ => "5.10,6.1,6.12,newest",
            };
            let verify = format!("prog verify own.o --prog {program} --kernel {kernels}");
            let verified = place.skep(&verify);
            assert_eq!(verified.code, 0, "{name}: {verified}");
            // Calls that set or move memory byte for byte (crates/objects/build.rs).
            for slow in ["; memset", "; memmove", "; memcpy", "; memcmp"] {
                assert!(!text.out.lines().any(|line| line.ends_with(slow)), "{program}{slow}");
            }
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
    assert_snapshot!(place.skep("prog link a.o b.o -o both.o"), @"exit code 0");
    let inspected = place.skep("prog inspect both.o");
    assert!(inspected.out.contains("  a      xdp         xdp") && inspected.out.contains("  b "));
    assert_snapshot!(place.skep("prog link a.o a.o -o both.o"), @r#"
    stderr: error: `a` is defined in a.o and in a.o; one of them may be weak or static
    exit code 4
    "#);
    assert_eq!(place.skep("prog link missing.o -o both.o").code, 2);
}

#[test]
fn verdicts() {
    let place = Place::new().with("sum.s", LOOP).with("leak.s", "r0 = *(u64 *)(r10 - 8)\nexit\n");
    for (text, section) in [("sum", "xdp"), ("leak", "xdp")] {
        let line = format!("prog asm {text}.s -o {text}.o --section {section}");
        assert_eq!(place.skep(&line).code, 0);
    }
    let accepted = place.skep("prog verify sum.o");
    assert!(accepted.out.contains("sum.o: sum (xdp)   ✓ accepted"), "{accepted}");
    assert_eq!(accepted.code, 0);
    let limited = place.skep("prog verify sum.o --max-processed 5");
    assert!(limited.out.contains("✗ over budget"), "{limited}");
    assert_eq!(limited.code, 1);
    let refused = place.skep("prog verify leak.o --unprivileged");
    for part in ["leak.o: leak (xdp)   ✗ refused", "error[SV0", "= help:"] {
        assert!(refused.out.contains(part), "{refused}");
    }
    assert_eq!(refused.code, 1);
    let value: serde_json::Value =
        serde_json::from_str(&place.skep("prog verify leak.o --unprivileged --json").out).unwrap();
    assert_eq!((&value[0]["verdict"], &value[0]["program"]), (&"refused".into(), &"leak".into()));
    let sarif = place.skep("prog verify leak.o sum.o --unprivileged -o sarif");
    let sarif: serde_json::Value = serde_json::from_str(&sarif.out).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let rule = sarif["runs"][0]["results"][0]["ruleId"].as_str().unwrap();
    assert!(rule.starts_with("SV0"), "{rule}");

    // A folder, an executable with an object in it, what is no object.
    let mut executable = std::fs::read(place.path().join("sum.o")).unwrap();
    let object = executable.clone();
    executable[18] = 62;
    executable[19] = 0;
    executable.extend(object);
    std::fs::create_dir(place.path().join("folder")).unwrap();
    std::fs::write(place.path().join("folder/tool"), executable).unwrap();
    std::fs::write(place.path().join("folder/README"), "text").unwrap();
    let folder = place.skep("prog verify folder");
    assert!(folder.out.contains("folder/tool@0x"), "{folder}");
    assert_eq!(folder.code, 0, "{folder}");
    assert_eq!(place.skep("prog verify missing.o").code, 2);
    assert_eq!(place.skep("prog verify folder/README").code, 2);
    assert_eq!(place.skep("prog verify sum.o --prog other").code, 1);

    let kernels = place.skep("prog verify sum.o --kernel all");
    assert!(kernels.out.contains("5.10 ✓   5.15 ✓   6.1 ✓   6.6 ✓   6.12 ✓"), "{kernels}");
    assert_snapshot!(place.skep("prog verify sum.o --kernel 3.2"), @r#"
    stderr: error: there is no kernel `3.2`: neither one of 5.10, 5.15, 6.1, 6.6, 6.12, newest, nor `running`, nor a file that can be read (No such file or directory (os error 2))
    exit code 2
    "#);
}

#[test]
fn kernels_judge_by_their_own_rules() {
    // Stack that nothing was written to may be read from 6.3 on.
    let place = Place::new().with("late.s", "r0 = *(u64 *)(r10 - 8)\nexit\n");
    assert_eq!(place.skep("prog asm late.s -o late.o").code, 0);
    let all = place.skep("prog verify late.o --kernel all");
    for part in [
        "late.o: late (socket_filter)   ✓ accepted",
        "5.10 ✗   5.15 ✗   6.1 ✗   6.6 ✓   6.12 ✓",
        "5.10, 5.15, 6.1 by its rules",
        "5.15, 6.6: by the versions that brought things, not tried on a kernel",
    ] {
        assert!(all.out.contains(part), "{part}:\n{all}");
    }
    assert_eq!((all.code, place.skep("prog verify late.o --kernel 6.6").code), (1, 0));
    let value: serde_json::Value =
        serde_json::from_str(&place.skep("prog verify late.o --kernel 6.1,6.12 --json").out)
            .unwrap();
    let kernels = &value[0]["kernels"];
    assert_eq!((&kernels[0]["verdict"], &kernels[0]["booted"]), (&"refused".into(), &true.into()));
    assert!(kernels[0]["refusal"]["rule"].is_string(), "{kernels}");
    assert_eq!(kernels[1]["verdict"], "accepted");
    assert_snapshot!(place.skep("prog verify late.o --kernel 6.1 --kernel-btf 5.10=x"), @r#"
    stderr: error: --kernel-btf 5.10=x: --kernel doesn't name `5.10`
    exit code 2
    "#);
}

#[test]
fn growth_is_shown() {
    let longer = LOOP.replace("r1 = 10\n", "r1 = 40\n");
    assert_ne!(longer, LOOP);
    let place = Place::new().with("sum.s", LOOP).with("new/sum.s", longer);
    for folder in [".", "new"] {
        let line = format!("prog asm {folder}/sum.s -o {folder}/sum.o --section xdp");
        assert_eq!(place.skep(&line).code, 0);
    }
    let before = place.skep("prog verify sum.o -o json").out;
    let place = place.with("before.json", before).with("other.json", "{}");
    let same = place.skep("prog verify sum.o --baseline before.json --max-growth 0");
    assert!(same.out.contains("Since before.json: nothing has grown"), "{same}");
    assert_eq!(same.code, 0);
    let grown = place.skep("prog verify new/sum.o --baseline before.json");
    assert!(grown.out.contains("new/sum.o: sum   processed"), "{grown}");
    assert_eq!(grown.code, 0);
    let line = "prog verify new/sum.o --baseline before.json --max-growth";
    assert_eq!(place.skep(&format!("{line} 10")).code, 1);
    assert_eq!(place.skep(&format!("{line} 1000")).code, 0);
    let value: serde_json::Value =
        serde_json::from_str(&place.skep(&format!("{line} 10 --json")).out).unwrap();
    assert_eq!(value[0]["baseline"]["too_much"], true);
    assert_eq!(value[0]["baseline"]["grown"][0], "processed");
    let other = place.skep("prog verify sum.o --baseline other.json");
    assert!(other.err.contains("it is no report of `skep prog verify -o json`"), "{other}");
    assert_eq!((other.code, place.skep("prog verify sum.o --budget 5").code), (2, 1));
}

#[test]
fn what_is_no_object_is_said() {
    let place = Place::new().with("two.s", "r0 = 2\nexit\n").with("text", "hello\n");
    assert_eq!(place.skep("prog asm two.s -o two.o --section xdp").code, 0);
    let object = std::fs::read(place.path().join("two.o")).unwrap();
    let mut host = object.clone();
    (host[18], host[19]) = (62, 0);
    std::fs::write(place.path().join("empty"), &host).unwrap();
    host.extend(&object);
    std::fs::write(place.path().join("tool"), &host).unwrap();
    host.extend(&object);
    std::fs::write(place.path().join("tools"), &host).unwrap();
    let length = object.len();
    for (line, code, part) in [
        ("inspect missing.o".to_owned(), 2, "cannot read missing.o: No such file"),
        ("inspect text".to_owned(), 2, "neither an ELF file nor bare instructions"),
        ("verify text".to_owned(), 2, "neither an ELF file nor bare instructions"),
        ("inspect empty".to_owned(), 2, "without an eBPF object in it"),
        ("inspect tool".to_owned(), 0, "two"),
        ("inspect tools".to_owned(), 2, &format!("tools@{length:#x}")),
        (format!("disasm tools@{length:#x}"), 0, "r0 = 0x2"),
        ("disasm tools@0x1".to_owned(), 2, "no object begins there"),
        ("run two.o --packet zz".to_owned(), 2, "give a pcap or pcapng file"),
        ("run two.o".to_owned(), 0, "60 zero bytes; --packet gives it a packet"),
        ("run two.o --prog three".to_owned(), 1, "it has two"),
        ("run two.o --map three=text".to_owned(), 1, "there is no map `three` in two.o; it has"),
        ("verify two.o --prog three".to_owned(), 1, "there are two"),
    ] {
        let ran = place.skep(&format!("prog {line}"));
        assert_eq!(ran.code, code, "{line}: {ran}");
        assert!(ran.out.contains(part) || ran.err.contains(part), "{line}: {part}\n{ran}");
    }
}

#[test]
fn offline_commands_speak_of_no_socket() {
    let place = Place::new();
    for (line, shown) in [("prog run", false), ("prog", false), ("sim", false), ("status", true)] {
        let help = place.skep(&format!("{line} --help"));
        assert_eq!(help.out.contains("--socket"), shown, "{line}");
    }
    // It is taken all the same.
    assert_eq!(place.skep("prog profile 6.1 --socket /nowhere").code, 0);
}

#[test]
fn profiles() {
    let place = Place::new();
    let text = place.skep("prog profile 6.1").out;
    assert!(text.contains("release: 6.1") && text.contains("programs: "), "{text}");
    let place = place.with("mine.txt", &text);
    let again = place.skep("prog profile mine.txt");
    assert_eq!(again.out, text);
    let json: serde_json::Value =
        serde_json::from_str(&place.skep("prog profile mine.txt -o json").out).unwrap();
    assert!(json["programs"].as_array().unwrap().iter().any(|name| name == "xdp"));
}

/// Counts packets by interface in a map, and sends back those that begin with 0xff.
const BOUNCE: &str = r#"
#define SEC(name) __attribute__((section(name), used))
typedef unsigned char u8; typedef unsigned int u32; typedef unsigned long long u64;
struct { int (*type)[1]; u32 *key; u64 *value; int (*max_entries)[64]; } counts SEC(".maps");
static void *(*lookup)(void *map, const void *key) = (void *)1;
static long (*update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*print)(const char *format, u32 size, ...) = (void *)6;
struct context { u32 data, data_end, data_meta, ifindex, queue, egress; };
const volatile u32 step = 1;
SEC("xdp") int bounce(struct context *context)
{
    u8 *data = (u8 *)(long)context->data, *end = (u8 *)(long)context->data_end;
    u32 key = context->ifindex;
    u64 one = step, *known = lookup(&counts, &key);
    static const char text[] = "packet of %d bytes";
    if (known)
        __sync_fetch_and_add(known, step);
    else
        update(&counts, &key, &one, 0);
    if (data + 14 > end)
        return 1;
    print(text, sizeof(text), (u32)(end - data));
    if (data[0] != 0xff)
        return 2;
    data[0] = 0;
    return 3;
}
char LICENSE[] SEC("license") = "GPL";
"#;

#[test]
fn programs_are_run() {
    let place = Place::new();
    if !place.clang("bounce", BOUNCE) {
        return;
    }
    let frame = |first: &str| format!("{first}{}", "00".repeat(59));
    let (bounced, passed) = (frame("ff"), frame("01"));
    let run = |engine: &str| {
        let line = format!(
            "prog run bounce.o --packet {bounced} --packet {passed} --set step=5 --maps --trace \
             --trace-limit 0 --engine {engine}"
        );
        place.skep(&line).to_string()
    };
    assert_snapshot!(run("interp"), @r#"
    #1       60 B   XDP_TX (3)   changed bytes 0
          packet of 60 bytes
    #2       60 B   XDP_PASS (2)
          packet of 60 bytes

    .rodata
      ["0x00","0x00","0x00","0x00"] → {"step":5,"bounce.text":"packet of %d bytes"}

    counts
      1 → 10
    exit code 0
    "#);
    assert_eq!(run("jit"), run("interp"));
    let line =
        format!("prog run bounce.o --packet {bounced} --set step=5 --trace --trace-limit 30");
    let stepped = place.skep(&line).out;
    for part in [
        "; u32 key = context->ifindex;",
        "bounce.c:13",
        "     2: w1 = *(u32 *)(r1 + 0xc)                          r1 = 0x1",
        "    12: call 0x1 ; bpf_map_lookup_elem",
        "      packet of 60 bytes",
        "more instructions were carried out (--trace-limit)",
    ] {
        assert!(stepped.contains(part), "{part}:\n{stepped}");
    }
    let value: serde_json::Value =
        serde_json::from_str(&place.skep(&format!("{line} -o json")).out).unwrap();
    let run = &value["runs"][0];
    assert!(run["executed"].as_u64() > Some(30), "{run}");
    assert_eq!(run["steps"][2]["changed"], serde_json::json!({ "r1": "0x1" }));
    let place =
        place.with("counts.json", r#"[{"key": 1, "value": 40}, {"key": 2, "value": "0x10"}]"#);
    let line = "prog run bounce.o --packet 0102 --map counts=counts.json --maps -o json";
    let value: serde_json::Value = serde_json::from_str(&place.skep(line).out).unwrap();
    assert_eq!(value["runs"][0]["action"], "XDP_DROP (1)");
    assert_eq!(
        value["maps"]["counts"],
        serde_json::json!([{ "key": 1, "value": 41 }, { "key": 2, "value": 16 }])
    );
    let alike = place.skep(&format!("prog diff bounce.o --engine interp,jit --packet {bounced}"));
    assert_eq!((alike.code, alike.out.as_str()), (0, "1 inputs: interp, jit agree\n"));
    let benched = place.skep("prog bench bounce.o --engine interp,jit --repeat 100 --rounds 1");
    assert!(benched.out.contains("interp") && benched.out.contains("jit"), "{benched}");
    assert_eq!(place.skep("prog run bounce.o --packet nothing").code, 2);
    assert_eq!(place.skep("prog run bounce.o --map other=counts.json").code, 1);
    assert_eq!(place.skep("prog run bounce.o --set other=1").code, 2);
    if cfg!(target_arch = "x86_64") {
        let native = place.skep("prog disasm bounce.o --native");
        assert!(native.out.contains("bytes of x86_64") && native.out.contains("ret"), "{native}");
    }

    if !nix::unistd::Uid::effective().is_root() {
        println!("skipped: needs root");
        return;
    }
    let all = place.skep(&format!("prog diff bounce.o --packet {bounced} --packet {passed}"));
    assert_eq!((all.code, all.out.as_str()), (0, "2 inputs: interp, jit, kernel agree\n"), "{all}");
}

#[test]
fn programs_and_maps_in_the_kernel() {
    if !nix::unistd::Uid::effective().is_root() {
        println!("skipped: needs root");
        return;
    }
    let layout = bpf_kernel::MapLayout {
        kind: bpf_kernel::MapKind::Hash,
        key_size: 4,
        value_size: 4,
        max_entries: 8,
        flags: 0,
    };
    let Ok(map) = bpf_kernel::Map::create("skep_cli_test", layout) else {
        println!("skipped: this kernel gives us no map");
        return;
    };
    map.set(&[1, 0, 0, 0], &[2, 0, 0, 0]).unwrap();
    let id = map.details().unwrap().id;
    let two = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let kind = bpf_kernel::ProgramKind::XDP;
    let program = bpf_kernel::Program::from_instructions("skep_cli_prog", kind, &two).unwrap();
    let program_id = program.details().unwrap().id;
    let place = Place::new();
    let list: serde_json::Value =
        serde_json::from_str(&place.skep("prog list -o json").out).unwrap();
    let found = list.as_array().unwrap().iter().find(|one| one["id"] == program_id).unwrap();
    assert_eq!((&found["type"], &found["name"]), (&"xdp".into(), &"skep_cli_prog".into()));
    assert!(place.skep("prog list maps").out.contains("skep_cli_test"));
    let shown = place.skep(&format!("prog show id {program_id}"));
    assert!(shown.out.contains("skep_cli_prog"), "{shown}");
    assert_snapshot!(place.skep(&format!("prog dump map id {id}")), @r#"
    {"key":["0x01","0x00","0x00","0x00"],"value":["0x02","0x00","0x00","0x00"]}
    exit code 0
    "#);
    let dumped = place.skep(&format!("prog dump id {program_id}"));
    assert!(dumped.code == 1 || dumped.out.contains("r0 = 0x2"), "{dumped}");
    let nobody = place.skep("prog show name nobody_has_this");
    assert_eq!(nobody.code, 1, "{nobody}");
    assert_eq!(place.skep("prog show id 4294967295").code, 1);
    assert!(place.skep("prog show map").out.contains("skep_cli_test"));
    let words = place.skep(&format!("prog dump xlated id {program_id}"));
    assert_eq!((words.code, words.out), (dumped.code, dumped.out));
    assert_eq!(place.skep("prog show one two three").code, 2);
    assert_eq!(place.skep(&format!("prog pin id {program_id} /proc/pin")).code, 2);
    let pins = place.path().join("bpf");
    if bpf_kernel::mount::ensure_bpffs(&pins).is_err() {
        return;
    }
    let pin = pins.join("program");
    let pinned = place.skep(&format!("prog pin id {program_id} {}", pin.display()));
    let shown = place.skep(&format!("prog show pinned {} -o json", pin.display()));
    nix::mount::umount(&pins).unwrap();
    assert_eq!(pinned.code, 0, "{pinned}");
    let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(shown["id"], program_id);
}
