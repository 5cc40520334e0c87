//! The published conformance vectors: their assembly is understood, and means the bytes that they
//! give for it.

use std::path::{Path, PathBuf};

use bpf_isa::text::{Syntax, assemble, disassemble_one};
use bpf_isa::vector::Vector;
use bpf_isa::{decode, encode};

fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let fixtures = std::env::var_os("SKEP_FIXTURES").map(PathBuf::from);
    fixtures.unwrap_or_else(|| root.join("../shared/fixtures")).join("bpf_conformance")
}

#[test]
fn assembly_of_the_vectors() {
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
        let name = path.display();
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let vector = Vector::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let bytes = vector.program().unwrap_or_else(|error| panic!("{name}:{error}"));
        if let (Some(asm), Some(_)) = (&vector.asm, &vector.raw) {
            let assembled = assemble(asm, Syntax::Mnemonic);
            let assembled = assembled.unwrap_or_else(|error| panic!("{name}:{error}"));
            assert_eq!(encode(&assembled), bytes, "{name}");
        }
        for placed in decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}")) {
            for syntax in [Syntax::Llvm, Syntax::Mnemonic] {
                let text = disassemble_one(&placed.instruction, syntax);
                assert_eq!(assemble(&text, syntax), Ok(vec![placed.instruction]), "{name}: {text}");
            }
        }
        count += 1;
    }
    assert!(count > 0, "no vectors in {}", folder.display());
}
