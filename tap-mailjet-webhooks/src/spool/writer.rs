//! The thread that appends to the event log: group commit without a timer.
//!
//! The writer takes everything that is waiting, stores it in one transaction, and then answers all of it.
//! While that transaction is synced, the next group gathers: the busier the listener, the larger the group.
//! Nothing ever waits for a timer. Before it commits, the writer yields to other threads for as long as that
//! brings more batches.
//!
//! How a group is stored is up to the implementation ([`GroupStore`]); everything else is here.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::oneshot;
use tracing::debug;

use crate::os::thread::{self, ThreadError};

use super::{
    AppendError, Batch, Budget, Receipt, Reservation, Sequence, SpoolError, SpoolErrorKind, Watermark,
};

/// A group is complete at this many bytes of text, so that transactions do not grow without bound.
const GROUP_BYTES: usize = 4 << 20;
/// How often an idle writer checks its storage ([`GroupStore::check`]).
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// The room that a probe asks for: that of a usual event.
const PROBE_BYTES: usize = 1024;

/// How much space and memory a spool may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The size in bytes at which the spool is full.
    pub spool_max_bytes: u64,
    /// The bytes to leave free on the disk.
    pub min_free_bytes: u64,
    /// The bytes in memory that may wait to be written.
    pub memory_bytes: usize,
}

/// Stores batches: how the listener hands events to the spool.
pub trait Append: Clone + Send + Sync + 'static {
    /// Reserves memory for a request of `bytes`.
    fn reserve(&self, bytes: usize) -> Result<Reservation, AppendError>;

    /// Stores `batch` and returns once it is durable.
    fn append(&self, batch: Batch) -> impl Future<Output = Result<Receipt, AppendError>> + Send;
}

/// How long commits took and how much they wrote. Clones share the measurements.
#[derive(Debug, Clone)]
pub struct CommitStats {
    /// How long transactions took, including their sync, in seconds.
    pub seconds: Histogram,
    /// How many rows each transaction wrote.
    pub rows: Histogram,
}

impl Default for CommitStats {
    fn default() -> Self {
        CommitStats {
            // From a quarter of a millisecond (a fast disk) to 8 s (one that is about to fail).
            seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            // Up to 16 384 events in one transaction.
            rows: Histogram::new(exponential_buckets(1.0, 4.0, 8)),
        }
    }
}

/// Why a transaction was not confirmed.
#[derive(Debug)]
pub(super) enum CommitError {
    /// The writer answers the group with this error and goes on.
    Refused(AppendError),
    /// The storage has failed, and the writer ends.
    Failed(SpoolError),
}

impl From<SpoolError> for CommitError {
    fn from(error: SpoolError) -> Self {
        CommitError::Failed(error)
    }
}

/// What an implementation does for the writer, on the writer's thread.
pub(super) trait GroupStore: Send + 'static {
    /// Checks that another process would still open the same storage. Called once a second while the writer
    /// is idle.
    fn check(&mut self) -> Result<(), SpoolError>;

    /// Measures how much room there is, unless the last measurement is recent.
    fn refresh_headroom(&mut self) -> Result<(), SpoolError>;

    /// Checks that there is room for `bytes`, and counts them as written if so.
    fn admit(&mut self, bytes: u64) -> Result<(), AppendError>;

    /// Stores the batches in one transaction, and returns the last sequence. All of them are durable when
    /// this returns `Ok`.
    fn commit(&mut self, group: &[&Batch]) -> Result<Sequence, CommitError>;

    /// Checks whether a batch of `bytes` would be stored now. It takes the same steps, but stores nothing.
    fn probe(&mut self, bytes: u64) -> Result<(), CommitError>;

    /// Lets go of failed storage without writing anything more to it.
    fn abandon(self);
}

/// The writer thread.
#[derive(Debug)]
pub struct Writer {
    outcome: oneshot::Receiver<Result<(), SpoolError>>,
}

/// Hands batches to the writer thread. Clones share the thread.
#[derive(Debug, Clone)]
pub struct WriterHandle {
    jobs: mpsc::Sender<Job>,
    budget: Budget,
    /// The measurements of the thread's commits.
    pub commits: CommitStats,
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

#[derive(Debug, thiserror::Error)]
#[error(
    "the thread that writes the spool has panicked; no more webhooks are accepted. Mailjet repeats \
     everything that was not answered with 200. Start again, and report it"
)]
struct WriterPanicked;

impl Writer {
    pub(super) fn start(
        store: impl GroupStore,
        memory_bytes: usize,
        watermark: Watermark,
    ) -> Result<(WriterHandle, Self), ThreadError> {
        let (jobs, queue) = mpsc::channel();
        let (report, outcome) = oneshot::channel();
        let commits = CommitStats::default();
        let mut thread = WriterThread { store, queue, watermark, commits: commits.clone() };
        thread::spawn("spool-writer", move || {
            let outcome = thread.write_groups();
            let WriterThread { store, watermark, .. } = thread;
            match outcome {
                Ok(()) => drop(store),
                Err(_) => store.abandon(),
            }
            let _ = report.send(outcome);
            // This comes last, so that the emitter does not end before the failure is known.
            watermark.close();
        })?;
        Ok((WriterHandle { jobs, budget: Budget::new(memory_bytes), commits }, Writer { outcome }))
    }

    /// Waits until the thread has ended: after [`WriterHandle::close`], or because the spool has failed.
    pub async fn ended(&mut self) -> Result<(), SpoolError> {
        (&mut self.outcome)
            .await
            .unwrap_or_else(|_| Err(SpoolError::new(SpoolErrorKind::StorageFailed, WriterPanicked)))
    }
}

impl WriterHandle {
    /// Asks the thread to end once it has written and answered everything that was handed over before.
    pub fn close(&self) {
        let _ = self.jobs.send(Job::Close);
    }

    /// Checks whether an event of the usual size would be stored now.
    ///
    /// The writer decides, by the same rules as for a batch, and answers after everything that was handed
    /// over before.
    pub async fn probe(&self) -> Result<(), AppendError> {
        self.budget.could_reserve(PROBE_BYTES)?;
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Probe(answer)).map_err(|_| AppendError::Closed)?;
        answered.await.unwrap_or(Err(AppendError::Closed))
    }
}

impl Append for WriterHandle {
    fn reserve(&self, bytes: usize) -> Result<Reservation, AppendError> {
        self.budget.reserve(bytes)
    }

    async fn append(&self, batch: Batch) -> Result<Receipt, AppendError> {
        let (answer, receipt) = oneshot::channel();
        self.jobs.send(Job::Write(Waiting { batch, answer })).map_err(|_| AppendError::Closed)?;
        // The thread drops the answer only if it ends without having written the batch.
        receipt.await.unwrap_or(Err(AppendError::Closed))
    }
}

struct WriterThread<S> {
    store: S,
    queue: mpsc::Receiver<Job>,
    watermark: Watermark,
    commits: CommitStats,
}

/// What the writer takes from its queue in one go.
#[derive(Default)]
struct Group {
    waiting: Vec<Waiting>,
    probes: Vec<oneshot::Sender<Result<(), AppendError>>>,
    bytes: usize,
    is_last: bool,
}

impl Group {
    fn add(&mut self, job: Job) {
        match job {
            Job::Write(waiting) => {
                self.bytes += waiting.batch.text.len();
                self.waiting.push(waiting);
            }
            Job::Probe(answer) => self.probes.push(answer),
            Job::Close => self.is_last = true,
        }
    }

    fn is_complete(&self) -> bool {
        self.is_last || self.bytes >= GROUP_BYTES
    }
}

impl<S: GroupStore> WriterThread<S> {
    fn write_groups(&mut self) -> Result<(), SpoolError> {
        loop {
            let first = match self.queue.recv_timeout(IDLE_CHECK) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => {
                    self.store.check()?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let Group { waiting, probes, is_last, .. } = self.gather(first);
            self.write_group(waiting)?;
            self.answer_probes(probes)?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Takes everything that is waiting from the queue.
    fn gather(&self, first: Job) -> Group {
        let mut group = Group::default();
        group.add(first);
        let mut yielded_at = 0;
        while !group.is_complete() {
            let mut job = self.queue.try_recv();
            if job.is_err() && group.waiting.len() > yielded_at {
                // Tasks that are ready to hand over a batch and lack only a processor go first, as long as
                // that adds to the group: a sync costs the same for one batch as for a hundred.
                yielded_at = group.waiting.len();
                std::thread::yield_now();
                job = self.queue.try_recv();
            }
            match job {
                Ok(job) => group.add(job),
                Err(_) => break,
            }
        }
        group
    }

    fn answer_probes(
        &mut self,
        probes: Vec<oneshot::Sender<Result<(), AppendError>>>,
    ) -> Result<(), SpoolError> {
        if probes.is_empty() {
            return Ok(());
        }
        let (answer, outcome) = match self.store.probe(PROBE_BYTES as u64) {
            Ok(()) => (Ok(()), Ok(())),
            Err(CommitError::Refused(refused)) => (Err(refused), Ok(())),
            Err(CommitError::Failed(error)) => (Err(AppendError::Failed), Err(error)),
        };
        for probe in probes {
            let _ = probe.send(answer);
        }
        outcome
    }

    fn write_group(&mut self, group: Vec<Waiting>) -> Result<(), SpoolError> {
        if let Err(error) = self.store.refresh_headroom() {
            answer(group, Err(AppendError::Failed));
            return Err(error);
        }
        let mut admitted = Vec::with_capacity(group.len());
        for waiting in group {
            if waiting.batch.receipt() == Receipt::default() {
                answer([waiting], Ok(()));
                continue;
            }
            match self.store.admit(waiting.batch.cost()) {
                Ok(()) => admitted.push(waiting),
                Err(refused) => answer([waiting], Err(refused)),
            }
        }
        if admitted.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let batches: Vec<&Batch> = admitted.iter().map(|waiting| &waiting.batch).collect();
        match self.store.commit(&batches) {
            Ok(last) => {
                self.commits.seconds.observe(started.elapsed().as_secs_f64());
                self.commits.rows.observe(batches.into_iter().map(Batch::rows).map(f64::from).sum());
                self.watermark.advance(last);
                answer(admitted, Ok(()));
                Ok(())
            }
            Err(CommitError::Refused(refused)) => {
                debug!("{} requests were refused: {refused}", admitted.len());
                answer(admitted, Err(refused));
                Ok(())
            }
            Err(CommitError::Failed(error)) => {
                answer(admitted, Err(AppendError::Failed));
                Err(error)
            }
        }
    }
}

fn answer(group: impl IntoIterator<Item = Waiting>, outcome: Result<(), AppendError>) {
    for Waiting { batch, answer } in group {
        // The client may have gone. Events that were stored stay stored, and Mailjet repeats the request.
        if answer.send(outcome.map(|()| batch.receipt())).is_err() {
            debug!("a client disconnected before it got its answer");
        }
    }
}
