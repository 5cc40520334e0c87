//! The report for people: a line per program, a screen per refusal.

use super::kernels::{Kernel, Lack, Told};
use super::{Answer, Args, Judged, Report};
use crate::commands::prog::disasm::short;
use crate::output::{Cell, Paint, Style, Table, visible};
use bpf_verifier::{Facts, Refusal};

pub fn report(report: &Report, args: &Args, style: Style) -> String {
    let mut table = Table::without_headings();
    for judged in &report.judged {
        let kind = judged.kind.as_ref().map_or("?".to_owned(), |kind| kind.program.to_string());
        let (verdict, note) = match &judged.answer {
            Answer::Accepted(facts) => (Cell::new(Paint::Good, "✓ accepted"), cost(facts)),
            Answer::OverBudget(facts, limit) => (
                Cell::new(Paint::Bad, "✗ over budget"),
                format!("{}, allowed are {limit}", cost(facts)),
            ),
            Answer::Refused(refusal) => (Cell::new(Paint::Bad, "✗ refused"), headline(refusal)),
            Answer::NotModelled(what) => {
                (Cell::new(Paint::Warning, "? not modelled"), what.what.clone())
            }
            Answer::NotLinked(reason) => {
                (Cell::new(Paint::Warning, "? not judged"), reason.clone())
            }
        };
        table.row([
            format!("{}: {} ({kind})", judged.file, judged.program).into(),
            verdict,
            note.into(),
        ]);
    }
    for unread in &report.unread {
        table.row([
            unread.file.clone().into(),
            Cell::new(Paint::Bad, "✗ not read"),
            unread.reason.clone().into(),
        ]);
    }
    let mut text = table.render(style);
    text += &kernels(report, style);
    text += &growth(report, args, style);
    for judged in &report.judged {
        match &judged.answer {
            Answer::Refused(refusal) => {
                text += "\n";
                text += &explain(judged, refusal, args.steps, style);
            }
            Answer::Accepted(facts) | Answer::OverBudget(facts, _) if args.stats => {
                text += "\n";
                text += &statistics(judged, facts, style);
            }
            _ => {}
        }
    }
    if report.judged.len() + report.unread.len() > 1 {
        text += &format!("\n{}\n", summary(report));
    }
    text
}

/// Per program, which kernels have what it needs, and what the others lack.
fn kernels(report: &Report, style: Style) -> String {
    let mut text = String::new();
    for judged in report.judged.iter().filter(|judged| !judged.kernels.is_empty()) {
        let is_costly = matches!(judged.answer, Answer::OverBudget(..));
        let is_refused = is_costly
            || judged.kernels.iter().all(|kernel| matches!(kernel.told, Told::Refused(_)));
        let mark = |kernel: &Kernel| match &kernel.told {
            _ if is_costly || kernel.refuses() => style.paint(Paint::Bad, "✗"),
            Told::Open(_) => style.paint(Paint::Warning, "?"),
            _ => style.paint(Paint::Good, "✓"),
        };
        let marks: Vec<String> = judged
            .kernels
            .iter()
            .map(|kernel| format!("{} {}", kernel.name, mark(kernel)))
            .collect();
        let refused = if is_refused { "   refused everywhere" } else { "" };
        text += &format!(
            "\n{}   {}{refused}\n",
            style.paint(Paint::Heading, &format!("{}: {}", judged.file, judged.program)),
            marks.join("   ")
        );
        let mut said: Vec<(&Lack, Vec<&str>)> = Vec::new();
        for kernel in &judged.kernels {
            for lack in &kernel.lacks {
                match said.iter_mut().find(|(known, _)| known.what == lack.what) {
                    Some((_, names)) => names.push(&kernel.name),
                    None => said.push((lack, vec![&kernel.name])),
                }
            }
        }
        let mut table = Table::without_headings().indented(2);
        for (lack, names) in said {
            let since = lack.since.as_ref().map(|since| format!(" (from {since})"));
            let verb = match (names.len(), lack.by_version) {
                (1, false) => "has no",
                (_, false) => "have no",
                (1, true) => "probably has no",
                (_, true) => "probably have no",
            };
            let place = match lack.file.as_str() {
                "" => String::new(),
                file => format!("{}:{}", short(file), lack.line),
            };
            table.row([
                format!("{} {verb} {}{}", names.join(", "), lack.what, since.unwrap_or_default())
                    .into(),
                place.into(),
                lack.text.clone().into(),
            ]);
        }
        text += &table.render(style);
        if !is_refused {
            text += &refusals(judged, style);
        }
    }
    if !report.derived.is_empty() {
        let names = report.derived.join(", ");
        let note = format!("{names}: by the versions that brought things, not tried on a kernel");
        text += &format!("\n{}\n", style.paint(Paint::Faint, &note));
    }
    text
}

/// What the rules of some of the kernels refuse, or leave open.
fn refusals(judged: &Judged, style: Style) -> String {
    let mut table = Table::without_headings().indented(2);
    let mut said: Vec<([String; 3], Vec<&str>)> = Vec::new();
    for kernel in &judged.kernels {
        let words = match &kernel.told {
            Told::Accepted => continue,
            Told::Open(reason) => ["can't be judged".to_owned(), reason.clone(), String::new()],
            Told::Refused(refusal) => {
                let message = refusal.message.lines().next().unwrap_or_default().to_owned();
                ["by its rules".to_owned(), headline(refusal), message]
            }
        };
        match said.iter_mut().find(|(known, _)| *known == words) {
            Some((_, names)) => names.push(&kernel.name),
            None => said.push((words, vec![&kernel.name])),
        }
    }
    for ([how, what, message], names) in said {
        table.row([format!("{} {how}", names.join(", ")).into(), what.into(), message.into()]);
    }
    table.render(style)
}

/// What has become costlier since the baseline.
fn growth(report: &Report, args: &Args, style: Style) -> String {
    let Some(baseline) = &args.baseline else { return String::new() };
    let mut table = Table::new(["PROGRAM", "", "BEFORE", "NOW", ""]).indented(2);
    let mut any = false;
    for judged in &report.judged {
        let Some((now, before)) = judged.costs() else { continue };
        for (what, before, now) in now.grown_since(&before) {
            any = true;
            let percent = (now - before) as f64 * 100.0 / before.max(1) as f64;
            let too_much = what == "processed" && report.has_grown_too_much(judged);
            let paint = if too_much { Paint::Bad } else { Paint::Plain };
            table.row([
                format!("{}: {}", judged.file, judged.program).into(),
                what.into(),
                thousands(before).into(),
                thousands(now).into(),
                Cell::new(paint, format!("+{percent:.1}%")),
            ]);
        }
    }
    let heading = format!("Since {}", baseline.display());
    match any {
        true => {
            format!("\n{}\n{}", style.paint(Paint::Heading, &heading), table.render(style))
        }
        false => format!("\n{heading}: nothing has grown\n"),
    }
}

fn cost(facts: &Facts) -> String {
    let stack = facts.functions.iter().map(|function| function.stack).max().unwrap_or(0);
    format!(
        "{} instructions looked at, {} states, stack {stack}",
        thousands(facts.processed.into()),
        thousands(facts.states.into())
    )
}

/// Code, place and rule in a line.
fn headline(refusal: &Refusal) -> String {
    let place = match &refusal.place {
        Some(place) if !place.file.is_empty() => {
            format!("   {}:{}", short(&place.file), place.line)
        }
        _ => String::new(),
    };
    format!("{} {}{place}", refusal.rule.code(), refusal.rule.title())
}

fn explain(judged: &Judged, refusal: &Refusal, steps: usize, style: Style) -> String {
    let place = refusal.place.as_ref();
    let number = place.filter(|place| place.line > 0).map(|place| place.line.to_string());
    let margin = " ".repeat(number.as_ref().map_or(1, String::len));
    let bar = style.paint(Paint::Faint, "│");
    let mut text = format!(
        "{} {}\n",
        style.paint(Paint::Bad, &format!("error[{}]:", refusal.rule.code())),
        style.paint(Paint::Heading, refusal.rule.title())
    );
    let mut line = |text_of_line: String| {
        text += text_of_line.trim_end();
        text.push('\n');
    };
    if let Some(place) = place {
        let file = match place.file.as_str() {
            "" => judged.file.clone(),
            file => format!("{}:{}:{}", short(file), place.line, place.column),
        };
        line(format!(
            "{margin} {} {}   in {} of {}",
            style.paint(Paint::Faint, "┌─"),
            visible(&file),
            visible(&place.function),
            visible(&judged.program),
        ));
        if let Some(number) = &number
            && !place.text.trim().is_empty()
        {
            line(format!("{number} {bar} {}", visible(place.text.trim_end())));
        }
        let slot = refusal.slot.unwrap_or(0);
        line(format!("{margin} {bar} {slot}: {}", visible(&place.instruction)));
    } else {
        line(format!("{margin} {} {}", style.paint(Paint::Faint, "┌─"), visible(&judged.file)));
    }
    for part in refusal.message.lines() {
        line(format!("{margin} {bar} {}", style.paint(Paint::Bad, &visible(part))));
    }
    for (register, what) in &refusal.registers {
        line(format!("{margin} = {register}: {}", visible(what)));
    }
    if !refusal.path.is_empty() && steps > 0 {
        let from = refusal.path.len().saturating_sub(steps);
        line(format!("{margin} = the way here:"));
        if from > 0 {
            line(format!("{margin}     {from} steps before (--steps N shows more)"));
        }
        for step in &refusal.path[from..] {
            let place = match &step.line {
                Some((file, number)) => format!("   {}:{number}", short(file)),
                None => String::new(),
            };
            line(format!(
                "{margin}   {:4}: {}{}",
                step.slot,
                visible(&step.what),
                style.paint(Paint::Faint, &visible(&place))
            ));
        }
    }
    if !refusal.hint.is_empty() {
        line(format!(
            "{margin} = {} {}",
            style.paint(Paint::Good, "help:"),
            visible(&refusal.hint)
        ));
    }
    text
}

fn statistics(judged: &Judged, facts: &Facts, style: Style) -> String {
    let mut text = style.paint(Paint::Heading, &format!("{}: {}", judged.file, judged.program));
    text.push('\n');
    let mut table = Table::new(["FUNCTION", "LOOKED AT", "STACK"]).indented(2);
    for function in &facts.functions {
        table.row([
            function.name.clone().into(),
            thousands(function.processed.into()).into(),
            function.stack.to_string().into(),
        ]);
    }
    text += &table.render(style);
    if !judged.lines.is_empty() {
        let mut table = Table::new(["LINE", "LOOKED AT", ""]).indented(2);
        for (file, line, code, count) in &judged.lines {
            table.row([
                format!("{}:{line}", short(file)).into(),
                thousands(*count).into(),
                code.trim().into(),
            ]);
        }
        text += &table.render(style);
    }
    text
}

fn summary(report: &Report) -> String {
    let count =
        |of: fn(&Answer) -> bool| report.judged.iter().filter(|judged| of(&judged.answer)).count();
    let mut parts = vec![format!(
        "{} accepted, {} refused",
        count(|answer| matches!(answer, Answer::Accepted(_))),
        count(|answer| matches!(answer, Answer::Refused(_) | Answer::OverBudget(..)))
    )];
    let mut part = |count: usize, what: &str| {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    };
    part(count(|answer| matches!(answer, Answer::NotModelled(_))), "not modelled");
    part(count(|answer| matches!(answer, Answer::NotLinked(_))), "not judged");
    part(report.unread.len(), "files not read");
    parts.join(", ")
}

/// 65536 as `65,536`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
