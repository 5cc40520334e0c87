//! `cargo xtask build-ebpf`: compiles the objects and shows what is in them.
//!
//! The build itself is the build script of `crates/objects`; this command runs it and reads the
//! object files it leaves. The numbers are those of the ELF file: what the kernel makes of the
//! programs is another matter (and a test's).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind};

use crate::report::Step;
use crate::{setup, workspace};

const BYTES_PER_INSTRUCTION: u64 = 8;

pub fn run() -> Result<()> {
    setup::toolchain()?;
    let step = Step::start("build");
    let objects = object_files()?;
    let plural = if objects.len() == 1 { "" } else { "s" };
    step.done(format!("{} eBPF object{plural}", objects.len()));

    let mut contents = Vec::new();
    for path in &objects {
        contents.push(Contents::read(path)?);
    }
    print!("{}", table(&contents));
    Ok(())
}

/// Builds `crates/objects` and returns the paths of the object files embedded in it.
pub fn object_files() -> Result<Vec<PathBuf>> {
    let built = workspace::build(&["--package", "objects"])?;
    let (_, out_dir) = built
        .out_dirs
        .iter()
        .find(|(package, _)| package.contains("/objects#"))
        .context("cargo did not name the folder of the objects")?;
    let list = out_dir.join("objects.rs");
    let list = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    // `pub static NAME: &[u8] = embed!("path");`, so a stale file of an old build doesn't count.
    let paths = list.lines().filter_map(|line| line.split_once("embed!(\"")?.1.split_once('"'));
    Ok(paths.map(|(path, _)| PathBuf::from(path)).collect())
}

struct Contents {
    name: String,
    size: usize,
    /// Section, name and instructions of each program.
    programs: Vec<(String, String, u64)>,
    /// Instructions of functions that programs call.
    subprograms: u64,
    maps: Vec<String>,
}

impl Contents {
    fn read(path: &Path) -> Result<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        Self::parse(name, &bytes).with_context(|| path.display().to_string())
    }

    fn parse(name: String, bytes: &[u8]) -> Result<Self> {
        let file = object::File::parse(bytes)?;
        let sections: HashMap<_, _> = file
            .sections()
            .filter_map(|section| Some((section.index(), (section.name().ok()?, section.kind()))))
            .collect();
        let mut contents =
            Self { name, size: bytes.len(), programs: vec![], subprograms: 0, maps: vec![] };
        for symbol in file.symbols() {
            let Some((section, kind)) =
                symbol.section_index().and_then(|index| sections.get(&index))
            else {
                continue;
            };
            let name = symbol.name()?.to_owned();
            let instructions = symbol.size() / BYTES_PER_INSTRUCTION;
            match (*section, *kind, symbol.kind()) {
                (".maps" | "maps", _, SymbolKind::Data) => contents.maps.push(name),
                (".text", _, SymbolKind::Text) => contents.subprograms += instructions,
                (section, SectionKind::Text, SymbolKind::Text) => {
                    contents.programs.push((section.to_owned(), name, instructions));
                }
                _ => {}
            }
        }
        contents.programs.sort();
        contents.maps.sort();
        Ok(contents)
    }

    fn instructions(&self) -> u64 {
        self.programs.iter().map(|(_, _, count)| count).sum::<u64>() + self.subprograms
    }
}

fn table(objects: &[Contents]) -> String {
    let mut rows = Vec::new();
    for object in objects {
        rows.push(vec![
            object.name.clone(),
            format!("{} programs", object.programs.len()),
            format!("{} maps", object.maps.len()),
            format!("{} KiB", object.size.div_ceil(1024)),
            format!("{} instructions", thousands(object.instructions())),
        ]);
        for (section, name, instructions) in &object.programs {
            let instructions = format!("{} instructions", thousands(*instructions));
            rows.push(vec![
                format!("  {name}"),
                section.clone(),
                "".into(),
                "".into(),
                instructions,
            ]);
        }
        if object.subprograms > 0 {
            let instructions = format!("{} instructions", thousands(object.subprograms));
            rows.push(vec![
                "  subprograms".into(),
                ".text".into(),
                "".into(),
                "".into(),
                instructions,
            ]);
        }
        let indent = "  maps  ";
        if !object.maps.is_empty() {
            rows.push(vec![format!("{indent}{}", object.maps.join(" "))]);
        }
    }
    align(&rows)
}

/// Columns as wide as their widest cell; the first two to the left, numbers to the right. A row of
/// one cell spans all columns.
fn align(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows.iter().filter(|row| row.len() > 1) {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = if row.len() > 1 { widths[column] } else { 0 };
            let cell =
                if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            line += &cell;
            line += "   ";
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn columns_line_up_and_a_lone_cell_does_not_widen_them() {
        let rows = [vec!["a", "bb", "1"], vec!["maps x y z and many more"], vec!["ccc", "d", "10"]];
        let rows = rows.map(|row| row.into_iter().map(str::to_owned).collect());
        assert_eq!(align(&rows), "a     bb    1\nmaps x y z and many more\nccc   d    10\n");
    }
}
