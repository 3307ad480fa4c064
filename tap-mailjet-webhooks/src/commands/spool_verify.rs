//! `spool verify`: checks the spool and prints what is wrong with it.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use super::spool_items::{describe_damage, is_json_object};
use super::{CommandError, print};
use crate::config::Config;
use crate::spool::{self, EventReader, ItemKind, Sequence, SpoolError, StoredItem};

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
    let items = ItemCheck::read(&mut *spool.reader()?)?;
    let unlisted = items.problems.len().saturating_sub(MAX_LISTED);
    problems.extend(items.problems.into_iter().take(MAX_LISTED));
    if unlisted > 0 {
        problems.push(format!("and {unlisted} more like these"));
    }
    let mut report = format!("spool {spool}: {} events, {} rejected items\n", items.events, items.rejected);
    if problems.is_empty() {
        return print(report + "nothing is wrong\n");
    }
    for problem in &problems {
        let _ = writeln!(report, "wrong: {problem}");
    }
    print(report)?;
    Err(SpoolProblems { spool: spool.to_string(), problems: problems.len() }.into())
}

/// What a look at every item has found.
#[derive(Debug, Default)]
struct ItemCheck {
    events: u64,
    rejected: u64,
    problems: Vec<String>,
}

impl ItemCheck {
    fn read(reader: &mut dyn EventReader) -> Result<Self, SpoolError> {
        let mut check = ItemCheck::default();
        for kind in ItemKind::ALL {
            reader.read_past(kind, Sequence::START, u32::MAX, &mut |item| {
                match item {
                    Ok(item) => check.add(kind, &item),
                    Err(damage) => check.problems.push(describe_damage(kind, &damage)),
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(check)
    }

    fn add(&mut self, kind: ItemKind, item: &StoredItem<'_>) {
        match kind {
            ItemKind::Event => self.events += 1,
            ItemKind::Rejected => self.rejected += 1,
        }
        if kind == ItemKind::Event && !is_json_object(item.body) {
            self.problems.push(format!("event {}: its body is not a JSON object", item.sequence));
        }
    }
}
