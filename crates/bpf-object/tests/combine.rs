//! Static linking of objects that clang makes here; libbpf's own tools are the oracle where they
//! are installed.

use std::path::Path;
use std::process::Command;

use bpf_object::btf::{Extension, Kind, Linkage};
use bpf_object::{CombineError, Input, Object, combine, object_of_code};

fn compile(source: &str) -> Option<Vec<u8>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects").join(source);
    for clang in ["clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15"] {
        let output = Command::new(clang)
            .args(["-g", "-O2", "-mcpu=v3", "--target=bpf", "-c", "-o", "-"])
            .arg(&source)
            .output();
        match output {
            Ok(output) if output.status.success() => return Some(output.stdout),
            Ok(output) => println!("{clang}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => {}
        }
    }
    println!("skipped: no clang that compiles for BPF is installed");
    None
}

fn both() -> Option<(Vec<u8>, Vec<u8>)> {
    Some((compile("main.c")?, compile("rest.c")?))
}

fn linked() -> Option<Vec<u8>> {
    let (main, rest) = both()?;
    let inputs = [Input { name: "main.o", bytes: &main }, Input { name: "rest.o", bytes: &rest }];
    Some(combine(&inputs).unwrap())
}

#[test]
fn symbols_are_resolved() {
    let Some((main, rest)) = both() else { return };
    // Alone, it lacks what the other defines.
    let alone = Object::parse(&main).unwrap();
    assert!(alone.externs.iter().any(|external| external.name == "bump"));

    for (first, second) in [(&main, &rest), (&rest, &main)] {
        let inputs = [Input { name: "a.o", bytes: first }, Input { name: "b.o", bytes: second }];
        let object = Object::parse(&combine(&inputs).unwrap()).unwrap();
        assert_eq!(object.externs, []);
        for name in ["own", "states", ".data", ".rodata"] {
            let of_name = object.maps.iter().filter(|map| map.name == name);
            assert_eq!(of_name.count(), 1, "{name}");
        }
        let value = |name: &str| {
            let bytes = object.variable(name).unwrap();
            u32::from_le_bytes(bytes.try_into().unwrap())
        };
        assert_eq!((value("total"), value("theirs"), value("step")), (7, 9, 3));

        let pass = object.link("pass", None).unwrap();
        let called: Vec<&str> = pass.functions.iter().map(|f| f.name.as_str()).collect();
        for name in ["pass", "bump", "weigh", "hidden", "choice", "fallback"] {
            assert_eq!(called.iter().filter(|called| **called == name).count(), 1, "{called:?}");
        }
        assert_eq!(called.iter().filter(|name| **name == "same").count(), 2, "{called:?}");
        // Each function has a type, of its own name, and lines of its own file.
        let types = object.types.as_ref().unwrap();
        for function in &pass.functions {
            assert_eq!(types.name(function.kind.unwrap()), function.name);
            let line = pass.line(function.slot).unwrap();
            let is_rest = line.file.ends_with("rest.c");
            if ["bump", "weigh", "hidden", "choice"].contains(&function.name.as_str()) {
                assert!(is_rest, "{} is in {}", function.name, line.file);
            }
        }
        // A strong definition wins, the first of two weak ones does.
        let choice = pass.functions.iter().find(|f| f.name == "choice").unwrap();
        let adds = |slot: usize, value: i32| {
            pass.instructions.iter().any(|placed| {
                (slot..slot + 4).contains(&placed.slot)
                    && placed.instruction.to_string().ends_with(&format!("+= {value:#x}"))
            })
        };
        assert!(adds(choice.slot, 300));
        let fallback = pass.functions.iter().find(|f| f.name == "fallback").unwrap();
        let first_one = if std::ptr::eq(first, &main) { 200 } else { 400 };
        assert!(adds(fallback.slot, first_one));
        object.link("drop", None).unwrap();
    }
}

#[test]
fn types_are_there_once() {
    let Some(bytes) = linked() else { return };
    let object = Object::parse(&bytes).unwrap();
    let types = object.types.as_ref().unwrap();
    for name in ["state", "later", "int", "unsigned int", "context", "states"] {
        let of_name = types.named(name);
        assert_eq!(of_name.len(), 1, "{name}: {of_name:?}");
    }
    assert!(matches!(types.kind(types.named("later")[0]), Some(Kind::Struct(_))));
    let linkage = |name: &str| match types.find(name, |k| matches!(k, Kind::Function { .. })) {
        Some(id) => match types.kind(id) {
            Some(Kind::Function { linkage, .. }) => Some(*linkage),
            _ => None,
        },
        None => None,
    };
    assert_eq!(linkage("bump"), Some(Linkage::Global));
    assert_eq!(linkage("hidden"), Some(Linkage::Static));
    assert!(!types.own_types().any(|(_, entry)| matches!(
        entry.kind,
        Kind::Function { linkage: Linkage::Extern, .. }
            | Kind::Variable { linkage: Linkage::Extern, .. }
    )));
    assert_eq!(object.map("states").unwrap().value_size, 16);
    // The relocation against the kernel's types is still about the same field.
    let inspection = object.inspect(&[]);
    let core: Vec<(&str, &str, &str)> = inspection
        .core
        .iter()
        .map(|record| (record.function.as_str(), record.root.as_str(), record.path.as_str()))
        .collect();
    assert_eq!(core, [("on_exit", "struct task", "0:0")]);
}

#[test]
fn linking_what_is_linked_changes_nothing() {
    let Some(bytes) = linked() else { return };
    let again = combine(&[Input { name: "linked.o", bytes: &bytes }]).unwrap();
    let (once, twice) = (Object::parse(&bytes).unwrap(), Object::parse(&again).unwrap());
    assert_eq!(once.maps, twice.maps);
    assert_eq!(once.functions, twice.functions);
    assert_eq!(once.types, twice.types);
    for (name, bytes) in objects::ALL {
        let again = combine(&[Input { name, bytes }]).unwrap();
        let (once, twice) = (Object::parse(bytes).unwrap(), Object::parse(&again).unwrap());
        for (one, other) in once.programs().zip(twice.programs()) {
            let one = once.link(&one.name, None).unwrap();
            let other = twice.link(&other.name, None).unwrap();
            assert_eq!((one.name, one.code), (other.name, other.code), "{name}");
            assert_eq!(one.lines.len(), other.lines.len(), "{name}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let code = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let one = object_of_code("one", "xdp", "GPL", &code);
    let input = |name, bytes| Input { name, bytes };
    let twice = combine(&[input("a.o", &one), input("b.o", &one)]).unwrap_err();
    assert_eq!(
        twice.to_string(),
        "`one` is defined in a.o and in b.o; one of them may be weak or static"
    );
    let other = object_of_code("two", "xdp", "MIT", &code);
    let licences = combine(&[input("a.o", &one), input("b.o", &other)]).unwrap_err();
    assert_eq!(licences.to_string(), "a.o says licence `GPL`, b.o says `MIT`");
    assert_eq!(combine(&[]).unwrap_err(), CombineError::Nothing);
    let damaged = combine(&[input("a.o", b"no ELF")]).unwrap_err();
    assert!(damaged.to_string().starts_with("a.o: this is no ELF object"), "{damaged}");

    let together =
        combine(&[input("a.o", &one), input("b.o", &object_of_code("two", "xdp", "GPL", &code))]);
    let object = Object::parse(&together.unwrap()).unwrap();
    let names: Vec<&str> = object.programs().map(|program| program.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(object.link("two", None).unwrap().code, code);
    assert_eq!(object.license, "GPL");
}

#[test]
fn records_about_instructions_are_written_as_they_are_read() {
    let Some(bytes) = linked() else { return };
    let file = object_section(&bytes, ".BTF.ext");
    let extension = Extension::parse(&file).unwrap();
    assert_eq!(extension.to_bytes(), file);
    assert!(!extension.functions.is_empty() && !extension.lines.is_empty());
    assert_eq!(extension.relocations.len(), 1);
}

fn object_section(bytes: &[u8], name: &str) -> Vec<u8> {
    use object::{Object as _, ObjectSection as _};
    let file = object::File::parse(bytes).unwrap();
    file.section_by_name(name).unwrap().data().unwrap().to_vec()
}

/// libbpf reads what we write: its linker takes it, and its loader puts the programs into the
/// kernel, where this machine lets it.
#[test]
fn libbpf_takes_it() {
    let Some(bytes) = linked() else { return };
    let folder = std::env::temp_dir().join(format!("skep-combine-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let ours = folder.join("ours.o");
    std::fs::write(&ours, &bytes).unwrap();
    let bpftool =
        |arguments: &[&str]| Command::new("bpftool").args(arguments).current_dir(&folder).output();
    let done = || std::fs::remove_dir_all(&folder).unwrap();
    match bpftool(&["gen", "object", "again.o", "ours.o"]) {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{text}");
            Object::parse(&std::fs::read(folder.join("again.o")).unwrap()).unwrap();
        }
        Err(_) => {
            println!("skipped: bpftool is not installed");
            return done();
        }
    }
    let skeleton = bpftool(&["gen", "skeleton", "ours.o"]).unwrap();
    let text = String::from_utf8_lossy(&skeleton.stdout);
    assert!(skeleton.status.success(), "{}", String::from_utf8_lossy(&skeleton.stderr));
    for name in ["*own", "*states", "total", "theirs", "*pass", "*drop"] {
        assert!(text.contains(name), "{name} is not in the skeleton");
    }
    done();
}

/// Damaged objects are refused or linked, and never a panic.
#[test]
fn damage() {
    let Some((main, rest)) = both() else { return };
    let mut state = 1u64;
    for _ in 0..3000 {
        let mut damaged = main.clone();
        for _ in 0..1 + state % 3 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (state >> 33) as usize % damaged.len();
            damaged[at] = (state >> 20) as u8;
        }
        let inputs = [Input { name: "a.o", bytes: &damaged }, Input { name: "b.o", bytes: &rest }];
        let _ = combine(&inputs);
    }
}
