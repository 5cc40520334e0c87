//! What a run costs that does nothing: by the engines' own interface, and as users run programs.

use std::sync::Arc;

use bpf_isa::text::{Syntax, assemble};
use bpf_isa::{encode, place};
use bpf_object::{Object, object_of_code};
use bpf_vm::context::{Skb, Xdp};
use bpf_vm::{Engine, Input, Packet, Program, Runtime};

use crate::{Best, ROUNDS, time};

const TIMES: u32 = 5_000;

fn best(mut call: impl FnMut() -> u64) -> Best {
    let mut best = Best::default();
    for _ in 0..ROUNDS {
        best.keep(time(TIMES, &mut call));
    }
    best
}

pub fn print() {
    let empty = assemble("r0 = 2\nexit", Syntax::Llvm).expect("valid");
    let runtime = Runtime::builder().engine(Engine::Interpreter).build();
    let handle = runtime.bind("empty", &place(empty.clone()), &[]).expect("it binds");
    let program = Arc::into_inner({
        let program = handle.program().clone();
        drop(handle);
        program
    });
    // SAFETY: it touches nothing.
    let program: Program =
        unsafe { program.expect("ours alone").compile_unchecked(Default::default()) }
            .expect("memory");
    let mut input = Input::default();
    let alone = best(|| program.run(&mut input).expect("it runs"));

    let packet = &[7; 64];
    let loaded = |section: &str| {
        let object = object_of_code("main", section, "GPL", &encode(&empty));
        let runtime = Runtime::builder().engine(Engine::VerifiedJit).build();
        let instance = runtime.load(&Object::parse(&object).expect("valid")).expect("it loads");
        instance.program("main").expect("it is there")
    };
    let mut packet = Packet::new(packet).expect("low memory");
    let (xdp, classifier) = (loaded("xdp"), loaded("tc"));
    let context = Xdp::default();
    let run_xdp = best(|| xdp.run_xdp(&mut packet, &context).expect("it runs").value);
    let mut runs = xdp.xdp_runs(&context).expect("memory");
    let repeated = best(|| runs.run(&mut packet).expect("it runs"));
    let context = Skb::default();
    let run_skb = best(|| classifier.run_skb(&mut packet, &context).expect("it runs").value);
    println!(
        "an empty program, ns per run: compiled alone {alone}, repeated on packets {repeated}, \
         with all that a run says of itself {run_xdp} (XDP), {run_skb} (classifier)"
    );
}
