//! Posts webhooks from one thread over many connections, as fast as they are answered or at a fixed rate.
//!
//! The end-to-end tests have a load generator of their own (`end_to_end::oracle`). That one checks every
//! event; this one measures. It must cost less than what it measures, so it reuses buffers, waits with epoll,
//! and stops at the first answer other than 200. They share the HTTP heads.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use end_to_end::http::{Endpoint, post_head};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::event_generator::EventGenerator;
use crate::latency::Latencies;
use crate::measurement::float;

/// At a fixed rate, a post that goes out later than this was delayed by earlier ones, so its time counts from
/// when it was due. Smaller delays come from the kernel, which wakes the thread only once a millisecond.
const PUNCTUAL: Duration = Duration::from_millis(2);
/// How long an answer may take before the benchmark fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// When the next post is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// On each connection, as soon as the previous answer has arrived.
    AsAnswered,
    /// At this many events a second, whatever the answers do.
    PerSecond(f64),
}

/// What to post, and how fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Events in each post. A single event is posted as an object, several as an array.
    pub events_per_post: u64,
    /// How many connections post.
    pub connections: usize,
    /// How fast they post.
    pub pace: Pace,
}

/// The results of a load. Every post was answered with 200.
#[derive(Debug, Clone)]
pub(crate) struct LoadReport {
    /// How many events were posted.
    pub events: u64,
    /// The time from the first post to the last answer.
    pub seconds: f64,
    /// How long the answers took.
    pub latency: Latencies,
}

impl LoadReport {
    /// Events a second.
    pub(crate) fn rate(&self) -> f64 {
        float(self.events) / self.seconds
    }
}

/// How far a running load has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadProgress {
    /// Events posted so far, not all of them answered.
    pub events: u64,
    /// The time since the first post.
    pub elapsed: Duration,
}

/// A connection and its current request.
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
    /// When the request was due.
    since: Instant,
}

impl Load {
    /// Posts for as long as `goes_on` returns true. Panics at any answer other than 200.
    pub(crate) fn post(
        self,
        endpoint: &Endpoint,
        generator: &mut EventGenerator,
        goes_on: impl Fn(LoadProgress) -> bool,
    ) -> LoadReport {
        Run::start(self, endpoint).post(generator, goes_on)
    }
}

/// A running load.
struct Run<'e> {
    load: Load,
    endpoint: &'e Endpoint,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    body: Vec<u8>,
    posted: u64,
    report: LoadReport,
}

impl<'e> Run<'e> {
    fn start(load: Load, endpoint: &'e Endpoint) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).expect("Linux supports epoll");
        let connect = |number: usize| {
            let stream = TcpStream::connect(endpoint.address).expect("a connection");
            stream
                .set_nodelay(true)
                .and_then(|()| stream.set_nonblocking(true))
                .expect("socket options can be set");
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
            report: LoadReport { events: 0, seconds: 0.0, latency: Latencies::new() },
        }
    }

    fn post(mut self, generator: &mut EventGenerator, goes_on: impl Fn(LoadProgress) -> bool) -> LoadReport {
        let begin = Instant::now();
        let mut events: Vec<Event> = Vec::with_capacity(self.load.connections);
        loop {
            let mut wait = PATIENCE;
            let mut is_over = false;
            while let Some(&connection) = self.idle.last() {
                let now = Instant::now();
                is_over = !goes_on(LoadProgress { events: self.posted, elapsed: now - begin });
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
                self.send_next(connection, generator, since);
            }
            if is_over && self.idle.len() == self.connections.len() {
                self.report.seconds = begin.elapsed().as_secs_f64();
                return self.report;
            }
            let timeout = Timespec::try_from(wait).expect("a short time");
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)).expect("epoll can wait");
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
            Pace::AsAnswered => now,
            Pace::PerSecond(rate) => begin + Duration::from_secs_f64(float(self.posted) / rate),
        }
    }

    fn send_next(&mut self, connection: usize, generator: &mut EventGenerator, since: Instant) {
        let place = &mut self.connections[connection];
        self.body.clear();
        generator.push_body(self.load.events_per_post, &mut self.body);
        place.request.clear();
        place.request.extend_from_slice(post_head(&self.endpoint.path, &[], self.body.len()).as_bytes());
        place.request.extend_from_slice(&self.body);
        (place.sent, place.since) = (0, since);
        place.answer.clear();
        self.posted += self.load.events_per_post;
        self.send(connection);
    }

    /// Sends as much as the socket accepts.
    fn send(&mut self, connection: usize) {
        let Connection { stream, request, sent, .. } = &mut self.connections[connection];
        let was_begun = *sent > 0;
        let wants_more = loop {
            match stream.write(&request[*sent..]) {
                Ok(written) => *sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(error) => panic!("the request cannot be sent: {error}"),
            }
            if *sent == request.len() {
                break false;
            }
        };
        if was_begun || wants_more {
            let wanted = if wants_more { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let data = EventData::new_u64(connection as u64);
            epoll::modify(&self.epoll, &*stream, data, wanted).expect("the socket is registered");
        }
    }

    /// Reads a part of an answer.
    fn receive(&mut self, connection: usize) {
        let Connection { stream, answer, since, .. } = &mut self.connections[connection];
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => panic!("the connection was closed before the answer"),
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("the answer cannot be read: {error}"),
        }
        if !is_whole(answer) {
            return;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(answer));
        self.report.latency.record(since.elapsed());
        self.report.events += self.load.events_per_post;
        self.idle.push(connection);
    }
}

/// Whether an answer is complete. Its body is one short line of JSON.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize =
        length.and_then(|length| length.trim().parse().ok()).expect("an answer has a Content-Length");
    answer.len() >= end + 4 + length
}
