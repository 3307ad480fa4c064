//! Knows what was acknowledged, and demands all of it.
//!
//! It claims an id, sends an event that carries it, repeats the request until the answer is 200, as Mailjet does, and
//! notes the id as acknowledged. In the end every acknowledged event must have arrived with its exact content.
//!
//! What may arrive besides:
//!
//! - an event that was not acknowledged: its request was committed, and the answer was lost with the tap
//! - an event several times under one sequence: the tap wrote it again, because no STATE had covered it
//! - an event under as many sequences as its request was sent: a repetition of what was committed the first time
//!
//! Whatever the reason, all rows of an event have one primary key, and all rows of one sequence say the same.
//!
//! Nothing is lost at any moment if each acknowledged event is where the next run will find it, or where nobody has to look
//! for it any more: in the spool, past the last STATE, or in the destination, covered by it. [`Memory::demand_safe`] may
//! be asked in the middle of everything; [`Memory::demand`], of what has come, whenever it should all have come.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::events::{assert_row, grouped, number_in, number_of, numbered, numbered_from};
use crate::http::{Client, Endpoint};
use crate::message::Record;
use crate::tap::Tap;
use crate::target::Target;
use crate::wait;

/// What Mailjet waits before it repeats a request: 30 seconds, made short.
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// Posts without end, and remembers.
#[derive(Debug)]
pub struct Oracle {
    shared: Arc<Shared>,
    posters: Vec<JoinHandle<()>>,
}

/// What it remembers.
#[derive(Debug)]
pub struct Memory {
    /// Of each id that was sent: how many requests carried it, and whether one of them was acknowledged.
    sent: BTreeMap<u64, Fate>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Fate {
    requests: usize,
    acknowledged: bool,
}

#[derive(Debug)]
struct Shared {
    endpoint: Mutex<Endpoint>,
    pause: Duration,
    next_id: AtomicU64,
    acknowledged: AtomicU64,
    stop: AtomicBool,
    sent: Mutex<BTreeMap<u64, Fate>>,
    /// How often each status was answered.
    answers: Mutex<BTreeMap<u16, u64>>,
}

impl Oracle {
    /// Starts posting to `endpoint`, from `posters` threads with a connection each.
    #[must_use]
    pub fn start(endpoint: Endpoint, posters: usize) -> Self {
        Oracle::start_with_pauses(endpoint, posters, Duration::ZERO)
    }

    /// The same, each poster pausing after each request that was acknowledged: for tests that kill much, and have all
    /// that came to compare.
    #[must_use]
    pub fn start_with_pauses(endpoint: Endpoint, posters: usize, pause: Duration) -> Self {
        let shared = Arc::new(Shared {
            endpoint: Mutex::new(endpoint),
            pause,
            next_id: AtomicU64::new(1),
            acknowledged: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            sent: Mutex::default(),
            answers: Mutex::default(),
        });
        let posters = (0..posters).map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.post_until_stopped())
        });
        Oracle { posters: posters.collect(), shared }
    }

    /// Goes on at another endpoint: the tap was started again.
    pub fn redirect(&self, endpoint: Endpoint) {
        *self.shared.endpoint.lock().expect("no poster panics") = endpoint;
    }

    /// Waits until `count` more events are acknowledged.
    pub fn wait_acknowledged(&self, count: u64) {
        let goal = self.shared.acknowledged.load(Ordering::SeqCst) + count;
        wait::until(&format!("{goal} acknowledged events"), || {
            (self.shared.acknowledged.load(Ordering::SeqCst) >= goal).then_some(())
        });
    }

    /// Waits until `count` more requests are answered with `status`.
    pub fn wait_answers(&self, status: u16, count: u64) {
        let answered = || self.shared.answers.lock().expect("no poster panics").get(&status).copied();
        let goal = answered().unwrap_or(0) + count;
        wait::until(&format!("{goal} answers {status}"), || (answered() >= Some(goal)).then_some(()));
    }

    /// How often each status was answered so far.
    #[must_use]
    pub fn answers(&self) -> BTreeMap<u16, u64> {
        self.shared.answers.lock().expect("no poster panics").clone()
    }

    /// What it remembers by now.
    #[must_use]
    pub fn so_far(&self) -> Memory {
        Memory { sent: self.shared.sent.lock().expect("no poster panics").clone() }
    }

    /// Stops posting.
    #[must_use]
    pub fn stop(self) -> Memory {
        self.shared.stop.store(true, Ordering::SeqCst);
        for poster in self.posters {
            poster.join().expect("no poster panics");
        }
        Memory { sent: self.shared.sent.lock().expect("no poster panics").clone() }
    }
}

impl Shared {
    fn post_until_stopped(&self) {
        let mut connection: Option<(Endpoint, Client)> = None;
        while !self.stop.load(Ordering::SeqCst) {
            // Every fifth request is grouped.
            let group = self.next_id.fetch_add(3, Ordering::SeqCst);
            let ids: Vec<u64> = (group..group + if group.is_multiple_of(5) { 3 } else { 1 }).collect();
            let body = match ids[..] {
                [id] => numbered(id),
                _ => grouped(&numbered_from(group, ids.len() as u64)),
            };
            while !self.deliver(&mut connection, &ids, &body) {
                connection = None;
                if self.stop.load(Ordering::SeqCst) {
                    return;
                }
                thread::sleep(RETRY_AFTER);
            }
            thread::sleep(self.pause);
        }
    }

    /// Sends a request once. Whether it was acknowledged.
    fn deliver(&self, connection: &mut Option<(Endpoint, Client)>, ids: &[u64], body: &str) -> bool {
        let endpoint = self.endpoint.lock().expect("no poster panics").clone();
        if connection.as_ref().is_none_or(|(connected, _)| *connected != endpoint) {
            *connection = endpoint.try_connect().ok().map(|client| (endpoint.clone(), client));
        }
        let Some((_, client)) = connection else { return false };
        self.note(ids, |fate| fate.requests += 1);
        let status = client.post(&endpoint.path, body).ok().map(|reply| reply.status);
        if let Some(status) = status {
            *self.answers.lock().expect("no poster panics").entry(status).or_default() += 1;
        }
        // 200 and nothing else: not even another 2xx is success to Mailjet.
        let acknowledged = status == Some(200);
        if acknowledged {
            self.note(ids, |fate| fate.acknowledged = true);
            self.acknowledged.fetch_add(ids.len() as u64, Ordering::SeqCst);
        }
        acknowledged
    }

    fn note(&self, ids: &[u64], note: impl Fn(&mut Fate)) {
        let mut sent = self.sent.lock().expect("no poster panics");
        for id in ids {
            note(sent.entry(*id).or_default());
        }
    }
}

impl Memory {
    /// How many events were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.sent.values().filter(|fate| fate.acknowledged).count()
    }

    /// Whether all that was acknowledged is among `rows`.
    #[must_use]
    pub fn is_satisfied_by(&self, rows: &[Record]) -> bool {
        let present: BTreeSet<u64> = rows.iter().map(number_of).collect();
        self.sent.iter().all(|(id, fate)| !fate.acknowledged || present.contains(id))
    }

    /// Demands all that was acknowledged, and nothing that was not sent. `runs` is how many runs of the tap wrote
    /// `rows`: within each, sequences increase.
    pub fn demand(&self, rows: &[Record], runs: usize) {
        let mut events_of_keys: HashMap<String, u64> = HashMap::new();
        let mut first_of_sequence: HashMap<i64, &Record> = HashMap::new();
        let mut rows_of: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
        for row in rows {
            let id = number_of(row);
            assert!(self.sent.contains_key(&id), "event {id} was never sent: {}", row.text);
            assert_row(row, &numbered(id), &[]);
            let owner = *events_of_keys.entry(row.key()).or_insert(id);
            assert_eq!(owner, id, "two events have the key {}", row.key());
            let first = first_of_sequence.entry(row.sequence()).or_insert(row);
            assert_eq!(number_of(first), id, "two events have the sequence {}", row.sequence());
            assert_eq!(
                first.raw("_sdc_received_at"),
                row.raw("_sdc_received_at"),
                "one sequence arrived twice: {}",
                row.text
            );
            rows_of.entry(id).or_default().push(row);
        }
        for (id, fate) in &self.sent {
            let rows = rows_of.get(id).map_or(&[][..], Vec::as_slice);
            assert!(!fate.acknowledged || !rows.is_empty(), "event {id} was acknowledged and is lost");
            let keys: BTreeSet<_> = rows.iter().map(|row| row.key()).collect();
            assert!(keys.len() <= 1, "event {id} has several keys: {keys:?}");
            let sequences: BTreeSet<_> = rows.iter().map(|row| row.sequence()).collect();
            assert!(
                sequences.len() <= fate.requests,
                "event {id} was sent {} times and has {sequences:?}",
                fate.requests
            );
        }
        let steps_back = steps_back(rows).count();
        assert!(steps_back < runs, "sequences go back {steps_back} times in {runs} runs");
    }

    /// The same of a pipeline that has ended well, and that its states cover exactly what is there: each a row, none
    /// less than the one before, the last one all of them; and that whoever began anew began right behind one of them.
    pub fn demand_delivered(&self, tap: &Tap, target: &Target, runs: usize) {
        let (rows, bookmarks) = (target.rows(), tap.bookmarks());
        self.demand(&rows, runs);
        let sequences: BTreeSet<i64> = rows.iter().map(Record::sequence).collect();
        for bookmark in &bookmarks {
            assert!(*bookmark == 0 || sequences.contains(bookmark), "no row has the bookmark {bookmark}");
        }
        assert!(bookmarks.is_sorted(), "the bookmarks go back: {bookmarks:?}");
        assert_eq!(
            bookmarks.last(),
            sequences.last().or(Some(&0)),
            "the last state covers all that is there"
        );
        for begin in steps_back(&rows) {
            let before = sequences.range(..begin).next_back().copied().unwrap_or(0);
            let is_right_behind = bookmarks.iter().any(|bookmark| (before..begin).contains(bookmark));
            assert!(before == 0 || is_right_behind, "a run began at {begin}, where no state ends");
        }
    }

    /// Demands that each event that was acknowledged when this memory was taken is safe, whatever runs or is dead by now.
    pub fn demand_safe(&self, tap: &Tap, target: &Target) {
        // In this order: what is not in the spool any more is covered by now, and what is covered is in the destination.
        let spooled: BTreeMap<u64, i64> =
            tap.spool().events().iter().map(|event| (number_in(&event.body), event.sequence)).collect();
        let bookmark = tap.bookmarks().last().copied().unwrap_or(0);
        let mut covered = BTreeSet::new();
        target.each_row(|row| {
            let (id, sequence) = (number_in(row), sequence_in(row));
            if sequence <= bookmark {
                covered.insert(id);
            }
        });
        for (id, _) in self.sent.iter().filter(|(_, fate)| fate.acknowledged) {
            let waits = spooled.get(id).is_some_and(|sequence| *sequence > bookmark);
            assert!(
                waits || covered.contains(id),
                "event {id} was acknowledged and is lost: in the spool as {:?}, the bookmark is {bookmark}",
                spooled.get(id)
            );
        }
    }
}

/// Where sequences go back: the sequence of each row that follows one that is not smaller.
fn steps_back(rows: &[Record]) -> impl Iterator<Item = i64> {
    rows.windows(2).filter(|pair| pair[1].sequence() <= pair[0].sequence()).map(|pair| pair[1].sequence())
}

/// The sequence of a row of numbered events, without taking the row apart.
fn sequence_in(row: &str) -> i64 {
    let (_, rest) = row.split_once(r#""_sdc_sequence":"#).unwrap_or_else(|| panic!("no sequence: {row}"));
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().unwrap_or_else(|_| panic!("no sequence: {row}"))
}
