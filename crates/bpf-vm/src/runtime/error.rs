//! Why an object can't be loaded, or a program not be started.

use std::sync::Arc;

use crate::errno::Errno;
use crate::fault::{Fault, LoadError};
use crate::jit::CompileError;
use crate::packet::PacketError;

#[derive(Clone, Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("map {map} can't be made: {source}")]
    Map { map: String, source: Errno },
    #[error("map {map} is of another form than what the object asks for")]
    OtherMap { map: String },
    #[error("map {map} can't be given its first values: {source}")]
    FirstValue { map: String, source: Errno },
    #[error("map {map} holds the address of function {function}, which has none before it is run")]
    FunctionPointer { map: String, function: String },
    #[error("program {program} can't be linked: {source}")]
    Link { program: String, source: Arc<bpf_object::Error> },
    #[error("program {program}: {source}")]
    Load { program: String, source: LoadError },
    #[error(
        "program {program} calls {helper}, which this runtime doesn't have; HELPERS lists what it \
         has"
    )]
    Helper { program: String, helper: String },
    #[error("program {program} can't be compiled: {source}")]
    Compile { program: String, source: Arc<CompileError> },
    #[error("the object has no program {0}")]
    NoProgram(String),
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error("no memory for the run: {0}")]
    Memory(Errno),
    #[error("program {program} was ended: {source}")]
    Fault { program: String, source: Fault },
}
