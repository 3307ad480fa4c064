//! What is asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::parts;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Options {
    /// How often each side of a comparison is measured; the median counts.
    pub rounds: usize,
    /// How long a load lasts that is bounded by time.
    pub load_time: Duration,
    /// Small sizes: to see that it all works, not to measure.
    pub quick: bool,
    /// Leaves the spools where they are.
    pub keep: bool,
    /// The parts that are measured; all, if it is empty.
    only: Vec<String>,
    /// Where spools and results go.
    pub folder: PathBuf,
}

impl Options {
    /// Reads the arguments, or says what they have to be.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut rounds, mut seconds) = (None, None);
        let (mut quick, mut keep, mut only) = (false, false, Vec::new());
        let mut folder = PathBuf::from("target/bench");
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => quick = true,
                "--keep" => keep = true,
                "--only" => {
                    let names = arguments.next().ok_or_else(usage)?;
                    only.extend(names.split(',').map(str::to_owned));
                }
                "--folder" => folder = arguments.next().ok_or_else(usage)?.into(),
                number if rounds.is_none() => rounds = Some(positive(number)?),
                number if seconds.is_none() => seconds = Some(positive(number)?),
                _ => return Err(usage()),
            }
        }
        if let Some(unknown) = only.iter().find(|name| parts::ALL.iter().all(|part| part.name != **name)) {
            return Err(format!("there is no part \"{unknown}\"\n{}", usage()));
        }
        let seconds = seconds.unwrap_or(if quick { 1 } else { 5 });
        Ok(Options {
            rounds: rounds.unwrap_or(if quick { 1 } else { 3 }),
            load_time: Duration::from_secs(seconds as u64),
            quick,
            keep,
            only,
            folder,
        })
    }

    /// Whether a part is to be measured.
    pub(crate) fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == part)
    }

    /// A size: the whole one, or the one of a quick run.
    pub(crate) fn size(&self, whole: u64, quick: u64) -> u64 {
        if self.quick { quick } else { whole }
    }
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(usage)
}

fn usage() -> String {
    let names: Vec<_> = parts::ALL.iter().map(|part| part.name).collect();
    format!(
        "usage: scripts/bench [--quick] [--keep] [--only PART,…] [--folder FOLDER] [ROUNDS [SECONDS]]\nparts: {}",
        names.join(", ")
    )
}
