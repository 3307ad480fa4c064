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
//! Whatever the reason, all rows of an event have one primary key.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::events::{assert_row, grouped, number_of, numbered, numbered_from};
use crate::http::{Client, Endpoint};
use crate::message::Record;
use crate::wait;

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
    next_id: AtomicU64,
    acknowledged: AtomicU64,
    stop: AtomicBool,
    sent: Mutex<BTreeMap<u64, Fate>>,
}

impl Oracle {
    /// Starts posting to `endpoint`, from `posters` threads with a connection each.
    #[must_use]
    pub fn start(endpoint: Endpoint, posters: usize) -> Self {
        let shared = Arc::new(Shared {
            endpoint: Mutex::new(endpoint),
            next_id: AtomicU64::new(1),
            acknowledged: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            sent: Mutex::default(),
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
                // Mailjet waits for 30 seconds.
                thread::sleep(Duration::from_millis(5));
            }
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
        let acknowledged = client.post(&endpoint.path, body).is_ok_and(|reply| reply.status == 200);
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
        let mut keys: HashMap<String, u64> = HashMap::new();
        let mut sequences: HashMap<i64, u64> = HashMap::new();
        let mut rows_of: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
        for row in rows {
            let id = number_of(row);
            assert!(self.sent.contains_key(&id), "event {id} was never sent: {}", row.text);
            assert_row(row, &numbered(id), &[]);
            assert_eq!(*keys.entry(row.key()).or_insert(id), id, "two events have the key {}", row.key());
            let owner = *sequences.entry(row.sequence()).or_insert(id);
            assert_eq!(owner, id, "two events have the sequence {}", row.sequence());
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
        let steps_back = rows.windows(2).filter(|pair| pair[1].sequence() <= pair[0].sequence()).count();
        assert!(steps_back < runs, "sequences go back {steps_back} times in {runs} runs");
    }
}
