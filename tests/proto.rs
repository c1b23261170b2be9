//! The Rust in `src/proto/` is what the `.proto` files in `proto/` generate.
//!
//! `UPDATE_PROTO=1 cargo test --test proto` writes it anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The files that define services or messages; what they import comes along.
const FILES: [&str; 3] = [
    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
    "opentelemetry/proto/collector/metrics/v1/metrics_service.proto",
    "opentelemetry/proto/collector/logs/v1/logs_service.proto",
];

/// The files of `src/proto/` that are written by hand.
const BY_HAND: [&str; 2] = ["mod.rs", "bounded.rs"];

#[test]
fn generated_code_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed_dir = root.join("src/proto");
    let scratch = tempfile::tempdir().unwrap();
    generate(&root.join("proto"), scratch.path());
    let generated = read(scratch.path());

    if std::env::var_os("UPDATE_PROTO").is_some_and(|v| v == "1") {
        for stale in read(&committed_dir).keys().filter(|name| !generated.contains_key(*name)) {
            fs::remove_file(committed_dir.join(stale)).unwrap();
        }
        for (name, text) in &generated {
            fs::write(committed_dir.join(name), text).unwrap();
        }
    }

    let committed = read(&committed_dir);
    let differing: Vec<_> =
        generated.keys().chain(committed.keys()).filter(|name| generated.get(*name) != committed.get(*name)).collect();
    assert!(differing.is_empty(), "{differing:?} differ; run `UPDATE_PROTO=1 cargo test --test proto`");
}

fn generate(protos: &Path, out: &Path) {
    let descriptors = protox::compile(FILES, [protos]).unwrap();
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .codec_path("crate::proto::bounded::Codec")
        .out_dir(out)
        .compile_fds(descriptors)
        .unwrap();
}

/// The generated files of a directory by name.
fn read(dir: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| !BY_HAND.contains(&name.as_str()) && name.ends_with(".rs"))
        .map(|(name, path)| (name, fs::read_to_string(path).unwrap()))
        .collect()
}
