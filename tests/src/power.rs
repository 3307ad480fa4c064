//! Power cuts: of what a program has written, only what it has synced is sure to survive.
//!
//! The record of a run ([`crate::faults`]) is played back, up to any moment, onto a simulated disk that
//! guarantees no more than a real one. Everything synced is there. Each write since a file's last sync is
//! there, or missing, or cut short, in any combination. A file that was created or deleted since its
//! directory was last synced may exist or not.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use crate::random::SeededRandom;

/// Disks write whole sectors.
const SECTOR: usize = 512;

/// The steps of a run, in order.
#[derive(Debug)]
pub struct Recording {
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    file: String,
    action: Action,
}

#[derive(Debug)]
enum Action {
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
    /// The tap is about to answer 200.
    Answer,
}

/// The state of a file on the simulated disk.
#[derive(Debug, Default, Clone)]
struct FileState {
    /// The synced content.
    synced: Vec<u8>,
    /// The writes since then, as indices of steps.
    pending: Vec<usize>,
    /// Whether the file exists in the directory.
    exists: bool,
    /// Whether it was created or deleted since the directory was last synced.
    in_doubt: bool,
}

impl Recording {
    /// Reads a record.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).expect("the record can be read");
        let mut rest = &bytes[..];
        let mut steps = Vec::new();
        while let Some((head, behind)) = rest.split_at_checked(24) {
            let number = |from: usize| {
                let bytes = head[from..from + 8].try_into().expect("eight bytes");
                usize::try_from(u64::from_ne_bytes(bytes)).expect("a file offset")
            };
            let (offset, length) = (number(8), number(16));
            let name = head[1..8].split(|byte| *byte == 0).next().unwrap_or_default();
            let file = String::from_utf8(name.to_vec()).expect("a suffix is text");
            let (content, next) = behind.split_at(length);
            rest = next;
            let action = match head[0] {
                b'W' => Action::Write { offset, bytes: content.to_vec() },
                b'T' => Action::Truncate { length: offset },
                b'S' => Action::Sync,
                b'C' => Action::Create,
                b'U' => Action::Unlink,
                b'A' => Action::Answer,
                other => panic!("a record of kind {other}"),
            };
            steps.push(Step { file, action });
        }
        Recording { steps }
    }

    /// The number of moments at which the power can fail: after each step.
    #[must_use]
    pub fn moments(&self) -> usize {
        self.steps.len()
    }

    /// The moments directly after a sync.
    pub fn sync_points(&self) -> impl Iterator<Item = usize> {
        let syncs = self.steps.iter().enumerate().filter(|(_, step)| matches!(step.action, Action::Sync));
        syncs.map(|(place, _)| place + 1)
    }

    /// How many times the tap had answered 200 by a moment.
    #[must_use]
    pub fn answers_by(&self, moment: usize) -> usize {
        self.steps[..moment].iter().filter(|step| matches!(step.action, Action::Answer)).count()
    }

    /// Writes the files into `folder` as a power cut at `moment` may leave them. `random` decides what is
    /// uncertain. `base` is the file name of the spool.
    pub fn play_back(&self, moment: usize, random: &mut SeededRandom, folder: &Path, base: &str) {
        let mut disk: BTreeMap<&str, FileState> = BTreeMap::new();
        for (place, step) in self.steps[..moment].iter().enumerate() {
            if step.file == "dir" {
                for state in disk.values_mut() {
                    state.in_doubt = false;
                }
                continue;
            }
            let state = disk.entry(&step.file).or_default();
            match step.action {
                Action::Create => *state = FileState { exists: true, in_doubt: true, ..FileState::default() },
                Action::Unlink => {
                    state.exists = false;
                    state.in_doubt = true;
                }
                Action::Write { .. } | Action::Truncate { .. } => state.pending.push(place),
                Action::Sync => {
                    for place in std::mem::take(&mut state.pending) {
                        self.apply(place, &mut state.synced, usize::MAX);
                    }
                }
                Action::Answer => {}
            }
        }
        for (file, state) in disk {
            // The index of the log is shared memory and on no disk.
            let is_there = if state.in_doubt { random.one_in(2) } else { state.exists };
            if file == "-shm" || !is_there {
                continue;
            }
            let mut content = state.synced;
            let kept: HashSet<usize> = state.pending.iter().copied().filter(|_| random.one_in(2)).collect();
            for place in state.pending.iter().filter(|place| kept.contains(place)) {
                let sectors = random.below(16);
                let torn = if random.one_in(4) {
                    usize::try_from(sectors).expect("few") * SECTOR
                } else {
                    usize::MAX
                };
                self.apply(*place, &mut content, torn);
            }
            fs::write(folder.join(format!("{base}{file}")), content).expect("a file can be written");
        }
    }

    /// Applies a step to the content of its file; of a write, at most `most` bytes.
    fn apply(&self, place: usize, content: &mut Vec<u8>, most: usize) {
        match &self.steps[place].action {
            Action::Write { offset, bytes } => {
                let bytes = &bytes[..bytes.len().min(most)];
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Action::Truncate { length } => content.resize(*length, 0),
            Action::Sync | Action::Create | Action::Unlink | Action::Answer => {}
        }
    }
}
