//! Posts webhooks from one thread over many connections: as fast as they are taken, or at a rate.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use end_to_end::http::{Endpoint, post_head};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::figures::float;
use crate::histogram::Histogram;
use crate::mail::Mail;

/// At a rate, a post that goes out later than this was kept waiting by earlier ones, and its time counts from when it was due.
/// What is less is the kernel's clock, which wakes the thread once in a millisecond.
const PUNCTUAL: Duration = Duration::from_millis(2);
/// An answer takes no longer, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// How fast posts follow each other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// On each connection the next one follows the answer.
    AsTaken,
    /// So many events a second, whatever the answers do.
    PerSecond(f64),
}

/// A load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Events in each post; 1: the post is an object and no array.
    pub events_per_post: u64,
    /// Connections.
    pub connections: usize,
    /// How fast.
    pub pace: Pace,
}

/// What was posted, and answered with 200.
#[derive(Debug, Clone, Default)]
pub(crate) struct Loaded {
    /// Events.
    pub events: u64,
    /// From the first post to the last answer.
    pub seconds: f64,
    /// How long the answers took.
    pub latency: Histogram,
}

impl Loaded {
    /// Events a second.
    pub(crate) fn rate(&self) -> f64 {
        float(self.events) / self.seconds
    }
}

/// How far a load is that goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SoFar {
    /// Events that were posted, if not all of them answered.
    pub events: u64,
    /// Since the first post.
    pub elapsed: Duration,
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
    /// When the request was due.
    since: Instant,
}

impl Load {
    /// Posts for as long as `goes_on` says so. Anything but a 200 is an error.
    pub(crate) fn post(
        self,
        endpoint: &Endpoint,
        mail: &mut Mail,
        goes_on: impl Fn(SoFar) -> bool,
    ) -> Loaded {
        Run::start(self, endpoint).post(mail, goes_on)
    }
}

/// A load that runs.
struct Run<'e> {
    load: Load,
    endpoint: &'e Endpoint,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    body: Vec<u8>,
    posted: u64,
    loaded: Loaded,
}

impl<'e> Run<'e> {
    fn start(load: Load, endpoint: &'e Endpoint) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).expect("Linux has it");
        let connect = |number: usize| {
            let stream = TcpStream::connect(endpoint.address).expect("a connection");
            stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).expect("options of sockets");
            epoll::add(&epoll, &stream, EventData::new_u64(number as u64), EventFlags::IN)
                .expect("a new socket");
            Connection { stream, request: Vec::new(), sent: 0, answer: Vec::new(), since: Instant::now() }
        };
        let connections: Vec<_> = (0..load.connections).map(connect).collect();
        let idle = (0..load.connections).collect();
        Run {
            load,
            endpoint,
            connections,
            idle,
            epoll,
            body: Vec::new(),
            posted: 0,
            loaded: Loaded::default(),
        }
    }

    fn post(mut self, mail: &mut Mail, goes_on: impl Fn(SoFar) -> bool) -> Loaded {
        let begin = Instant::now();
        let mut events: Vec<Event> = Vec::with_capacity(self.load.connections);
        loop {
            let mut wait = PATIENCE;
            let mut is_over = false;
            while let Some(&connection) = self.idle.last() {
                let now = Instant::now();
                is_over = !goes_on(SoFar { events: self.posted, elapsed: now - begin });
                if is_over {
                    break;
                }
                let due = self.due(begin, now);
                if due > now {
                    wait = due - now;
                    break;
                }
                self.idle.pop();
                let since = if now - due > PUNCTUAL { due } else { now };
                self.send_next(connection, mail, since);
            }
            if is_over && self.idle.len() == self.connections.len() {
                self.loaded.seconds = begin.elapsed().as_secs_f64();
                return self.loaded;
            }
            let timeout = Timespec::try_from(wait).expect("a short time");
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout))
                .expect("it can be waited for");
            assert!(!(events.is_empty() && wait == PATIENCE), "no answer within {PATIENCE:?}");
            for event in events.drain(..) {
                let connection = usize::try_from(event.data.u64()).expect("an index");
                let flags = event.flags;
                if flags.contains(EventFlags::OUT) {
                    self.send(connection);
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.receive(connection);
                }
            }
        }
    }

    /// When the next post is due.
    fn due(&self, begin: Instant, now: Instant) -> Instant {
        match self.load.pace {
            Pace::AsTaken => now,
            Pace::PerSecond(rate) => begin + Duration::from_secs_f64(float(self.posted) / rate),
        }
    }

    fn send_next(&mut self, connection: usize, mail: &mut Mail, since: Instant) {
        let place = &mut self.connections[connection];
        self.body.clear();
        mail.push_body(self.load.events_per_post, &mut self.body);
        place.request.clear();
        place.request.extend_from_slice(post_head(&self.endpoint.path, &[], self.body.len()).as_bytes());
        place.request.extend_from_slice(&self.body);
        (place.sent, place.since) = (0, since);
        place.answer.clear();
        self.posted += self.load.events_per_post;
        self.send(connection);
    }

    /// Sends what the socket takes.
    fn send(&mut self, connection: usize) {
        let Connection { stream, request, sent, .. } = &mut self.connections[connection];
        let was_begun = *sent > 0;
        let wants_more = loop {
            match stream.write(&request[*sent..]) {
                Ok(written) => *sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(error) => panic!("a request can't be sent: {error}"),
            }
            if *sent == request.len() {
                break false;
            }
        };
        if was_begun || wants_more {
            let wanted = if wants_more { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let data = EventData::new_u64(connection as u64);
            epoll::modify(&self.epoll, &*stream, data, wanted).expect("it is there");
        }
    }

    /// Reads what has come of an answer.
    fn receive(&mut self, connection: usize) {
        let Connection { stream, answer, since, .. } = &mut self.connections[connection];
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => panic!("the connection was closed before an answer"),
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("an answer can't be read: {error}"),
        }
        if !is_whole(answer) {
            return;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(answer));
        self.loaded.latency.record(since.elapsed());
        self.loaded.events += self.load.events_per_post;
        self.idle.push(connection);
    }
}

/// Whether an answer is there with its body, which is one short line of JSON.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).expect("an answer has a length");
    answer.len() >= end + 4 + length
}
