//! What the source must look like, whatever it does: who may import whom, and a few habits.

#[path = "architecture/proof.rs"]
mod proof;
#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/scan.rs"]
mod scan;

use std::path::PathBuf;

use rules::{Allowed, Finding, Imports};
use scan::File;

/// Who may import whom. A module that is not here is refused; so add a row, and think about it.
const TABLE: &[Imports] = &[
    Imports { module: "model", may: &[] },
    Imports { module: "telemetry", may: &[&["model"]] },
    Imports { module: "proto", may: &[] },
    Imports { module: "clock", may: &[&["model"]] },
    Imports { module: "ids", may: &[&["model"]] },
    Imports { module: "health", may: &[&["model"]] },
    Imports { module: "prices", may: &[&["model"]] },
    Imports { module: "store", may: &[&["model"]] },
    Imports { module: "config", may: &[&["model"]] },
    Imports { module: "http", may: &[&["model", "ids", "clock"]] },
    // Of HTTP only the error: what a refusal looks like to a client is said once, beside the refusals.
    Imports { module: "ingest", may: &[CORE, &["health", "http::ApiError"]] },
    // The protocols' messages are for those who decode them. What was received can go on as it came: of the exporters they
    // know the handle that takes it, and nothing else.
    Imports { module: "receivers", may: &[CORE, EDGE, &["prices", "proto", "exporters::forward"]] },
    Imports { module: "control", may: &[CORE, EDGE] },
    Imports { module: "evaluator", may: &[CORE, EDGE] },
    Imports { module: "exporters", may: &[CORE, EDGE] },
    Imports { module: "api", may: &[CORE, EDGE, &["prices"]] },
    // These put everything together, and nobody imports them.
    Imports { module: "app", may: &[&["*"]] },
    Imports { module: "cli", may: &[&["*"]] },
    Imports { module: "main", may: &[&["*"]] },
];

/// Which store it is, is decided where everything is put together.
const CORE: &[&str] = &["model", "clock", "ids", "store", "!store::sqlite", "!store::memory", "telemetry"];

/// What stands between the wire and the core. It reads health, and never applies anything itself.
const EDGE: &[&str] = &["ingest", "health", "!health::apply", "!health::restart", "http"];

/// Where `unwrap` or `expect` stands outside of tests.
const PANICS: &[Allowed] = &[
    Allowed { path: "src/ids.rs", count: 1, reason: "without entropy no secret may be made up" },
    Allowed {
        path: "src/telemetry.rs",
        count: 3,
        reason: "metrics are defined by constants, registered once at start",
    },
];

fn sources() -> Vec<File> {
    // Read when the test runs, so that a moved build directory still checks the sources it stands in.
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests"));
    let files = scan::files([scan::read(&root, "src"), scan::read(&root, "tests")].concat());
    assert!(files.iter().any(|f| f.path == "src/lib.rs"), "the sources are where they are looked for");
    files
}

fn hold(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(lines.is_empty(), "{} finding(s):\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn modules_import_only_what_the_table_allows() {
    hold(&rules::imports(&sources(), TABLE));
}

#[test]
fn files_stay_short() {
    hold(&rules::length(&sources()));
}

#[test]
fn every_module_says_what_it_is_for() {
    hold(&rules::documented(&sources()));
}

#[test]
fn nothing_panics_on_purpose_outside_of_tests() {
    hold(&rules::panics(&sources(), PANICS));
}

#[test]
fn every_route_is_documented() {
    hold(&rules::documented_routes(&sources()));
}

#[test]
fn nothing_is_left_unfinished() {
    hold(&rules::unfinished(&sources()));
}
