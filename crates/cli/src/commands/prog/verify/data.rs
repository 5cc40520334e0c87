//! The report for tools: JSON, and SARIF for code scanning.

use super::kernels::{Kernel, Told};
use super::{Answer, Judged, Report};
use bpf_verifier::{Facts, Refusal, Rule};
use serde_json::{Value, json};

pub fn json(report: &Report) -> Value {
    let mut list: Vec<Value> = report.judged.iter().map(|judged| program(report, judged)).collect();
    list.extend(report.unread.iter().map(
        |unread| json!({ "file": unread.file, "verdict": "unreadable", "reason": unread.reason }),
    ));
    Value::Array(list)
}

fn program(report: &Report, judged: &Judged) -> Value {
    let mut value = json!({
        "file": judged.file,
        "program": judged.program,
        "section": judged.section,
        "type": judged.kind.as_ref().map(|kind| kind.program.to_string()),
    });
    match &judged.answer {
        Answer::Accepted(facts) => {
            value["verdict"] = "accepted".into();
            value["cost"] = cost(judged, facts);
        }
        Answer::OverBudget(facts, limit) => {
            value["verdict"] = "over budget".into();
            value["limit"] = (*limit).into();
            value["cost"] = cost(judged, facts);
        }
        Answer::Refused(refusal) => {
            value["verdict"] = "refused".into();
            value["refusal"] = refused(refusal);
        }
        Answer::NotModelled(what) => {
            value["verdict"] = "not modelled".into();
            value["reason"] = what.what.clone().into();
            value["slot"] = what.slot.into();
        }
        Answer::NotLinked(reason) => {
            value["verdict"] = "not judged".into();
            value["reason"] = reason.clone().into();
        }
    }
    if !judged.kernels.is_empty() {
        let kernels = judged.kernels.iter().map(|one| kernel(report, one));
        value["kernels"] = kernels.collect::<Vec<_>>().into();
    }
    if let Some((now, before)) = judged.costs() {
        let grown = now.grown_since(&before);
        value["baseline"] = json!({
            "processed": before.processed,
            "states": before.states,
            "stack": before.stack,
            "grown": grown.iter().map(|(what, ..)| *what).collect::<Vec<_>>(),
            "percent": now.percent_since(&before),
            "too_much": report.has_grown_too_much(judged),
        });
    }
    value
}

fn kernel(report: &Report, kernel: &Kernel) -> Value {
    let (verdict, refusal, reason) = match &kernel.told {
        _ if !kernel.lacks.is_empty() => ("lacking", None, None),
        Told::Accepted => ("accepted", None, None),
        Told::Refused(refusal) => ("refused", Some(refused(refusal)), None),
        Told::Open(reason) => ("not judged", None, Some(reason)),
    };
    json!({
        "kernel": kernel.name,
        "booted": !report.derived.contains(&kernel.name),
        "verdict": verdict,
        "refusal": refusal,
        "reason": reason,
        "lacks": kernel.lacks.iter().map(|lack| json!({
            "what": lack.what, "since": lack.since, "by_version": lack.by_version,
            "slot": lack.slot, "file": lack.file, "line": lack.line, "text": lack.text,
        })).collect::<Vec<_>>(),
    })
}

fn cost(judged: &Judged, facts: &Facts) -> Value {
    json!({
        "processed": facts.processed,
        "states": facts.states,
        "states_at_one": facts.states_at_one,
        "bounded": facts.bounded,
        "functions": facts.functions.iter().map(|function| json!({
            "name": function.name, "stack": function.stack, "processed": function.processed,
        })).collect::<Vec<_>>(),
        "lines": judged.lines.iter().map(|(file, line, text, count)| json!({
            "file": file, "line": line, "text": text, "processed": count,
        })).collect::<Vec<_>>(),
    })
}

fn refused(refusal: &Refusal) -> Value {
    json!({
        "rule": refusal.rule.code(),
        "title": refusal.rule.title(),
        "message": refusal.message,
        "slot": refusal.slot,
        "processed": refusal.processed,
        "place": refusal.place.as_ref().map(|place| json!({
            "function": place.function, "file": place.file, "line": place.line,
            "column": place.column, "text": place.text, "instruction": place.instruction,
        })),
        "registers": refusal.registers.iter().map(|(register, what)| json!({
            "register": register, "value": what,
        })).collect::<Vec<_>>(),
        "path": refusal.path.iter().map(|step| json!({
            "slot": step.slot, "what": step.what,
            "file": step.line.as_ref().map(|(file, _)| file.clone()),
            "line": step.line.as_ref().map(|(_, line)| *line),
        })).collect::<Vec<_>>(),
        "hint": refusal.hint,
    })
}

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Static Analysis Results Interchange Format 2.1.0 (OASIS).
pub fn sarif(report: &Report) -> Value {
    let rules: Vec<Value> = Rule::ALL
        .iter()
        .map(|rule| {
            json!({
                "id": rule.code(),
                "shortDescription": { "text": rule.title() },
                "help": { "text": rule.hint() },
            })
        })
        .collect();
    let mut results: Vec<Value> = report.judged.iter().filter_map(result).collect();
    results.extend(report.judged.iter().flat_map(lacking));
    results.extend(report.judged.iter().filter_map(|judged| grown(report, judged)));
    results.extend(report.unread.iter().map(|unread| {
        json!({
            "level": "error",
            "message": { "text": unread.reason },
            "locations": [location(&unread.file, 0, 0)],
        })
    }));
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "skep", "version": env!("CARGO_PKG_VERSION"), "rules": rules,
            } },
            "results": results,
        }],
    })
}

fn result(judged: &Judged) -> Option<Value> {
    let simple = |level: &str, text: String| {
        json!({
            "level": level,
            "message": { "text": format!("{}: {text}", judged.program) },
            "locations": [location(&judged.file, 0, 0)],
        })
    };
    Some(match &judged.answer {
        Answer::Accepted(_) => return None,
        Answer::OverBudget(facts, limit) => simple(
            "error",
            format!("{} instructions are looked at, allowed are {limit}", facts.processed),
        ),
        Answer::NotModelled(what) => simple("warning", format!("not modelled: {}", what.what)),
        Answer::NotLinked(reason) => simple("warning", format!("not judged: {reason}")),
        Answer::Refused(refusal) => {
            let text = format!("{}: {}", judged.program, refusal.message);
            let (file, line, column) = place_of(judged, refusal);
            let flow: Vec<Value> = refusal
                .path
                .iter()
                .map(|step| {
                    let (file, line) = match &step.line {
                        Some((file, line)) => (file.as_str(), *line),
                        None => (judged.file.as_str(), 0),
                    };
                    let mut location = location(file, line, 0);
                    location["message"] = json!({ "text": step.what });
                    json!({ "location": location })
                })
                .collect();
            let mut result = json!({
                "ruleId": refusal.rule.code(),
                "level": "error",
                "message": { "text": text },
                "locations": [location(file, line, column)],
            });
            if !flow.is_empty() {
                result["codeFlows"] = json!([{ "threadFlows": [{ "locations": flow }] }]);
            }
            result
        }
    })
}

fn lacking(judged: &Judged) -> Vec<Value> {
    let one = |kernel: &Kernel| {
        let results = kernel.lacks.iter().map(|lack| {
            let file = if lack.file.is_empty() { &judged.file } else { &lack.file };
            let text = format!("{}: Linux {} has no {}", judged.program, kernel.name, lack.what);
            json!({
                "level": "error",
                "message": { "text": text },
                "locations": [location(file, lack.line, 0)],
            })
        });
        let mut results = results.collect::<Vec<Value>>();
        let known = matches!(&judged.answer, Answer::Refused(_));
        if let (Told::Refused(refusal), false) = (&kernel.told, known) {
            let (file, line, column) = place_of(judged, refusal);
            let text = format!(
                "{}: Linux {} refuses it: {}",
                judged.program, kernel.name, refusal.message
            );
            results.push(json!({
                "ruleId": refusal.rule.code(),
                "level": "error",
                "message": { "text": text },
                "locations": [location(file, line, column)],
            }));
        }
        results
    };
    judged.kernels.iter().flat_map(one).collect()
}

fn grown(report: &Report, judged: &Judged) -> Option<Value> {
    let (now, before) = judged.costs()?;
    let grown = now.grown_since(&before);
    let said: Vec<String> =
        grown.iter().map(|(what, before, now)| format!("{what} {before} → {now}")).collect();
    let level = if report.has_grown_too_much(judged) { "error" } else { "note" };
    (!grown.is_empty()).then(|| {
        json!({
            "level": level,
            "message": { "text": format!("{}: {}", judged.program, said.join(", ")) },
            "locations": [location(&judged.file, 0, 0)],
        })
    })
}

fn place_of<'a>(judged: &'a Judged, refusal: &'a Refusal) -> (&'a str, u32, u32) {
    match &refusal.place {
        Some(place) if !place.file.is_empty() => (&place.file, place.line, place.column),
        _ => (&judged.file, 0, 0),
    }
}

/// Lines and columns count from 1; 0 is none.
fn location(file: &str, line: u32, column: u32) -> Value {
    let mut place = json!({ "artifactLocation": { "uri": file } });
    if line > 0 {
        place["region"] = json!({ "startLine": line });
        if column > 0 {
            place["region"]["startColumn"] = column.into();
        }
    }
    json!({ "physicalLocation": place })
}
