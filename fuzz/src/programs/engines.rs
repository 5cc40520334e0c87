//! Our engines, with maps and a packet.

use bpf_object::{Object, Program};
use bpf_vm::context::{Skb, Xdp};
use bpf_vm::{Engine, Errno, Instance, Map, Packet, ProgramHandle, Runtime, RuntimeError};

use super::traces::{Entry, Run, Traces};
use super::world::{self, Setting, Surroundings};

/// Ours end far sooner, since the verifier has bounded them.
const FUEL: u64 = 1 << 22;

/// One of our engines, for programs of one setting.
#[derive(Debug)]
pub struct Ours {
    setting: Setting,
    instance: Instance,
    packet: Packet,
    /// Memory ends behind the packet.
    guarded: Packet,
}

impl Ours {
    pub fn new(engine: Engine, setting: Setting, object: &Object) -> Result<Self, RuntimeError> {
        let runtime = Runtime::builder().engine(engine).fuel(FUEL).build();
        let instance = runtime.load(object)?;
        let target = instance.program(world::TARGET)?;
        let programs = map(&instance, world::PROGRAMS);
        let failed = |source| RuntimeError::Map { map: "programs".to_owned(), source };
        programs
            .and_then(|map| map.set_program(world::TARGET_SLOT, target.program().clone()))
            .map_err(failed)?;
        let (packet, guarded) = (Packet::new(&[])?, Packet::guarded(&[])?);
        Ok(Self { setting, instance, packet, guarded })
    }

    /// Compiles it, unless the engine is the interpreter.
    pub fn load(&self, program: &Program) -> Result<ProgramHandle, String> {
        self.instance.bind(program).map_err(|error| error.to_string())
    }

    /// Runs a program on one packet after another. `maps` are those that it uses. The error is a
    /// fault.
    pub fn run(
        &mut self,
        program: &ProgramHandle,
        maps: &[usize],
        surroundings: &Surroundings,
        guarded: bool,
    ) -> Result<Traces, String> {
        self.fill(maps, surroundings).map_err(|error| format!("filling the maps: {error}"))?;
        let mut runs = Vec::new();
        for packet in &surroundings.packets {
            runs.push(self.run_on(program, packet, guarded)?);
        }
        let contents = |index: &usize| Ok((*index, self.contents(*index)?));
        let maps = maps.iter().map(contents).collect::<Result<_, Errno>>();
        Ok(Traces { runs, maps: maps.map_err(|error| format!("reading the maps: {error}"))? })
    }

    fn run_on(
        &mut self,
        program: &ProgramHandle,
        bytes: &[u8],
        guarded: bool,
    ) -> Result<Run, String> {
        let packet = if guarded { &mut self.guarded } else { &mut self.packet };
        let hidden = self.setting.hidden();
        packet.set(&bytes[hidden..]).map_err(|error| error.to_string())?;
        let outcome = if self.setting.has_skb() {
            // To another host, since the address is not the loopback device's.
            let skb = Skb {
                pkt_type: 3,
                protocol: Some(0x0800),
                ethernet: hidden == 0,
                ..Skb::default()
            };
            program.run_skb(packet, &skb)
        } else {
            program.run_xdp(packet, &Xdp::default())
        };
        let outcome = outcome.map_err(|error| error.to_string())?;
        let marks = outcome.skb.map(|skb| {
            let mut marks = vec![skb.mark, skb.priority];
            marks.extend(skb.cb);
            marks
        });
        let packet = [packet.metadata(), packet.bytes()].concat();
        Ok(Run { value: outcome.value, packet, marks: marks.unwrap_or_default() })
    }

    fn fill(&self, maps: &[usize], surroundings: &Surroundings) -> Result<(), Errno> {
        for &index in maps {
            let map = map(&self.instance, index)?;
            for (key, value) in (0u32..).zip(surroundings.array(index).unwrap_or_default()) {
                map.update(&key.to_ne_bytes(), value, 0)?;
            }
            match index {
                world::HASH | world::TRIE => {
                    for (key, _) in map.entries()? {
                        map.delete(&key)?;
                    }
                    for (at, value) in surroundings.values[..surroundings.filled].iter().enumerate()
                    {
                        match index {
                            world::HASH => map.update(&(at as u32).to_ne_bytes(), value, 0)?,
                            _ => map.update(&world::trie_key(at), value, 0)?,
                        }
                    }
                }
                // They are empty: reading takes all out of them.
                _ => {}
            }
        }
        Ok(())
    }

    fn contents(&self, index: usize) -> Result<Vec<Entry>, Errno> {
        let map = map(&self.instance, index)?;
        let unnamed = |value| (Vec::new(), value);
        match index {
            world::PROGRAMS => Ok(Vec::new()),
            world::RING => Ok(map.records().into_iter().map(unnamed).collect()),
            world::QUEUE => {
                let mut values = Vec::new();
                loop {
                    match map.lookup_and_delete(&[]) {
                        Ok(value) => values.push(unnamed(value)),
                        Err(Errno::ENOENT) => return Ok(values),
                        Err(error) => return Err(error),
                    }
                }
            }
            _ => {
                let mut entries = map.entries()?;
                entries.sort();
                Ok(entries)
            }
        }
    }
}

fn map(instance: &Instance, index: usize) -> Result<&Map, Errno> {
    instance.maps().nth(index).map(|map| &**map).ok_or(Errno::ENOENT)
}
