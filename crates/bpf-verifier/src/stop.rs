//! Why the engine stops on a path: a broken rule, or something it has no rule for.

use crate::rule::Rule;

/// Small, since every step returns one.
#[derive(Debug)]
pub(crate) struct Stop(pub Box<Cause>);

#[derive(Debug)]
pub(crate) enum Cause {
    Refused { rule: Rule, message: String },
    NotModelled(String),
}

pub(crate) type Check<T = ()> = Result<T, Stop>;

pub(crate) fn refuse<T>(rule: Rule, message: impl Into<String>) -> Check<T> {
    Err(Stop(Box::new(Cause::Refused { rule, message: message.into() })))
}

pub(crate) fn unmodelled<T>(what: impl Into<String>) -> Check<T> {
    Err(Stop(Box::new(Cause::NotModelled(what.into()))))
}
