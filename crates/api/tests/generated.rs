//! The committed code is what the `.proto` files give. After changing them:
//! `SKEP_REGENERATE=1 cargo test -p api --test generated`.

use prost_reflect::prost::Message as _;
use std::fs;
use std::path::Path;

const FILES: [&str; 8] = [
    "skep/v1/agent.proto",
    "skep/v1/balancer.proto",
    "skep/v1/explain.proto",
    "skep/v1/flow.proto",
    "skep/v1/object.proto",
    "skep/v1/observe.proto",
    "skep/v1/status.proto",
    "skep/v1/tables.proto",
];

#[test]
fn generated_code_is_up_to_date() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut descriptors = protox::compile(FILES, [package.join("proto")]).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .btree_map(".")
        .out_dir(scratch.path())
        .compile_fds_with_config(descriptors.clone(), config)
        .unwrap();
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let outputs = [
        ("skep.v1.rs", fs::read(scratch.path().join("skep.v1.rs")).unwrap()),
        ("descriptors.bin", descriptors.encode_to_vec()),
    ];
    for (name, content) in outputs {
        let committed = package.join("src/generated").join(name);
        if std::env::var_os("SKEP_REGENERATE").is_some() {
            fs::write(&committed, &content).unwrap();
        }
        assert!(
            fs::read(&committed).unwrap() == content,
            "{name} differs from the .proto files; run SKEP_REGENERATE=1 cargo test -p api --test generated"
        );
    }
}
