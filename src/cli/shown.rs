//! How texts, times and colours are shown on a terminal.

use std::io::IsTerminal;

use pulsegate::model::Timestamp;
use serde_json::Value;

/// A text from outside as it may stand on a terminal: control characters, and those that turn the direction of writing, are
/// written out, so that a name can neither move the cursor nor pretend to be something else.
pub fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// A member of an answer as a safe text; `-` for what is unknown.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => safe(text),
        other => safe(&other.to_string()),
    }
}

/// How long ago a time of an answer was: `42s`, `3m 10s`, `5h 12m`, `9d 4h`; `-` when it is unknown.
pub fn age(value: &Value, now: Timestamp) -> String {
    let Some(at) = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()) else {
        return "-".into();
    };
    let secs = now.as_secs().saturating_sub(at.as_second()).max(0);
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, secs / 3600) {
        (1.., _) => format!("{days}d {hours}h"),
        (_, 1..) => format!("{hours}h {minutes}m"),
        _ if minutes > 0 => format!("{minutes}m {}s", secs % 60),
        _ => format!("{secs}s"),
    }
}

/// A whole number with its thousands set apart.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let first = digits.len() % 3;
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && i % 3 == first {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Whether colours are wanted: on a terminal, unless `NO_COLOR` says otherwise (<https://no-color.org>).
pub fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The terminal's width, when standard output is one.
pub fn width() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}

/// The colour of a state, as an ANSI code.
pub fn colour(state: &str) -> &'static str {
    match state {
        "healthy" => "32",
        "down" | "erroring" | "looping" | "over_budget" => "31",
        "degraded" | "stalled" => "33",
        "starting" | "restarting" => "36",
        _ => "90",
    }
}

/// `text` in a colour.
pub fn painted(text: &str, colour: &str, on: bool) -> String {
    if on { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_7_texts_from_outside_cannot_steer_a_terminal() {
        assert_eq!(safe("a\u{1b}[2Jb\r\n\u{9b}c"), "a\\u{1b}[2Jb\\r\\n\\u{9b}c");
        assert_eq!(safe("abc\u{202e}fed"), "abc\\u{202e}fed");
        assert_eq!(safe("tab\tand ünïcode 🦀"), "tab\\tand ünïcode 🦀");
        assert_eq!(text(&serde_json::json!({"a": "\u{7}"})), "{\"a\":\"\\u0007\"}");
    }

    #[test]
    fn ages_are_short() {
        let now = Timestamp(1_795_348_800_000_000);
        for (at, shown) in [
            ("2026-11-22T11:59:18Z", "42s"),
            ("2026-11-22T11:56:50.5Z", "3m 10s"),
            ("2026-11-22T06:48:00Z", "5h 12m"),
            ("2026-11-13T08:00:00Z", "9d 4h"),
            ("2026-11-22T12:00:05Z", "0s"),
        ] {
            assert_eq!(age(&Value::from(at), now), shown);
        }
        assert_eq!(age(&Value::Null, now), "-");
    }

    #[test]
    fn thousands_are_set_apart() {
        for (n, shown) in [(0, "0"), (999, "999"), (1000, "1 000"), (51_230, "51 230"), (1_234_567, "1 234 567")] {
            assert_eq!(count(n), shown);
        }
    }
}
