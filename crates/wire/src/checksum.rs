//! The Internet checksum (RFC 1071), its incremental update (RFC 1624), and SCTP's CRC32c.
//!
//! Sums are kept in memory order: one's complement addition does not care about byte order
//! (RFC 1071, 1B), so words are added as they are loaded.

/// An unfolded one's complement sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    pub const ZERO: Sum = Sum(0);

    #[inline(always)]
    pub const fn word(self, word: u16) -> Self {
        Sum(self.0 + word as u64)
    }

    #[inline(always)]
    pub const fn double(self, word: u32) -> Self {
        Sum(self.0 + word as u64)
    }

    /// Bytes that start at an even offset of what is summed.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut sum = self;
        let mut pairs = bytes.chunks_exact(2);
        for pair in &mut pairs {
            sum = sum.word(u16::from_ne_bytes([pair[0], pair[1]]));
        }
        if let [last] = *pairs.remainder() {
            sum = sum.word(u16::from_ne_bytes([last, 0]));
        }
        sum
    }

    /// What TCP, UDP and ICMPv6 sum besides their own bytes (RFC 9293, 3.1; RFC 8200, 8.1).
    /// `source` and `destination` are 4 or 16 bytes.
    pub fn pseudo_header(source: &[u8], destination: &[u8], protocol: u8, length: u32) -> Self {
        Sum::ZERO
            .bytes(source)
            .bytes(destination)
            .bytes(&[0, protocol])
            .bytes(&length.to_be_bytes())
    }

    #[inline(always)]
    pub const fn fold(self) -> u16 {
        let mut sum = self.0;
        // Four halves, then at most two carries.
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }

    /// The checksum to store, in memory order.
    #[inline(always)]
    pub const fn finish(self) -> u16 {
        !self.fold()
    }
}

/// The checksum after `from` has become `to`, all in memory order (RFC 1624, equation 3).
#[inline(always)]
pub const fn update(checksum: u16, from: Sum, to: Sum) -> u16 {
    Sum(!checksum as u64 + (!from.fold()) as u64 + to.fold() as u64).finish()
}

/// CRC32c (Castagnoli), as SCTP uses it; the result goes out with its low byte first.
pub fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::ZERO.bytes(&bytes).fold().to_ne_bytes(), [0xdd, 0xf2]);
    }

    /// RFC 1624, section 4: the case in which the older equation gives a wrong zero.
    #[test]
    fn the_example_of_rfc_1624() {
        let word = |number: u16| Sum::ZERO.word(number.to_be());
        assert_eq!(update(0xdd2f_u16.to_be(), word(0x5555), word(0x3285)), 0u16);
    }

    #[test]
    fn crc32c_check_value() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #[test]
        fn update_equals_recomputation(
            mut bytes in prop::collection::vec(any::<u8>(), 8..64),
            at in 0usize..3,
            to in any::<[u8; 2]>(),
        ) {
            let before = Sum::ZERO.bytes(&bytes).finish();
            let from = [bytes[at * 2], bytes[at * 2 + 1]];
            bytes[at * 2..at * 2 + 2].copy_from_slice(&to);
            let after = update(before, Sum::ZERO.bytes(&from), Sum::ZERO.bytes(&to));
            // Both zeros of one's complement stand for the same number.
            let zero = |sum: u16| if sum == 0 { 0xffff } else { sum };
            prop_assert_eq!(zero(after), zero(Sum::ZERO.bytes(&bytes).finish()));
        }
    }
}
