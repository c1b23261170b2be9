//! Text from outside, as it may be shown on a terminal or written to a log.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with everything written out that a terminal would obey or that would make it read otherwise than it is: control
/// characters (line breaks too), marks of writing direction, line and paragraph separators. `\n` becomes the two
/// characters `\n`, an escape `\u{1b}`.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_treacherous) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a string cannot fail.
            c if is_treacherous(c) => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_7_what_a_terminal_would_obey_is_written_out() {
        for (text, shown) in [
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("nul\0 c1\u{9b}31m del\u{7f}", "nul\\u{0} c1\\u{9b}31m del\\u{7f}"),
            ("abc\u{202e}cba\u{2066}", "abc\\u{202e}cba\\u{2066}"),
            ("line\u{2028}feed", "line\\u{2028}feed"),
        ] {
            assert_eq!(plain(text), shown);
        }
        assert!(matches!(plain("研究 agent – ünï/42"), Cow::Borrowed(_)));
    }
}
