//! Runs a program of an object on a packet, without a kernel and without root:
//!
//! `cargo run -p bpf-vm --example run_object -- FILE.o PROGRAM [PACKET as hex]`

use std::error::Error;

use bpf_object::{Object, ProgramType};
use bpf_vm::context::{Skb, Xdp};
use bpf_vm::{Clock, Packet, Runtime};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("give an object file and the name of a program in it".into());
    };
    let bytes = match arguments.next() {
        Some(hex) => from_hex(&hex).ok_or("the packet is not hexadecimal")?,
        None => vec![0; 64],
    };
    let object = Object::parse(&std::fs::read(file)?)?;
    // The same time and the same random numbers in every run.
    let runtime = Runtime::builder().clock(Clock::Manual(1_000_000_000)).seed(1).build();
    let instance = runtime.load(&object)?;
    let program = instance.program(&name)?;
    // Memory ends behind the packet: no access past it goes unnoticed.
    let mut packet = Packet::guarded(&bytes)?;
    let kind = program.kind().map(|kind| kind.program);
    let outcome = match kind {
        Some(ProgramType::XDP) => program.run_xdp(&mut packet, &Xdp::default())?,
        Some(ProgramType::CLASSIFIER | ProgramType::CGROUP_SKB | ProgramType::SOCKET_FILTER) => {
            program.run_skb(&mut packet, &Skb::default())?
        }
        _ => program.run_raw(&bytes)?,
    };
    println!("returned {}", outcome.action());
    if let Some(redirect) = &outcome.redirect {
        println!("redirected: {redirect:?}");
    }
    for line in &outcome.trace {
        println!("trace: {line}");
    }
    let after: String = packet.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("packet: {after}");
    for map in instance.maps().filter(|map| !map.name().starts_with('.')) {
        let records = map.records();
        if !records.is_empty() {
            println!("{} records in {}", records.len(), map.name());
        }
    }
    Ok(())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.1.is_empty().then(|| digits.0.iter().map(byte).collect())?
}
