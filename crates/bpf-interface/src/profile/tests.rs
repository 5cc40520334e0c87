use super::*;

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
