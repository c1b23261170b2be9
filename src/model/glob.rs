//! Patterns over names: `*` is any text, `?` any one character, everything else itself.

use std::fmt;

/// The longest pattern, in bytes; as long as the longest agent name.
pub const PATTERN_BYTES_MAX: usize = 200;

/// A pattern over a whole agent name, capitals distinguished. `*` also crosses slashes; nothing can be escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// Takes a pattern of 1 to [`PATTERN_BYTES_MAX`] bytes. The error says what is wrong.
    pub fn new(pattern: &str) -> Result<Self, String> {
        match pattern.len() {
            0 => Err("the pattern is empty; write `*` for every agent".into()),
            n if n > PATTERN_BYTES_MAX => {
                Err(format!("the pattern is {n} bytes long; at most {PATTERN_BYTES_MAX} are allowed"))
            }
            _ => Ok(Self(pattern.into())),
        }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `name` matches. Takes at most `pattern × name` steps: going back to the last `*` is
    /// enough, because whatever an earlier one could give up, the last one can take.
    pub fn matches(&self, name: &str) -> bool {
        let (mut pattern, mut name) = (self.0.chars(), name.chars());
        let mut retry = None;
        loop {
            let (mut next_pattern, mut next_name) = (pattern.clone(), name.clone());
            match (next_pattern.next(), next_name.next()) {
                (Some('*'), _) => {
                    pattern = next_pattern.clone();
                    retry = Some((next_pattern, name.clone()));
                    continue;
                }
                (None, None) => return true,
                (Some(p), Some(n)) if p == '?' || p == n => {
                    (pattern, name) = (next_pattern, next_name);
                    continue;
                }
                _ => {}
            }
            // A mismatch: let the last `*` take one character more.
            let Some((after_star, taken)) = &mut retry else { return false };
            if taken.next().is_none() {
                return false;
            }
            (pattern, name) = (after_star.clone(), taken.clone());
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Glob::new(pattern).unwrap().matches(name)
    }

    #[test]
    fn a_pattern_covers_the_whole_name() {
        for (pattern, yes, no) in [
            ("research-*", &["research-", "research-agent/1"][..], &["my-research-1", "research", "Research-1"][..]),
            ("*", &["", "anything at all"], &[]),
            ("?", &["a", "é", "日"], &["", "ab"]),
            ("a?c", &["abc", "a日c"], &["ac", "abbc"]),
            ("*-bot-*", &["x-bot-y", "-bot-", "a-bot-bot-"], &["bot", "x-bot"]),
            ("**a**", &["a", "bab"], &["b", ""]),
            ("exact [x] {y} \\*", &["exact [x] {y} \\", "exact [x] {y} \\*"], &["exact x"]),
        ] {
            yes.iter().for_each(|name| assert!(matches(pattern, name), "{pattern} should match {name}"));
            no.iter().for_each(|name| assert!(!matches(pattern, name), "{pattern} should not match {name}"));
        }
    }

    #[test]
    fn a_hostile_pattern_is_soon_done() {
        let pattern = "*a".repeat(PATTERN_BYTES_MAX / 2);
        assert!(!matches(&pattern, &format!("{}b", "a".repeat(10_000))));
    }

    /// The definition, written as simply as it can be.
    fn by_definition(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=name.len()).any(|n| by_definition(rest, &name[n..])),
            ([p, rest @ ..], [n, others @ ..]) => (*p == '?' || p == n) && by_definition(rest, others),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{1,8}", name in "[ab]{0,10}") {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &name), by_definition(&chars(&pattern), &chars(&name)));
        }
    }
}
