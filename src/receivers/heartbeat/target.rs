//! What may be restarted: names that some program is called with one day, so nothing that it could take for more than a
//! name. They are sent by whoever has a key for heartbeats.

use crate::model::plain;

/// What programs call things: of containers, units, services and pods.
const NAMES: &str = "letters, digits and . _ - @ : / \\ = , + only, beginning with a letter, a digit, _ or /";

/// What is wrong with a `restart_type`.
pub fn flaw_of_kind(kind: &str) -> Option<String> {
    let good = kind.starts_with(|c: char| c.is_ascii_alphanumeric())
        && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    (!good).then(|| "Input should be letters, digits, '.', '_' or '-', such as docker, systemd or k8s".to_owned())
}

/// What is wrong with a target of this kind. Of a kind that is not known (`process` has paths and command lines) only
/// what is never part of a name is refused: options, and what speaks to terminals.
pub fn flaw(kind: &str, target: &str) -> Option<String> {
    if target.starts_with('-') {
        return Some("Input should not begin with '-': it would be taken for an option".to_owned());
    }
    if plain(target) != target {
        return Some("Input should have no control characters and no marks of writing direction".to_owned());
    }
    if !matches!(kind, "docker" | "systemd" | "launchd" | "k8s") {
        return None;
    }
    let named = target.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '/')
        && target.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@:/\\=,+".contains(&b));
    let climbs = target.split('/').any(|part| part == "..");
    (!named || climbs)
        .then(|| format!("Input should be the name of a {kind} target: {NAMES}, and no '..' between slashes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_13_names_pass_and_what_could_be_more_does_not() {
        for (kind, target) in [
            ("docker", "my-bot_1.web"),
            ("docker", "/my-bot"),
            ("systemd", "dev-disk-by\\x2duuid.device"),
            ("k8s", "team/agent-7d4"),
            ("process", "/var/run/my bot.pid"),
            ("process", "../run/研究.pid"),
        ] {
            assert_eq!((flaw_of_kind(kind), flaw(kind, target)), (None, None), "{kind}:{target}");
        }
        for (kind, target) in [
            ("docker", "--privileged"),
            ("docker", "a;b"),
            ("docker", "a b"),
            ("docker", "../a"),
            ("docker", "my\u{2010}bot"),
            ("systemd", "a\nb"),
            ("process", "-9"),
            ("process", "a\0"),
            ("process", "\u{202e}dip"),
        ] {
            assert!(flaw(kind, target).is_some(), "{kind}:{target}");
        }
        assert!(flaw_of_kind("--x").is_some() && flaw_of_kind("dö").is_some() && flaw_of_kind("a b").is_some());
    }
}
