//! Our LLVM syntax against LLVM itself, where `llvm-mc` 19 is installed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use bpf_isa::text::{Syntax, assemble, disassemble_one};
use bpf_isa::{Callee, Distance, Instruction, Wide, decode_one, encode};

/// One of each kind of instruction, and some with extreme operands.
fn samples() -> Vec<Instruction> {
    let mut samples = BTreeMap::new();
    let fields = [(0i16, 0i32), (1, 1), (8, 16), (16, 32), (32, 64), (-32768, -1), (32767, 7)];
    let atomics = [0, 0x40, 0x50, 0xa0, 1, 0x41, 0x51, 0xa1, 0xe1, 0xf1];
    for opcode in 0..=255u8 {
        for registers in [0x00, 0x01, 0x21, 0x20, 0xa9, 0x60] {
            let immediates = fields.map(|(offset, imm)| (offset, imm)).into_iter();
            for (offset, imm) in
                immediates.chain(atomics.map(|imm| (-8, imm))).chain([(0, i32::MIN)])
            {
                for (offset, imm) in [(offset, imm), (0, imm), (offset, 0)] {
                    let mut bytes = vec![opcode, registers];
                    bytes.extend(offset.to_le_bytes());
                    bytes.extend(imm.to_le_bytes());
                    for next in [[0, 0, 0, 0], [0xff, 0, 0, 0x80]] {
                        let bytes = [bytes.as_slice(), &[0; 4], &next].concat();
                        if let Ok(instruction) = decode_one(&bytes) {
                            samples.insert(encode([&instruction]), instruction);
                        }
                    }
                }
            }
        }
    }
    // What LLVM doesn't know, or prints so that it can't be told from something else.
    samples.retain(|_, instruction| match instruction {
        Instruction::Call { callee: Callee::Helper(id) } => *id >= 0,
        Instruction::Call { .. } => false,
        // LLVM 19 reads 16 bits only where it writes 32.
        Instruction::Jump { distance: Distance::Far(slots) } => i16::try_from(*slots).is_ok(),
        // It drops the second half.
        Instruction::LoadWide { value: Wide::MapValueByFd { offset, .. }, .. }
        | Instruction::LoadWide { value: Wide::MapValueByIndex { offset, .. }, .. } => *offset == 0,
        Instruction::LoadPacket { index: Some(_), offset, .. } => *offset == 0,
        _ => true,
    });
    samples.into_values().collect()
}

fn llvm_mc(arguments: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new("llvm-mc-19");
    command.args(["-triple=bpfel", "-mcpu=v4"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn llvm_reads_what_we_print() {
    let samples = samples();
    let text: String =
        samples.iter().map(|sample| disassemble_one(sample, Syntax::Llvm) + "\n").collect();
    let Some(output) = llvm_mc(&["-show-encoding"], &text) else {
        eprintln!("skipped: there is no llvm-mc-19");
        return;
    };
    let encodings: Vec<_> = output
        .lines()
        .filter_map(|line| line.split_once("encoding: ["))
        .map(|(_, hex)| hex)
        .collect();
    assert_eq!(encodings.len(), samples.len());
    for (sample, encoding) in samples.iter().zip(encodings) {
        let bytes: Vec<_> = encode([sample]).iter().map(|byte| format!("0x{byte:02x}")).collect();
        assert_eq!(encoding, bytes.join(",") + "]", "{sample}");
    }
}

#[test]
fn we_print_and_read_as_llvm_does() {
    let samples = samples();
    let hex = |sample: &Instruction| -> String {
        let bytes = encode([sample]);
        bytes.iter().map(|byte| format!("0x{byte:02x} ")).chain(["\n".to_owned()]).collect()
    };
    let Some(output) =
        llvm_mc(&["-disassemble", "-print-imm-hex"], &samples.iter().map(hex).collect::<String>())
    else {
        eprintln!("skipped: there is no llvm-mc-19");
        return;
    };
    let lines =
        output.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('.'));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), samples.len());
    for (sample, line) in samples.iter().zip(lines) {
        assert_eq!(assemble(line, Syntax::Llvm), Ok(vec![*sample]), "{line}");
        assert_eq!(disassemble_one(sample, Syntax::Llvm), line.replace('\t', " "));
    }
}
