use super::*;
use crate::helper;

#[test]
fn profiles_are_written_and_read() {
    let mut profile = Profile::new("6.1.0-test", Version::new(6, 1), "made up");
    profile.programs.extend([ProgramType::XDP, ProgramType(77)]);
    profile.attaches.insert(AttachType::XDP_DEVMAP);
    profile.maps.extend([MapType::HASH, MapType::RING_BUFFER]);
    profile.abilities.extend([Ability::Atomics, Ability::Jump32]);
    profile.helpers.insert(ProgramType::XDP, [1, 2, 3, 5, 7, 8].into());
    profile.functions.insert(ProgramType::XDP, ["bpf_throw".to_owned()].into());
    let both = ["bpf_throw".to_owned(), "bpf_task_acquire".to_owned()];
    profile.functions.insert(ProgramType::SYSCALL, both.into());
    let text = profile.to_string();
    assert!(text.contains("\nfunctions syscall: bpf_task_acquire\nfunctions all: bpf_throw\n"));
    assert!(text.contains("\nhelpers xdp: 1-3 5 7-8\n"), "{text}");
    assert!(text.contains("\nprograms: xdp 77\n"), "{text}");
    assert_eq!(Profile::parse(&text), Ok(profile));
}

#[test]
fn damaged_profiles() {
    for (text, line, reason) in [
        ("", 0, "there is no version"),
        ("version: six", 1, "`six` is no version of Linux"),
        ("version: 6.1\nmaps: hash hush", 2, "`hush` is no map type"),
        ("version: 6.1\nhelpers xdp: 3-1", 2, "`3-1` is no number or range of helpers"),
        (
            "version: 6.1\nhelpers xdp: 1-4000000000",
            2,
            "`1-4000000000` is no number or range of helpers",
        ),
        ("version: 6.1\n\ncolour: red", 3, "`colour` is not a key of profiles"),
        ("version", 1, "there is no colon behind a key"),
    ] {
        let expected = ParseError { line, reason: reason.to_owned() };
        assert_eq!(Profile::parse(text), Err(expected), "{text}");
    }
}

#[test]
fn what_was_not_tried_goes_by_its_version() {
    let mut profile = Profile::new("6.1", Version::new(6, 1), "");
    let helper = |program, helper| Feature::Helper { program, helper };
    profile.helpers.insert(ProgramType::XDP, [1].into());
    assert_eq!(profile.has(&helper(ProgramType::XDP, 1)), Has::Yes);
    assert_eq!(profile.has(&helper(ProgramType::XDP, 181)), Has::No);
    assert_eq!(profile.has(&helper(ProgramType::LSM, 181)), Has::Probably);
    assert_eq!(profile.has(&helper(ProgramType::LSM, 210)), Has::Hardly);
    profile.functions.insert(ProgramType::XDP, BTreeSet::new());
    let function =
        |name: &str| Feature::KernelFunction { program: ProgramType::XDP, name: name.to_owned() };
    assert_eq!(profile.has(&function("bpf_xdp_ct_lookup")), Has::Probably);
    assert_eq!(profile.has(&function("bpf_obj_new_impl")), Has::No);
}

fn known() -> Vec<Profile> {
    KNOWN.iter().map(|name| embedded(name).expect("a profile that can be read")).collect()
}

#[test]
fn embedded_profiles_are_ordered_and_whole() {
    for (name, profile) in KNOWN.iter().zip(known()) {
        assert!(!profile.source.is_empty(), "{name}");
        if let Ok(version) = name.parse() {
            assert_eq!(profile.version, version);
        }
        for helpers in profile.helpers.values() {
            assert!(helpers.contains(&1), "{name}");
        }
    }
    for pair in known().windows(2) {
        let [older, newer] = pair else { continue };
        assert!(older.version < newer.version);
        assert!(older.programs.is_subset(&newer.programs));
        assert!(older.attaches.is_subset(&newer.attaches));
        assert!(older.maps.is_subset(&newer.maps));
        assert!(older.abilities.is_subset(&newer.abilities));
        for (program, helpers) in &older.helpers {
            let missing: Vec<_> = helpers
                .difference(&newer.helpers[program])
                .filter(|helper| !taken_away(*program, **helper))
                .collect();
            assert!(missing.is_empty(), "{program}: {} lost {missing:?}", newer.release);
        }
    }
}

/// skb_pull_data, which lost its way in these programs in 2026, also in stable kernels.
fn taken_away(program: ProgramType, helper: u32) -> bool {
    program == ProgramType::LWT_SEG6LOCAL && helper == 39
}

/// What is in the tables of versions agrees with the kernels that were tried.
#[test]
fn versions_agree_with_the_probed_kernels() {
    for profile in known().iter().filter(|profile| profile.source.starts_with("probed")) {
        let version = profile.version;
        let check = |feature: Feature| {
            let since = feature.since();
            // Numbers that only newer kernels know have no version here.
            let Some(since) = since else { return };
            let expected = since <= version;
            let found = profile.has(&feature) == Has::Yes;
            assert_eq!(found, expected, "{feature} since {since}, on {}", profile.release);
        };
        for ability in Ability::ALL {
            check(Feature::Ability(*ability));
        }
        for program in (1..40).map(ProgramType) {
            // Infrared remote controls are not for virtual machines.
            if program != ProgramType::LIRC_MODE2 {
                check(Feature::Program(program));
            }
        }
        for map in 1..40 {
            check(Feature::Map(MapType(map)));
        }
        for attach in 0..64 {
            check(Feature::Attach(AttachType(attach)));
        }
        let all: BTreeSet<u32> = profile.helpers.values().flatten().copied().collect();
        for prototype in helper::all() {
            let id = prototype.id;
            let feature = Feature::Helper { program: ProgramType::XDP, helper: id };
            let Some(since) = feature.since() else { continue };
            // Overriding functions and remote controls are not in these kernels.
            if !matches!(id, 58 | 77 | 78 | 92) {
                let found = all.contains(&id);
                assert_eq!(found, since <= version, "{} on {}", prototype.name, profile.release);
            }
        }
    }
}

/// The table of helpers was read from the sources of 6.12; the profile was made by trying.
#[test]
fn the_table_of_helpers_agrees_with_the_probed_6_12() {
    use crate::caller::Caller;
    let profile = embedded("6.12").expect("a profile that can be read");
    for (program, probed) in &profile.helpers {
        // Sock_ops programs could be loaded for any place, but are for one only.
        let attaches: Vec<AttachType> = match *program {
            ProgramType::SOCK_OPS => vec![AttachType::CGROUP_SOCK_OPS],
            _ => (0..64).map(AttachType).collect(),
        };
        let targets = ["file_open", "socket_post_create", "tcp", "tcp_congestion_ops/init"];
        let may = |id| {
            attaches.iter().any(|attach| {
                targets.iter().any(|target| {
                    [false, true].into_iter().any(|sleepable| {
                        let caller = Caller { target, sleepable, ..Caller::new(*program, *attach) };
                        crate::program::allows_attach(&caller)
                            && !matches!(
                                helper::for_program(&caller, id),
                                Err(helper::Denied::Program | helper::Denied::Unknown)
                            )
                    })
                })
            })
        };
        let ours: BTreeSet<u32> = (1..=211).filter(|id| may(*id)).collect();
        let only_ours: Vec<_> =
            ours.difference(probed).filter(|id| !matches!(id, 58 | 77 | 78 | 92)).collect();
        let only_theirs: Vec<_> =
            probed.difference(&ours).filter(|id| !taken_away(*program, **id)).collect();
        assert!(
            only_ours.is_empty() && only_theirs.is_empty(),
            "{program}: ours {only_ours:?}, the kernel's {only_theirs:?}"
        );
    }
}

/// Likewise for kernel functions, as far as they are in the image and not in modules.
#[test]
fn the_table_of_kernel_functions_agrees_with_the_probed_6_12() {
    use crate::{caller::Caller, kfunc};
    let profile = embedded("6.12").expect("a profile that can be read");
    let probed: BTreeSet<&String> = profile.functions.values().flatten().collect();
    for (program, functions) in &profile.functions {
        for name in kfunc::names() {
            if !probed.contains(&name.to_owned()) {
                continue;
            }
            // As it was tried: sessions were not, iterators were.
            let attaches = [AttachType(0), AttachType::TRACE_ITER, AttachType::LSM_MAC];
            let ours = attaches
                .iter()
                .any(|attach| kfunc::for_program(&Caller::new(*program, *attach), name).is_ok());
            assert_eq!(functions.contains(name), ours, "{name} in {program}");
        }
    }
}
