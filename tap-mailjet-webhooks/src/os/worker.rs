//! Work that is repeated on a thread of its own until it is asked to stop, such as following a file.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::thread::{self, ThreadError};

/// Why a round of work is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// The interval has passed.
    Regular,
    /// The worker was asked to stop, and does this one before it ends.
    Last,
}

/// A thread that does a round of work after each interval, and a last one when it is asked to stop.
///
/// It stops when [`finish`](Worker::finish) is called, when this is dropped, and after a round that fails.
#[derive(Debug)]
pub struct Worker<E> {
    stop: mpsc::Sender<()>,
    outcome: oneshot::Receiver<Result<(), E>>,
}

impl<E: Send + 'static> Worker<E> {
    /// Starts the thread. `round` and everything that it owns is dropped before the outcome is reported.
    pub fn start(
        name: &'static str,
        interval: Duration,
        round: impl FnMut(Round) -> Result<(), E> + Send + 'static,
    ) -> Result<Self, ThreadError> {
        let (stop, stopped) = mpsc::channel();
        let (report, outcome) = oneshot::channel();
        thread::spawn(name, move || {
            let _ = report.send(repeat(interval, &stopped, round));
        })?;
        Ok(Worker { stop, outcome })
    }

    /// Waits until a round fails, and returns why. Never completes while the rounds succeed.
    pub async fn failed(&mut self) -> E {
        match (&mut self.outcome).await {
            Ok(Err(error)) => error,
            // It was asked to stop, or a round has panicked, which is a bug and has been reported on stderr.
            Ok(Ok(())) | Err(_) => std::future::pending().await,
        }
    }

    /// Asks the worker to stop and waits for its last round. Returns the error of the round that failed, if
    /// one did.
    pub async fn finish(self) -> Result<(), E> {
        drop(self.stop);
        self.outcome.await.unwrap_or(Ok(()))
    }
}

/// Does rounds until one fails or the other end of `stopped` is dropped.
fn repeat<E>(
    interval: Duration,
    stopped: &mpsc::Receiver<()>,
    mut round: impl FnMut(Round) -> Result<(), E>,
) -> Result<(), E> {
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        round(Round::Regular)?;
    }
    round(Round::Last)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::Sender;

    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const NEVER: Duration = Duration::from_secs(3600);

    fn report_to(rounds: Sender<Round>) -> impl FnMut(Round) -> Result<(), &'static str> + Send + 'static {
        move |round| rounds.send(round).map_err(|_| "nobody waits for rounds")
    }

    #[tokio::test]
    async fn a_worker_repeats_its_round_and_does_a_last_one_when_it_is_finished() {
        let (rounds, done) = mpsc::channel();
        let worker = Worker::start("test", SOON, report_to(rounds)).expect("a thread");
        assert_eq!([done.recv(), done.recv()], [Ok(Round::Regular), Ok(Round::Regular)]);
        assert_eq!(worker.finish().await, Ok(()));
        assert_eq!(done.iter().last(), Some(Round::Last));
    }

    #[tokio::test]
    async fn a_worker_that_is_finished_early_or_dropped_does_only_the_last_round() {
        for is_dropped in [false, true] {
            let (rounds, done) = mpsc::channel();
            let worker = Worker::start("test", NEVER, report_to(rounds)).expect("a thread");
            if is_dropped {
                drop(worker);
            } else {
                worker.finish().await.expect("no round fails");
            }
            assert_eq!(done.iter().collect::<Vec<_>>(), [Round::Last]);
        }
    }

    #[tokio::test]
    async fn a_round_that_fails_is_the_last_and_is_reported() {
        let failing = |_| Err("the disk failed");
        let mut worker = Worker::start("test", SOON, failing).expect("a thread");
        assert_eq!(worker.failed().await, "the disk failed");

        let worker = Worker::start("test", SOON, failing).expect("a thread");
        assert_eq!(worker.finish().await, Err("the disk failed"));
    }

    #[tokio::test]
    async fn what_a_round_owns_is_dropped_before_the_worker_is_finished() {
        let owned = Arc::new(());
        let in_round = Arc::clone(&owned);
        let round = move |_| if Arc::strong_count(&in_round) == 2 { Ok(()) } else { Err("it is dropped") };
        assert_eq!(Worker::start("test", NEVER, round).expect("a thread").finish().await, Ok(()));
        assert_eq!(Arc::strong_count(&owned), 1);
    }
}
