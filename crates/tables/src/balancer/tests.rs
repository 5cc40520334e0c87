use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;

use std::net::IpAddr;
use std::sync::Arc;

use abi::balancer::{FrontEnd, FrontEndKey, FrontEndKeyV4, Settings, maps};
use abi::{Address, Port};
use model::load_balancer::{Backend, Edge, Vip};
use model::{LoadBalancer, ObjectName, Origin};

use super::{Configuration, read, write_settings};
use crate::{Maps, Row};

type Bytes = BTreeMap<Vec<u8>, Vec<u8>>;

/// Maps as bytes.
#[derive(Default)]
struct InMemory(RefCell<BTreeMap<&'static str, Bytes>>);

impl Maps for InMemory {
    type Error = Infallible;

    fn insert_all<K: Row, V: Row>(
        &self,
        map: &'static str,
        rows: &[(K, V)],
    ) -> Result<(), Infallible> {
        let rows = rows.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec()));
        self.0.borrow_mut().entry(map).or_default().extend(rows);
        Ok(())
    }

    fn remove_all<K: Row>(&self, map: &'static str, keys: &[K]) -> Result<(), Infallible> {
        for key in keys {
            self.0.borrow_mut().entry(map).or_default().remove(key.as_bytes());
        }
        Ok(())
    }

    fn entries<K: Row, V: Row>(&self, map: &'static str) -> Result<Vec<(K, V)>, Infallible> {
        let maps = self.0.borrow();
        let rows = maps.get(map).into_iter().flatten();
        let typed = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            (K::read_from_bytes(key).unwrap(), V::read_from_bytes(value).unwrap())
        };
        Ok(rows.map(typed).collect())
    }

    fn of_all_cpus<V: Row>(&self, _: &'static str, _: u32) -> Result<Vec<V>, Infallible> {
        Ok(Vec::new())
    }

    fn set_all_cpus<V: Row>(&self, _: &'static str, _: u32, _: &V) -> Result<(), Infallible> {
        Ok(())
    }

    fn capacity(&self, _: &'static str) -> Result<u32, Infallible> {
        Ok(u32::MAX)
    }
}

fn key(address: &str) -> FrontEndKey {
    let address: std::net::IpAddr = address.parse().unwrap();
    FrontEndKey { address: Address::from(address), port: Port::new(80), protocol: 6, zero: 0 }
}

/// Versions before the families were parted had VIPs of IPv4 among those of IPv6.
#[test]
fn front_ends_of_earlier_versions_go_where_programs_look_for_them() {
    let held = InMemory::default();
    let row = |vip| FrontEnd { vip, ..FrontEnd::default() };
    let (v4, v6, later) = (key("203.0.113.1"), key("2001:db8::1"), key("203.0.113.2"));
    held.insert_all(maps::FRONTENDS, &[(v4, row(1)), (v6, row(2))]).unwrap();
    held.insert_all(maps::FRONTENDS_V4, &[(later.v4().unwrap(), row(3))]).unwrap();

    for _ in 0..2 {
        let rows = read(&held).unwrap().rows.front_ends;
        assert_eq!(rows.len(), 3);
        for (key, vip) in [(v4, 1), (v6, 2), (later, 3)] {
            assert_eq!(rows[&key].vip, vip, "{key:?}");
        }
        // The maps hold it so from now on.
        let of_v6: Vec<(FrontEndKey, FrontEnd)> = held.entries(maps::FRONTENDS).unwrap();
        assert_eq!(of_v6, [(v6, row(2))]);
        let of_v4: Vec<(FrontEndKeyV4, FrontEnd)> = held.entries(maps::FRONTENDS_V4).unwrap();
        let vips: BTreeMap<u32, FrontEndKey> =
            of_v4.into_iter().map(|(key, row)| (row.vip, key.into())).collect();
        assert_eq!(vips, BTreeMap::from([(1, v4), (3, later)]));
    }
}

/// Programs keep front-ends that they have met for as long as the generation is the same.
#[test]
fn a_generation_begins_with_every_write_and_is_nobody_elses() {
    let held = InMemory::default();
    let settings = || -> Settings {
        let rows: Vec<(u32, Settings)> = held.entries(maps::SETTINGS).unwrap();
        rows[0].1
    };
    let mut configuration = Configuration::default();
    let mut apply = |backends: &[&str]| {
        let backends = backends.iter().map(|it| Backend::at(it.parse().unwrap())).collect();
        let address: IpAddr = "203.0.113.1".parse().unwrap();
        let balancer = LoadBalancer {
            name: ObjectName::new("default", "edge"),
            edge: Edge::default(),
            vips: vec![Vip::tcp(address, 80, backends)],
            origin: Origin::new("m", 1, 1),
        };
        configuration.apply([Arc::new(balancer)], 1, &held).unwrap();
    };
    let mut before = None;
    // The last changes nothing: an agent that was stopped before it had said so does it again.
    for backends in [&["10.0.0.1"][..], &["10.0.0.1", "10.0.0.2"], &["10.0.0.1", "10.0.0.2"]] {
        apply(backends);
        let generation = settings().generation;
        assert_ne!(before.replace(generation), Some(generation), "{backends:?}");
    }
    write_settings(&held, &Settings { max_sent: 9000, generation: 0, ..settings() }).unwrap();
    assert_eq!((settings().max_sent, Some(settings().generation)), (9000, before));
    let rows = read(&held).unwrap().rows;
    assert_eq!(rows.settings, Some(Settings { generation: 0, ..settings() }));
}
