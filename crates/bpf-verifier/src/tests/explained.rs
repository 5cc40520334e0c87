use super::*;

#[test]
fn a_refusal_fits_on_a_screen() {
    let text = "r6 = *(u32 *)(r1 + 0)
        r2 = *(u32 *)(r1 + 4)
        r0 = 2
        if r6 == r2 goto +1
        r0 = *(u8 *)(r6 + 12)
        exit";
    let Verdict::Refused(refusal) = verdict_of("xdp", text, Options::default()) else {
        panic!("accepted");
    };
    assert_eq!(refusal.rule, Rule::PacketBounds);
    assert_eq!(refusal.slot, Some(4));
    let place = refusal.place.as_ref().map(|place| place.instruction.as_str());
    assert_eq!(place, Some("w0 = *(u8 *)(r6 + 0xc)"));
    assert_eq!(refusal.registers, [("r6".to_owned(), "pkt, 0 bytes checked".to_owned())]);
    let steps: Vec<(usize, &str)> =
        refusal.path.iter().map(|step| (step.slot, step.what.as_str())).collect();
    assert_eq!(steps, [(0, "w6 = *(u32 *)(r1 + 0x0)"), (3, "if r6 == r2 goto +0x1: not taken")]);
    let screen = refusal.to_string();
    assert!(screen.contains("[SV0404]") && screen.contains("data_end"), "{screen}");
    assert!(screen.lines().count() < 24, "{screen}");
}

#[test]
fn what_is_not_modelled_is_said() {
    let text = "call kfunc 0x7\n exit";
    let Verdict::NotModelled(what) = verdict_of("tc", text, Options::default()) else {
        panic!("a verdict without grounds");
    };
    assert_eq!(what.slot, Some(0));
}
