//! Destinations of pass-through: what is wrong with one is said at its line.

use super::*;

fn problem(destination: &str) -> String {
    load(&format!("exporters:\n  forward:\n    up: {destination}\n")).err().unwrap_or_default()
}

#[test]
fn a_destination_needs_a_url() {
    assert!(problem("{}").contains("the key `endpoint` is missing"), "{}", problem("{}"));
    for bad in ["collector:4318", "ftp://collector", "http://", "not a url"] {
        let said = problem(&format!("{{endpoint: '{bad}'}}"));
        assert!(said.contains("pulsegate.yaml:3:") && said.contains("not a URL"), "{bad}: {said}");
    }
    let said = problem("{endpoint: 'https://user:s3cret@host'}");
    assert!(said.contains("credentials do not belong") && !said.contains("s3cret"), "{said}");
    assert!(problem("{endpoint: 'https://host/?key=s3cret'}").contains("without ? and #"));
    assert_eq!(problem("{endpoint: 'https://host:4318/base'}"), "");
}

#[test]
fn what_does_not_fit_together_is_refused() {
    for (destination, said) in [
        ("{endpoint: 'http://h', protocol: langfuse}", "public_key and secret_key"),
        ("{endpoint: 'http://h', public_key: pk}", "are for `protocol: langfuse`"),
        ("{endpoint: 'http://h', signals: [webhooks]}", "this protocol carries: traces, logs, metrics"),
        ("{endpoint: 'http://h', signals: []}", "at least one is needed"),
        ("{endpoint: 'http://h', projects: []}", "nothing would be sent"),
        ("{endpoint: 'http://h', protocol: grpc, tls: {insecure_skip_verify: true}}", "not available over gRPC"),
        ("{endpoint: 'http://h', headers: {content-length: x}}", "set by the gateway itself"),
        ("{endpoint: 'http://h', headers: {'a b': x}}", "cannot be the name of a header"),
        ("{endpoint: 'http://h', headers: {a: \"s3cret\\nx\"}}", "cannot be sent in a header"),
        ("{endpoint: 'http://h', sending_queue: {num_consumers: 0}}", "allowed is 1 to 100"),
        ("{endpoint: 'http://h', sending_queue: {on_full: block}}", "`block` is not allowed here"),
        ("{endpoint: 'http://h', retry_on_failure: {multiplier: 0.5}}", "allowed is 1 to 10"),
        ("{endpoint: 'http://h', retry_on_failure: {randomization_factor: 2}}", "allowed is 0 to 1"),
    ] {
        let problem = problem(destination);
        assert!(problem.contains(said) && !problem.contains("s3cret"), "{destination}: {problem}");
    }
    assert!(load("exporters: {forward: {'../up': {endpoint: 'http://h'}}}").unwrap_err().contains("a-z, 0-9, - and _"));
}
