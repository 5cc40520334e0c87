use bpf_kernel::{Error, Map, MapKind, MapLayout, PerCpu, Table};

use crate::host::Host;

fn layout(kind: MapKind, key: usize, value: usize, max_entries: u32) -> MapLayout {
    // Tries must not be preallocated (BPF_F_NO_PREALLOC).
    let flags = u32::from(kind == MapKind::LpmTrie);
    MapLayout { kind, key_size: key as u32, value_size: value as u32, max_entries, flags }
}

fn table<K, V>(kind: MapKind, max_entries: u32) -> Table<K, V>
where
    K: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
    V: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
{
    let layout = layout(kind, size_of::<K>(), size_of::<V>(), max_entries);
    Table::new(Map::create("entries", layout).unwrap()).unwrap()
}

#[test]
fn single_entries() {
    let Some(_host) = Host::new() else { return };
    for kind in [MapKind::Hash, MapKind::LruHash] {
        let table = table::<u32, u64>(kind, 10);
        assert_eq!(table.get(&1).unwrap(), None);
        table.insert(&1, &10).unwrap();
        assert_eq!(table.get(&1).unwrap(), Some(10));
        assert!(!table.insert_new(&1, &11).unwrap());
        assert!(table.replace(&1, &12).unwrap());
        assert!(!table.replace(&2, &12).unwrap());
        assert_eq!(table.entries().unwrap(), [(1, 12)]);
        assert!(table.remove(&1).unwrap());
        assert!(!table.remove(&1).unwrap());
        assert_eq!(table.count().unwrap(), 0);
        table.insert(&3, &30).unwrap();
        assert_eq!(table.take(&3).unwrap(), Some(30));
        assert_eq!(table.take(&3).unwrap(), None);
    }
}

#[test]
fn many_entries() {
    let Some(_host) = Host::new() else { return };
    let count = 20_000u32;
    let table = table::<u32, u64>(MapKind::Hash, 65_536);
    let entries: Vec<(u32, u64)> = (0..count).map(|key| (key, u64::from(key) * 3)).collect();
    table.insert_all(&entries).unwrap();
    let mut read = table.entries().unwrap();
    read.sort_unstable();
    assert_eq!(read, entries);
    // Every second is there, and the missing ones do not stop the others.
    let evens: Vec<u32> = (0..count).step_by(2).collect();
    assert_eq!(table.remove_all(&evens).unwrap(), evens.len());
    let all: Vec<u32> = (0..count + 5).collect();
    assert_eq!(table.remove_all(&all).unwrap(), evens.len());
    assert_eq!(table.count().unwrap(), 0);
    table.insert_all(&entries).unwrap();
    table.clear().unwrap();
    assert_eq!(table.count().unwrap(), 0);
}

#[test]
fn arrays_hold_every_index() {
    let Some(_host) = Host::new() else { return };
    let table = table::<u32, u64>(MapKind::Array, 5000);
    table.insert_all(&[(4999, 7), (0, 1)]).unwrap();
    let entries = table.entries().unwrap();
    assert_eq!(entries.len(), 5000);
    assert_eq!((entries[0], entries[4999]), ((0, 1), (4999, 7)));
    assert!(table.insert(&5000, &1).unwrap_err().to_string().contains("beyond the last entry"));
    table.clear().unwrap();
    assert_eq!(table.get(&4999).unwrap(), Some(0));
}

#[test]
fn tries_match_the_longest_prefix() {
    let Some(_host) = Host::new() else { return };
    // The prefix length (as u32), then the bytes.
    let table = table::<[u8; 8], u32>(MapKind::LpmTrie, 10_000);
    let key = |prefix: u32, address: [u8; 4]| {
        let mut key = [0; 8];
        key[..4].copy_from_slice(&prefix.to_ne_bytes());
        key[4..].copy_from_slice(&address);
        key
    };
    table.insert_all(&[(key(8, [10, 0, 0, 0]), 8), (key(16, [10, 1, 0, 0]), 16)]).unwrap();
    assert_eq!(table.get(&key(32, [10, 1, 2, 3])).unwrap(), Some(16));
    assert_eq!(table.get(&key(32, [10, 2, 2, 3])).unwrap(), Some(8));
    assert_eq!(table.get(&key(32, [11, 2, 2, 3])).unwrap(), None);
    let many: Vec<_> = (0..6000u32).map(|n| (key(32, (n << 4).to_be_bytes()), n)).collect();
    table.insert_all(&many).unwrap();
    assert_eq!(table.entries().unwrap().len(), 6002);
    table.clear().unwrap();
    assert_eq!(table.entries().unwrap().len(), 0);
}

#[test]
fn per_cpu_values_are_split() {
    let Some(_host) = Host::new() else { return };
    for kind in [MapKind::PerCpuArray, MapKind::PerCpuHash] {
        let map = Map::create("counters", layout(kind, 4, 12, 16)).unwrap();
        let table = PerCpu::<u32, [u32; 3]>::new(map).unwrap();
        table.set_all_cpus(&3, &[1, 2, 3]).unwrap();
        let values = table.get(&3).unwrap().unwrap();
        assert_eq!(values, vec![[1, 2, 3]; bpf_kernel::map::possible_cpus()]);
        let entries = table.entries().unwrap();
        assert_eq!(entries.iter().find(|(key, _)| *key == 3).unwrap().1, values);
    }
}

#[test]
fn a_full_map_says_so() {
    let Some(_host) = Host::new() else { return };
    let few: Vec<(u32, u64)> = (0..1100).map(|key| (key, 0)).collect();
    let full = table::<u32, u64>(MapKind::Hash, 1024);
    let expected = "map `entries` is full (1,024 entries)";
    assert_eq!(full.insert_all(&few).unwrap_err().to_string(), expected);
    assert_eq!(full.insert(&5000, &0).unwrap_err().to_string(), expected);
    let trie = table::<[u8; 8], u64>(MapKind::LpmTrie, 2);
    let mut key = [32, 0, 0, 0, 0, 0, 0, 0];
    let errors = (0..3).filter_map(|n| {
        key[7] = n;
        trie.insert(&key, &0).err()
    });
    assert!(matches!(errors.last().unwrap(), Error::MapFull { max_entries: 2, .. }));
}

#[test]
fn other_types_than_the_map_holds_are_refused() {
    let Some(host) = Host::new() else { return };
    let pin = host.bpffs().join("maps/numbers");
    Map::create("numbers", layout(MapKind::Hash, 4, 8, 10)).unwrap().pin(&pin).unwrap();
    assert!(Table::<u32, u64>::open(&pin).is_ok());
    for error in [
        Table::<u32, u32>::open(&pin).unwrap_err(),
        PerCpu::<u32, u64>::open(&pin).map(drop).unwrap_err(),
    ] {
        assert!(error.to_string().contains("map `numbers` holds hash, key 4 B"), "{error}");
    }
    assert!(matches!(
        Table::<u32, u64>::open(&host.bpffs().join("none")).unwrap_err(),
        Error::NotPinned { .. }
    ));
    let info = Map::open(&pin).unwrap().info().unwrap();
    assert_eq!(info.layout, layout(MapKind::Hash, 4, 8, 10));
    assert!(info.memory.unwrap() > 0);
}

#[test]
fn what_is_in_the_kernel_is_listed() {
    let Some(_host) = Host::new() else { return };
    let layout =
        MapLayout { kind: MapKind::Hash, key_size: 4, value_size: 8, max_entries: 4, flags: 0 };
    let map = Map::create("listed", layout).unwrap();
    map.set(&7u32.to_ne_bytes(), &9u64.to_ne_bytes()).unwrap();
    assert!(map.set(&[7], &[9; 8]).unwrap_err().to_string().contains("1 bytes were given"));
    let details = map.details().unwrap();
    assert!(Map::ids().unwrap().contains(&details.id));
    let again = Map::from_id(details.id).unwrap();
    assert_eq!((again.name(), details.kind, details.frozen), ("listed", 1, false));
    let expected = (7u32.to_ne_bytes().to_vec(), 9u64.to_ne_bytes().to_vec());
    assert_eq!(again.entries(10).unwrap(), std::slice::from_ref(&expected));
    assert_eq!(again.value(&expected.0).unwrap(), Some(expected.1));
    assert_eq!(again.value(&8u32.to_ne_bytes()).unwrap(), None);

    let two = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let program =
        bpf_kernel::Program::from_instructions("listed", bpf_kernel::ProgramKind::XDP, &two)
            .unwrap();
    let details = program.details().unwrap();
    assert!(bpf_kernel::Program::ids().unwrap().contains(&details.id));
    assert_eq!((details.name.as_str(), details.kind, details.maps.len()), ("listed", 6, 0));
    let code = program.translated_code().unwrap();
    assert!(code.is_empty() || code.ends_with(&two.concat()), "{code:?}");
    assert!(program.machine_code().unwrap().len() <= details.machine_code as usize);
}
