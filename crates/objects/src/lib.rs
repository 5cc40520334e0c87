//! The eBPF objects, compiled and embedded, as bytes that a loader takes.
//!
//! `build.rs` compiles the crates in `ebpf/` and writes one static per object file (a `[[bin]]` of
//! an eBPF crate, named in upper case) and the list [`ALL`]. Whoever depends on this crate carries
//! the objects of exactly the sources it was built from; nothing is read from disk at run time.
//!
//! It knows nothing of what is in an object, nor who loads it.

#![forbid(unsafe_code)]

/// ELF readers cast the headers in place, so the bytes must start at a multiple of eight.
#[repr(C, align(8))]
struct Aligned<Bytes: ?Sized>(Bytes);

macro_rules! embed {
    ($path:literal) => {{
        static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!($path));
        &ALIGNED.0
    }};
}

include!(concat!(env!("OUT_DIR"), "/objects.rs"));

#[cfg(test)]
mod tests {
    use object::{Object as _, ObjectSection as _};

    #[test]
    fn every_object_is_an_aligned_bpf_elf_with_btf_and_without_dwarf() {
        for (name, bytes) in super::ALL {
            assert_eq!(bytes.as_ptr().align_offset(8), 0, "{name} is not aligned");
            let file = object::File::parse(*bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(file.architecture(), object::Architecture::Bpf, "{name}");
            let sections: Vec<_> = file.sections().filter_map(|s| s.name().ok()).collect();
            assert!(sections.contains(&".BTF"), "{name} has {sections:?}");
            assert!(sections.contains(&".BTF.ext"), "{name} has {sections:?}");
            assert!(!sections.iter().any(|s| s.contains(".debug")), "{name} has {sections:?}");
        }
    }
}
