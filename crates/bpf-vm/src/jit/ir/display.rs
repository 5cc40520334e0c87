//! Instructions as text, for tests and for whoever debugs.

use std::fmt;

use bpf_isa::{Register, Source, Width};

use super::{Address, Inst};

fn name(width: Width, register: Register) -> String {
    match width {
        Width::W64 => register.to_string(),
        Width::W32 => format!("w{}", register.number()),
    }
}

fn operand(source: Source) -> String {
    match source {
        Source::Immediate(imm) => imm.to_string(),
        Source::Register(register) => register.to_string(),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "[{} + {index} + {}]", self.base, self.offset),
            None => write!(f, "[{} + {}]", self.base, self.offset),
        }
    }
}

impl fmt::Display for Inst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Alu { op, width, dst, left, right } => {
                let (dst, left) = (name(width, dst), name(width, left));
                write!(f, "{dst} = {left} {op:?} {}", operand(right))
            }
            Self::Move { width, dst, src } => {
                write!(f, "{} = {}", name(width, dst), name(width, src))
            }
            Self::Constant { dst, value } => write!(f, "{dst} = {value}"),
            Self::Extend { extension, dst, src } => write!(f, "{dst} = {extension:?} {src}"),
            Self::Rotate { width, dst, src, distance } => {
                write!(f, "{} = {} rotated by {distance}", name(width, dst), name(width, src))
            }
            Self::Load { access, swap, dst, address } => {
                let swapped = if swap { " swapped" } else { "" };
                write!(f, "{dst} = {access:?}{swapped} {address}")
            }
            Self::Store { size, address, value } => {
                write!(f, "{size:?} {address} = {}", operand(value))
            }
            Self::Select { condition, width, left, right, dst, value } => {
                let (left, value) = (name(width, left), operand(value));
                let right = operand(right);
                write!(f, "{dst} = {value} if {left} {condition:?} {right} else {dst}")
            }
            other => write!(f, "{other:?}"),
        }
    }
}
