//! The first packet of an SCTP association, made by hand: the kernel here has no SCTP sockets.
//! Format: RFC 9260, sections 3 and 3.3.2.

/// IANA protocol number.
pub const PROTOCOL: i32 = 132;

const INIT: u8 = 1;
const INIT_LEN: u16 = 20;
const RECEIVE_WINDOW: u32 = 65_536;
const HEADER_LEN: usize = 12;
const CHECKSUM: std::ops::Range<usize> = 8..12;

/// What an INIT says of where it goes; the tag tells it from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Init {
    pub source_port: u16,
    pub destination_port: u16,
    pub tag: u32,
}

impl Init {
    pub fn packet(self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(HEADER_LEN + usize::from(INIT_LEN));
        packet.extend(self.source_port.to_be_bytes());
        packet.extend(self.destination_port.to_be_bytes());
        packet.extend(0u32.to_be_bytes()); // verification tag: 0 in an INIT
        packet.extend([0; 4]); // checksum
        packet.extend([INIT, 0]);
        packet.extend(INIT_LEN.to_be_bytes());
        packet.extend(self.tag.to_be_bytes());
        packet.extend(RECEIVE_WINDOW.to_be_bytes());
        packet.extend(1u16.to_be_bytes()); // outbound streams
        packet.extend(1u16.to_be_bytes()); // inbound streams
        packet.extend(self.tag.to_be_bytes()); // first TSN
        let checksum = crc32c(&packet);
        packet[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        packet
    }

    /// Reads an INIT whose checksum holds.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (header, chunk) = packet.split_at_checked(HEADER_LEN)?;
        if chunk.len() < usize::from(INIT_LEN) || chunk[0] != INIT {
            return None;
        }
        let mut blank = packet.to_vec();
        blank[CHECKSUM].fill(0);
        if crc32c(&blank).to_le_bytes() != header[CHECKSUM] {
            return None;
        }
        Some(Self {
            source_port: u16::from_be_bytes([header[0], header[1]]),
            destination_port: u16::from_be_bytes([header[2], header[3]]),
            tag: u32::from_be_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]),
        })
    }
}

/// Castagnoli's CRC, reflected (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of CRC-32/ISCSI in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn packets_round_trip() {
        let init = Init { source_port: 4000, destination_port: 80, tag: 7 };
        let mut packet = init.packet();
        assert_eq!(Init::parse(&packet), Some(init));
        packet[3] ^= 1;
        assert_eq!(Init::parse(&packet), None, "wrong checksum");
        assert_eq!(Init::parse(&packet[..20]), None, "cut short");
    }
}
