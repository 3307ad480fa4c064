//! `spool verify`: checks the spool and prints what is wrong with it.

use std::ops::ControlFlow;

use super::spool_items::{describe_damage, is_json_object};
use super::{CommandError, print};
use crate::config::Config;
use crate::spool::{self, ItemKind, Sequence};

/// Problems with single items that are listed one by one.
const MAX_LISTED: usize = 100;

/// Something is wrong with the spool.
#[derive(Debug, thiserror::Error)]
#[error(
    "spool {spool}: {problems} problems found; `spool export` writes what can be read. A run skips what it \
     cannot read. To get a sound spool, drain this one and then set spool_path to another file"
)]
pub struct SpoolProblems {
    spool: String,
    problems: usize,
}

/// Checks the spool. Fails if anything is wrong.
pub fn execute(config: &Config) -> Result<(), CommandError> {
    let spool = spool::open_existing(&config.spool_location()?)?;
    let mut problems = spool.check()?;
    let (mut events, mut rejected, mut unsound_items) = (0_u64, 0_u64, Vec::new());
    let mut reader = spool.reader()?;
    for kind in ItemKind::ALL {
        reader.read_past(kind, Sequence::START, u32::MAX, &mut |item| {
            match (kind, item) {
                (_, Err(damage)) => unsound_items.push(describe_damage(kind, &damage)),
                (ItemKind::Rejected, Ok(_)) => rejected += 1,
                (ItemKind::Event, Ok(item)) => {
                    events += 1;
                    if !is_json_object(item.body) {
                        unsound_items.push(format!("event {}: its body is not a JSON object", item.sequence));
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
    }
    let unlisted = unsound_items.len().saturating_sub(MAX_LISTED);
    problems.extend(unsound_items.into_iter().take(MAX_LISTED));
    if unlisted > 0 {
        problems.push(format!("and {unlisted} more like these"));
    }
    let summary = format!("spool {spool}: {events} events, {rejected} rejected items\n");
    if problems.is_empty() {
        return print(summary + "nothing is wrong\n");
    }
    let lines = problems.iter().map(|problem| format!("wrong: {problem}\n"));
    print(summary + &lines.collect::<String>())?;
    Err(SpoolProblems { spool: spool.to_string(), problems: problems.len() }.into())
}
