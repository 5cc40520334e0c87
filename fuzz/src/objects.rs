//! Damaged objects.

use std::hint::black_box;

use bpf_object::btf::Btf;
use bpf_object::{Object, object_of_code};

use crate::{Random, Target};

/// Whatever bytes come, reading them ends, without a panic.
#[derive(Debug)]
pub struct Objects {
    originals: Vec<Vec<u8>>,
    target: Btf,
}

impl Objects {
    pub fn new(files: &[Vec<u8>]) -> Self {
        let exit = [0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
        let mut originals = vec![object_of_code("pass", "xdp", "GPL", &exit)];
        originals.extend_from_slice(files);
        Self { originals, target: Btf::new() }
    }
}

impl Target for Objects {
    fn attempt(&mut self, random: &mut Random) -> Result<&'static str, String> {
        let original = &self.originals[random.below(self.originals.len())];
        let bytes = damaged(original, random);
        let Ok(object) = Object::parse(&bytes) else { return Ok("refused") };
        let mut linked = Vec::new();
        for function in object.functions.iter().take(16) {
            let target = random.pick(&[None, Some(&self.target), object.types.as_ref()]);
            if let Ok(program) = object.link(&function.name, target) {
                for placed in &program.instructions {
                    black_box(program.line(placed.slot));
                }
                black_box((program.function_info(), program.line_info()));
                linked.push(program);
            }
        }
        black_box(object.inspect(&linked));
        Ok(if linked.is_empty() { "read" } else { "linked" })
    }
}

/// Some bytes changed, sometimes cut; mostly near each other, as headers and tables are.
pub fn damaged(original: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    if random.one_in(16) {
        bytes.truncate(random.below(bytes.len() + 1));
    }
    if bytes.is_empty() {
        return bytes;
    }
    let around = random.below(bytes.len());
    for _ in 0..=random.below(8) {
        let at = match random.below(3) {
            0 => random.below(bytes.len()),
            // The header of the file.
            1 => random.below(bytes.len().min(96)),
            _ => (around + random.below(64)) % bytes.len(),
        };
        match random.below(3) {
            0 => bytes[at] = random.number() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            _ => {
                let value = random.interesting().to_le_bytes();
                let size = random.pick(&[1, 2, 4, 8]).min(bytes.len() - at);
                bytes[at..at + size].copy_from_slice(&value[..size]);
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::holds;

    #[test]
    fn a_short_run() {
        let report = holds(&mut Objects::new(&[]), 5_000);
        assert!(report.sorts["linked"].count > 100, "{report}");
    }
}
