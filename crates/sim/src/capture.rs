//! Captures: pcap and pcapng, Ethernet.

use std::borrow::Cow;
use std::time::Duration;
use std::{fmt, io};

use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgBlock as _, PcapNgReader, PcapNgWriter};

use crate::Error;

/// A packet as it was captured, or as it is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Since 1970.
    pub time: Duration,
    /// Name of the interface, empty if the capture has none.
    pub interface: String,
    pub bytes: Vec<u8>,
    pub comment: String,
}

/// Reads either format. A capture that is cut off gives what there is before the cut.
pub fn read(bytes: &[u8]) -> Result<Vec<Frame>, Error> {
    match bytes.first_chunk::<4>() {
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => read_pcapng(bytes),
        Some(_) => read_pcap(bytes),
        None => Err(Error::Capture("it is shorter than any capture".to_owned())),
    }
}

fn check(link: DataLink) -> Result<(), Error> {
    match link {
        DataLink::ETHERNET => Ok(()),
        other => Err(Error::LinkType(format!("{other:?}"))),
    }
}

fn wrong(error: pcap_file::PcapError) -> Error {
    Error::Capture(error.to_string())
}

fn read_pcap(bytes: &[u8]) -> Result<Vec<Frame>, Error> {
    let mut reader = PcapReader::new(bytes).map_err(wrong)?;
    check(reader.header().datalink)?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = match packet {
            Ok(packet) => packet,
            Err(pcap_file::PcapError::IncompleteBuffer) => break,
            Err(error) => return Err(wrong(error)),
        };
        let (time, bytes) = (packet.timestamp, packet.data.into_owned());
        frames.push(Frame { time, bytes, ..Frame::default() });
    }
    Ok(frames)
}

fn read_pcapng(bytes: &[u8]) -> Result<Vec<Frame>, Error> {
    let mut reader = PcapNgReader::new(bytes).map_err(wrong)?;
    let mut frames = Vec::new();
    // Name, and units of time per second.
    let mut interfaces: Vec<(String, u64)> = Vec::new();
    while let Some(block) = reader.next_block() {
        let block = match block {
            Ok(block) => block,
            Err(pcap_file::PcapError::IncompleteBuffer) => break,
            Err(error) => return Err(wrong(error)),
        };
        match block {
            Block::SectionHeader(_) => interfaces.clear(),
            Block::InterfaceDescription(interface) => {
                check(interface.linktype)?;
                interfaces.push(about(&interface.options));
            }
            Block::EnhancedPacket(packet) => {
                let known = interfaces.get(packet.interface_id as usize);
                let (interface, units) = known.cloned().unwrap_or((String::new(), MICROSECONDS));
                // The reader takes all stamps for nanoseconds.
                let stamp = packet.timestamp.as_nanos() as u64;
                let rest = u128::from(stamp % units) * 1_000_000_000 / u128::from(units);
                let comment = packet.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Comment(text) => Some(text.clone().into_owned()),
                    _ => None,
                });
                frames.push(Frame {
                    time: Duration::new(stamp / units, rest as u32),
                    interface,
                    bytes: packet.data.into_owned(),
                    comment: comment.unwrap_or_default(),
                });
            }
            Block::SimplePacket(packet) => {
                let bytes = packet.data.into_owned();
                frames.push(Frame { bytes, ..Frame::default() });
            }
            _ => {}
        }
    }
    Ok(frames)
}

const MICROSECONDS: u64 = 1_000_000;

fn about(options: &[InterfaceDescriptionOption<'_>]) -> (String, u64) {
    let (mut name, mut units) = (String::new(), MICROSECONDS);
    for option in options {
        match option {
            InterfaceDescriptionOption::IfName(text) => name = text.clone().into_owned(),
            // A power of ten, or of two if the top bit is set.
            InterfaceDescriptionOption::IfTsResol(value) => {
                let base: u64 = if value & 0x80 == 0 { 10 } else { 2 };
                let power = base.checked_pow(u32::from(value & 0x7f));
                units = power.unwrap_or(MICROSECONDS).max(1);
            }
            _ => {}
        }
    }
    (name, units)
}

/// Writes pcapng, with one interface for each name.
pub fn write(frames: &[Frame]) -> Result<Vec<u8>, Error> {
    let failed = |error: io::Error| Error::Capture(error.to_string());
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).map_err(failed)?;
    for frame in frames {
        writer.add(frame, frame.bytes.len() as u32).map_err(failed)?;
    }
    Ok(bytes)
}

/// Writes pcapng while packets come: each is in `out` when [`add`](Self::add) returns.
pub struct Writer<W> {
    out: W,
    blocks: PcapNgWriter<Vec<u8>>,
    interfaces: Vec<String>,
}

impl<W> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}

impl<W: io::Write> Writer<W> {
    pub fn new(out: W) -> io::Result<Self> {
        let blocks = PcapNgWriter::new(Vec::new()).map_err(io::Error::other)?;
        let mut writer = Writer { out, blocks, interfaces: Vec::new() };
        writer.pass_on()?;
        Ok(writer)
    }

    /// `whole` is the packet's length; the frame may have less of it.
    pub fn add(&mut self, frame: &Frame, whole: u32) -> io::Result<()> {
        let known = self.interfaces.iter().position(|name| *name == frame.interface);
        let interface = match known {
            Some(interface) => interface,
            None => self.interface(&frame.interface)?,
        };
        let comment = (!frame.comment.is_empty())
            .then(|| EnhancedPacketOption::Comment(Cow::Borrowed(&frame.comment)));
        let block = EnhancedPacketBlock {
            interface_id: interface as u32,
            timestamp: frame.time,
            original_len: whole,
            data: Cow::Borrowed(&frame.bytes),
            options: comment.into_iter().collect(),
        };
        self.blocks.write_block(&block.into_block()).map_err(io::Error::other)?;
        self.pass_on()
    }

    fn interface(&mut self, name: &str) -> io::Result<usize> {
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                InterfaceDescriptionOption::IfTsResol(9),
            ],
        };
        self.blocks.write_block(&block.into_block()).map_err(io::Error::other)?;
        self.interfaces.push(name.to_owned());
        Ok(self.interfaces.len() - 1)
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let bytes = self.blocks.get_mut();
        self.out.write_all(bytes)?;
        bytes.clear();
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let frame = |seconds, interface: &str, comment: &str| Frame {
            time: Duration::new(seconds, 123_456_789),
            interface: interface.to_owned(),
            bytes: vec![seconds as u8; 61],
            comment: comment.to_owned(),
        };
        let frames =
            [frame(1, "client", "denied"), frame(2, "web", ""), frame(1_700_000_000, "client", "")];
        assert_eq!(read(&write(&frames).unwrap()).unwrap(), frames);
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        for bytes in [&b""[..], b"abc", b"no capture at all, but long enough for a header"] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
        let whole = write(&[Frame { bytes: vec![7; 60], ..Frame::default() }]).unwrap();
        for end in 0..whole.len() {
            // Cut off, or no frame: never a panic.
            if let Ok(frames) = read(&whole[..end]) {
                assert_eq!(frames.len(), 0);
            }
        }
    }
}
