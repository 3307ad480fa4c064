//! Writes log lines to stderr. This never blocks, stalls or fails the program: a line that cannot be
//! written is counted, and the next one that can be written is preceded by that count.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder};
use tracing_subscriber::fmt::MakeWriter;

/// The most memory, in bytes, that log lines may take while they wait for stderr. Further lines are lost.
const MAX_QUEUED_BYTES: usize = 1 << 20;
/// The fewest bytes that a line counts as: the queue itself needs some. This bounds the number of lines.
const MIN_LINE_BYTES: usize = 64;
/// How long the end of the program waits for stderr to take what is queued.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Writes a line that says how many log lines were lost and why.
pub(super) type LossFormat = Box<dyn Fn(u64, &str) -> String + Send>;

/// Queues log lines for a thread that writes them. Each write must be one line.
#[derive(Debug, Clone)]
pub(super) struct LogWriter {
    queue: NonBlocking,
    ledger: Arc<Ledger>,
}

/// What is queued and what is lost.
#[derive(Debug, Default)]
struct Ledger {
    counts: Mutex<Counts>,
    drained: Condvar,
}

#[derive(Debug, Default)]
struct Counts {
    queued_bytes: usize,
    lost_lines: u64,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogWriter {
    /// Starts the thread that writes the lines to `output`. `format_loss` is how it mentions lost lines.
    pub(super) fn start(output: impl Write + Send + 'static, format_loss: LossFormat) -> io::Result<Self> {
        // The queue's own thread panics if it cannot be started.
        std::thread::Builder::new().spawn(|| {})?;
        let ledger = Arc::new(Ledger::default());
        let sink = Sink { output, ledger: Arc::clone(&ledger), format_loss, cause: None, is_torn: false };
        let (queue, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(MAX_QUEUED_BYTES / MIN_LINE_BYTES)
            .thread_name("log")
            .finish(sink);
        // Dropping the guard would print to stdout if the queue is full. `flush` waits in its place.
        std::mem::forget(guard);
        Ok(LogWriter { queue, ledger })
    }

    /// Waits until every line is written or lost, but no longer than [`FLUSH_TIMEOUT`].
    pub(super) fn flush(&self) {
        let counts = self.ledger.lock();
        drop(self.ledger.drained.wait_timeout_while(counts, FLUSH_TIMEOUT, |counts| counts.queued_bytes > 0));
    }
}

fn size_in_queue(line: &[u8]) -> usize {
    line.len().max(MIN_LINE_BYTES)
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut counts = self.ledger.lock();
        if counts.queued_bytes + size_in_queue(line) > MAX_QUEUED_BYTES {
            counts.lost_lines += 1;
            return Ok(line.len());
        }
        counts.queued_bytes += size_in_queue(line);
        drop(counts);
        self.queue.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LogWriter;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

/// The end of the queue, on the thread that writes.
struct Sink<W> {
    output: W,
    ledger: Arc<Ledger>,
    format_loss: LossFormat,
    /// Why the last line that could not be written was lost.
    cause: Option<io::Error>,
    /// Whether only a part of the last line could be written.
    is_torn: bool,
}

impl<W: Write> Sink<W> {
    /// Mentions the lines that are lost, if there are any.
    fn mention_loss(&mut self) -> io::Result<()> {
        let lost_lines = self.ledger.lock().lost_lines;
        if lost_lines == 0 {
            return Ok(());
        }
        let cause =
            self.cause.as_ref().map_or("it was not read fast enough".to_owned(), io::Error::to_string);
        self.write_line((self.format_loss)(lost_lines, &cause).as_bytes())?;
        self.cause = None;
        self.ledger.lock().lost_lines -= lost_lines;
        Ok(())
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.output.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.output.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.mention_loss().and_then(|()| self.write_line(line));
        let mut counts = self.ledger.lock();
        if let Err(error) = written {
            counts.lost_lines += 1;
            self.cause = Some(error);
        }
        counts.queued_bytes -= size_in_queue(line);
        if counts.queued_bytes == 0 {
            self.ledger.drained.notify_all();
        }
        Ok(line.len())
    }

    /// Called when the queue is empty. Lines that were lost while it was full are mentioned now: the next
    /// line may be far away.
    fn flush(&mut self) -> io::Result<()> {
        // If it fails, the next line tries again.
        let _ = self.mention_loss();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, SyncSender};

    use super::*;

    /// Takes a write only when a test allows it, with the error that the test chooses.
    struct Gate {
        allowed: Receiver<Option<io::Error>>,
        written: mpsc::Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.allowed.recv().expect("the test runs") {
                None => {
                    self.written.send(String::from_utf8_lossy(bytes).into()).expect("the test runs");
                    Ok(bytes.len())
                }
                Some(error) => Err(error),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (LogWriter, SyncSender<Option<io::Error>>, Receiver<String>) {
        // Without a buffer: each decision is taken before the test goes on.
        let (allow, allowed) = mpsc::sync_channel(0);
        let (written, lines) = mpsc::channel();
        let format: LossFormat = Box::new(|lines, cause| format!("{lines} lost: {cause}\n"));
        (LogWriter::start(Gate { allowed, written }, format).expect("a thread"), allow, lines)
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_the_next_one_says_so() {
        let (mut log, allow, lines) = gated();
        log.write_all(b"lost\n").expect("a log never fails");
        // The second is for the attempt to mention the loss once the queue is empty.
        for _ in 0..2 {
            allow.send(Some(io::ErrorKind::StorageFull.into())).expect("the log runs");
        }
        log.write_all(b"written\n").expect("a log never fails");
        for _ in 0..2 {
            allow.send(None).expect("the log runs");
        }
        assert_eq!(lines.recv().expect("a line"), "1 lost: no storage space\n");
        assert_eq!(lines.recv().expect("a line"), "written\n");
    }

    #[test]
    fn a_reader_that_never_reads_takes_a_bounded_amount_of_memory_and_no_time() {
        let (mut log, allow, lines) = gated();
        let line = [b'x'; 1 << 10];
        for _ in 0..5000 {
            log.write_all(&line).expect("a log never fails");
        }
        let Counts { queued_bytes, lost_lines } = *log.ledger.lock();
        assert_eq!((queued_bytes, lost_lines), (MAX_QUEUED_BYTES, 5000 - 1024));
        // A short line counts, too.
        log.write_all(b"\n").expect("a log never fails");
        assert_eq!(log.ledger.lock().lost_lines, 5001 - 1024);
        for _ in 0..=1024 {
            allow.send(None).expect("the log runs");
        }
        let written: Vec<String> = lines.iter().take(1025).collect();
        // The first line may have been on its way when the others were lost.
        assert!(written[..2].contains(&"3977 lost: it was not read fast enough\n".to_owned()));
        assert_eq!(written.iter().filter(|text| text.as_bytes() == line).count(), 1024);
    }
}
