//! Takes away servers, networks, disks, clocks and processes from a spool in PostgreSQL, and checks that
//! nothing is lost.
//!
//! Three servers, two machines with a listener each, and one emitter that writes to target-jsonl. The
//! [oracle](crate::oracle) posts to both listeners, like a load balancer. A [`PostgresTorture`] survives any
//! number of [faults](Fault). After each, every acknowledged event must be safe; at the end, all of them must
//! be in the destination.
//!
//! Each run of the emitter has a destination and a state file of its own, so that it shows what a run wrote
//! that had lost its role. It begins with the last state of the run before.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::http::Endpoint;
use crate::load::LoadProfile;
use crate::message::Record;
use crate::oracle::Oracle;
use crate::patroni::{Patroni, SERVERS};
use crate::program::{ChildProcess, Signal};
use crate::random::SeededRandom;
use crate::tap::{RunningTap, Tap, TapCommand, bookmarks_in};
use crate::target::Target;
use crate::wait;

/// How many machines have a listener.
const CLIENTS: usize = 2;
/// How many connections post.
const POSTERS: usize = 4;
/// How many events show that everything works again.
const SOME_EVENTS: u64 = 30;
/// How many refusals show that nothing is acknowledged.
const SOME_REFUSALS: u64 = 12;
/// The longest time from an event to a kill.
const LONGEST: Duration = Duration::from_millis(40);
/// The exit code of an emitter whose role another one has.
const ROLE_LOST: i32 = 75;
/// How much memory a listener or an emitter may use.
const MOST_MEMORY: usize = 100 << 20;
/// How far a clock is ahead, in seconds: of the right time, or of the clock that was ahead before, whose time
/// the sequences have kept.
const AHEAD: u32 = 3600;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Patroni and PostgreSQL are killed where the primary is.
    PrimaryKilled,
    /// The same where a standby is.
    StandbyKilled,
    /// The same on all servers at once.
    AllServersKilled,
    /// PostgreSQL is killed on the primary, but not Patroni.
    PostgresKilled,
    /// While both standbys stand still, PostgreSQL is killed on the primary. Once it is up again, it shows
    /// what no standby has.
    PrimaryRestartedAlone,
    /// The machine of the primary stands still until another server leads, and then goes on.
    PrimaryFrozen,
    /// Both standbys are killed, stand still, or are cut off.
    StandbysGone,
    /// Another server is made the primary, on purpose.
    SwitchOver,
    /// A listener is killed.
    ListenerKilled,
    /// The emitter is killed.
    EmitterKilled,
    /// The emitter stands still until another one has its role, and then goes on.
    EmitterFrozen,
    /// The primary is cut off from everything.
    PrimaryCutOff,
    /// The primary is cut off together with a listener and the emitter.
    PrimaryCutOffWithClients,
    /// The primary's disk is full.
    PrimaryDiskFull,
    /// A standby's disk is full.
    StandbyDiskFull,
    /// The clock of a server that becomes the primary is an hour ahead.
    ClockAhead,
}

impl Fault {
    /// All faults.
    pub const ALL: [Fault; 16] = [
        Fault::PrimaryKilled,
        Fault::StandbyKilled,
        Fault::AllServersKilled,
        Fault::PostgresKilled,
        Fault::PrimaryRestartedAlone,
        Fault::PrimaryFrozen,
        Fault::StandbysGone,
        Fault::SwitchOver,
        Fault::ListenerKilled,
        Fault::EmitterKilled,
        Fault::EmitterFrozen,
        Fault::PrimaryCutOff,
        Fault::PrimaryCutOffWithClients,
        Fault::PrimaryDiskFull,
        Fault::StandbyDiskFull,
        Fault::ClockAhead,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a torture has shown.
#[derive(Debug)]
pub struct TortureReport {
    /// How often each fault happened, and the longest time without a 200 around it.
    pub faults: BTreeMap<Fault, (u64, Duration)>,
    /// How many events were acknowledged. Each has arrived.
    pub acknowledged: usize,
    /// How many rows were written.
    pub rows: usize,
    /// How many runs of the emitter wrote them.
    pub runs: usize,
    /// How often each status was received.
    pub answers: BTreeMap<u16, u64>,
    /// The most memory that a listener or an emitter has used, in bytes.
    pub peak_memory: usize,
}

/// A spool in PostgreSQL that survives faults.
#[derive(Debug)]
pub struct PostgresTorture {
    // In this order: the programs end before the cluster.
    emitter: Option<Emitter>,
    listeners: [Option<RunningTap>; CLIENTS],
    oracle: Oracle,
    tap: Tap,
    /// Every run of the emitter so far.
    runs: Vec<RunFiles>,
    random: SeededRandom,
    faults: BTreeMap<Fault, (u64, Duration)>,
    peak_memory: usize,
    /// How often a clock was ahead.
    clocks_ahead: u32,
    cluster: Patroni,
}

/// A running emitter and its target.
#[derive(Debug)]
struct Emitter {
    tap: RunningTap,
    target: ChildProcess,
    client: usize,
    /// Its place in [`PostgresTorture::runs`].
    run: usize,
}

/// What a run of the emitter has written.
#[derive(Debug)]
struct RunFiles {
    target: Target,
    state_file: PathBuf,
}

impl PostgresTorture {
    /// Starts a cluster, listeners, an emitter and load. Prints a line and returns `None` if something is
    /// missing. `seed` determines all random choices.
    #[must_use]
    pub fn start(seed: u64) -> Option<Self> {
        let mut random = SeededRandom::new(seed);
        let cluster = Patroni::start(CLIENTS)?;
        let certificate = cluster.certificate_file();
        let tap = Tap::new()
            .with_spool_at(&cluster.url(), &cluster.psql_url())
            .with_created_urls()
            .set("spool_tls_ca", certificate.to_str().expect("a temporary path is text"))
            .set("spool_durability", "quorum")
            .set("spool_commit_timeout_seconds", random.choose(&[3, 10]))
            .set("emitter_lease_seconds", random.choose(&[6, 15]))
            .set("retention_days", 0)
            .set("state_interval_records", random.choose(&[5, 100, 10_000]));
        let path = tap.create_url().path;
        let listeners = [0, 1].map(|client| start_listener(&cluster, &tap, client));
        let endpoints = listeners.each_ref().map(|listener| listener.endpoint().with_path(&path));
        let oracle = Oracle::start_with_load(endpoints[0].clone(), POSTERS, load());
        oracle.balance(endpoints.to_vec());
        let mut torture = PostgresTorture {
            emitter: None,
            listeners: listeners.map(Some),
            oracle,
            tap,
            runs: Vec::new(),
            random,
            faults: BTreeMap::new(),
            peak_memory: 0,
            clocks_ahead: 0,
            cluster,
        };
        torture.emitter = Some(torture.start_emitter(0));
        Some(torture)
    }

    /// Lets `fault` happen under load, waits until everything works again, and checks that nothing is lost.
    pub fn inflict(&mut self, fault: Fault) {
        self.assert_calm();
        let _ = self.oracle.take_longest_silence();
        self.random.sleep_up_to(LONGEST);
        match fault {
            Fault::PrimaryKilled => self.kill_primary(),
            Fault::StandbyKilled => self.kill_standby(),
            Fault::AllServersKilled => self.kill_all_servers(),
            Fault::PostgresKilled => self.cluster.kill_postgres(self.cluster.wait_leader()),
            Fault::PrimaryRestartedAlone => self.restart_primary_alone(),
            Fault::PrimaryFrozen => self.freeze_primary(),
            Fault::StandbysGone => self.lose_standbys(),
            Fault::SwitchOver => {
                let standby = self.random_standby();
                self.cluster.switch_over(standby);
            }
            Fault::ListenerKilled => self.kill_listener(),
            Fault::EmitterKilled => self.kill_emitter(),
            Fault::EmitterFrozen => self.freeze_emitter(),
            Fault::PrimaryCutOff => self.cut_off_primary(),
            Fault::PrimaryCutOffWithClients => self.cut_off_primary_with_clients(),
            Fault::PrimaryDiskFull => self.fill_primary(),
            Fault::StandbyDiskFull => self.fill_standby(),
            Fault::ClockAhead => self.set_clock_ahead(),
        }
        self.cluster.wait_whole();
        self.oracle.wait_acknowledged(SOME_EVENTS);
        let silence = self.oracle.take_longest_silence();
        let (count, longest) = self.faults.entry(fault).or_default();
        *count += 1;
        *longest = silence.max(*longest);
        let emitter = self.emitter.as_mut().expect("there is an emitter");
        assert!(emitter.tap.program.is_running(), "the emitter ended: {:?}", emitter.tap.program.stderr());
        self.assert_none_lost();
    }

    /// Stops everything cleanly, and checks that every acknowledged event was delivered.
    #[must_use]
    pub fn end(mut self) -> TortureReport {
        self.oracle.wait_acknowledged(SOME_EVENTS);
        let answers = self.oracle.answers();
        for listener in &mut self.listeners {
            let listener = listener.take().expect("both are running");
            self.peak_memory = self.peak_memory.max(listener.program.peak_memory());
            listener.stop().assert_code(0);
        }
        let sent = self.oracle.stop();
        let emitter = self.emitter.take().expect("there is an emitter");
        let (target, state_file) = {
            let files = &self.runs[emitter.run];
            (&files.target, files.state_file.clone())
        };
        // What was not acknowledged may be there too, so this is not the last row for sure.
        wait::until("the last state covers every row", || {
            let last = target.rows().last().map(Record::sequence);
            (last <= bookmarks_in(&state_file).last().copied()).then_some(())
        });
        self.peak_memory = self.peak_memory.max(emitter.tap.program.peak_memory());
        emitter.stop();
        // A drain writes what is left, and learns that the states before it have arrived.
        wait::until("the spool is empty", || {
            let drain = launch(self.tap.drain(), 0, &self.tap, &self.cluster, &mut self.runs);
            drain.finish();
            self.tap.spool().events().is_empty().then_some(())
        });
        let rows: Vec<_> = self.runs.iter().flat_map(|run| run.target.rows()).collect();
        let bookmarks: Vec<_> = self.runs.iter().flat_map(|run| bookmarks_in(&run.state_file)).collect();
        sent.assert_runs_delivered(&rows, &bookmarks, self.runs.len());
        assert!(self.peak_memory < MOST_MEMORY, "a program has used {} bytes", self.peak_memory);
        TortureReport {
            faults: self.faults,
            acknowledged: sent.acknowledged(),
            rows: rows.len(),
            runs: self.runs.len(),
            answers,
            peak_memory: self.peak_memory,
        }
    }

    /// Asserts that all is well: every request is acknowledged.
    fn assert_calm(&self) {
        self.oracle.wait_acknowledged(SOME_EVENTS);
        let before = self.refusals();
        self.oracle.wait_acknowledged(SOME_EVENTS);
        assert_eq!(self.refusals(), before, "nothing is wrong, and yet webhooks are refused");
    }

    fn refusals(&self) -> u64 {
        self.oracle.answers().iter().filter(|(status, _)| **status != 200).map(|(_, count)| count).sum()
    }

    fn assert_none_lost(&self) {
        let runs = &self.runs;
        let bookmarks = || runs.iter().flat_map(|run| bookmarks_in(&run.state_file)).collect();
        self.oracle.sent_so_far().assert_none_lost_in(&self.tap, bookmarks, |look| {
            for run in runs {
                run.target.each_row(&mut *look);
            }
        });
    }

    fn random_standby(&mut self) -> usize {
        let leader = self.cluster.wait_leader();
        let standbys: Vec<_> = (0..SERVERS).filter(|server| *server != leader).collect();
        self.random.choose(&standbys)
    }

    fn kill_primary(&mut self) {
        let primary = self.cluster.wait_leader();
        self.cluster.kill_server(primary);
        self.cluster.wait_other_leader(primary);
        self.oracle.wait_acknowledged(SOME_EVENTS);
        self.cluster.start_server(primary);
    }

    fn kill_standby(&mut self) {
        let standby = self.random_standby();
        self.cluster.kill_server(standby);
        self.oracle.wait_acknowledged(SOME_EVENTS);
        self.cluster.start_server(standby);
    }

    fn kill_all_servers(&mut self) {
        for server in self.random.shuffled(&[0, 1, 2]) {
            self.cluster.kill_server(server);
        }
        self.oracle.wait_answers(503, 1);
        for server in self.random.shuffled(&[0, 1, 2]) {
            self.cluster.start_server(server);
        }
    }

    fn restart_primary_alone(&mut self) {
        let primary = self.cluster.wait_leader();
        let standbys: Vec<_> = (0..SERVERS).filter(|server| *server != primary).collect();
        // An emitter that has something to note waits for that, and reads nothing. So it must be idle.
        self.oracle.change_load(LoadProfile::NONE);
        wait::until("the emitter is idle", || {
            let covered = self.runs.last().and_then(|run| bookmarks_in(&run.state_file).pop());
            (covered == Some(self.last_sequence())).then_some(())
        });
        for standby in &standbys {
            self.cluster.host(*standby).freeze();
        }
        // Enough that an emitter would not keep it in a buffer.
        self.oracle.change_load(LoadProfile { sizes: &[400], ..load() });
        self.oracle.wait_answers(503, 1);
        let before = self.written();
        self.cluster.kill_postgres(primary);
        wait::until("the primary shows what no standby has", || {
            self.cluster.query_at(primary, "spool", "SELECT max(sequence) FROM torture.event", |largest| {
                largest.trim().parse::<i64>().is_ok_and(|largest| largest > before.1)
            })
        });
        // The listeners have found the primary again, and so has the emitter, but for them no commit ends.
        self.oracle.wait_answers(503, SOME_REFUSALS);
        assert_eq!(self.written(), before, "the emitter wrote what is on one server only");
        for standby in standbys {
            self.cluster.thaw_server(standby);
        }
        self.oracle.change_load(load());
    }

    /// How many rows the emitter has written, and the largest sequence among them.
    fn written(&self) -> (usize, i64) {
        let rows = self.runs.iter().flat_map(|run| run.target.rows());
        rows.fold((0, 0), |(count, largest), row| (count + 1, largest.max(row.sequence())))
    }

    fn freeze_primary(&mut self) {
        let primary = self.cluster.wait_leader();
        self.cluster.host(primary).freeze();
        self.cluster.wait_other_leader(primary);
        self.oracle.wait_acknowledged(SOME_EVENTS);
        self.cluster.thaw_server(primary);
        self.oracle.wait_acknowledged(SOME_EVENTS);
    }

    fn lose_standbys(&mut self) {
        let primary = self.cluster.wait_leader();
        let standbys: Vec<_> = (0..SERVERS).filter(|server| *server != primary).collect();
        let way = self.random.below(3);
        match way {
            0 => standbys.iter().for_each(|standby| self.cluster.kill_server(*standby)),
            1 => standbys.iter().for_each(|standby| self.cluster.host(*standby).freeze()),
            _ => self.cluster.network().cut_off(&standbys),
        }
        self.oracle.wait_answers(503, 1);
        let acknowledged = self.oracle.counter();
        let before = acknowledged();
        self.oracle.wait_answers(503, SOME_REFUSALS);
        assert_eq!(acknowledged(), before, "an event was acknowledged that is on one server only");
        match way {
            0 => standbys.iter().for_each(|standby| self.cluster.start_server(*standby)),
            1 => standbys.iter().for_each(|standby| self.cluster.thaw_server(*standby)),
            _ => self.cluster.heal(),
        }
    }

    fn kill_listener(&mut self) {
        let client = self.random.choose(&[0, 1]);
        let listener = self.listeners[client].take().expect("it is running");
        self.peak_memory = self.peak_memory.max(listener.program.peak_memory());
        let _ = listener.kill();
        self.oracle.wait_acknowledged(SOME_EVENTS);
        let listener = start_listener(&self.cluster, &self.tap, client);
        let _: Endpoint = listener.endpoint();
        self.listeners[client] = Some(listener);
    }

    fn kill_emitter(&mut self) {
        let emitter = self.emitter.take().expect("there is an emitter");
        self.peak_memory = self.peak_memory.max(emitter.tap.program.peak_memory());
        emitter.kill();
        let client = self.random.choose(&[0, 1]);
        self.emitter = Some(self.start_emitter(client));
    }

    fn freeze_emitter(&mut self) {
        let mut first = self.emitter.take().expect("there is an emitter");
        first.tap.program.signal(Signal::STOP);
        self.take_over(first, |_, first| first.tap.program.signal(Signal::CONT));
    }

    fn cut_off_primary(&mut self) {
        let primary = self.cluster.wait_leader();
        self.cluster.network().cut_off(&[primary]);
        self.cluster.wait_other_leader(primary);
        self.oracle.wait_acknowledged(SOME_EVENTS);
        self.cluster.heal();
    }

    fn cut_off_primary_with_clients(&mut self) {
        let primary = self.cluster.wait_leader();
        let first = self.emitter.take().expect("there is an emitter");
        self.cluster.network().cut_off(&[primary, SERVERS + first.client]);
        self.cluster.wait_other_leader(primary);
        self.oracle.wait_acknowledged(SOME_EVENTS);
        self.take_over(first, |torture, _| torture.cluster.heal());
    }

    /// Starts another emitter, which takes the role of the `first` one, and then lets the first one go on. It
    /// must notice, and write no STATE.
    fn take_over(&mut self, first: Emitter, go_on: impl FnOnce(&mut Self, &mut Emitter)) {
        let mut first = first;
        let second = self.start_emitter(1 - first.client);
        let states = |torture: &Self, run: usize| bookmarks_in(&torture.runs[run].state_file).len();
        wait::until("the second emitter writes states", || (states(self, second.run) >= 3).then_some(()));
        let before = states(self, first.run);
        go_on(self, &mut first);
        self.peak_memory = self.peak_memory.max(first.tap.program.peak_memory());
        let (run, mut target) = (first.run, first.target);
        first.tap.finish().assert_code(ROLE_LOST);
        assert_eq!(target.wait(), Some(0), "{}", target.stderr().so_far().join("\n"));
        assert_eq!(states(self, run), before, "an emitter without its role has written a STATE");
        self.emitter = Some(second);
    }

    fn fill_primary(&mut self) {
        let primary = self.cluster.wait_leader();
        let ballast = self.cluster.fill_disk(primary);
        self.oracle.change_load(LoadProfile { pause: Duration::ZERO, ..load() });
        self.oracle.wait_answers(503, 1);
        self.oracle.change_load(load());
        self.random.sleep_up_to(Duration::from_secs(5));
        fs::remove_file(ballast).expect("the file is there");
        self.cluster.revive(primary);
    }

    fn fill_standby(&mut self) {
        let standby = self.random_standby();
        let ballast = self.cluster.fill_disk(standby);
        self.oracle.change_load(LoadProfile { pause: Duration::ZERO, ..load() });
        self.cluster.wait("the standby has ended", |state| (!state.running.contains(&standby)).then_some(()));
        self.oracle.change_load(load());
        self.oracle.wait_acknowledged(SOME_EVENTS);
        fs::remove_file(ballast).expect("the file is there");
        self.cluster.revive(standby);
    }

    fn set_clock_ahead(&mut self) {
        let standby = self.random_standby();
        self.clocks_ahead += 1;
        if !self.cluster.set_clock_ahead(standby, self.clocks_ahead * AHEAD) {
            return;
        }
        self.cluster.kill_server(standby);
        self.cluster.start_server(standby);
        self.cluster.wait_whole();
        let before = self.last_sequence();
        self.cluster.switch_over(standby);
        self.oracle.wait_acknowledged(SOME_EVENTS);
        let ahead = self.last_sequence() - before;
        assert!(ahead > i64::from(AHEAD) * 900, "sequences follow the clock of the primary: {ahead}");
        self.kill_emitter();
        self.cluster.wait_whole();
        let other = self.random_standby();
        self.cluster.switch_over(other);
        self.oracle.wait_acknowledged(SOME_EVENTS);
        // The lease of the emitter ends an hour from now, by this server's clock. Nobody waits for that.
        let start = Instant::now();
        self.kill_emitter();
        assert!(start.elapsed() < wait::DEADLINE, "the role was free too late");
        self.cluster.set_clock_ahead(standby, 0);
        self.cluster.kill_server(standby);
        self.cluster.start_server(standby);
    }

    fn last_sequence(&self) -> i64 {
        self.tap.spool().text("SELECT last FROM seq").trim().parse().expect("a number")
    }

    /// Starts an emitter. If another one still has the role, tries again until it has not.
    fn start_emitter(&mut self, client: usize) -> Emitter {
        wait::until("the role of the emitter is free", || {
            let emit = self.tap.run().set("mode", "emit");
            let mut emitter = launch(emit, client, &self.tap, &self.cluster, &mut self.runs);
            let has_role = wait::until("the emitter starts", || {
                let begins = |line: &String| line.contains("tap-mailjet-webhooks ");
                if emitter.tap.program.stderr().so_far().iter().any(begins) {
                    return Some(true);
                }
                (!emitter.tap.program.is_running()).then_some(false)
            });
            if has_role {
                return Some(emitter);
            }
            emitter.tap.finish().assert_code(ROLE_LOST);
            emitter.target.wait();
            self.runs.pop();
            thread::sleep(Duration::from_millis(200));
            None
        })
    }
}

impl Emitter {
    fn stop(mut self) {
        self.tap.program.signal(Signal::TERM);
        self.finish();
    }

    fn finish(mut self) {
        self.tap.finish().assert_code(0);
        assert_eq!(self.target.wait(), Some(0), "{}", self.target.stderr().so_far().join("\n"));
    }

    fn kill(mut self) {
        self.tap.program.kill();
        // It may have died in the middle of a line, which the target refuses.
        assert!(matches!(self.target.wait(), Some(0 | 1)), "{:?}", self.target.stderr());
    }
}

/// Runs `command` on a client, with a destination and a state file of its own.
fn launch(
    command: TapCommand<'_>,
    client: usize,
    tap: &Tap,
    cluster: &Patroni,
    runs: &mut Vec<RunFiles>,
) -> Emitter {
    let run = runs.len();
    let folder = tap.folder().join(format!("run-{run}"));
    fs::create_dir_all(&folder).expect("a folder can be made");
    let state_file = folder.join("state.json");
    let last = runs.last().map(|run| fs::read_to_string(&run.state_file).unwrap_or_default());
    let last = last.as_deref().and_then(|text| text.lines().last());
    fs::write(&state_file, last.map(|line| format!("{line}\n")).unwrap_or_default())
        .expect("a state file can be written");
    let target = Target::in_folder(&folder);
    let (reader, writer) = io::pipe().expect("a pipe");
    let running_target = target.start(reader, &state_file);
    let command = on_client(cluster, client, command);
    let command = command.args(&["--state", state_file.to_str().expect("a temporary path is text")]);
    let running_tap = command.start_with_stdout(writer);
    runs.push(RunFiles { target, state_file });
    Emitter { tap: running_tap, target: running_target, client, run }
}

fn start_listener(cluster: &Patroni, tap: &Tap, client: usize) -> RunningTap {
    let address = format!("{}:8480", cluster.host(SERVERS + client).front_address());
    on_client(cluster, client, tap.listen().set("listen_address", address)).start()
}

fn on_client<'a>(cluster: &Patroni, client: usize, command: TapCommand<'a>) -> TapCommand<'a> {
    let wrapper = cluster.host(SERVERS + client).wrapper();
    command.wrapped_in(&wrapper.each_ref().map(String::as_str))
}

fn load() -> LoadProfile {
    LoadProfile {
        retry_after: Duration::from_millis(100),
        ..LoadProfile::some_grouped(POSTERS, Duration::from_millis(20))
    }
}
