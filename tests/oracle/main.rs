//! The status machine against an oracle: `oracle.py`, written from the tables and not from this code, judges the same
//! random stories. Needs Python 3. `ORACLE_TRACES` says how many stories (20000), `ORACLE_SEED` which family of them.

mod gateway;
mod trace;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use trace::{Trace, generate};

/// How many traces one oracle is given.
const CHUNK: u64 = 2_500;
/// How many oracles run at a time.
const ORACLES: u64 = 2;
/// How many disagreements are shown.
const SHOWN: usize = 4;

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok().filter(|v| !v.is_empty());
    given.map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {v:?}")))
}

fn script() -> PathBuf {
    // Read when the test runs, so that a moved build directory still checks the sources it stands in.
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests"));
    root.join("tests/oracle/oracle.py")
}

fn python() -> Command {
    let mut command = Command::new("python3");
    command.arg("-B").arg(script());
    command
}

const REMEDY: &str = "python3 cannot be started; install Python 3 (it judges the status machine independently), \
                      or leave this test out with `cargo test --lib`";

/// What the oracle says of each trace, one line each. `bend` changes what it is told, to see it disagree.
fn ask(traces: &[Trace], bend: fn(&mut Trace)) -> Vec<String> {
    let mut input = Vec::new();
    for trace in traces {
        let mut told = trace.clone();
        bend(&mut told);
        serde_json::to_writer(&mut input, &told).expect("traces can be written");
        input.push(b'\n');
    }
    let mut child = python().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(REMEDY);
    let mut stdin = child.stdin.take().expect("piped");
    let output = thread::scope(|scope| {
        // An oracle that ends early is found below, by its answers.
        scope.spawn(move || drop(stdin.write_all(&input)));
        child.wait_with_output().expect("the oracle can be waited for")
    });
    assert!(output.status.success(), "the oracle failed; what it said is above");
    let lines: Vec<String> = String::from_utf8(output.stdout).expect("UTF-8").lines().map(Into::into).collect();
    assert_eq!(lines.len(), traces.len(), "the oracle answers every trace");
    lines
}

/// The traces that the two judge differently.
fn disagreements(traces: &[Trace], bend: fn(&mut Trace)) -> Vec<Trace> {
    let oracle = ask(traces, bend);
    let different = traces.iter().zip(&oracle).filter(|(trace, said)| gateway::run(trace) != **said);
    different.map(|(trace, _)| trace.clone()).collect()
}

/// Drops what is not needed for the two to disagree.
fn shrink(mut trace: Trace, bend: fn(&mut Trace)) -> Trace {
    loop {
        let mut smaller: Vec<Trace> = Vec::new();
        let steps = trace.steps.len();
        for size in [steps / 2, steps / 4, 1] {
            for from in (0..steps).step_by(size.max(1)).filter(|_| size > 0) {
                let mut candidate = trace.clone();
                candidate.steps.drain(from..(from + size).min(steps));
                smaller.push(candidate);
            }
        }
        if !trace.gaps.is_empty() || trace.started_at != 0 {
            smaller.push(Trace { gaps: vec![], started_at: 0, ..trace.clone() });
            smaller.extend((trace.started_at != 0).then(|| Trace { started_at: 0, ..trace.clone() }));
        }
        match disagreements(&smaller, bend).into_iter().next() {
            Some(found) => trace = found,
            None => return trace,
        }
    }
}

/// Both sides of a shrunk disagreement, for people.
fn both_sides(trace: &Trace, bend: fn(&mut Trace)) -> String {
    let parse = |text: &str| -> Vec<serde_json::Value> { serde_json::from_str(text).expect("a list of steps") };
    let (ours, theirs) = (parse(&gateway::run(trace)), parse(&ask(std::slice::from_ref(trace), bend)[0]));
    let mut text = format!("policy {}\nstarted_at {}, gaps {:?}\n", json(&trace.policy), trace.started_at, trace.gaps);
    for ((step, ours), theirs) in trace.steps.iter().zip(&ours).zip(&theirs) {
        text.push_str(&format!("{}\n    gateway {ours}\n", json(step)));
        if ours != theirs {
            text.push_str(&format!("    ORACLE  {theirs}\n"));
        }
    }
    text
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("it can be written")
}

#[test]
fn the_oracle_holds_the_vectors_of_the_tables() {
    let status = python().arg("--self-test").stdout(Stdio::null()).status().expect(REMEDY);
    assert!(status.success(), "the oracle breaks a vector; what it said is above");
}

#[test]
fn the_gateway_and_the_oracle_agree() {
    let (seed, count) = (number("ORACLE_SEED", 1), number("ORACLE_TRACES", 20_000));
    let chunk = |first: u64| -> Vec<Trace> { (first..count.min(first + CHUNK)).map(|n| generate(seed, n)).collect() };
    let judge = |part: u64| -> Vec<Trace> {
        let mine = (0..count.div_ceil(CHUNK)).filter(|i| i % ORACLES == part);
        mine.flat_map(|i| disagreements(&chunk(i * CHUNK), |_| ())).collect()
    };
    let mut found: Vec<Trace> = thread::scope(|scope| {
        let judge = &judge;
        let parts: Vec<_> = (0..ORACLES).map(|part| scope.spawn(move || judge(part))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("no panic")).collect()
    });
    found.sort_by_key(|trace| trace.steps.len());
    let show = |trace: &Trace| both_sides(&shrink(trace.clone(), |_| ()), |_| ());
    let shown: Vec<String> = found.iter().take(SHOWN).map(show).collect();
    assert!(found.is_empty(), "{} of {count} traces are judged differently:\n{}", found.len(), shown.join("\n"));
}

#[test]
fn an_oracle_that_is_told_another_policy_is_found_out() {
    let bend: fn(&mut Trace) = |told| told.policy.down_grace += 1;
    let traces: Vec<Trace> = (0..1_000).map(|n| generate(7, n)).collect();
    let found = disagreements(&traces, bend);
    let small = shrink(found.first().expect("a second more of grace shows").clone(), bend);
    assert!(small.steps.len() <= 6, "a few steps are enough:\n{}", both_sides(&small, bend));
    assert!(both_sides(&small, bend).contains("ORACLE"));
}
