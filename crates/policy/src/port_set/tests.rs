use super::*;

fn allow(id: u32, protocol: Option<u8>, first: u16, last: u16) -> PortRule {
    PortRule {
        tier: Tier::Normal,
        priority: 0,
        action: Action::Allow,
        id,
        protocol,
        first,
        last,
        specific: false,
    }
}

/// Looks up as an LPM trie does.
fn lookup(entries: &[PortEntry], protocol: u8, port: u16) -> Rule {
    entries
        .iter()
        .filter(|entry| match entry.prefix_len {
            PortKey::PORT_SET_BITS => true,
            PortKey::PROTOCOL_BITS => entry.protocol == protocol,
            bits => {
                let shift = 64 - bits;
                entry.protocol == protocol && entry.port >> shift == port >> shift
            }
        })
        .max_by_key(|entry| entry.prefix_len)
        .map_or(ABSENT, PortEntry::value)
}

fn check(mut rules: Vec<PortRule>, size: usize, expect: &[(u8, u16, u32)]) {
    let entries = flatten(&mut rules, true);
    assert_eq!(entries.len(), size, "{entries:#?}");
    for &(protocol, port, rule) in expect {
        assert_eq!(lookup(&entries, protocol, port).id, rule, "{protocol} {port}: {entries:#?}");
    }
}

#[test]
fn ranges_become_prefixes() {
    assert_eq!(prefixes(80, 80), [(80, 16)]);
    assert_eq!(prefixes(0, u16::MAX), [(0, 0)]);
    assert_eq!(prefixes(80, 83), [(80, 14)]);
    assert_eq!(prefixes(1, 4), [(1, 16), (2, 15), (4, 16)]);
    assert_eq!(prefixes(1, u16::MAX).len(), 16);
    assert_eq!(prefixes(u16::MAX, u16::MAX), [(u16::MAX, 16)]);
}

#[test]
fn narrower_rules_get_the_credit() {
    check(
        vec![allow(1, None, 0, u16::MAX), allow(2, Some(6), 80, 80)],
        2,
        &[(6, 80, 2), (6, 81, 1), (1, 8, 1)],
    );
    check(
        vec![allow(1, Some(6), 0, u16::MAX), allow(2, Some(6), 80, 83), allow(3, Some(17), 53, 53)],
        3,
        &[(6, 80, 2), (6, 84, 1), (17, 53, 3), (17, 54, NO_RULE), (1, 0, NO_RULE)],
    );
    check(vec![], 0, &[(6, 80, NO_RULE)]);
}

#[test]
fn deny_before_allow_and_tiers() {
    let deny = PortRule { action: Action::Deny, ..allow(9, Some(6), 80, 80) };
    check(vec![allow(1, None, 0, u16::MAX), deny], 2, &[(6, 80, 9), (6, 443, 1)]);

    let admin_allow = PortRule { tier: Tier::Admin, ..allow(5, Some(6), 80, 80) };
    check(vec![deny, admin_allow], 1, &[(6, 80, 5)]);

    let admin_deny = PortRule {
        tier: Tier::Admin,
        action: Action::Deny,
        priority: 7,
        ..allow(6, None, 0, 65535)
    };
    let admin_pass = PortRule {
        tier: Tier::Admin,
        action: Action::Pass,
        priority: 3,
        ..allow(7, Some(6), 443, 443)
    };
    check(
        vec![allow(1, Some(6), 443, 443), admin_deny, admin_pass],
        2,
        &[(6, 443, 1), (6, 80, 6), (17, 1, 6)],
    );
    // Passed on, and nothing allows: the denial has to be written down inside the wider allow.
    let admin_allow = PortRule { tier: Tier::Admin, priority: 7, ..allow(6, None, 0, 65535) };
    let entries = flatten(&mut [admin_allow, admin_pass], true);
    assert_eq!(lookup(&entries, 6, 443), ABSENT);
    assert_eq!(lookup(&entries, 6, 444).id, 6);
}

#[test]
fn without_default_denial_the_rest_is_allowed() {
    let deny = PortRule { action: Action::Deny, ..allow(9, Some(6), 80, 80) };
    let baseline =
        PortRule { tier: Tier::Baseline, action: Action::Deny, ..allow(8, Some(17), 0, 65535) };
    let entries = flatten(&mut [deny, baseline], false);
    assert_eq!(lookup(&entries, 6, 80), Rule { id: 9, flags: rule_flags::DENY });
    assert_eq!(lookup(&entries, 6, 81), Rule { id: NO_RULE, flags: 0 });
    assert_eq!(lookup(&entries, 17, 1), Rule { id: 8, flags: rule_flags::DENY });
}
