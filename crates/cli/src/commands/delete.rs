//! `skep delete`: take objects out of the desired state.

use super::apply;
use crate::client::Agent;
use crate::failure::Failure;
use crate::input;
use crate::kind::{KindName, is_namespaced};
use crate::output::{Screen, diagnostic};
use api::v1::{DeleteRequest, ObjectRef, object_result::Outcome};
use std::path::PathBuf;
use std::process::ExitCode;

const LONG: &str = "\
Takes objects out of the desired state, by name or as manifests describe them (only kind, \
namespace and name of a manifest matter).

All or nothing; returns when the change is effective in the kernel. An object that a watched \
manifest holds has to be removed there: the agent refuses and names the file.";

const AFTER: &str = "\
Examples:
  skep delete -f lockdown.yaml           what the manifest describes
  skep delete netpol lockdown -n shop    by kind and name
  skep delete svc shop/web shop/cache    several, each with its namespace

Exit codes: 0 deleted, 1 none of them was there, 4 refused (nothing was deleted).";

/// Take objects out of the desired state
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = AFTER)]
pub struct Args {
    /// Manifest, folder of manifests, or - for standard input; may be given several times
    #[arg(short, long = "file", value_name = "PATH", conflicts_with = "kind")]
    files: Vec<PathBuf>,

    /// Kind of the objects: workload (wl), service (svc), netpol, endpointslice (eps), ns
    #[arg(required_unless_present = "files", requires = "names")]
    kind: Option<KindName>,

    /// Their names, or namespace/name
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Namespace of names without one
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,
}

pub async fn run(args: Args, agent: &Agent, screen: &Screen) -> Result<ExitCode, Failure> {
    let files = input::read(&args.files)?;
    let objects = match args.kind {
        Some(kind) => args.names.iter().map(|name| object(kind, name, &args.namespace)).collect(),
        None => Vec::new(),
    };
    let mut client = agent.connect().await?;
    let request = DeleteRequest { objects, files: files.clone() };
    let response = client.delete(request).await?.into_inner();
    screen.complain(&diagnostic::render(&response.diagnostics, &files, screen.error_style()));
    if !response.applied {
        let policies = apply::policies(response.policies_in_force);
        screen.complain(&format!("nothing was deleted; {policies}\n"));
        return Err(Failure::Rejected);
    }
    let out = apply::results(&response.results, screen.style());
    screen.print(&(out + &apply::effect(response.effective_after_us)))?;
    let missing = |result: &api::v1::ObjectResult| result.outcome() == Outcome::NotFound;
    if !response.results.is_empty() && response.results.iter().all(missing) {
        return Err(Failure::Negative);
    }
    Ok(ExitCode::SUCCESS)
}

/// From `name` or `namespace/name`.
pub fn object(kind: KindName, name: &str, namespace: &str) -> ObjectRef {
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (namespace, name),
        None if is_namespaced(kind.0) => (namespace, name),
        None => ("", name),
    };
    ObjectRef {
        kind: kind.0.name().to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}
