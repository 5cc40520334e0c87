use super::*;

#[test]
fn smoke() {
    let parsed = parse(
        "a.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: b}}\n---\napiVersion: v1\nkind: Servce\n",
    );
    println!("{parsed:#?}");
    println!("{}", crate::diagnostic::render_all(&parsed.diagnostics, |_| None, false));
}
