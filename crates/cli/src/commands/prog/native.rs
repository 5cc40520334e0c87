//! What our compiler makes of programs.

use super::object_file::ObjectFile;
use crate::failure::Failure;
use crate::output::{Format, Paint, Screen};
use bpf_vm::{Engine, Runtime};
use serde_json::{Value, json};
use std::process::ExitCode;

pub fn run(
    file: &ObjectFile,
    program: Option<&str>,
    format: Format,
    screen: &Screen,
) -> Result<ExitCode, Failure> {
    let failed = |error: bpf_vm::RuntimeError| Failure::Usage(error.to_string());
    let runtime = Runtime::builder().engine(Engine::VerifiedJit).build();
    let loader = runtime.loader();
    let loader = match &file.kernel {
        Some(types) => loader.kernel(types),
        None => loader,
    };
    let instance = loader.load(&file.object).map_err(failed)?;
    let mut listings = Vec::new();
    for (name, _) in file.programs(program)? {
        let handle = instance.program(&name).map_err(failed)?;
        let Some(code) = handle.program().machine_code() else {
            return Err(Failure::NotFound(format!("program `{name}` was not compiled")));
        };
        listings.push((name, code.len(), listing(code)));
    }
    match format {
        Format::Table => {
            let texts: Vec<String> = listings
                .iter()
                .map(|(name, bytes, lines)| {
                    let title = format!("; {name}, {bytes} bytes of {}", std::env::consts::ARCH);
                    let lines: String = lines
                        .iter()
                        .map(|(offset, text)| format!("{offset:6x}: {text}\n"))
                        .collect();
                    format!("{}\n{lines}", screen.style().paint(Paint::Heading, &title))
                })
                .collect();
            screen.print(&texts.join("\n"))?;
        }
        format => {
            let value = |(name, bytes, lines): &(String, usize, Vec<(usize, String)>)| {
                let lines: Vec<Value> = lines
                    .iter()
                    .map(|(offset, text)| json!({ "offset": offset, "text": text }))
                    .collect();
                json!({ "program": name, "bytes": bytes, "instructions": lines })
            };
            let values = Value::Array(listings.iter().map(value).collect());
            match format {
                Format::Yaml => screen.print_yaml(&values)?,
                _ => screen.print_json(&values)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Offsets and instructions.
#[cfg(target_arch = "x86_64")]
fn listing(code: &[u8]) -> Vec<(usize, String)> {
    use iced_x86::{Decoder, DecoderOptions, Formatter as _, IntelFormatter};
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    formatter.options_mut().set_space_after_operand_separator(true);
    let decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    decoder
        .into_iter()
        .map(|instruction| {
            let mut text = String::new();
            formatter.format(&instruction, &mut text);
            (instruction.ip() as usize, text)
        })
        .collect()
}

/// Offsets and words: nothing here reads this machine's instructions.
#[cfg(not(target_arch = "x86_64"))]
fn listing(code: &[u8]) -> Vec<(usize, String)> {
    let word = |(number, bytes): (usize, &[u8])| {
        let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
        (number * 4, format!(".word 0x{digits}"))
    };
    code.chunks(4).enumerate().map(word).collect()
}
