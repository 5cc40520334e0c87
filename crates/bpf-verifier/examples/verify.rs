//! Verdicts on the programs of objects: `cargo run -p bpf-verifier --example verify -- FILE...`

use std::time::Instant;

use bpf_object::Object;
use bpf_object::btf::Btf;
use bpf_verifier::{Request, Verdict, verify};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let kernel = Btf::parse(&std::fs::read("/sys/kernel/btf/vmlinux")?)?;
    let short = std::env::var_os("SHORT").is_some();
    for file in std::env::args().skip(1) {
        let object = match Object::parse(&std::fs::read(&file)?) {
            Ok(object) => object,
            Err(error) => {
                println!("{file}: {error}");
                continue;
            }
        };
        let names: Vec<String> = object.programs().map(|program| program.name.clone()).collect();
        for name in names {
            let program = match object.link(&name, Some(&kernel)) {
                Ok(program) => program,
                Err(error) => {
                    println!("{file}: {name}: not linked: {error}");
                    continue;
                }
            };
            let Some(request) = Request::new(&program) else {
                println!("{file}: {name}: the section's name says no kind");
                continue;
            };
            let request = request.object(&object).kernel(&kernel);
            let start = Instant::now();
            let verdict = verify(&request);
            let time = start.elapsed();
            match verdict {
                Verdict::Accepted(proof) => {
                    let facts = proof.facts();
                    let (processed, states) = (facts.processed, facts.states);
                    println!(
                        "{file}: {name}: accepted, {processed} instructions, {states} states, {time:?}"
                    );
                }
                Verdict::Refused(refusal) if short => {
                    let place =
                        refusal.place.as_ref().map(|p| p.function.clone()).unwrap_or_default();
                    println!(
                        "{file}: {name}: REFUSED {} {place} {} ({time:?})",
                        refusal.rule,
                        refusal.message.replace('\n', " / ")
                    );
                }
                Verdict::Refused(refusal) => println!("{file}: {name}: {refusal}\n({time:?})"),
                Verdict::NotModelled(what) => {
                    println!("{file}: {name}: NOT MODELLED at {:?}: {}", what.slot, what.what);
                }
            }
        }
    }
    Ok(())
}
