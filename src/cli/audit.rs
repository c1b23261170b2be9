//! `pulsegate audit`: the audit chain, read and verified on the database itself, also while a gateway runs.

use anyhow::anyhow;
use clap::Subcommand;
use pulsegate::config::Environment;
use pulsegate::ids::hex;
use pulsegate::model::{ActorKind, AuditHash, AuditRow, Decision, plain};
use pulsegate::store::AuditQuery;

use super::{Common, Failure, keys};

#[derive(Subcommand)]
pub enum AuditCommand {
    /// Walk the whole chain; says which row is the first broken one, and ends with 1 then
    Verify {
        /// A row that was noted down elsewhere, as the last line of an earlier verify: it must still be there, unchanged
        #[arg(long, value_name = "SEQ:HASH", value_parser = anchor)]
        anchor: Option<(i64, AuditHash)>,
    },
    /// Print the newest rows
    List {
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
}

fn anchor(text: &str) -> Result<(i64, AuditHash), String> {
    let wrong = || "write it as verify prints it: the row's number, a colon, 64 hexadecimal digits".to_owned();
    let (seq, digits) = text.split_once(':').ok_or_else(wrong)?;
    let seq = seq.parse().map_err(|_| wrong())?;
    let mut hash = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return Err(wrong());
    }
    for (byte, place) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&digits[place..place + 2], 16).map_err(|_| wrong())?;
    }
    Ok((seq, hash))
}

pub fn run(common: &Common, command: &AuditCommand, environment: &Environment) -> Result<(), Failure> {
    let (file, _) = keys::open(common, environment)?;
    match command {
        AuditCommand::Verify { anchor } => match file.verify_audit(*anchor)? {
            Ok((rows, Some((seq, hash)))) => println!("the audit chain is whole: {rows} rows\n{seq}:{}", hex(&hash)),
            Ok(_) => println!("the audit chain is whole: it is empty"),
            Err(fault) => return Err(anyhow!("the audit chain is broken at {fault}").into()),
        },
        AuditCommand::List { limit } => {
            let rows = file.audit(&AuditQuery { project: None, before: i64::MAX, limit: *limit })?;
            println!("{:<8} {:<25} {:<22} {:<20} {:<8} TARGET", "SEQ", "TIME", "WHO", "ACTION", "");
            rows.iter().rev().for_each(|row| println!("{}", plain(&line(row))));
        }
    }
    Ok(())
}

fn line(row: &AuditRow) -> String {
    let Some(deed) = row.deed() else { return format!("{:<8} {:<25} this row cannot be read", row.seq, row.at) };
    let who = match deed.actor.kind {
        ActorKind::Key => format!("key {}", deed.actor.key_id.as_deref().unwrap_or("?")),
        ActorKind::Cli => "command line".into(),
        ActorKind::System => "gateway".into(),
    };
    let decision = if deed.decision == Decision::Refused { "refused" } else { "" };
    let reason = if deed.reason.is_empty() { String::new() } else { format!(": {}", deed.reason) };
    let text = format!("{}{reason}", deed.target);
    // What others wrote must not move the cursor of who reads it.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("{:<8} {:<25} {who:<22} {:<20} {decision:<8} {text}", row.seq, row.at.to_string(), deed.action)
}
