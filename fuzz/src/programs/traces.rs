//! What runs leave behind.

/// A key, empty where the map has none, and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// A program's runs on a few packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    pub runs: Vec<Run>,
    /// What is in the maps that it uses, after the last run.
    pub maps: Vec<(usize, Vec<Entry>)>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub value: u64,
    /// From the metadata on.
    pub packet: Vec<u8>,
    /// What can be written in a `struct __sk_buff`: mark, priority, control block.
    pub marks: Vec<u32>,
}

impl Traces {
    /// The first difference. Of a result the kernel tells 32 bits.
    pub fn difference(&self, other: &Self, bits: u32) -> Option<String> {
        for (number, (one, other)) in self.runs.iter().zip(&other.runs).enumerate() {
            let what = one.difference(other, bits);
            if let Some(what) = what {
                return Some(format!("run {number}: {what}"));
            }
        }
        for ((map, one), (_, other)) in self.maps.iter().zip(&other.maps) {
            if one.len() != other.len() {
                return Some(format!("map {map}: {} and {} entries", one.len(), other.len()));
            }
            let different = one.iter().zip(other).find(|(one, other)| one != other);
            if let Some((one, other)) = different {
                return Some(format!("map {map}: {one:02x?} and {other:02x?}"));
            }
        }
        None
    }
}

impl Run {
    fn difference(&self, other: &Self, bits: u32) -> Option<String> {
        let mask = u64::MAX >> (64 - bits);
        if self.value & mask != other.value & mask {
            return Some(format!("the result: {:#x} and {:#x}", self.value, other.value));
        }
        if self.packet.len() != other.packet.len() {
            let (one, other) = (self.packet.len(), other.packet.len());
            return Some(format!("the packet's length: {one} and {other}"));
        }
        let mut bytes = self.packet.iter().zip(&other.packet);
        if let Some(at) = bytes.position(|(one, other)| one != other) {
            let (one, other) = (self.packet[at], other.packet[at]);
            return Some(format!("byte {at} of the packet: {one:#x} and {other:#x}"));
        }
        (self.marks != other.marks)
            .then(|| format!("the context: {:x?} and {:x?}", self.marks, other.marks))
    }
}
