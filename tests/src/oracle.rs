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
//!
//! In a long run, [`Oracle::settle`] demands it of everything that must have come by now, and forgets that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::arrivals::Arrivals;
use crate::events::{grouped, number_in, number_of};
use crate::http::{Client, Endpoint};
use crate::load::{self, Form, Load};
use crate::message::Record;
use crate::tap::Tap;
use crate::target::Target;
use crate::wait;

/// What Mailjet waits before it repeats a request: 30 seconds, made short.
const RETRY_AFTER: Duration = Duration::from_millis(5);
/// How soon a poster that has nothing to do looks whether that has changed.
const IDLE: Duration = Duration::from_millis(20);

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
    /// Once it was acknowledged: the lowest number of an event that was sent after that.
    acknowledged: Option<u64>,
}

#[derive(Debug)]
struct Shared {
    endpoint: Mutex<Endpoint>,
    load: Mutex<Load>,
    next_request: AtomicUsize,
    /// Numbers events, whatever their form.
    next_event: AtomicU64,
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

    /// The same, each poster pausing after each event that was acknowledged: for tests that kill much, and have all
    /// that came to compare.
    #[must_use]
    pub fn start_with_pauses(endpoint: Endpoint, posters: usize, pause: Duration) -> Self {
        Oracle::start_with_load(endpoint, posters, Load::some_grouped(posters, pause))
    }

    /// The same with any load, which [`Oracle::change_load`] may change: it has up to `posters` connections.
    #[must_use]
    pub fn start_with_load(endpoint: Endpoint, posters: usize, load: Load) -> Self {
        let shared = Arc::new(Shared {
            endpoint: Mutex::new(endpoint),
            load: Mutex::new(load),
            next_request: AtomicUsize::new(0),
            next_event: AtomicU64::new(1),
            acknowledged: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            sent: Mutex::default(),
            answers: Mutex::default(),
        });
        let posters = (0..posters).map(|poster| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.post_until_stopped(poster))
        });
        Oracle { posters: posters.collect(), shared }
    }

    /// Goes on with another load.
    pub fn change_load(&self, load: Load) {
        *self.shared.load.lock().expect("no poster panics") = load;
    }

    /// Goes on at another endpoint: the tap was started again.
    pub fn redirect(&self, endpoint: Endpoint) {
        *self.shared.endpoint.lock().expect("no poster panics") = endpoint;
    }

    /// A view of how many events are acknowledged, for whoever watches.
    pub fn counter(&self) -> impl Fn() -> u64 + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.acknowledged.load(Ordering::SeqCst)
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

    /// Demands each event that must be among `arrivals` by now, and forgets it here and there. `bookmark` was the last
    /// one in the state file before the last of `arrivals` was read.
    ///
    /// Which ones these are: an event that was sent after another had been acknowledged has a greater sequence. Once one
    /// that came is covered, all rows of the other have come.
    ///
    /// Items that are no events are in another stream, with a bookmark of its own: they are for the end.
    pub fn settle(&self, arrivals: &mut Arrivals, bookmark: i64) {
        let Some(latest) = arrivals.latest_covered(bookmark) else { return };
        let mut sent = self.shared.sent.lock().expect("no poster panics");
        sent.retain(|number, fate| {
            let is_settled = fate.acknowledged.is_some_and(|later| later <= latest);
            if Form::of(*number) == Form::Item || !is_settled {
                return true;
            }
            fate.demand(*number, arrivals.sequences_of(*number));
            arrivals.forget(*number);
            false
        });
        drop(sent);
        arrivals.settle_through(bookmark);
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
    fn post_until_stopped(&self, poster: usize) {
        let mut connection: Option<(Endpoint, Client)> = None;
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
            while !self.deliver(&mut connection, &ids, &body) {
                connection = None;
                if self.stop.load(Ordering::SeqCst) {
                    return;
                }
                thread::sleep(RETRY_AFTER);
            }
            thread::sleep(load.pause * u32::try_from(ids.len()).expect("a small number"));
        }
    }

    /// The ids of the next request.
    fn claim(&self, load: &Load) -> Vec<u64> {
        let size = load.sizes[self.next_request.fetch_add(1, Ordering::SeqCst) % load.sizes.len()];
        let first = self.next_event.fetch_add(size + 1, Ordering::SeqCst);
        let events = (first..first + size).map(|nth| load.form.number(nth));
        events.chain(load.with_item.then(|| Form::Item.number(first + size))).collect()
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
            let later = Form::Plain.number(self.next_event.load(Ordering::SeqCst));
            self.note(ids, |fate| fate.acknowledged = Some(later));
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

impl Fate {
    /// Demands what has to come of the event with this fate.
    fn demand(&self, id: u64, sequences: Option<&BTreeSet<i64>>) {
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

impl Memory {
    /// How many events were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.sent.values().filter(|fate| fate.acknowledged.is_some()).count()
    }

    /// Whether all that was acknowledged is among `rows`.
    #[must_use]
    pub fn is_satisfied_by(&self, rows: &[Record]) -> bool {
        let present: BTreeSet<u64> = rows.iter().map(number_of).collect();
        self.sent.iter().all(|(id, fate)| fate.acknowledged.is_none() || present.contains(id))
    }

    /// Demands all that was acknowledged, and nothing that was not sent. `runs` is how many runs of the tap wrote
    /// `rows`: within each, sequences increase.
    pub fn demand(&self, rows: &[Record], runs: usize) {
        let mut arrivals = Arrivals::default();
        for row in rows {
            arrivals.take(row);
        }
        self.demand_among(&[&arrivals], runs);
    }

    /// The same of rows that have been taken one by one, each stream for itself.
    pub fn demand_among(&self, streams: &[&Arrivals], runs: usize) {
        for id in streams.iter().flat_map(|arrivals| arrivals.numbers()) {
            assert!(self.sent.contains_key(&id), "event {id} was never sent, and came");
        }
        for (id, fate) in &self.sent {
            fate.demand(*id, streams.iter().find_map(|arrivals| arrivals.sequences_of(*id)));
        }
        for steps_back in streams.iter().map(|arrivals| arrivals.steps_back()) {
            assert!(steps_back < runs, "sequences go back {steps_back} times in {runs} runs");
        }
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
        for (id, _) in self.sent.iter().filter(|(_, fate)| fate.acknowledged.is_some()) {
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
