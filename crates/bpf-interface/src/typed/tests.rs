use bpf_object::btf::{Composite, Int, Linkage, Member, Parameter, StringId};

use super::*;

/// The few types of a kernel that these tests ask for.
fn kernel() -> Btf {
    let mut btf = Btf::new();
    let int =
        btf.add("int", Kind::Int(Int { size: 4, encoding: Int::SIGNED, bit_offset: 0, bits: 32 }));
    let file = btf.add("file", Kind::Struct(Composite { size: 8, ..Composite::default() }));
    let task = btf.add("task_struct", Kind::Struct(Composite { size: 8, ..Composite::default() }));
    let meta =
        btf.add("bpf_iter_meta", Kind::Struct(Composite { size: 8, ..Composite::default() }));
    let pointer = |btf: &mut Btf, to| btf.add("", Kind::Pointer(to));
    let (file, task, meta) =
        (pointer(&mut btf, file), pointer(&mut btf, task), pointer(&mut btf, meta));
    let nothing = pointer(&mut btf, TypeId::VOID);
    let names: Vec<StringId> =
        ["file", "mask", "task__nullable"].iter().map(|name| btf.intern(name)).collect();
    let parameter = |name: usize, kind| Parameter { name: names[name], kind };
    let function = |btf: &mut Btf, name: &str, returns, parameters| {
        let prototype = btf.add("", Kind::Prototype { returns, parameters });
        btf.add(name, Kind::Function { prototype, linkage: Linkage::Static });
        prototype
    };
    function(&mut btf, "bpf_lsm_file_open", int, vec![parameter(0, file)]);
    function(
        &mut btf,
        "traced",
        int,
        vec![parameter(0, file), parameter(1, int), parameter(2, task)],
    );
    function(&mut btf, "bpf_iter_task", int, vec![parameter(0, meta), parameter(0, task)]);
    let tracepoint = btf.add(
        "",
        Kind::Prototype {
            returns: TypeId::VOID,
            parameters: vec![parameter(0, nothing), parameter(0, task), parameter(0, task)],
        },
    );
    let tracepoint = pointer(&mut btf, tracepoint);
    btf.add("btf_trace_sched_pi_setprio", Kind::Typedef(tracepoint));
    let select = btf
        .add("", Kind::Prototype { returns: TypeId::VOID, parameters: vec![parameter(0, task)] });
    let select = pointer(&mut btf, select);
    let name = btf.intern("enqueue");
    let members = vec![Member { name, kind: select, bit_offset: 0, bits: 0 }];
    btf.add("sched_ext_ops", Kind::Struct(Composite { size: 8, has_bit_fields: false, members }));
    btf
}

#[track_caller]
fn check(program: P, attach: A, target: &str, expected: &[&str], result: Option<u32>) {
    let kernel = kernel();
    let caller = Caller { target, ..Caller::new(program, attach) };
    let signature = signature(&kernel, &caller).expect("a signature");
    let shown: Vec<String> = signature
        .arguments
        .iter()
        .map(|(offset, argument)| match argument {
            Argument::Structure(pointer) => {
                let trusted = if pointer.trusted { " trusted" } else { "" };
                let nullable = if pointer.nullable { " or NULL" } else { "" };
                format!("{offset}: {}{trusted}{nullable}", kernel.name(pointer.structure))
            }
            other => format!("{offset}: {other:?}"),
        })
        .collect();
    assert_eq!(shown, expected);
    assert_eq!(signature.result_offset, result);
}

#[test]
fn signatures() {
    check(P::LSM, A::LSM_MAC, "file_open", &["0: file trusted"], Some(8));
    let number = "8: Number { size: 4, pointer: false }";
    let traced = ["0: file", number, "16: task_struct or NULL"];
    check(P::TRACING, A::TRACE_FENTRY, "traced", &traced, None);
    check(P::TRACING, A::TRACE_FEXIT, "traced", &traced, Some(24));
    let iterated = ["0: bpf_iter_meta trusted", "8: task_struct trusted or NULL"];
    check(P::TRACING, A::TRACE_ITER, "task", &iterated, None);
    let point = ["0: task_struct trusted", "8: task_struct trusted or NULL"];
    check(P::TRACING, A::TRACE_RAW_TP, "sched_pi_setprio", &point, None);
    check(P::STRUCT_OPS, A(0), "sched_ext_ops/enqueue", &["0: task_struct trusted"], None);
}

#[test]
fn what_is_not_there() {
    let kernel = kernel();
    let of = |program, attach, target| {
        signature(&kernel, &Caller { target, ..Caller::new(program, attach) })
    };
    assert_eq!(of(P::XDP, A::XDP, ""), Err(Missing::Kind));
    let missing = Missing::Target("bpf_lsm_nothing".to_owned());
    assert_eq!(of(P::LSM, A::LSM_MAC, "nothing"), Err(missing));
    assert!(of(P::STRUCT_OPS, A(0), "sched_ext_ops/nothing").is_err());
    let target = |program, attach, target| {
        check_target(&kernel, &Caller { target, ..Caller::new(program, attach) }).is_ok()
    };
    assert!(target(P::XDP, A::XDP, ""));
    assert!(target(P::LSM, A::LSM_MAC, "file_open"));
    assert!(!target(P::TRACING, A::TRACE_FENTRY, "gone"));
    assert!(!target(P::TRACING, A::TRACE_FENTRY, ""));
}
