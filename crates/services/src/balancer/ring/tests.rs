use super::*;
use std::net::Ipv4Addr;

fn members(weights: &[u32]) -> Vec<Member> {
    let member = |(index, weight): (usize, &u32)| Member {
        number: index as u16 + 1,
        address: Ipv4Addr::from_bits(0x0a00_0001 + index as u32).into(),
        port: 0,
        weight: *weight,
    };
    weights.iter().enumerate().map(member).collect()
}

fn shares(ring: &[u16], members: usize) -> Vec<u32> {
    let mut shares = vec![0; members];
    for owner in ring {
        shares[*owner as usize - 1] += 1;
    }
    shares
}

/// Slots that moved although both their old and their new owner were there before and after.
fn moved(before: &[u16], after: &[u16], changed: impl Fn(u16) -> bool) -> (usize, usize) {
    let differ = before.iter().zip(after).filter(|(b, a)| b != a);
    let needed = differ.clone().filter(|(b, a)| changed(**b) || changed(**a)).count();
    (needed, differ.count() - needed)
}

#[test]
fn shares_are_exact() {
    for weights in [&[1, 10][..], &[1; 7], &[3, 1, 4, 1, 5, 9, 2, 6], &[1, 65_535], &[5]] {
        let members = members(weights);
        let size = size(members.len());
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        for (share, weight) in shares(&weighted(&members, size), weights.len()).iter().zip(weights)
        {
            let exact = f64::from(size) * f64::from(*weight) / total as f64;
            assert!((f64::from(*share) - exact).abs() < 1.0, "{share} of {exact} in {weights:?}");
        }
    }
}

#[test]
fn the_order_of_members_and_their_numbers_do_not_matter() {
    let mut members = members(&[2, 1, 5, 3]);
    let ring = weighted(&members, 4_093);
    members.reverse();
    assert_eq!(weighted(&members, 4_093), ring);
    for member in &mut members {
        member.number += 100;
    }
    let renumbered: Vec<u16> = weighted(&members, 4_093).iter().map(|slot| slot - 100).collect();
    assert_eq!(renumbered, ring);
}

#[test]
fn a_change_moves_little_more_than_it_must() {
    for count in [10, 100] {
        let all = members(&vec![1; count]);
        let size = size(count);
        let without = weighted(&all[..count - 1], size);
        let with = weighted(&all, size);
        let (needed, extra) = moved(&without, &with, |owner| usize::from(owner) == count);
        let share = size as usize / count;
        assert!(needed <= share + 1, "{count}: {needed} slots of the new one, share {share}");
        assert!(extra <= share, "{count}: {extra} extra slots, share {share}");
    }
}

#[test]
fn nobody_and_one() {
    assert!(weighted(&[], 4_093).is_empty());
    assert!(weighted(&members(&[0]), 4_093).is_empty());
    assert_eq!(weighted(&members(&[0, 3]), 11), [2; 11]);
    assert!(katran(&members(&[0]), Version::V1, 65_537).is_empty());
}

#[test]
fn katrans_weights() {
    let members = members(&[1, 10]);
    let first = shares(&katran(&members, Version::V1, 65_537), 2);
    assert!(first[1] - first[0] < 20, "one to one, but for the first round: {first:?}");
    let second = shares(&katran(&members, Version::V2, 65_537), 2);
    assert!((f64::from(second[1]) / f64::from(second[0]) - 10.0).abs() < 0.1, "{second:?}");
}
