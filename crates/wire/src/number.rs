//! Numbers in network order, aligned as the machine likes them.

#![allow(missing_debug_implementations, reason = "zerocopy's derives make helper types")]

use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! big_endian {
    ($name:ident, $native:ty) => {
        /// A number as it stands in the packet.
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
        )]
        #[repr(transparent)]
        pub struct $name(
            /// The bytes of the packet, loaded as one word in memory order.
            pub $native,
        );

        impl $name {
            /// From a number in the machine's order.
            #[inline(always)]
            pub const fn new(number: $native) -> Self {
                $name(number.to_be())
            }

            /// In the machine's order.
            #[inline(always)]
            pub const fn number(self) -> $native {
                <$native>::from_be(self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.number().fmt(f)
            }
        }
    };
}

big_endian!(Be16, u16);
big_endian!(Be32, u32);
