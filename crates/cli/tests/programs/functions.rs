//! Kernel functions: objects in lists and trees, dynptrs over packets, MTUs.

use crate::prog::Place;

#[test]
fn they_do_as_the_kernels() {
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    if !symbols.contains(" bpf_rbtree_first") {
        println!("skipped: the kernel here has no such functions (Linux 6.3)");
        return;
    }
    let place = Place::new();
    if !place.clang("functions", include_str!("functions.c")) {
        return;
    }
    let packet: String = (0..60).map(|byte| format!("{byte:02x}")).collect();
    let mut engines = vec!["interp", "jit"];
    match nix::unistd::Uid::effective().is_root() {
        true => engines.push("kernel"),
        false => println!("not in the kernel: needs root"),
    }
    for (program, expected) in
        [("in_lists", 2130u64), ("in_trees", 25790), ("dynptrs", 600_711_101), ("mtu", 1011)]
    {
        for engine in &engines {
            let ran = place.skep(&format!(
                "prog run functions.o --prog {program} --packet {packet} --engine {engine} -o json"
            ));
            let value: serde_json::Value = serde_json::from_str(&ran.out)
                .unwrap_or_else(|_| panic!("{program}, {engine}: {}{}", ran.out, ran.err));
            assert_eq!(value["runs"][0]["value"], expected, "{program}, {engine}");
        }
    }
}
