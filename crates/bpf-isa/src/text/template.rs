//! The templates in the table: literal text and placeholders in braces.

/// What stands in braces in a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// `{dst}`: a register; `{dst:w}` in LLVM's name for its lower half.
    Dst {
        half: bool,
    },
    Src {
        half: bool,
    },
    /// `{imm}`: the immediate, with its sign.
    Imm,
    /// `{id}`: the immediate without a sign.
    Id,
    /// `{wide}`: the immediates of both slots as one number with its sign; `{pair}` without.
    Wide,
    Pair,
    /// `{next}`: the immediate of the second slot.
    Next,
    /// `{high}`, `{low}`: the halves of the immediate.
    High,
    Low,
    /// `{offset}`: ` + 0x4`. May be left out when it is zero.
    Offset,
    /// `{plus}`: the immediate, likewise.
    Plus,
    /// `{target}`: where a jump by the offset goes: a signed distance or a label.
    Target,
    /// `{far}`: where a jump or a call by the immediate goes.
    Far,
    /// `{module}`: the offset after an `@`. Left out when it is zero.
    Module,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Literal(&'static str),
    Placeholder(Placeholder),
}

/// The parts of a template, in order.
pub fn parts(template: &'static str) -> impl Iterator<Item = Part> {
    let mut rest = template;
    std::iter::from_fn(move || {
        if let Some(inner) = rest.strip_prefix('{')
            && let Some((name, after)) = inner.split_once('}')
        {
            rest = after;
            return Some(Part::Placeholder(placeholder(name)));
        }
        let end = rest.find('{').unwrap_or(rest.len());
        let (literal, after) = rest.split_at(end);
        rest = after;
        (!literal.is_empty()).then_some(Part::Literal(literal))
    })
}

fn placeholder(name: &'static str) -> Placeholder {
    match name {
        "dst" => Placeholder::Dst { half: false },
        "dst:w" => Placeholder::Dst { half: true },
        "src" => Placeholder::Src { half: false },
        "src:w" => Placeholder::Src { half: true },
        "imm" => Placeholder::Imm,
        "id" => Placeholder::Id,
        "wide" => Placeholder::Wide,
        "pair" => Placeholder::Pair,
        "next" => Placeholder::Next,
        "high" => Placeholder::High,
        "low" => Placeholder::Low,
        "offset" => Placeholder::Offset,
        "plus" => Placeholder::Plus,
        "target" => Placeholder::Target,
        "far" => Placeholder::Far,
        "module" => Placeholder::Module,
        // The templates are constants, and the tests go through all of them.
        other => unreachable!("{{{other}}} in the table of instructions"),
    }
}
