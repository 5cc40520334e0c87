//! The kernel as another engine.

use std::{fs, io};

use bpf_interface::{NoVersion, Version};
use bpf_kernel::linked::{Load, Loaded, Maps};
use bpf_kernel::{Map, Ring, TestRun};
use bpf_object::btf::Btf;
use bpf_object::{Object, Program, ProgramKind};

use super::traces::{Entry, Run, Traces};
use super::world::{self, Setting, Surroundings};

/// What the kernel makes of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With the last line of the verifier's log that isn't statistics.
    Refused(String),
    Ran(Traces),
}

/// The kernel, for programs of one setting. The maps are made once.
#[derive(Debug)]
pub struct Kernel {
    setting: Setting,
    version: Version,
    kind: ProgramKind,
    maps: Maps,
    handles: Vec<Map>,
    ring: Ring,
}

/// `struct __sk_buff`: all of it up to `hwtstamp`, and where the fields are that we compare.
const SKB: usize = 192;
const MARK: usize = 8;
const PRIORITY: usize = 32;
const CONTROL: usize = 48;

impl Kernel {
    pub fn new(setting: Setting, object: &Object) -> Result<Self, bpf_kernel::Error> {
        let maps = Maps::create(object)?;
        if let Some(error) = maps.types_refused() {
            return Err(bpf_kernel::Error::Btf {
                object: "of generated programs".to_owned(),
                source: std::io::Error::other(error.to_string()),
                log: String::new(),
            });
        }
        let mut handles = Vec::new();
        for index in 0..world::MAPS {
            handles.extend(maps.handle(index)?);
        }
        let ring = Ring::new(&handles[world::RING])?;
        let kind = setting.kind();
        let types = Btf::new();
        let load = Load { kind: &kind, flags: 0, log_level: 0, kernel: &types };
        let target = object.link(world::TARGET, None).map_err(|error| {
            let source = std::io::Error::other(error.to_string());
            bpf_kernel::Error::TestRun { program: world::TARGET.to_owned(), source }
        })?;
        let program = world::TARGET.to_owned();
        let target = maps
            .load(object, &target, &load)
            .program
            .map_err(|source| bpf_kernel::Error::TestRun { program, source })?;
        // The array of programs holds it from then on.
        maps.set_program(object, world::PROGRAMS, world::TARGET_SLOT, &target)?;
        let path = "/proc/sys/kernel/osrelease";
        let version = fs::read_to_string(path).and_then(|release| {
            release.parse().map_err(|error: NoVersion| io::Error::other(error))
        });
        let version =
            version.map_err(|source| bpf_kernel::Error::Read { path: path.into(), source })?;
        Ok(Self { setting, version, kind, maps, handles, ring })
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the kernel takes a program.
    pub fn takes(&self, object: &Object, program: &Program) -> bool {
        let types = Btf::new();
        let load = Load { kind: &self.kind, flags: 0, log_level: 0, kernel: &types };
        self.maps.load(object, program, &load).program.is_ok()
    }

    /// Loads a program and runs it on one packet after another.
    pub fn ask(
        &mut self,
        object: &Object,
        program: &Program,
        maps: &[usize],
        surroundings: &Surroundings,
    ) -> Result<Answer, bpf_kernel::Error> {
        let types = Btf::new();
        let load = Load { kind: &self.kind, flags: 0, log_level: 0, kernel: &types };
        let Ok(loaded) = self.maps.load(object, program, &load).program else {
            // Once more, to be told why.
            let verdict = self.maps.load(object, program, &Load { log_level: 1, ..load });
            return match verdict.program {
                Ok(loaded) => self.run(loaded, maps, surroundings),
                Err(error) => Ok(Answer::Refused(reason(&verdict.log, &error))),
            };
        };
        self.run(loaded, maps, surroundings)
    }

    fn run(
        &mut self,
        loaded: Loaded,
        maps: &[usize],
        surroundings: &Surroundings,
    ) -> Result<Answer, bpf_kernel::Error> {
        self.fill(maps, surroundings)?;
        let program = loaded.into_program(&self.kind);
        let mut runs = Vec::new();
        for packet in &surroundings.packets {
            let context = if self.setting.has_skb() { &[0; SKB][..] } else { &[] };
            let result = program.test_run(TestRun { data: packet, context, repeat: 1 })?;
            let word = |at: usize| {
                let bytes = result.context.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
                bytes.map_or(0, u32::from_ne_bytes)
            };
            let marks: Vec<u32> = match self.setting.has_skb() {
                true => [MARK, PRIORITY]
                    .into_iter()
                    .chain((0..5).map(|number| CONTROL + 4 * number))
                    .map(word)
                    .collect(),
                false => Vec::new(),
            };
            let mut packet = result.data;
            // Instead of a header that was hidden there are zeros.
            packet.drain(..self.setting.hidden().min(packet.len()));
            runs.push(Run { value: result.action.into(), packet, marks });
        }
        let mut contents = Vec::new();
        for &index in maps {
            contents.push((index, self.contents(index, &surroundings.values)?));
        }
        Ok(Answer::Ran(Traces { runs, maps: contents }))
    }

    fn fill(&self, maps: &[usize], surroundings: &Surroundings) -> Result<(), bpf_kernel::Error> {
        for &index in maps {
            let map = &self.handles[index];
            for (key, value) in (0u32..).zip(surroundings.array(index).unwrap_or_default()) {
                map.set(&key.to_ne_bytes(), value)?;
            }
            match index {
                world::HASH | world::TRIE => {
                    for (key, _) in map.entries(world::ENTRIES as usize)? {
                        map.remove(&key)?;
                    }
                    for (at, value) in surroundings.values[..surroundings.filled].iter().enumerate()
                    {
                        match index {
                            world::HASH => map.set(&(at as u32).to_ne_bytes(), value)?,
                            _ => map.set(&world::trie_key(at), value)?,
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn contents(
        &mut self,
        index: usize,
        initial: &[world::Value],
    ) -> Result<Vec<Entry>, bpf_kernel::Error> {
        let map = &self.handles[index];
        let mut entries = Vec::new();
        match index {
            world::PROGRAMS => {}
            world::RING => {
                let all = usize::MAX;
                self.ring.drain(all, |record| entries.push((Vec::new(), record.to_vec())));
            }
            world::QUEUE => {
                while let Some(value) = map.take(&[])? {
                    entries.push((Vec::new(), value));
                }
            }
            world::PER_CPU => {
                entries = map.entries(world::ENTRIES as usize)?;
                for ((_, values), first) in entries.iter_mut().zip(initial) {
                    *values = changed(values, first);
                }
            }
            _ => {
                entries = map.entries(world::ENTRIES as usize)?;
                entries.sort();
            }
        }
        Ok(entries)
    }
}

/// Of the values of all CPUs the one that isn't any more as it was: all runs of a program are on the
/// same CPU, unless the scheduler moves us.
fn changed(values: &[u8], first: &[u8]) -> Vec<u8> {
    let mut values = values.chunks_exact(first.len());
    values.find(|value| *value != first).unwrap_or(first).to_vec()
}

fn reason(log: &str, error: &std::io::Error) -> String {
    let is_reason = |line: &&str| {
        let statistics = ["processed ", "verification time ", "stack depth ", "insns "];
        !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start))
    };
    log.lines().rev().find(is_reason).map_or_else(|| error.to_string(), str::to_owned)
}
