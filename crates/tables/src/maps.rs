use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Keys and values: every byte of theirs is accounted for.
pub trait Row: FromBytes + IntoBytes + Immutable {}

impl<T: FromBytes + IntoBytes + Immutable> Row for T {}

/// The maps of loaded programs, by the names that [`abi`] has for them.
pub trait Maps {
    type Error;

    /// Sets entries, new or not.
    fn insert_all<K: Row, V: Row>(
        &self,
        map: &'static str,
        rows: &[(K, V)],
    ) -> Result<(), Self::Error>;

    /// Deletes entries; those that are not there are passed over.
    fn remove_all<K: Row>(&self, map: &'static str, keys: &[K]) -> Result<(), Self::Error>;

    /// All entries.
    fn entries<K: Row, V: Row>(&self, map: &'static str) -> Result<Vec<(K, V)>, Self::Error>;

    /// The value that each CPU has under a key; none if there is no such entry.
    fn of_all_cpus<V: Row>(&self, map: &'static str, key: u32) -> Result<Vec<V>, Self::Error>;

    /// Sets the same value for every CPU.
    fn set_all_cpus<V: Row>(
        &self,
        map: &'static str,
        key: u32,
        value: &V,
    ) -> Result<(), Self::Error>;

    /// Entries that a map has room for.
    fn capacity(&self, map: &'static str) -> Result<u32, Self::Error>;
}
