//! Programs on the kernel's settings and on messages of sockets.

use bpf_isa::place;
use bpf_isa::text::{Syntax, assemble};
use bpf_vm::context::{Endpoint, Message, Socket, Sysctl};
use bpf_vm::{Packet, ProgramHandle, Runtime};

fn program(source: &str) -> ProgramHandle {
    let instructions: Vec<_> = place(assemble(source, Syntax::Llvm).unwrap());
    Runtime::default().bind("program", &instructions, &[]).unwrap()
}

#[test]
fn what_is_written_to_a_setting() {
    let source = "
        r6 = r1
        *(u64 *)(r10 - 8) = 0
        *(u64 *)(r10 - 16) = 0
        r2 = r10
        r2 += -16
        r3 = 16
        r4 = 1
        call 101
        r7 = r0
        r1 = r6
        r2 = r10
        r2 += -16
        r3 = 2
        call 103
        r7 *= 10
        r7 += r0
        *(u8 *)(r10 - 8) = 49
        r1 = r6
        r2 = r10
        r2 += -8
        r3 = 1
        call 104
        r7 += r0
        r0 = r7
        exit";
    let mut access = Sysctl {
        name: "net/ipv4/ip_forward".to_owned(),
        current: b"0\n".to_vec(),
        written: Some(b"7".to_vec()),
        file_position: 0,
    };
    let outcome = program(source).run_sysctl(&access).unwrap();
    // The name's last part has ten letters, the value one.
    assert_eq!(outcome.value, 101);
    assert_eq!(outcome.sysctl.unwrap().written.as_deref(), Some(b"1".as_slice()));
    // Nothing is written: -EINVAL, twice.
    access.written = None;
    let outcome = program(source).run_sysctl(&access).unwrap();
    assert_eq!(outcome.value as i64, 100 - 22 - 22);
    assert_eq!(outcome.sysctl.unwrap().written, None);
}

#[test]
fn bytes_of_a_message() {
    let source = "
        r6 = r1
        r2 = 2
        r3 = 3
        r4 = 0
        call 90
        r7 = r0
        r1 = r6
        r2 = 0
        r3 = 1
        r4 = 0
        call 91
        r7 += r0
        r1 = r6
        r2 = 4
        call 61
        r1 = r6
        r2 = 9
        call 62
        r1 = *(u64 *)(r6 + 0)
        r2 = *(u64 *)(r6 + 8)
        r2 -= r1
        r7 *= 10
        r7 += r2
        r1 = r6
        r2 = 1
        r3 = 3
        r4 = 0
        call 63
        r7 *= 10
        r7 += r0
        r1 = *(u64 *)(r6 + 0)
        r2 = *(u64 *)(r6 + 8)
        r2 -= r1
        r7 *= 10
        r7 += r2
        r0 = r7
        exit";
    let (local, remote) = (Endpoint::new([10, 0, 0, 1], 1), Endpoint::new([10, 0, 0, 2], 2));
    let message = Message { socket: Socket::tcp(1, local, remote) };
    let mut bytes = Packet::new(b"hello").unwrap();
    let outcome = program(source).run_message(&mut bytes, &message).unwrap();
    assert_eq!(bytes.bytes(), b"e\0\0\0llo");
    // Seven bytes, of which two are shown in the end.
    assert_eq!(outcome.value, 702);
    assert_eq!((outcome.applied, outcome.corked), (Some(4), Some(9)));
}
