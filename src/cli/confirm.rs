//! Asking before something that cannot be taken back.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::bail;
use clap::Args;

/// The flag that answers beforehand.
#[derive(Args, Clone, Copy, Debug)]
pub struct Yes {
    /// Do it without asking
    #[arg(short, long)]
    yes: bool,
}

impl Yes {
    /// Goes on when `--yes` was given or the person at the terminal says so. A script that is asked gets an error, so that
    /// nothing is destroyed because nobody was there.
    pub fn or_ask(self, what: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            bail!("to {what} cannot be taken back, and nobody is here to ask; add --yes");
        }
        eprint!("{} — this cannot be taken back. Go on? [y/N] ", capitalised(what));
        std::io::stderr().flush()?;
        if said_yes(std::io::stdin().lock())? { Ok(()) } else { bail!("nothing was changed") }
    }
}

fn said_yes(mut from: impl BufRead) -> std::io::Result<bool> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_goes_on() {
        for (line, expected) in [
            ("y\n", true),
            ("YES\n", true),
            (" yes \n", true),
            ("\n", false),
            ("", false),
            ("yep\n", false),
            ("n\n", false),
        ] {
            assert_eq!(said_yes(line.as_bytes()).unwrap(), expected, "{line:?}");
        }
    }

    #[test]
    fn the_flag_answers_beforehand() {
        assert!(Yes { yes: true }.or_ask("delete agent 1").is_ok());
        assert_eq!(capitalised("delete agent 1"), "Delete agent 1");
    }
}
