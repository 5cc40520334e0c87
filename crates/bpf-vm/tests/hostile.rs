//! Programs, objects and hosts that want more than is theirs, and do everything that is safe to.

use std::sync::{Arc, Weak};

use bpf_isa::text::{Syntax, assemble};
use bpf_isa::{encode, place};
use bpf_object::btf::{Linkage, TypeId};
use bpf_object::{DataKind, LinkedFunction, MapType, Object, Origin, object_of_code};
use bpf_vm::context::Xdp;
use bpf_vm::map::{flag, update};
use bpf_vm::{
    Clock, Engine, Errno, Instance, Map, MapDefinition, Packet, ProgramHandle, Reason, Runtime,
    RuntimeError,
};

const ENGINES: [Engine; 3] = [Engine::Interpreter, Engine::Jit, Engine::VerifiedJit];

/// `None` where there is no compiler.
fn supported<T>(result: Result<T, RuntimeError>) -> Option<T> {
    match result {
        Err(RuntimeError::Compile { source, .. }) => {
            println!("skipped: {source}");
            None
        }
        result => Some(result.unwrap()),
    }
}

/// An object with these maps, and a program that does nothing.
fn object(maps: Vec<bpf_object::Map>) -> Object {
    let code = encode(&assemble("r0 = 0\nexit", Syntax::Llvm).unwrap());
    let mut object = Object::parse(&object_of_code("main", "xdp", "GPL", &code)).unwrap();
    object.maps = maps;
    object
}

fn map(name: &str, kind: MapType, sizes: (u32, u32, u32)) -> bpf_object::Map {
    bpf_object::Map {
        name: name.to_owned(),
        origin: Origin::Types,
        kind,
        key_size: sizes.0,
        value_size: sizes.1,
        max_entries: sizes.2,
        flags: 0,
        extra: 0,
        numa_node: None,
        pinned_by_name: false,
        key_type: None,
        value_type: None,
        inner: None,
        values: Vec::new(),
        contents: None,
        pointers: Vec::new(),
    }
}

/// A program for the maps of an object; a label `callback:` begins its second function.
fn bind(
    object: &Object,
    instance: &Instance,
    source: &str,
    callback: Option<usize>,
) -> ProgramHandle {
    let instructions = assemble(source, Syntax::Llvm).unwrap();
    let mut program = object.link("main", None).unwrap();
    program.code = encode(&instructions);
    let slots = program.code.len() / 8;
    program.instructions = place(instructions);
    program.functions[0].slots = callback.unwrap_or(slots);
    program.functions.extend(callback.map(|slot| LinkedFunction {
        name: "callback".to_owned(),
        slot,
        slots: slots - slot,
        linkage: Linkage::Static,
        kind: Some(TypeId(1)),
    }));
    supported(instance.bind(&program)).unwrap()
}

fn xdp(program: &ProgramHandle) -> Result<u64, RuntimeError> {
    let mut packet = Packet::new(&[0; 60]).unwrap();
    program.run_xdp(&mut packet, &Xdp::default()).map(|outcome| outcome.value)
}

/// What a proof took for a constant is another number in the map that takes its place.
#[test]
fn proofs_hold_for_the_maps_they_were_found_with() {
    let mut constants = map(".rodata", MapType::ARRAY, (4, 8, 1));
    constants.origin = Origin::Data(DataKind::ReadOnly);
    constants.flags = flag::RDONLY_PROG;
    constants.contents = Some(vec![0; 8]);
    let object = object(vec![constants, map("values", MapType::ARRAY, (4, 64, 1))]);
    let source = "ld_pseudo r1, 0x6, 0
        r1 = *(u64 *)(r1 + 0)
        ld_pseudo r2, 0x6, 1
        r2 += r1
        r0 = *(u8 *)(r2 + 0)
        exit";
    let check = |number: Option<u64>, unchecked: bool| {
        let runtime = Runtime::builder().engine(Engine::VerifiedJit).build();
        let mut loader = runtime.loader();
        if let Some(number) = number {
            let definition = MapDefinition::new(MapType::ARRAY, 4, 8, 1);
            let other = runtime.map(definition.with_flags(flag::RDONLY_PROG)).unwrap();
            other.update(&[0; 4], &number.to_ne_bytes(), update::ANY).unwrap();
            other.freeze().unwrap();
            loader = loader.map(".rodata", &other);
        }
        let Some(instance) = supported(loader.load(&object)) else { return };
        if instance.program("main").is_err() {
            return;
        }
        let program = bind(&object, &instance, source, None);
        assert_eq!(program.is_unchecked(), unchecked, "{number:?}");
        assert_eq!(xdp(&program).is_ok(), number.is_none_or(|number| number < 64), "{number:?}");
    };
    check(None, true);
    // Who made it may have kept a way to change it.
    check(Some(0), false);
    check(Some(1 << 20), false);
}

#[test]
fn maps_in_maps_are_what_the_object_says() {
    let mut outer = map("outer", MapType::ARRAY_OF_MAPS, (4, 4, 1));
    outer.inner = Some(Box::new(map("", MapType::ARRAY, (4, 4096, 1))));
    let object = object(vec![outer]);
    let runtime = Runtime::default();
    let other = |size: u32| {
        let mut definition = MapDefinition::new(MapType::ARRAY_OF_MAPS, 4, 4, 1);
        definition.inner = Some(Box::new(MapDefinition::new(MapType::ARRAY, 4, size, 1)));
        runtime.map(definition).unwrap()
    };
    assert!(runtime.loader().map("outer", &other(4096)).load(&object).is_ok());
    let result = runtime.loader().map("outer", &other(8)).load(&object);
    assert!(matches!(result, Err(RuntimeError::OtherMap { .. })));
}

/// A run's memory outlives what it came from.
#[test]
fn what_was_lent_to_a_run_stays_as_long_as_it_can_be_reached() {
    let runtime = Runtime::default();
    let like = || MapDefinition::new(MapType::ARRAY, 4, 8, 1);
    let mut definition = MapDefinition::new(MapType::ARRAY_OF_MAPS, 4, 4, 1);
    definition.inner = Some(Box::new(like()));
    let outer = runtime.map(definition).unwrap();
    let inner = Arc::new(Map::new(like(), 1).unwrap());
    inner.update(&[0; 4], &77u64.to_ne_bytes(), update::ANY).unwrap();
    outer.set_inner(&[0; 4], inner.clone(), update::ANY).unwrap();
    // Looks up the map in the map, and its value.
    let source = "*(u32 *)(r10 - 4) = 0
        ld_pseudo r1, 0x5, 0
        r2 = r10
        r2 += -4
        call 1
        r1 = r0
        r2 = r10
        r2 += -4
        call 1
        exit";
    let find = runtime.bind("find", &place(assemble(source, Syntax::Llvm).unwrap()), &[outer]);
    let find = find.unwrap().program().clone();
    let kept: Weak<Map> = Arc::downgrade(&inner);
    drop((inner, runtime));
    let mut input = bpf_vm::Input::default();
    let address = find.run(&mut input).unwrap();
    assert_ne!(address, 0);
    drop(find);
    // The same memory for another program, which was told where to look.
    struct Nothing;
    impl bpf_vm::Platform for Nothing {
        fn helper(&self, _: i32) -> Option<bpf_vm::Helper> {
            None
        }

        fn kernel_function(&self, _: i32, _: i16) -> Option<bpf_vm::Helper> {
            None
        }

        fn address(&self, _: bpf_isa::Wide) -> Option<u64> {
            None
        }
    }
    let code = encode(&assemble("r0 = *(u64 *)(r1 + 0)\nexit", Syntax::Llvm).unwrap());
    let read = bpf_vm::Program::load(&code, &Nothing).unwrap();
    input.arguments[0] = address;
    assert!(kept.upgrade().is_some());
    assert_eq!(read.run(&mut input), Ok(77));
    drop(input);
    assert!(kept.upgrade().is_none());
}

/// The key that a callback was given is read when the callbacks are over, as in the kernel.
#[test]
fn keys_outlive_their_callbacks() {
    let object = object(vec![map("counts", MapType::HASH, (4, 8, 16))]);
    // The callback is at slot 14.
    let source = "*(u64 *)(r10 - 8) = 0
        ld_pseudo r1, 0x5, 0
        ld_pseudo r2, 0x4, 0xa
        r3 = r10
        r3 += -8
        r4 = 0
        call 164
        r1 = *(u64 *)(r10 - 8)
        r0 = 0
        if r1 == 0 goto +1
        r0 = *(u32 *)(r1 + 0)
        exit
        *(u64 *)(r4 + 0) = r2
        r0 = 0
        exit";
    for engine in ENGINES {
        let runtime = Runtime::builder().engine(engine).build();
        let Some(instance) = supported(runtime.load(&object)) else { continue };
        let Ok(_) = instance.program("main") else { continue };
        let program = bind(&object, &instance, source, Some(14));
        let counts = instance.map("counts").unwrap();
        for key in [0x1234_5678u32, 0x1234_5678 ^ 1] {
            counts.update(&key.to_ne_bytes(), &[0; 8], update::ANY).unwrap();
        }
        assert_eq!(xdp(&program).unwrap() | 1, 0x1234_5679);
    }
}

#[test]
fn callbacks_for_elements_cost_fuel() {
    for engine in [Engine::Interpreter, Engine::Jit] {
        let runtime = Runtime::builder().engine(engine).fuel(1000).build();
        let map = runtime.map(MapDefinition::new(MapType::ARRAY, 4, 8, 900)).unwrap();
        let source = |rounds: &str| {
            format!(
                "{rounds}
                ld_pseudo r1, 0x5, 0
                ld_pseudo r2, 0x4, 0x5
                r3 = 0
                r4 = 0
                call 164
                exit
                r0 = 0
                exit"
            )
        };
        let again = "ld_pseudo r1, 0x5, 0
            ld_pseudo r2, 0x4, 0xc
            r3 = 0
            r4 = 0
            call 164";
        for (rounds, expected) in [("", Ok(900)), (again, Err(()))] {
            let code = place(assemble(&source(rounds), Syntax::Llvm).unwrap());
            let bound = runtime.bind("all", &code, std::slice::from_ref(&map));
            let Some(program) = supported(bound) else { continue };
            let result = program.run_raw(&[0; 8]);
            let value = result.as_ref().map(|outcome| outcome.value).map_err(|_| ());
            assert_eq!(value, expected, "{result:?}");
            if let Err(RuntimeError::Fault { source, .. }) = result {
                assert_eq!(source.reason, Reason::OutOfFuel);
            }
        }
    }
}

#[test]
fn nobody_waits_for_a_lock_that_is_their_own() {
    let runtime = Runtime::default();
    let mut definition = MapDefinition::new(MapType::ARRAY, 4, 8, 1);
    definition.spin_lock = Some(0);
    let map = runtime.map(definition).unwrap();
    let source = "*(u32 *)(r10 - 4) = 0
        *(u64 *)(r10 - 16) = 0
        ld_pseudo r1, 0x5, 0
        r2 = r10
        r2 += -4
        call 1
        r1 = r0
        call 93
        ld_pseudo r1, 0x5, 0
        r2 = r10
        r2 += -4
        r3 = r10
        r3 += -16
        r4 = 4
        call 2
        exit";
    let code = place(assemble(source, Syntax::Llvm).unwrap());
    let program = runtime.bind("lock", &code, std::slice::from_ref(&map)).unwrap();
    let error = program.run_raw(&[0; 8]).unwrap_err();
    assert!(matches!(error, RuntimeError::Fault { .. }), "{error}");
    // And it is free again.
    map.update(&[0; 4], &[1; 8], update::LOCK).unwrap();
}

#[test]
fn definitions_that_cannot_be() {
    let check = |kind, max_entries, lock, timer, expected: Errno| {
        let value = if kind == MapType::ARRAY { 64 } else { 4 };
        let mut definition = MapDefinition::new(kind, 4, value, max_entries);
        definition.spin_lock = lock;
        definition.timer = timer;
        assert_eq!(Map::new(definition, 1).unwrap_err(), expected, "{kind} {max_entries}");
    };
    check(MapType::PROGRAM_ARRAY, u32::MAX, None, None, Errno::ENOMEM);
    check(MapType::PERF_EVENT_ARRAY, u32::MAX, None, None, Errno::ENOMEM);
    check(MapType::ARRAY, 1, Some(2), None, Errno::EINVAL);
    check(MapType::ARRAY, 1, None, Some(4), Errno::EINVAL);
    check(MapType::ARRAY, 1, Some(4), Some(0), Errno::EINVAL);
    check(MapType::ARRAY, 1, Some(8), Some(0), Errno::EINVAL);
}

/// A packet that every run makes longer, until there is no more room.
#[test]
fn packets_that_grow_and_grow() {
    let runtime = Runtime::default();
    let code = assemble("r2 = -200\ncall 44\nexit", Syntax::Llvm).unwrap();
    let program = runtime.bind("grow", &place(code), &[]).unwrap();
    for new in [Packet::new, Packet::guarded] {
        let mut packet = new(&[7; 60]).unwrap();
        for _ in 0..1000 {
            let before = packet.len();
            let outcome = program.run_xdp(&mut packet, &Xdp::default()).unwrap();
            let grown = if outcome.action() == 0 { 200 } else { 0 };
            assert_eq!(packet.len(), before + grown);
        }
        assert!(packet.len() > 100_000);
        assert_eq!(packet.bytes()[packet.len() - 60..], [7; 60]);
    }
}

/// A timer that sets itself again at once doesn't keep time from passing.
#[test]
fn timers_that_go_on_for_ever() {
    let runtime = Runtime::builder().clock(Clock::Manual(0)).build();
    let mut definition = MapDefinition::new(MapType::ARRAY, 4, 16, 1);
    definition.timer = Some(0);
    let map = runtime.map(definition).unwrap();
    let source = "*(u32 *)(r10 - 4) = 0
        ld_pseudo r1, 0x5, 0
        r2 = r10
        r2 += -4
        call 1
        r6 = r0
        r1 = r6
        ld_pseudo r2, 0x5, 0
        r3 = 1
        call 169
        r1 = r6
        ld_pseudo r2, 0x4, 0x7
        call 170
        r1 = r6
        r2 = 0
        r3 = 0
        call 171
        exit
        r1 = r3
        r2 = 0
        r3 = 0
        call 171
        r0 = 0
        exit";
    let code = place(assemble(source, Syntax::Llvm).unwrap());
    let program = runtime.bind("timer", &code, std::slice::from_ref(&map)).unwrap();
    assert_eq!(program.run_raw(&[0; 8]).unwrap().value, 0);
    assert_eq!(runtime.advance(0).unwrap(), 1);
    assert_eq!(runtime.advance(10).unwrap(), 10);
}
