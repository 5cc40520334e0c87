//! The published conformance vectors, run.

use std::path::{Path, PathBuf};

use bpf_isa::vector::{Expected, Vector};
use bpf_vm::conformance::{Engine, run};

fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let fixtures = std::env::var_os("SKEP_FIXTURES").map(PathBuf::from);
    fixtures.unwrap_or_else(|| root.join("../shared/fixtures")).join("bpf_conformance")
}

#[test]
fn results_of_the_vectors() {
    let folder = folder();
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: there are no vectors in {}", folder.display());
        return;
    };
    let mut count = 0;
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.extension().is_none_or(|extension| extension != "data") {
            continue;
        }
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let vector = Vector::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let program = vector.program().unwrap_or_else(|error| panic!("{name}:{error}"));
        for engine in [Engine::Interpreter, Engine::Compiler] {
            let result = run(engine, &program, &mut vector.memory.clone());
            match vector.expected {
                Expected::Result(expected) => {
                    assert_eq!(result.expect(&name), expected, "{name}, {engine:?}");
                }
                Expected::Error(_) => assert!(result.is_err(), "{name}, {engine:?}: {result:?}"),
            }
        }
        count += 1;
    }
    assert!(count > 0, "no vectors in {}", folder.display());
}
