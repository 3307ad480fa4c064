//! The one thread that writes: group commit without a timer.
//!
//! The writer takes whatever waits, writes it in one transaction, commits (one sync), then answers all of it. While it
//! syncs, the next group gathers: the busier the listener, the larger the group. Nothing ever waits for a timer; on a busy
//! machine the writer lets others go first, and finds that more is waiting.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, ToSql, TransactionBehavior};
use tokio::sync::oneshot;
use tracing::debug;

use super::headroom::Headroom;
use super::role::RoleLock;
use crate::spool::sequence::{SequenceUnit, Sequencer};
use crate::spool::sqlite::{self, OpenFiles};
use crate::spool::{
    Append, AppendError, Batch, Budget, Commits, Receipt, Reservation, SpoolError, Watermark,
};

/// A group is closed at this many bytes of text, so that nobody waits for an endless transaction.
const GROUP_BYTES: usize = 4 << 20;
/// How often an idle writer looks whether its files are still those that everybody else would open.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// How long a probe waits for another process's transaction. A batch waits longer: whoever asks wants to know whether it
/// would have to.
const PROBE_PATIENCE: Duration = Duration::from_millis(500);
/// What a probe asks room for: an event of the usual size.
const PROBE_BYTES: u64 = 1024;

/// What a spool may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Size of the spool in bytes, past which it is full.
    pub spool_max_bytes: u64,
    /// Free bytes on the disk that are left to others.
    pub min_free_bytes: u64,
    /// Bytes in memory that may wait to be written.
    pub memory_bytes: usize,
}

/// The writer thread.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    outcome: oneshot::Receiver<Result<(), SpoolError>>,
}

/// What a transaction has written.
struct Committed {
    rows: u32,
    /// The last sequence.
    last: i64,
}

/// Hands batches to the writer thread.
#[derive(Debug, Clone)]
pub struct WriterHandle {
    jobs: mpsc::Sender<Job>,
    budget: Budget,
    commits: Commits,
}

enum Job {
    Write(Waiting),
    Probe(oneshot::Sender<Result<(), AppendError>>),
    Close,
}

struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Result<Receipt, AppendError>>,
}

impl Writer {
    /// Opens the spool at `path`, on which this process has the role of the listener, and starts the thread. `watermark` rises
    /// with each commit and ends with the thread. `clock` tells Unix milliseconds.
    pub fn start(
        path: &Path,
        role: &RoleLock,
        unit: SequenceUnit,
        limits: Limits,
        watermark: Watermark,
        clock: fn() -> i64,
    ) -> Result<(WriterHandle, Self), SpoolError> {
        let connection = sqlite::open(path)?;
        let last = sqlite::last_sequence(&connection)
            .map_err(|source| SpoolError::sqlite(path, "reading", source))?;
        // That was read from all of the spool's files, so all of them are there.
        let files = OpenFiles::of(path, role.path())?;
        watermark.advance(last);
        let room = Headroom::look(path, &connection, limits)?;
        let (jobs, queue) = mpsc::channel();
        let (report, outcome) = oneshot::channel();
        let commits = Commits::default();
        let mut thread = Thread {
            path: path.to_owned(),
            connection,
            files,
            queue,
            unit,
            room,
            watermark: watermark.clone(),
            commits: commits.clone(),
            clock,
        };
        thread::Builder::new()
            .name("spool-writer".to_owned())
            .spawn(move || {
                let outcome = thread.write_groups();
                if outcome.is_ok() {
                    drop(thread);
                } else {
                    // Closing would write, too. The kernel takes it all back soon.
                    std::mem::forget(thread.connection);
                }
                let _ = report.send(outcome);
                // The emitter ends only after a failure is known.
                watermark.end();
            })
            .map_err(|source| SpoolError::Io {
                path: path.to_owned(),
                doing: "starting the writer",
                source,
            })?;
        Ok((
            WriterHandle { jobs, budget: Budget::new(limits.memory_bytes), commits },
            Writer { path: path.to_owned(), outcome },
        ))
    }

    /// Waits until the thread has ended: after [`WriterHandle::close`], or because the spool has failed.
    pub async fn ended(&mut self) -> Result<(), SpoolError> {
        (&mut self.outcome).await.unwrap_or_else(|_| {
            Err(SpoolError::Poisoned {
                path: self.path.clone(),
                reason: "the writer thread panicked".to_owned(),
            })
        })
    }
}

impl WriterHandle {
    /// Lets the thread end once everything that was handed over before has been written and answered.
    pub fn close(&self) {
        let _ = self.jobs.send(Job::Close);
    }

    /// Asks whether an event of the usual size would be kept now. The thread that would write it decides, by what it would
    /// decide by: nothing answers before what was handed over before is written.
    pub async fn probe(&self) -> Result<(), AppendError> {
        self.budget.could_reserve(usize::try_from(PROBE_BYTES).unwrap_or(usize::MAX))?;
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Probe(answer)).map_err(|_| AppendError::Closed)?;
        answered.await.unwrap_or(Err(AppendError::Closed))
    }

    /// What the thread has measured.
    #[must_use]
    pub fn commits(&self) -> &Commits {
        &self.commits
    }
}

impl Append for WriterHandle {
    fn reserve(&self, bytes: usize) -> Result<Reservation, AppendError> {
        self.budget.reserve(bytes)
    }

    async fn append(&self, batch: Batch) -> Result<Receipt, AppendError> {
        let (answer, receipt) = oneshot::channel();
        self.jobs.send(Job::Write(Waiting { batch, answer })).map_err(|_| AppendError::Closed)?;
        // The thread drops the answer only when it ends without having written the batch.
        receipt.await.unwrap_or(Err(AppendError::Closed))
    }
}

struct Thread {
    path: PathBuf,
    connection: Connection,
    files: OpenFiles,
    queue: mpsc::Receiver<Job>,
    unit: SequenceUnit,
    room: Headroom,
    watermark: Watermark,
    commits: Commits,
    clock: fn() -> i64,
}

impl Thread {
    fn write_groups(&mut self) -> Result<(), SpoolError> {
        let mut open = true;
        while open {
            let mut next = match self.queue.recv_timeout(IDLE_LOOK) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => {
                    self.files.demand_unchanged()?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let (mut group, mut probes) = (Vec::new(), Vec::new());
            let mut bytes = 0;
            let mut yielded_at = 0;
            loop {
                match next {
                    Job::Write(waiting) => {
                        bytes += waiting.batch.text_bytes();
                        group.push(waiting);
                    }
                    Job::Probe(answer) => probes.push(answer),
                    Job::Close => {
                        open = false;
                        break;
                    }
                }
                if bytes >= GROUP_BYTES {
                    break;
                }
                let mut job = self.queue.try_recv();
                if job.is_err() && group.len() > yielded_at {
                    // Whoever is ready to hand something over, but for a processor, is let go first, as long as that brings
                    // more: a sync costs the same for one and for a hundred.
                    yielded_at = group.len();
                    thread::yield_now();
                    job = self.queue.try_recv();
                }
                next = match job {
                    Ok(job) => job,
                    Err(_) => break,
                };
            }
            self.write_group(group)?;
            self.answer(probes)?;
        }
        Ok(())
    }

    /// Answers whoever asks whether a batch would be written now.
    fn answer(&mut self, probes: Vec<oneshot::Sender<Result<(), AppendError>>>) -> Result<(), SpoolError> {
        if probes.is_empty() {
            return Ok(());
        }
        let outcome = self.try_out();
        for probe in probes {
            let _ = probe.send(*outcome.as_ref().unwrap_or(&Err(AppendError::Failed)));
        }
        outcome.map(drop)
    }

    /// Does what is done for a batch, but for the writing. Fails where a batch would end the writer.
    fn try_out(&mut self) -> Result<Result<(), AppendError>, SpoolError> {
        self.files.demand_unchanged()?;
        self.look_at_room()?;
        if let Err(refused) = self.room.could_take(PROBE_BYTES) {
            return Ok(Err(refused));
        }
        let begun = sqlite::with_patience(&mut self.connection, PROBE_PATIENCE, |connection| {
            connection.transaction_with_behavior(TransactionBehavior::Immediate)?.rollback()
        });
        match begun {
            Ok(()) => Ok(Ok(())),
            Err(error) => self.meaning_of(&error).map(Err),
        }
    }

    fn look_at_room(&mut self) -> Result<(), SpoolError> {
        if self.room.is_stale() {
            self.room = Headroom::look(&self.path, &self.connection, self.room.limits())?;
        }
        Ok(())
    }

    fn write_group(&mut self, group: Vec<Waiting>) -> Result<(), SpoolError> {
        if let Err(error) = self.look_at_room() {
            return Err(self.fail(group, error));
        }
        let mut admitted = Vec::with_capacity(group.len());
        for waiting in group {
            let receipt = waiting.batch.count();
            if receipt == (Receipt { accepted: 0, rejected: 0 }) {
                answer(waiting, Ok(receipt));
                continue;
            }
            match self.room.admit(waiting.batch.cost()) {
                Ok(()) => admitted.push(waiting),
                Err(refused) => answer(waiting, Err(refused)),
            }
        }
        if admitted.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        match self.commit(&admitted) {
            Ok(Committed { rows, last }) => {
                self.commits.note(begun.elapsed().as_secs_f64(), rows);
                if let Err(error) = self.files.demand_unchanged() {
                    // It is on disk, in a file that nobody will find.
                    return Err(self.fail(admitted, error));
                }
                self.watermark.advance(last);
                for waiting in admitted {
                    let receipt = waiting.batch.count();
                    answer(waiting, Ok(receipt));
                }
                Ok(())
            }
            Err(error) => self.refuse(admitted, &error),
        }
    }

    /// Writes a group and syncs it. All of it is on disk when this returns what it wrote, and none of it otherwise, as far as
    /// anyone can tell.
    fn commit(&mut self, group: &[Waiting]) -> rusqlite::Result<Committed> {
        let mut rows = 0;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let now = (self.clock)();
        // Looked up each time: a run beside this one may have taken up the state of another spool.
        let mut sequencer = Sequencer::after(sqlite::last_sequence(&transaction)?, self.unit);
        {
            let mut event = transaction
                .prepare_cached("INSERT INTO event (sequence, received_at, body) VALUES (?1, ?2, ?3)")?;
            let mut rejected = transaction.prepare_cached(
                "INSERT INTO rejected (sequence, received_at, reason, body) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for Waiting { batch, .. } in group {
                for (body, rejected_for) in batch.items() {
                    let sequence = sequencer.next(now);
                    rows += 1;
                    match rejected_for {
                        None => event.execute((sequence, batch.received_at(), Text(body)))?,
                        Some(reason) => rejected.execute((sequence, batch.received_at(), reason, body))?,
                    };
                }
            }
        }
        transaction.commit()?;
        Ok(Committed { rows, last: sequencer.last() })
    }

    /// What an error of a transaction means. Only where the spool is known to be as it was before does it live on.
    fn meaning_of(&self, error: &rusqlite::Error) -> Result<AppendError, SpoolError> {
        let rolled_back = self.connection.is_autocommit();
        match error.sqlite_error_code() {
            // No byte of the transaction has reached the file's committed part, and no sync was asked for.
            Some(ErrorCode::DiskFull) if rolled_back => Ok(AppendError::DiskLow),
            Some(ErrorCode::DatabaseBusy) if rolled_back => Ok(AppendError::Locked),
            _ => Err(SpoolError::Poisoned { path: self.path.clone(), reason: error.to_string() }),
        }
    }

    /// Answers a group that was not written.
    fn refuse(&self, group: Vec<Waiting>, error: &rusqlite::Error) -> Result<(), SpoolError> {
        let refused = match self.meaning_of(error) {
            Ok(refused) => refused,
            Err(failure) => return Err(self.fail(group, failure)),
        };
        debug!("{} requests were refused: {refused} ({error})", group.len());
        refuse_all(group, refused);
        Ok(())
    }

    /// Answers a group when the spool has failed, and says why it has.
    fn fail(&self, group: Vec<Waiting>, error: SpoolError) -> SpoolError {
        refuse_all(group, AppendError::Failed);
        // SQLite fails in many ways when its files are taken away, and names none of them.
        self.files.demand_unchanged().err().unwrap_or(error)
    }
}

fn refuse_all(group: Vec<Waiting>, refused: AppendError) {
    for waiting in group {
        answer(waiting, Err(refused));
    }
}

fn answer(waiting: Waiting, answer: Result<Receipt, AppendError>) {
    // Whoever asked may have gone: the events are kept all the same, and Mailjet repeats them.
    if waiting.answer.send(answer).is_err() {
        debug!("a client went away before its answer");
    }
}

/// Text that is bound as it is: the listener has checked that it is UTF-8.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use bytes::Bytes;

    use super::*;
    use crate::spool::{Items, Ledger, Role};

    const LIMITS: Limits = Limits { spool_max_bytes: 1 << 30, min_free_bytes: 0, memory_bytes: 1 << 20 };

    fn batch(handle: &WriterHandle, text: &'static str) -> Batch {
        let mut reservation = handle.reserve(text.len()).expect("memory");
        let mut items = Items::new("");
        items.push(0..text.len(), true, &mut reservation).expect("memory");
        Batch::new(Bytes::from_static(text.as_bytes()), items, 7, reservation)
    }

    fn role(path: &Path) -> RoleLock {
        sqlite::open(path).expect("a spool");
        RoleLock::take(Role::Listener, path).expect("nobody else has it")
    }

    fn sequences(path: &Path) -> Vec<i64> {
        let connection = sqlite::open(path).expect("the spool");
        let mut statement = connection.prepare("SELECT sequence FROM event ORDER BY rowid").expect("a query");
        statement.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("a row")).collect()
    }

    #[tokio::test]
    async fn sequences_go_on_when_the_clock_steps_back_between_two_runs() {
        static CLOCK: AtomicI64 = AtomicI64::new(5_000_000);
        let clock = || CLOCK.load(Ordering::SeqCst);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool.db");
        for now in [5_000_000, 1_000_000, 5_000_001] {
            CLOCK.store(now, Ordering::SeqCst);
            let watermark = Watermark::default();
            let (handle, mut writer) =
                Writer::start(&path, &role(&path), SequenceUnit::Millisecond, LIMITS, watermark, clock)
                    .expect("a writer");
            let receipt = handle.append(batch(&handle, "{}")).await;
            assert_eq!(receipt, Ok(Receipt { accepted: 1, rejected: 0 }));
            handle.close();
            writer.ended().await.expect("a clean end");
            assert_eq!(handle.append(batch(&handle, "{}")).await, Err(AppendError::Closed));
        }
        assert_eq!(sequences(&path), [5_000_000, 5_000_001, 5_000_002]);
    }

    #[tokio::test]
    async fn a_probe_is_answered_as_a_batch_would_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool.db");
        let start = |limits| {
            Writer::start(&path, &role(&path), SequenceUnit::Millisecond, limits, Watermark::default(), || 1)
                .expect("a writer")
        };
        let (handle, mut writer) = start(LIMITS);
        assert_eq!(handle.probe().await, Ok(()));
        let all = handle.reserve(LIMITS.memory_bytes).expect("nothing else is reserved");
        assert_eq!(handle.probe().await, Err(AppendError::Overloaded));
        drop(all);
        handle.close();
        writer.ended().await.expect("a clean end");
        assert_eq!(handle.probe().await, Err(AppendError::Closed));

        let (handle, _writer) = start(Limits { spool_max_bytes: 1, ..LIMITS });
        assert_eq!(handle.probe().await, Err(AppendError::SpoolFull));
        let (handle, mut writer) = start(LIMITS);
        std::fs::remove_file(&path).expect("it is there");
        // Unless the writer has noticed by itself, and ended.
        assert!(matches!(handle.probe().await, Err(AppendError::Failed | AppendError::Closed)));
        assert!(matches!(writer.ended().await, Err(SpoolError::Replaced { .. })));
    }

    /// A new spool may go on with the state of one that was lost; its sequences must be past that, whatever the clock does.
    #[tokio::test]
    async fn sequences_go_on_after_a_state_that_was_taken_up_meanwhile() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool.db");
        let role = role(&path);
        let (handle, _writer) =
            Writer::start(&path, &role, SequenceUnit::Millisecond, LIMITS, Watermark::default(), || 1_000)
                .expect("a writer");
        let kept = Ok(Receipt { accepted: 1, rejected: 0 });
        assert_eq!(handle.append(batch(&handle, "{}")).await, kept);
        Ledger::open(&path).and_then(|ledger| ledger.note_written_through(5_000)).expect("a note");
        assert_eq!(handle.append(batch(&handle, "{}")).await, kept);
        assert_eq!(sequences(&path), [1_000, 5_001]);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_what_fits_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("spool.db");
        let limits = Limits { spool_max_bytes: 64 << 10, ..LIMITS };
        let (handle, _writer) =
            Writer::start(&path, &role(&path), SequenceUnit::Millisecond, limits, Watermark::default(), || 1)
                .expect("a writer");
        let large: &'static str = Box::leak("x".repeat(100_000).into_boxed_str());
        assert_eq!(handle.append(batch(&handle, large)).await, Err(AppendError::SpoolFull));
        assert_eq!(handle.append(batch(&handle, "{}")).await, Ok(Receipt { accepted: 1, rejected: 0 }));
    }
}
