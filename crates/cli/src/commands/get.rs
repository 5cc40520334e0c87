//! `skep get`: objects of the desired state.

use crate::client::Agent;
use crate::commands::delete;
use crate::failure::Failure;
use crate::kind::{KindName, is_namespaced};
use crate::output::{Cell, Format, Paint, Screen, Style, Table, labels, or_dash, place};
use crate::when;
use api::v1::{GetRequest, Object};
use serde_json::{Value, json};
use std::process::ExitCode;

const LONG: &str = "\
Shows objects of the desired state: what was applied, and what watched manifests hold.

With -o yaml and -o json the manifests are printed as they were written, ready to be edited and \
applied again (several as a List in JSON, as separate documents in YAML).";

const AFTER: &str = "\
Examples:
  skep get netpol -A                     policies of all namespaces
  skep get wl -n shop -l app=web         workloads picked by label
  skep get svc shop/web -o yaml          one manifest
  skep get all -A                        everything

Exit codes: 0 shown, 1 an object asked for by name is not there.";

/// Show objects of the desired state
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = AFTER)]
pub struct Args {
    /// Kind: workload (wl), service (svc), netpol, endpointslice (eps), ns, or all
    #[arg(value_parser = parse_kind)]
    kind: KindOrAll,

    /// Name, or namespace/name; all objects without it
    name: Option<String>,

    /// Namespace to look in
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,

    /// Look in all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,

    /// Only objects with these labels, such as app=web,tier in (a,b)
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,

    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    /// Output format
    output: Format,
}

#[derive(Clone, Copy, Debug)]
enum KindOrAll {
    Kind(KindName),
    All,
}

fn parse_kind(text: &str) -> Result<KindOrAll, String> {
    if text.eq_ignore_ascii_case("all") {
        return Ok(KindOrAll::All);
    }
    text.parse().map(KindOrAll::Kind)
}

pub async fn run(args: Args, agent: &Agent, screen: &Screen) -> Result<ExitCode, Failure> {
    let request = request(&args);
    let mut client = agent.connect().await?;
    let objects = client.get(request.clone()).await?.into_inner().objects;
    if objects.is_empty() && !request.name.is_empty() {
        let name = crate::output::qualified(&request.namespace, &request.name);
        return Err(Failure::NotFound(format!(
            "there is no {} {name}",
            or_dash(request.kind.clone()).replace('-', "object")
        )));
    }
    match args.output {
        Format::Table if objects.is_empty() => {
            let place = match request.namespace.as_str() {
                "" => String::new(),
                name => format!(" in namespace {name}; -A looks in all namespaces"),
            };
            screen.complain(&format!("nothing found{place}\n"));
        }
        Format::Table => {
            screen.print(&table(&objects, matches!(args.kind, KindOrAll::All), screen.style()))?;
        }
        Format::Json => screen.print_json(&manifests(&objects, !request.name.is_empty()))?,
        Format::Yaml => screen.print(&documents(&objects))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn request(args: &Args) -> GetRequest {
    let (kind, mut namespace) = match args.kind {
        KindOrAll::Kind(kind) if is_namespaced(kind.0) => (kind.0.name(), args.namespace.clone()),
        KindOrAll::Kind(kind) => (kind.0.name(), String::new()),
        KindOrAll::All => ("", args.namespace.clone()),
    };
    if args.all_namespaces {
        namespace.clear();
    }
    let name = match (&args.name, args.kind) {
        (None, _) => String::new(),
        (Some(name), KindOrAll::Kind(kind)) => {
            let object = delete::object(kind, name, &namespace);
            namespace = object.namespace;
            object.name
        }
        (Some(name), KindOrAll::All) => match name.split_once('/') {
            Some((in_namespace, name)) => {
                namespace = in_namespace.to_owned();
                name.to_owned()
            }
            None => name.clone(),
        },
    };
    let selector = args.selector.clone().unwrap_or_default();
    GetRequest { kind: kind.to_owned(), namespace, name, selector }
}

fn table(objects: &[Object], with_kind: bool, style: Style) -> String {
    let mut table = if with_kind {
        Table::new(["KIND", "NAMESPACE", "NAME", "STATUS", "AGE", "LABELS", "SOURCE"])
    } else {
        Table::new(["NAMESPACE", "NAME", "STATUS", "AGE", "LABELS", "SOURCE"])
    };
    for object in objects {
        let cells: [Cell; 6] = [
            or_dash(object.namespace.clone()).into(),
            object.name.clone().into(),
            or_dash(object.status.clone()).into(),
            when::age(object.age).into(),
            labels(&object.labels).into(),
            Cell::new(Paint::Faint, place(&object.file, object.line)),
        ];
        if with_kind {
            let [namespace, name, status, age, labels, source] = cells;
            table.row([object.kind.clone().into(), namespace, name, status, age, labels, source]);
        } else {
            table.row(cells);
        }
    }
    table.render(style)
}

/// The manifest of one object, or a List of several.
fn manifests(objects: &[Object], single: bool) -> Value {
    let parse = |object: &Object| {
        serde_json::from_str(&object.json).unwrap_or_else(|_| Value::String(object.json.clone()))
    };
    match objects {
        [object] if single => parse(object),
        objects => {
            let items: Vec<Value> = objects.iter().map(parse).collect();
            json!({ "apiVersion": "v1", "kind": "List", "items": items })
        }
    }
}

fn documents(objects: &[Object]) -> String {
    let texts: Vec<String> =
        objects.iter().map(|object| format!("{}\n", object.yaml.trim_end())).collect();
    texts.join("---\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn object(name: &str) -> Object {
        Object {
            kind: "Workload".into(),
            namespace: "shop".into(),
            name: name.into(),
            labels: BTreeMap::from([("app".into(), "web".into())]),
            file: "examples/shop.yaml".into(),
            line: 12,
            yaml: format!("kind: Workload\nmetadata: {{name: {name}}}\n\n"),
            json: format!(r#"{{"kind":"Workload","metadata":{{"name":"{name}"}}}}"#),
            status: "ready".into(),
            age: Some(prost_types::Duration { seconds: 130, nanos: 0 }),
        }
    }

    #[test]
    fn tables_and_manifests() {
        let objects = [object("web-1"), object("web-2")];
        insta::assert_snapshot!(table(&objects, false, Style::PLAIN), @r#"
        NAMESPACE   NAME    STATUS   AGE          LABELS    SOURCE
        shop        web-1   ready    2 min 10 s   app=web   examples/shop.yaml:12
        shop        web-2   ready    2 min 10 s   app=web   examples/shop.yaml:12
        "#);
        insta::assert_snapshot!(table(&objects[..1], true, Style::PLAIN), @r#"
        KIND       NAMESPACE   NAME    STATUS   AGE          LABELS    SOURCE
        Workload   shop        web-1   ready    2 min 10 s   app=web   examples/shop.yaml:12
        "#);
        insta::assert_snapshot!(documents(&objects), @r#"
        kind: Workload
        metadata: {name: web-1}
        ---
        kind: Workload
        metadata: {name: web-2}
        "#);
        insta::assert_snapshot!(manifests(&objects, false), @r#"{"apiVersion":"v1","kind":"List","items":[{"kind":"Workload","metadata":{"name":"web-1"}},{"kind":"Workload","metadata":{"name":"web-2"}}]}"#);
        insta::assert_snapshot!(manifests(&objects[..1], true), @r#"{"kind":"Workload","metadata":{"name":"web-1"}}"#);
    }
}
