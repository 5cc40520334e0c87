//! Every policy of the published truth tables is read without a complaint, and emitting it gives
//! the same policy again.

use flate2::read::GzDecoder;
use model::{NetworkPolicy, Object, Origin, PolicyRule};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use store::{emit, manifest};

#[test]
fn all_policies_are_read() {
    let folder = std::env::var_os("SKEP_FIXTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures"),
        PathBuf::from,
    );
    let path = folder.join("networkpolicy/cases.jsonl.gz");
    let Ok(file) = File::open(&path) else {
        println!("skipped: {} is not there (SKEP_FIXTURES names another folder)", path.display());
        return;
    };
    let mut read = 0;
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let mut case: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        for policy in case["policies"].as_array_mut().into_iter().flatten() {
            // Some were written without saying what they are.
            policy["apiVersion"] = "networking.k8s.io/v1".into();
            policy["kind"] = "NetworkPolicy".into();
        }
        let policies = case["policies"].to_string();
        let parsed = manifest::parse("case.json", &policies);
        assert!(parsed.diagnostics.is_empty(), "{:#?}\n{policies}", parsed.diagnostics);
        let expected = case["policies"].as_array().map_or(0, Vec::len);
        assert_eq!(parsed.manifests.len(), expected);
        for object in parsed.into_objects() {
            let again = manifest::parse("again.yaml", &emit::to_yaml(&object)).into_objects();
            assert_eq!(again.into_iter().map(policy).collect::<Vec<_>>(), [policy(object)]);
            read += 1;
        }
    }
    println!("{read} policies");
    assert!(read >= 180);
}

/// Without the places it was written at.
fn policy(object: Object) -> NetworkPolicy {
    let Object::NetworkPolicy(policy) = object else { panic!("{object:?}") };
    let mut policy = std::sync::Arc::unwrap_or_clone(policy);
    let nowhere = Origin::new("", 0, 0);
    policy.origin = nowhere.clone();
    let rules = [&mut policy.ingress, &mut policy.egress].into_iter().flatten().flatten();
    for PolicyRule { origin, .. } in rules {
        *origin = nowhere.clone();
    }
    policy
}
