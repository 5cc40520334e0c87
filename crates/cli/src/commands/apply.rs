//! `skep apply`: make manifests part of the desired state.

use crate::client::Agent;
use crate::failure::Failure;
use crate::input;
use crate::output::{Cell, Paint, Screen, Style, Table, diagnostic, qualified};
use api::text;
use api::v1::{ApplyRequest, ObjectResult, object_result::Outcome};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const LONG: &str = "\
Makes manifests part of the desired state of this node.

All or nothing: if one object is wrong, none is applied, and each mistake is shown with its line. \
The command returns when the change is effective in the kernel. What is applied is kept by the \
agent and survives its restart. Kinds: Workload (skep.dev/v1), Service and Namespace (v1), \
EndpointSlice (discovery.k8s.io/v1), NetworkPolicy (networking.k8s.io/v1).";

const AFTER: &str = "\
Examples:
  skep apply -f shop.yaml                a file, with one or several documents
  skep apply -f manifests/               every .yaml, .yml and .json file of a folder
  generate | skep apply -f -             standard input
  skep apply -f shop.yaml --dry-run      check only

Exit codes: 0 applied, 4 refused (nothing was applied).";

/// Make manifests part of the desired state
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = AFTER)]
pub struct Args {
    /// Manifest, folder of manifests, or - for standard input; may be given several times
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,

    /// Check everything and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(args: Args, agent: &Agent, screen: &Screen) -> Result<ExitCode, Failure> {
    let files = input::read(&args.files)?;
    let mut client = agent.connect().await?;
    let request = ApplyRequest { files: files.clone(), dry_run: args.dry_run };
    let response = client.apply(request).await?.into_inner();
    screen.complain(&diagnostic::render(&response.diagnostics, &files, screen.error_style()));
    let policies = policies(response.policies_in_force);
    // A dry run applies nothing even when all is well, but then it has results.
    if !response.applied && (!args.dry_run || response.results.is_empty()) {
        screen.complain(&format!("nothing was applied; {policies}\n"));
        return Err(Failure::Rejected);
    }
    let mut out = results(&response.results, screen.style());
    out += &if args.dry_run {
        "dry run: nothing was changed\n".to_owned()
    } else {
        effect(response.effective_after_us)
    };
    screen.print(&out)?;
    Ok(ExitCode::SUCCESS)
}

/// `18 policies stay in force`.
pub fn policies(number: u32) -> String {
    match number {
        1 => "1 policy stays in force".to_owned(),
        number => format!("{} policies stay in force", text::count(number.into())),
    }
}

pub fn effect(micros: u64) -> String {
    match micros {
        0 => "nothing changed\n".to_owned(),
        micros => format!("effective after {}\n", text::span(Duration::from_micros(micros))),
    }
}

pub fn results(results: &[ObjectResult], style: Style) -> String {
    let mut table = Table::without_headings();
    for result in results {
        let object = result.object.clone().unwrap_or_default();
        let (paint, word) = match result.outcome() {
            Outcome::Created => (Paint::Good, "created"),
            Outcome::Changed => (Paint::Good, "changed"),
            Outcome::Unchanged => (Paint::Faint, "unchanged"),
            Outcome::Deleted => (Paint::Good, "deleted"),
            Outcome::NotFound => (Paint::Warning, "not found"),
            Outcome::Unknown => (Paint::Plain, "-"),
        };
        let name = format!("{} {}", object.kind, qualified(&object.namespace, &object.name));
        table.row([Cell::from(name), Cell::new(paint, word)]);
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v1::ObjectRef;

    #[test]
    fn results_in_words() {
        let result = |kind: &str, namespace: &str, name: &str, outcome: Outcome| ObjectResult {
            object: Some(ObjectRef {
                kind: kind.into(),
                namespace: namespace.into(),
                name: name.into(),
            }),
            outcome: outcome.into(),
            ..Default::default()
        };
        let list = [
            result("Namespace", "", "shop", Outcome::Unchanged),
            result("NetworkPolicy", "shop", "cache", Outcome::Created),
            result("Workload", "shop", "web-1", Outcome::Changed),
            result("Service", "shop", "web", Outcome::NotFound),
        ];
        insta::assert_snapshot!(results(&list, Style::PLAIN) + &effect(3200), @r#"
        Namespace shop             unchanged
        NetworkPolicy shop/cache   created
        Workload shop/web-1        changed
        Service shop/web           not found
        effective after 3.2 ms
        "#);
        assert_eq!(effect(0), "nothing changed\n");
        assert_eq!(
            [policies(1), policies(18)],
            ["1 policy stays in force", "18 policies stay in force"]
        );
    }
}
