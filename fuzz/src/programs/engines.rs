//! Our engines, with maps and a packet.

use bpf_object::{Object, Program};
use bpf_vm::context::Xdp;
use bpf_vm::{Engine, Instance, Packet, Runtime, RuntimeError};

use super::world;

/// Ours end far sooner, since the verifier has bounded them.
const FUEL: u64 = 1 << 22;

/// What a run leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    pub value: u64,
    pub packet: Vec<u8>,
    pub array: Vec<Vec<u8>>,
    pub hash: Vec<(Vec<u8>, Vec<u8>)>,
}

/// One of our engines.
#[derive(Debug)]
pub struct Ours {
    instance: Instance,
    packet: Packet,
    /// Memory ends behind the packet.
    guarded: Packet,
}

impl Ours {
    /// `None` where the engine doesn't run.
    pub fn new(engine: Engine, object: &Object) -> Result<Self, RuntimeError> {
        let runtime = Runtime::builder().engine(engine).fuel(FUEL).build();
        let packet = world::packet();
        Ok(Self {
            instance: runtime.load(object)?,
            packet: Packet::new(&packet)?,
            guarded: Packet::guarded(&packet)?,
        })
    }

    /// Runs a program on empty maps and a fresh packet. The error is a fault, or that it can't be
    /// loaded.
    pub fn run(&mut self, program: &Program, guarded: bool) -> Result<Traces, String> {
        self.clear()?;
        let program = self.instance.bind(program).map_err(|error| error.to_string())?;
        let packet = if guarded { &mut self.guarded } else { &mut self.packet };
        packet.set(&world::packet()).map_err(|error| error.to_string())?;
        let outcome =
            program.run_xdp(packet, &Xdp::default()).map_err(|error| error.to_string())?;
        let packet = packet.bytes();
        let [array, hash] = ["array", "hash"].map(|name| self.instance.map(name));
        let entries = |map: Option<&std::sync::Arc<bpf_vm::Map>>| {
            let mut entries = map.map_or(Ok(Vec::new()), |map| map.entries())?;
            entries.sort();
            Ok::<_, bpf_vm::Errno>(entries)
        };
        let failed = |error: bpf_vm::Errno| error.to_string();
        let array = entries(array).map_err(failed)?.into_iter().map(|(_, value)| value).collect();
        Ok(Traces { value: outcome.value, packet, array, hash: entries(hash).map_err(failed)? })
    }

    fn clear(&self) -> Result<(), String> {
        let failed = |error: bpf_vm::Errno| error.to_string();
        if let Some(array) = self.instance.map("array") {
            for key in 0..world::ENTRIES {
                let value = [0; world::VALUE_SIZE as usize];
                array.update(&key.to_ne_bytes(), &value, 0).map_err(failed)?;
            }
        }
        if let Some(hash) = self.instance.map("hash") {
            for (key, _) in hash.entries().map_err(failed)? {
                hash.delete(&key).map_err(failed)?;
            }
        }
        Ok(())
    }
}
