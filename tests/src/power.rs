//! A power cut: of what a program wrote, only what it had synced is sure to be there.
//!
//! The record of a run ([`crate::faults`]) is played back up to any of its moments onto a disk that keeps its word, and no
//! more than that: what was synced is there; of what was written to a file since its last sync, each write is there, or
//! is not, or only its beginning is, in any combination; a file that was made or removed since its directory was last
//! synced may or may not be.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use crate::chance::Chance;

/// A disk writes whole sectors.
const SECTOR: usize = 512;

/// What a run did, in its order.
#[derive(Debug)]
pub struct Recording {
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    file: String,
    act: Act,
}

#[derive(Debug)]
enum Act {
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        length: usize,
    },
    Sync,
    Create,
    Unlink,
    /// An answer 200 is about to be sent.
    Answer,
}

/// A file on the disk.
#[derive(Debug, Default, Clone)]
struct Platter {
    /// What was synced.
    synced: Vec<u8>,
    /// What was written since, as places in the recording.
    pending: Vec<usize>,
    /// Whether the directory knows of it for sure.
    exists: bool,
    /// Whether it was made or removed since the directory was synced.
    in_doubt: bool,
}

impl Recording {
    /// Reads a record.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).expect("there is a record");
        let mut rest = &bytes[..];
        let mut steps = Vec::new();
        while let Some((head, behind)) = rest.split_at_checked(24) {
            let number = |from: usize| {
                let bytes = head[from..from + 8].try_into().expect("eight bytes");
                usize::try_from(u64::from_ne_bytes(bytes)).expect("a place in a file")
            };
            let (offset, length) = (number(8), number(16));
            let name = head[1..8].split(|byte| *byte == 0).next().unwrap_or_default();
            let file = String::from_utf8(name.to_vec()).expect("a suffix is text");
            let (content, next) = behind.split_at(length);
            rest = next;
            let act = match head[0] {
                b'W' => Act::Write { offset, bytes: content.to_vec() },
                b'T' => Act::Truncate { length: offset },
                b'S' => Act::Sync,
                b'C' => Act::Create,
                b'U' => Act::Unlink,
                b'A' => Act::Answer,
                other => panic!("a record of kind {other}"),
            };
            steps.push(Step { file, act });
        }
        Recording { steps }
    }

    /// How many moments there are at which the power can fail: after each step.
    #[must_use]
    pub fn moments(&self) -> usize {
        self.steps.len()
    }

    /// The moments right behind a sync.
    pub fn sync_points(&self) -> impl Iterator<Item = usize> {
        let syncs = self.steps.iter().enumerate().filter(|(_, step)| matches!(step.act, Act::Sync));
        syncs.map(|(place, _)| place + 1)
    }

    /// How many answers 200 had been sent by a moment.
    #[must_use]
    pub fn answers_by(&self, moment: usize) -> usize {
        self.steps[..moment].iter().filter(|step| matches!(step.act, Act::Answer)).count()
    }

    /// Puts the files into `folder` as a power cut at `moment` may leave them; `chance` decides what may be either way.
    /// `base` is the name of the spool.
    pub fn play_back(&self, moment: usize, chance: &mut Chance, folder: &Path, base: &str) {
        let mut disk: BTreeMap<&str, Platter> = BTreeMap::new();
        for (place, step) in self.steps[..moment].iter().enumerate() {
            if step.file == "dir" {
                for platter in disk.values_mut() {
                    platter.in_doubt = false;
                }
                continue;
            }
            let platter = disk.entry(&step.file).or_default();
            match step.act {
                Act::Create => *platter = Platter { exists: true, in_doubt: true, ..Platter::default() },
                Act::Unlink => {
                    platter.exists = false;
                    platter.in_doubt = true;
                }
                Act::Write { .. } | Act::Truncate { .. } => platter.pending.push(place),
                Act::Sync => {
                    for place in std::mem::take(&mut platter.pending) {
                        self.apply(place, &mut platter.synced, usize::MAX);
                    }
                }
                Act::Answer => {}
            }
        }
        for (file, platter) in disk {
            // The index of the log is shared memory: nothing of it is on any disk.
            let is_there = if platter.in_doubt { chance.once_in(2) } else { platter.exists };
            if file == "-shm" || !is_there {
                continue;
            }
            let mut content = platter.synced;
            let kept: HashSet<usize> =
                platter.pending.iter().copied().filter(|_| chance.once_in(2)).collect();
            for place in platter.pending.iter().filter(|place| kept.contains(place)) {
                let sectors = chance.below(16);
                let torn = if chance.once_in(4) {
                    usize::try_from(sectors).expect("few") * SECTOR
                } else {
                    usize::MAX
                };
                self.apply(*place, &mut content, torn);
            }
            fs::write(folder.join(format!("{base}{file}")), content).expect("a file can be written");
        }
    }

    /// Does to `content` what a step did to its file, a write up to so many bytes.
    fn apply(&self, place: usize, content: &mut Vec<u8>, most: usize) {
        match &self.steps[place].act {
            Act::Write { offset, bytes } => {
                let bytes = &bytes[..bytes.len().min(most)];
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Act::Truncate { length } => content.resize(*length, 0),
            Act::Sync | Act::Create | Act::Unlink | Act::Answer => {}
        }
    }
}
