//! Posts events, remembers which were acknowledged, and checks that all of them arrive.
//!
//! The oracle assigns a number, sends an event with it, retries until the answer is 200, as
//! Mailjet does, and notes that the event is acknowledged. In the end every acknowledged event must have
//! arrived with its exact content.
//!
//! The following may arrive too:
//!
//! - an event that was not acknowledged, if the commit succeeded and the answer was lost
//! - an event several times under one sequence, if the tap wrote it again because no STATE covered it
//! - an event under as many sequences as its request was sent, if an earlier request had already been
//!   committed
//!
//! In each case, all rows of an event have one primary key, and all rows of one sequence are equal.
//!
//! At any moment, nothing is lost if each acknowledged event is either in the spool beyond the last STATE,
//! where the next run will find it, or in the destination and covered by the last STATE.
//! [`SentEvents::assert_none_lost`] checks this at any time. [`SentEvents::assert_delivered_in`] checks the
//! rows once all of them should have arrived.
//!
//! In a long run, [`Oracle::settle`] checks everything that must have arrived by now, and then forgets it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::delivered::DeliveredRows;
use crate::events::{grouped, number_in, number_of};
use crate::http::{Client, Endpoint};
use crate::load::{self, EventForm, LoadProfile};
use crate::message::Record;
use crate::tap::Tap;
use crate::target::Target;
use crate::wait;

/// How often an idle poster checks whether there is something to do.
const IDLE: Duration = Duration::from_millis(20);

/// Posts until it is stopped, and remembers what it has sent.
#[derive(Debug)]
pub struct Oracle {
    shared: Arc<Shared>,
    posters: Vec<JoinHandle<()>>,
}

/// The events that an oracle had sent at some moment.
#[derive(Debug)]
pub struct SentEvents {
    /// By number.
    sent: BTreeMap<u64, SentEvent>,
}

#[derive(Debug, Default, Clone, Copy)]
struct SentEvent {
    requests: usize,
    /// Once acknowledged: the lowest number of an event that was sent later.
    acknowledged: Option<u64>,
}

#[derive(Debug)]
struct Shared {
    /// Each connection begins with one of these, and tries the next one after a failure.
    endpoints: Mutex<Vec<Endpoint>>,
    load: Mutex<LoadProfile>,
    next_request: AtomicUsize,
    /// The next event's position, whatever its form.
    next_event: AtomicU64,
    acknowledged: AtomicU64,
    stop: AtomicBool,
    sent: Mutex<BTreeMap<u64, SentEvent>>,
    /// How often each status was received.
    answers: Mutex<BTreeMap<u16, u64>>,
    silence: Mutex<Silence>,
}

/// How long no request was acknowledged.
#[derive(Debug)]
struct Silence {
    since: Instant,
    longest: Duration,
}

impl Oracle {
    /// Starts posting to `endpoint`, with `posters` threads that have one connection each.
    #[must_use]
    pub fn start(endpoint: Endpoint, posters: usize) -> Self {
        Oracle::start_with_pauses(endpoint, posters, Duration::ZERO)
    }

    /// The same with a pause after each acknowledged event, for tests that kill a lot and compare everything
    /// afterwards.
    #[must_use]
    pub fn start_with_pauses(endpoint: Endpoint, posters: usize, pause: Duration) -> Self {
        Oracle::start_with_load(endpoint, posters, LoadProfile::some_grouped(posters, pause))
    }

    /// The same with any load, which [`Oracle::change_load`] can change. It may use up to `posters`
    /// connections.
    #[must_use]
    pub fn start_with_load(endpoint: Endpoint, posters: usize, load: LoadProfile) -> Self {
        let shared = Arc::new(Shared {
            endpoints: Mutex::new(vec![endpoint]),
            load: Mutex::new(load),
            next_request: AtomicUsize::new(0),
            next_event: AtomicU64::new(1),
            acknowledged: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            sent: Mutex::default(),
            answers: Mutex::default(),
            silence: Mutex::new(Silence { since: Instant::now(), longest: Duration::ZERO }),
        });
        let posters = (0..posters).map(|poster| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.post_until_stopped(poster))
        });
        Oracle { posters: posters.collect(), shared }
    }

    /// Continues with another load.
    pub fn change_load(&self, load: LoadProfile) {
        *self.shared.load.lock().expect("no poster panics") = load;
    }

    /// Continues at another endpoint, since the tap was restarted.
    pub fn redirect(&self, endpoint: Endpoint) {
        self.balance(vec![endpoint]);
    }

    /// Continues at several endpoints, like a load balancer: a poster that fails at one tries the next.
    pub fn balance(&self, endpoints: Vec<Endpoint>) {
        *self.shared.endpoints.lock().expect("no poster panics") = endpoints;
    }

    /// Returns a function that counts the events acknowledged so far.
    pub fn counter(&self) -> impl Fn() -> u64 + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until `count` more events have been acknowledged.
    pub fn wait_acknowledged(&self, count: u64) {
        let goal = self.shared.acknowledged.load(Ordering::SeqCst) + count;
        wait::until(&format!("{goal} acknowledged events"), || {
            (self.shared.acknowledged.load(Ordering::SeqCst) >= goal).then_some(())
        });
    }

    /// Waits until `count` more requests have been answered with `status`.
    pub fn wait_answers(&self, status: u16, count: u64) {
        let answered = || self.shared.answers.lock().expect("no poster panics").get(&status).copied();
        let goal = answered().unwrap_or(0) + count;
        wait::until(&format!("{goal} answers {status}"), || (answered() >= Some(goal)).then_some(()));
    }

    /// How often each status has been received so far.
    #[must_use]
    pub fn answers(&self) -> BTreeMap<u16, u64> {
        self.shared.answers.lock().expect("no poster panics").clone()
    }

    /// The longest time without an acknowledgement since this was last called.
    #[must_use]
    pub fn take_longest_silence(&self) -> Duration {
        let mut silence = self.shared.silence.lock().expect("no poster panics");
        let longest = silence.longest.max(silence.since.elapsed());
        *silence = Silence { since: Instant::now(), longest: Duration::ZERO };
        longest
    }

    /// The events sent so far.
    #[must_use]
    pub fn sent_so_far(&self) -> SentEvents {
        SentEvents { sent: self.shared.sent.lock().expect("no poster panics").clone() }
    }

    /// Checks each event that must be among `delivered` by now, and forgets it here and there. `bookmark` was
    /// the last bookmark in the state file before the last rows of `delivered` were read.
    ///
    /// An event must be there if an event that was sent after its acknowledgement is covered by the bookmark:
    /// the later event has a greater sequence, so all rows of the earlier one have arrived.
    ///
    /// Rejected items are in another stream with a bookmark of its own. They are checked at the end.
    pub fn settle(&self, delivered: &mut DeliveredRows, bookmark: i64) {
        let Some(latest) = delivered.latest_covered(bookmark) else { return };
        let mut sent = self.shared.sent.lock().expect("no poster panics");
        sent.retain(|number, event| {
            let is_settled = event.acknowledged.is_some_and(|later| later <= latest);
            if EventForm::from_number(*number) == EventForm::NonEvent || !is_settled {
                return true;
            }
            event.assert_delivered(*number, delivered.sequences_of(*number));
            delivered.forget(*number);
            false
        });
        drop(sent);
        delivered.settle_through(bookmark);
    }

    /// Stops posting.
    #[must_use]
    pub fn stop(self) -> SentEvents {
        self.shared.stop.store(true, Ordering::SeqCst);
        for poster in self.posters {
            poster.join().expect("no poster panics");
        }
        SentEvents { sent: self.shared.sent.lock().expect("no poster panics").clone() }
    }
}

impl Shared {
    fn post_until_stopped(&self, poster: usize) {
        let mut connection: Option<(Endpoint, Client)> = None;
        let mut failures = 0;
        while !self.stop.load(Ordering::SeqCst) {
            let load = *self.load.lock().expect("no poster panics");
            if poster >= load.connections {
                connection = None;
                thread::sleep(IDLE);
                continue;
            }
            let ids = self.claim(&load);
            let events: Vec<_> = ids.iter().copied().map(load::event).collect();
            let body = match &events[..] {
                [event] => event.clone(),
                events => grouped(events),
            };
            while !self.deliver(&mut connection, poster + failures, &ids, &body) {
                connection = None;
                failures += 1;
                if self.stop.load(Ordering::SeqCst) {
                    return;
                }
                thread::sleep(load.retry_after);
            }
            thread::sleep(load.pause * u32::try_from(ids.len()).expect("a small number"));
        }
    }

    /// The numbers of the next request's events.
    fn claim(&self, load: &LoadProfile) -> Vec<u64> {
        let size = load.sizes[self.next_request.fetch_add(1, Ordering::SeqCst) % load.sizes.len()];
        let first = self.next_event.fetch_add(size + 1, Ordering::SeqCst);
        let events = (first..first + size).map(|nth| load.form.number(nth));
        events.chain(load.with_item.then(|| EventForm::NonEvent.number(first + size))).collect()
    }

    /// Sends a request once, to the `nth` endpoint, and returns whether it was acknowledged.
    fn deliver(
        &self,
        connection: &mut Option<(Endpoint, Client)>,
        nth: usize,
        ids: &[u64],
        body: &str,
    ) -> bool {
        let endpoint = {
            let endpoints = self.endpoints.lock().expect("no poster panics");
            endpoints[nth % endpoints.len()].clone()
        };
        if connection.as_ref().is_none_or(|(connected, _)| *connected != endpoint) {
            *connection = endpoint.try_connect().ok().map(|client| (endpoint.clone(), client));
        }
        let Some((_, client)) = connection else { return false };
        self.note(ids, |event| event.requests += 1);
        let status = client.post(&endpoint.path, body).ok().map(|reply| reply.status);
        if let Some(status) = status {
            *self.answers.lock().expect("no poster panics").entry(status).or_default() += 1;
        }
        // Only 200: to Mailjet, no other 2xx is success.
        let acknowledged = status == Some(200);
        if acknowledged {
            let later = EventForm::Plain.number(self.next_event.load(Ordering::SeqCst));
            self.note(ids, |event| event.acknowledged = Some(later));
            self.acknowledged.fetch_add(ids.len() as u64, Ordering::SeqCst);
            let mut silence = self.silence.lock().expect("no poster panics");
            silence.longest = silence.longest.max(silence.since.elapsed());
            silence.since = Instant::now();
        }
        acknowledged
    }

    fn note(&self, ids: &[u64], note: impl Fn(&mut SentEvent)) {
        let mut sent = self.sent.lock().expect("no poster panics");
        for id in ids {
            note(sent.entry(*id).or_default());
        }
    }
}

impl SentEvent {
    /// Asserts that the event has arrived if it was acknowledged, and not more often than it was sent.
    fn assert_delivered(&self, id: u64, sequences: Option<&BTreeSet<i64>>) {
        assert!(
            self.acknowledged.is_none() || sequences.is_some(),
            "event {id} was acknowledged and is lost"
        );
        let sent = self.requests;
        assert!(
            sequences.is_none_or(|sequences| sequences.len() <= sent),
            "event {id} was sent {sent} times and has {sequences:?}"
        );
    }
}

impl SentEvents {
    /// How many events were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.sent.values().filter(|event| event.acknowledged.is_some()).count()
    }

    /// Whether every acknowledged event is among `rows`.
    #[must_use]
    pub fn all_acknowledged_in(&self, rows: &[Record]) -> bool {
        let present: BTreeSet<u64> = rows.iter().map(number_of).collect();
        self.sent.iter().all(|(id, event)| event.acknowledged.is_none() || present.contains(id))
    }

    /// Asserts that every acknowledged event is among `rows`, and no event that was not sent. `runs` is the
    /// number of the tap's runs that wrote `rows`; within each run, sequences increase.
    pub fn assert_delivered_in(&self, rows: &[Record], runs: usize) {
        let mut delivered = DeliveredRows::default();
        for row in rows {
            delivered.add(row);
        }
        self.assert_delivered_among(&[&delivered], runs);
    }

    /// The same for rows that were added one by one, each stream separately.
    pub fn assert_delivered_among(&self, streams: &[&DeliveredRows], runs: usize) {
        for id in streams.iter().flat_map(|delivered| delivered.numbers()) {
            assert!(self.sent.contains_key(&id), "event {id} arrived but was never sent");
        }
        for (id, event) in &self.sent {
            event.assert_delivered(*id, streams.iter().find_map(|delivered| delivered.sequences_of(*id)));
        }
        for steps_back in streams.iter().map(|delivered| delivered.steps_back()) {
            assert!(steps_back < runs, "sequences go back {steps_back} times in {runs} runs");
        }
    }

    /// The same for a pipeline that has ended cleanly. Also asserts that its states match the rows: each
    /// bookmark belongs to a row, bookmarks never decrease, the last one covers all rows, and each run that
    /// repeated rows began directly after a bookmark.
    pub fn assert_pipeline_delivered(&self, tap: &Tap, target: &Target, runs: usize) {
        self.assert_runs_delivered(&target.rows(), &tap.bookmarks(), runs);
    }

    /// The same for rows and bookmarks of several runs, in the order of the runs.
    pub fn assert_runs_delivered(&self, rows: &[Record], bookmarks: &[i64], runs: usize) {
        self.assert_delivered_in(rows, runs);
        let sequences: BTreeSet<i64> = rows.iter().map(Record::sequence).collect();
        for bookmark in bookmarks {
            assert!(*bookmark == 0 || sequences.contains(bookmark), "no row has the bookmark {bookmark}");
        }
        assert!(bookmarks.is_sorted(), "the bookmarks go back: {bookmarks:?}");
        assert_eq!(bookmarks.last(), sequences.last().or(Some(&0)), "the last state covers every row");
        for begin in steps_back(rows) {
            let before = sequences.range(..begin).next_back().copied().unwrap_or(0);
            let is_right_behind = bookmarks.iter().any(|bookmark| (before..begin).contains(bookmark));
            assert!(before == 0 || is_right_behind, "a run began at {begin}, where no state ends");
        }
    }

    /// Asserts that every event acknowledged so far is safe, whatever is running or dead by now.
    pub fn assert_none_lost(&self, tap: &Tap, target: &Target) {
        let states = || tap.bookmarks();
        self.assert_none_lost_in(tap, states, |look| target.each_row(look));
    }

    /// The same for states and rows that lie elsewhere.
    pub fn assert_none_lost_in(
        &self,
        tap: &Tap,
        bookmarks: impl FnOnce() -> Vec<i64>,
        each_row: impl FnOnce(&mut dyn FnMut(&str)),
    ) {
        // In this order: an event that is no longer in the spool is covered, and a covered event is in the
        // destination.
        let spooled: BTreeMap<u64, i64> =
            tap.spool().events().iter().map(|event| (number_in(&event.body), event.sequence)).collect();
        let bookmark = bookmarks().last().copied().unwrap_or(0);
        let mut covered = BTreeSet::new();
        each_row(&mut |row| {
            let (id, sequence) = (number_in(row), sequence_in(row));
            if sequence <= bookmark {
                covered.insert(id);
            }
        });
        for (id, _) in self.sent.iter().filter(|(_, event)| event.acknowledged.is_some()) {
            let waits = spooled.get(id).is_some_and(|sequence| *sequence > bookmark);
            assert!(
                waits || covered.contains(id),
                "event {id} was acknowledged and is lost: in the spool as {:?}, the bookmark is {bookmark}",
                spooled.get(id)
            );
        }
    }
}

/// The sequence of each row that is not greater than that of the row before.
fn steps_back(rows: &[Record]) -> impl Iterator<Item = i64> {
    rows.windows(2).filter(|pair| pair[1].sequence() <= pair[0].sequence()).map(|pair| pair[1].sequence())
}

/// The sequence of a numbered event's row, without parsing the whole text.
fn sequence_in(row: &str) -> i64 {
    let (_, rest) = row.split_once(r#""_sdc_sequence":"#).unwrap_or_else(|| panic!("no sequence: {row}"));
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().unwrap_or_else(|_| panic!("no sequence: {row}"))
}
