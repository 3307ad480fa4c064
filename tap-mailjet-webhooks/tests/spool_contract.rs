//! The tests that every implementation of the spool has to pass. They see only what all code outside `spool/`
//! sees.
//!
//! Each test gets a fixture: a new, empty spool of one implementation. A test can open it any number of times
//! and sets its clock. To test another implementation, write a `Fixture` and add a line at the end.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use end_to_end::database::Postgres;

use tap_mailjet_webhooks::os::clock::{Clock, UnixMillis};
use tap_mailjet_webhooks::spool::{
    self, Append, AppendError, Backlog, Batch, CountStep, Damage, DiscoveredColumn, Durability, ItemKind,
    Items, Limits, MailjetAccount, PostgresLocation, Receipt, Retirement, Role, RoleLock, Sequence,
    SequenceUnit, Spool, SpoolErrorKind, SpoolLocation, StoredItem, TlsAuthorities, TokenHash, UrlPurpose,
    Wakeup, WebhookUrl, Writer, WriterHandle,
};

const LIMITS: Limits = Limits { spool_max_bytes: 1 << 30, min_free_bytes: 0, memory_bytes: 1 << 20 };

/// A new, empty spool of one implementation.
trait Fixture {
    fn new() -> Self;
    /// Opens the spool with the clock that [`set_clock`] sets.
    fn open(&self) -> Arc<dyn Spool>;
}

/// The time on the fixtures' clock.
static CLOCK: AtomicI64 = AtomicI64::new(1_000);
/// Held by each test, because they share the clock.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The time passes only when a test sets the clock, so nothing else may count it.
const CLOCKS: Clock = Clock { wall: clock, uptime: || None };

fn clock() -> UnixMillis {
    UnixMillis::new(CLOCK.load(Ordering::SeqCst))
}

fn set_clock(millis: i64) {
    CLOCK.store(millis, Ordering::SeqCst);
}

/// A running writer.
struct Running {
    handle: WriterHandle,
    writer: Writer,
    _role: RoleLock,
}

impl Running {
    fn start(spool: &dyn Spool, limits: Limits) -> Self {
        let role = spool.take_role(Role::Listener).expect("no other process has it");
        let (handle, writer) =
            spool.start_writer(&role, SequenceUnit::Millisecond, limits).expect("a writer");
        Running { handle, writer, _role: role }
    }

    async fn append(&self, text: &str, kind: ItemKind) -> Result<Receipt, AppendError> {
        let mut reservation = self.handle.reserve(text.len()).expect("memory");
        let mut items = Items::new();
        match kind {
            ItemKind::Event => items.push_event(0..text.len(), &mut reservation),
            ItemKind::Rejected => items.push_rejected(0..text.len(), "a reason".into(), &mut reservation),
        }
        .expect("memory");
        let text = Bytes::copy_from_slice(text.as_bytes());
        self.handle.append(Batch::new(text, items, clock(), reservation)).await
    }

    async fn append_event(&self) {
        assert_eq!(self.append("{}", ItemKind::Event).await, Ok(Receipt { accepted: 1, rejected: 0 }));
    }

    async fn append_rejected(&self, text: &str) {
        assert_eq!(self.append(text, ItemKind::Rejected).await, Ok(Receipt { accepted: 0, rejected: 1 }));
    }

    async fn close(mut self) {
        self.handle.close();
        self.writer.ended().await.expect("a clean end");
    }
}

fn items_past<T>(
    spool: &dyn Spool,
    kind: ItemKind,
    position: Sequence,
    read: fn(StoredItem<'_>) -> T,
) -> Vec<T> {
    let mut items = Vec::new();
    let mut reader = spool.reader().expect("a reader");
    let visit = &mut |item: Result<StoredItem<'_>, Damage>| {
        items.push(read(item.expect("no damage")));
        ControlFlow::Continue(())
    };
    reader.read_past(kind, position, u32::MAX, visit).expect("items");
    items
}

fn events_past(spool: &dyn Spool, position: Sequence) -> Vec<i64> {
    items_past(spool, ItemKind::Event, position, |event| {
        assert_eq!(event.reason, None);
        event.sequence.get()
    })
}

fn rejected(spool: &dyn Spool) -> Vec<(i64, Option<String>, Vec<u8>)> {
    items_past(spool, ItemKind::Rejected, Sequence::START, |item| {
        (item.sequence.get(), item.reason.map(str::to_owned), item.body.to_owned())
    })
}

async fn sequences_continue_when_the_clock_steps_back_between_two_runs<F: Fixture>() {
    let fixture = F::new();
    for now in [5_000_000, 1_000_000, 5_000_001] {
        set_clock(now);
        let spool = fixture.open();
        let running = Running::start(&*spool, LIMITS);
        running.append_event().await;
        let handle = running.handle.clone();
        running.close().await;
        let closed = handle.append(Batch::new(
            Bytes::from_static(b"{}"),
            Items::new(),
            clock(),
            handle.reserve(2).expect("memory"),
        ));
        assert_eq!(closed.await, Err(AppendError::Closed));
    }
    let spool = fixture.open();
    assert_eq!(events_past(&*spool, Sequence::START), [5_000_000, 5_000_001, 5_000_002]);
    assert_eq!(events_past(&*spool, Sequence::new(5_000_001)), [5_000_002]);
}

async fn events_and_rejected_items_share_one_series<F: Fixture>() {
    let fixture = F::new();
    set_clock(1_000);
    let spool = fixture.open();
    let running = Running::start(&*spool, LIMITS);
    running.append_event().await;
    running.append_rejected("5").await;
    running.append_event().await;
    assert_eq!(events_past(&*spool, Sequence::START), [1_000, 1_002]);
    assert_eq!(rejected(&*spool), [(1_001, Some("a reason".to_owned()), b"5".to_vec())]);
    let mut reader = spool.reader().expect("a reader");
    let first = reader.first_sequence().expect("a sequence");
    assert_eq!(first, Some(Sequence::new(1_000)));
    let mut backlog = |kind, position| reader.backlog_past(kind, Sequence::new(position)).expect("a number");
    assert_eq!(backlog(ItemKind::Event, 0), Backlog::Exactly(2));
    assert_eq!(backlog(ItemKind::Event, 1_000), Backlog::Exactly(1));
    assert_eq!(backlog(ItemKind::Rejected, 0), Backlog::Exactly(1));
}

async fn each_commit_advances_the_watermark_and_the_end_closes_it<F: Fixture>() {
    let fixture = F::new();
    set_clock(7_000);
    let spool = fixture.open();
    let (watermark, soon) = (spool.watermark().clone(), Duration::from_millis(1));
    let running = Running::start(&*spool, LIMITS);
    assert_eq!(watermark.wait_past(Sequence::START, soon), Wakeup::TimedOut);
    running.append_event().await;
    let long = Duration::from_secs(10);
    assert_eq!(watermark.wait_past(Sequence::START, long), Wakeup::Advanced);
    assert_eq!(watermark.committed(), Sequence::new(7_000));
    running.close().await;
    assert_eq!(watermark.wait_past(Sequence::START, long), Wakeup::Advanced);
    assert_eq!(watermark.wait_past(Sequence::new(7_000), long), Wakeup::Closed);
}

async fn a_probe_gets_the_answer_that_a_batch_would_get<F: Fixture>() {
    let fixture = F::new();
    let spool = fixture.open();
    let running = Running::start(&*spool, LIMITS);
    assert_eq!(running.handle.probe().await, Ok(()));
    let all = running.handle.reserve(LIMITS.memory_bytes).expect("nothing else is reserved");
    assert_eq!(running.handle.probe().await, Err(AppendError::Overloaded));
    drop(all);
    let handle = running.handle.clone();
    running.close().await;
    assert_eq!(handle.probe().await, Err(AppendError::Closed));

    let full = Running::start(&*spool, Limits { spool_max_bytes: 1, ..LIMITS });
    assert_eq!(full.handle.probe().await, Err(AppendError::SpoolFull));
    full.close().await;
}

async fn a_batch_that_does_not_fit_is_refused_and_a_smaller_one_is_stored<F: Fixture>() {
    let fixture = F::new();
    let spool = fixture.open();
    let running = Running::start(&*spool, Limits { spool_max_bytes: 256 << 10, ..LIMITS });
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(400_000));
    assert_eq!(running.append(&large, ItemKind::Event).await, Err(AppendError::SpoolFull));
    running.append_event().await;
}

/// A new spool may take over the state of one that was lost. Its sequences then start after that state,
/// whatever the clock says.
async fn sequences_continue_after_the_state_of_a_lost_spool<F: Fixture>() {
    let fixture = F::new();
    set_clock(1_000);
    let spool = fixture.open();
    let running = Running::start(&*spool, LIMITS);
    running.append_event().await;
    let mut registry = fixture.open().registry().expect("a registry");
    registry.note_written_through(Sequence::new(5_000)).expect("a note");
    running.append_event().await;
    assert_eq!(events_past(&*spool, Sequence::START), [1_000, 5_001]);
}

async fn only_confirmed_and_old_items_are_trimmed<F: Fixture>() {
    // Confirmed through, retention, time, and which of the items of 1_000, 2_000, 3_000 and 4_000 stay.
    let cases: [(i64, u64, i64, &[i64]); 6] = [
        (0, 0, 4_000, &[1_000, 2_000, 3_000, 4_000]),
        (2_000, 0, 4_000, &[3_000, 4_000]),
        (4_000, 1_500, 4_000, &[3_000, 4_000]),
        (4_000, 3_000, 4_000, &[1_000, 2_000, 3_000, 4_000]),
        (3_000, 0, 4_000, &[4_000]),
        (9_000, 0, 4_001, &[]),
    ];
    for (confirmed, retention, time, stay) in cases {
        let fixture = F::new();
        let spool = fixture.open();
        let running = Running::start(&*spool, LIMITS);
        for now in [1_000, 2_000, 3_000, 4_000] {
            set_clock(now);
            running.append_event().await;
        }
        set_clock(time);
        let age = Duration::from_millis(retention);
        let mut trimmer = fixture.open().trimmer().expect("a trimmer");
        while trimmer.step(ItemKind::Event, Sequence::new(confirmed), age).expect("a step") > 0 {}
        assert_eq!(
            events_past(&*spool, Sequence::START),
            stay,
            "confirmed {confirmed}, retention {retention}"
        );
        running.append_event().await;
        assert!(events_past(&*spool, Sequence::START).last() > Some(&4_000), "no sequence is assigned again");
    }
}

async fn a_rejected_item_that_repeats_is_stored_once_until_it_is_trimmed<F: Fixture>() {
    let fixture = F::new();
    set_clock(1_000);
    for _ in 0..2 {
        let spool = fixture.open();
        let running = Running::start(&*spool, LIMITS);
        for text in ["5", "6", "5"] {
            running.append_rejected(text).await;
        }
        running.close().await;
    }
    let spool = fixture.open();
    let texts = || rejected(&*spool).into_iter().map(|(.., text)| text).collect::<Vec<_>>();
    assert_eq!(texts(), [b"5", b"6"]);
    set_clock(9_000);
    let mut trimmer = spool.trimmer().expect("a trimmer");
    let through = Sequence::new(1_000);
    assert_eq!(trimmer.step(ItemKind::Rejected, through, Duration::ZERO).expect("a step"), 1);
    let running = Running::start(&*spool, LIMITS);
    running.append_rejected("5").await;
    assert_eq!(texts(), [b"6", b"5"]);
}

async fn events_and_rejected_items_are_trimmed_separately<F: Fixture>() {
    let fixture = F::new();
    set_clock(1_000);
    let spool = fixture.open();
    let running = Running::start(&*spool, LIMITS);
    for text in ["5", "6", "7"] {
        running.append_event().await;
        running.append_rejected(text).await;
    }
    set_clock(9_000);
    let mut trimmer = spool.trimmer().expect("a trimmer");
    let mut step =
        |kind, through| trimmer.step(kind, Sequence::new(through), Duration::ZERO).expect("a step");
    assert_eq!(step(ItemKind::Rejected, 1_005), 3);
    assert_eq!(
        (events_past(&*spool, Sequence::START), rejected(&*spool)),
        (vec![1_000, 1_002, 1_004], vec![])
    );
    assert_eq!(step(ItemKind::Event, 1_002), 2);
    assert_eq!(events_past(&*spool, Sequence::START), [1_004]);
}

async fn trimming_stops_at_the_first_item_that_has_to_stay<F: Fixture>() {
    let fixture = F::new();
    let spool = fixture.open();
    let running = Running::start(&*spool, LIMITS);
    // Steps of seconds: an item also goes once the spool has really had it for that long.
    for now in [10_000, 90_000, 20_000] {
        set_clock(now);
        running.append_event().await;
    }
    set_clock(50_000);
    let mut trimmer = spool.trimmer().expect("a trimmer");
    let mut step = |retention| {
        let retention = Duration::from_secs(retention);
        trimmer.step(ItemKind::Event, Sequence::new(100_000), retention).expect("a step")
    };
    assert_eq!((step(35), step(35)), (1, 0));
    assert_eq!(events_past(&*spool, Sequence::START), [90_000, 90_001]);
    // The second one seems to come from the future, and the third followed it. Nobody knows when the clock
    // was right.
    assert_eq!((step(25), step(25)), (0, 0));
    assert_eq!(events_past(&*spool, Sequence::START), [90_000, 90_001]);
    assert_eq!((step(0), step(0)), (2, 0));
}

async fn a_role_has_one_holder_and_ends_with_its_lock<F: Fixture>() {
    let fixture = F::new();
    let (spool, other) = (fixture.open(), fixture.open());
    let held = spool.take_role(Role::Emitter).expect("nobody has it");
    let refused = other.take_role(Role::Emitter).expect_err("it is taken");
    assert_eq!(refused.kind(), SpoolErrorKind::RoleTaken);
    assert_eq!(other.role_holders(Role::Emitter).expect("holders").len(), 1);
    drop(held);
    assert!(other.role_holders(Role::Emitter).expect("no holder").is_empty());
    other.take_role(Role::Emitter).expect("it is free again");
}

async fn webhook_urls_are_limited_and_their_ids_are_never_reused<F: Fixture>() {
    let fixture = F::new();
    set_clock(10);
    let mut registry = fixture.open().registry().expect("a registry");
    let hash = |byte| TokenHash([byte; 32]);
    let first = registry.add_webhook_url(hash(1), Some("primary"), None, 2).expect("room").expect("an id");
    let second = registry.add_webhook_url(hash(2), None, None, 2).expect("room").expect("an id");
    assert_eq!(registry.add_webhook_url(hash(3), None, None, 2).expect("an answer"), None);
    registry.note_webhook_url_use(first, UnixMillis::new(70)).expect("a note");
    registry.note_webhook_url_use(first, UnixMillis::new(60)).expect("a note");
    let urls = fixture.open().registry_view().expect("a view").webhook_urls().expect("URLs");
    let expected = WebhookUrl {
        id: first,
        label: Some("primary".to_owned()),
        token: hash(1),
        created_at: UnixMillis::new(10),
        last_used_at: Some(UnixMillis::new(70)),
        account: None,
        pending: None,
        retirement: None,
    };
    assert_eq!((urls.len(), &urls[0]), (2, &expected));

    assert!(registry.revoke_webhook_url(first).expect("an answer"));
    assert!(!registry.revoke_webhook_url(first).expect("an answer"), "it is not active any more");
    let third = registry.add_webhook_url(hash(4), None, None, 2).expect("room").expect("an id");
    assert!(third > second && second > first);
    assert_eq!(registry.revoked_tokens().expect("tokens"), [hash(1)]);
}

async fn a_retiring_webhook_url_is_revoked_once_it_was_unused_for_long_enough<F: Fixture>() {
    const HOUR: Duration = Duration::from_secs(3600);
    let fixture = F::new();
    let mut registry = fixture.open().registry().expect("a registry");
    let account = MailjetAccount::new("one".to_owned());
    let mut add = |byte, account| {
        registry.add_webhook_url(TokenHash([byte; 32]), None, account, 9).expect("room").expect("an id")
    };
    let (by_hand, others, old, new) = (
        add(1, None),
        add(2, Some((&MailjetAccount::new("two".to_owned()), UrlPurpose::Register))),
        add(3, None),
        add(4, Some((&account, UrlPurpose::Rotate))),
    );
    registry.note_registered(&account, &[old, others]).expect("a note");
    let accounts: Vec<_> =
        registry.webhook_urls().expect("URLs").into_iter().map(|url| url.account).collect();
    let of_others = Some(MailjetAccount::new("two".to_owned()));
    assert_eq!(accounts[1..], [of_others, Some(account.clone()), Some(account.clone())]);
    registry.complete_registration(&account, new, &[old], 24 * HOUR).expect("a registration");

    assert!(!registry.note_webhook_url_disuse(old, 23 * HOUR).expect("a note"));
    registry.note_webhook_url_use(old, UnixMillis::new(5)).expect("a note");
    assert!(!registry.note_webhook_url_disuse(old, 23 * HOUR).expect("a note"));
    registry.note_webhook_url_attempt(old).expect("a note");
    // Neither another process nor the clock changes how long it was unused.
    set_clock(i64::MAX);
    let mut registry = fixture.open().registry().expect("a registry");
    assert!(!registry.note_webhook_url_disuse(old, 23 * HOUR).expect("a note"));
    let urls = registry.webhook_urls().expect("URLs");
    assert_eq!(urls[2].retirement, Some(Retirement { after: 24 * HOUR, unused_for: 23 * HOUR }));
    let (pending, retiring): (Vec<_>, Vec<_>) =
        urls.iter().map(|url| (url.pending, url.retirement.is_some())).unzip();
    assert_eq!(
        (pending, retiring),
        (vec![None, Some(UrlPurpose::Register), None, None], vec![false, false, true, false])
    );
    assert!(registry.note_webhook_url_disuse(old, HOUR).expect("a note"));
    assert!(!registry.note_webhook_url_disuse(old, HOUR).expect("it is revoked already"));
    assert!(!registry.note_webhook_url_disuse(new, 99 * HOUR).expect("it is not being retired"));

    assert!(registry.retire_webhook_url(by_hand, HOUR).expect("an answer"));
    assert!(!registry.retire_webhook_url(old, HOUR).expect("an answer"), "it is revoked already");
    assert!(registry.note_webhook_url_disuse(by_hand, HOUR).expect("a note"));
    let left: Vec<_> = registry.webhook_urls().expect("URLs").into_iter().map(|url| url.id).collect();
    assert_eq!(left, [others, new]);
}

async fn items_are_counted_by_minute_and_by_hour_and_old_counts_are_forgotten<F: Fixture>() {
    const DAY: i64 = 24 * 3_600_000;
    let fixture = F::new();
    let mut registry = fixture.open().registry().expect("a registry");
    let mut add = |at, counts: &[(&str, u64)]| {
        registry.add_item_counts(UnixMillis::new(at), counts).expect("a note");
    };
    // Hour 7 of the second day, minutes 59 and 60.
    let hour = DAY + 7 * 3_600_000;
    add(hour + 3_540_000, &[("open", 2), ("rejected", 1)]);
    add(hour + 3_599_999, &[("open", 3)]);
    add(hour + 3_600_000, &[("open", 5)]);
    let counts = |step, since| {
        let mut view = fixture.open().registry_view().expect("a view");
        let counts = view.item_counts(step, UnixMillis::new(since)).expect("counts");
        counts.into_iter().map(|count| (count.start.get(), count.name, count.count)).collect::<Vec<_>>()
    };
    let expected = |rows: &[(i64, &str, u64)]| {
        rows.iter().map(|(start, name, count)| (*start, (*name).to_owned(), *count)).collect::<Vec<_>>()
    };
    let minute = hour + 3_540_000;
    let by_minute = [(minute, "open", 5), (minute, "rejected", 1), (hour + 3_600_000, "open", 5)];
    assert_eq!(counts(CountStep::Minute, 0), expected(&by_minute));
    let by_hour = [(hour, "open", 5), (hour, "rejected", 1), (hour + 3_600_000, "open", 5)];
    assert_eq!(counts(CountStep::Hour, 0), expected(&by_hour));
    assert_eq!(counts(CountStep::Hour, hour + 1), expected(&by_hour[2..]));

    let later = hour + 14 * DAY;
    fixture.open().registry().expect("one").add_item_counts(UnixMillis::new(later), &[]).expect("a note");
    assert_eq!(counts(CountStep::Minute, 0), expected(&[]));
    assert_eq!(counts(CountStep::Hour, 0), expected(&by_hour), "14 days are still there");
}

async fn the_newest_items_are_read_first<F: Fixture>() {
    let fixture = F::new();
    let spool = fixture.open();
    let running = Running::start(&*spool, LIMITS);
    for now in [1_000, 2_000, 3_000, 4_000] {
        set_clock(now);
        running.append_event().await;
    }
    running.append_rejected("no event").await;
    let newest = |kind, through, limit| {
        let mut read = Vec::new();
        let visit = &mut |item: StoredItem<'_>| {
            read.push((item.sequence.get(), item.reason.is_some()));
            if item.sequence.get() == 2_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut reader = fixture.open().reader().expect("a reader");
        reader.read_newest(kind, through, limit, visit).expect("items");
        read
    };
    assert_eq!(newest(ItemKind::Event, Sequence::END, 2), [(4_000, false), (3_000, false)]);
    assert_eq!(newest(ItemKind::Event, Sequence::new(3_000), 9), [(3_000, false), (2_000, false)]);
    assert_eq!(newest(ItemKind::Rejected, Sequence::END, 9), [(4_001, true)]);
    assert_eq!(newest(ItemKind::Event, Sequence::new(999), 9), []);
}

async fn the_registry_remembers_columns_and_positions<F: Fixture>() {
    let fixture = F::new();
    let column = |name: &str| DiscoveredColumn {
        stream: "data".to_owned(),
        name: name.to_owned(),
        json_type: "string".to_owned(),
    };
    let mut registry = fixture.open().registry().expect("a registry");
    registry.add_discovered_columns(&[column("b"), column("a")]).expect("a note");
    registry.add_discovered_columns(&[column("c"), column("a")]).expect_err("a column appears once");
    assert!(!registry.state_was_given().expect("an answer"));
    registry.note_state_given().expect("a note");
    registry.note_confirmed_through(Sequence::new(9)).expect("a note");
    registry.note_confirmed_through(Sequence::new(4)).expect("a note");

    let spool = fixture.open();
    let mut registry = spool.registry().expect("a registry");
    assert_eq!(registry.discovered_columns().expect("columns"), [column("b"), column("a")]);
    assert_eq!(registry.columns_forgotten().expect("a number"), 0);
    assert!(registry.forget_discovered_column("data", "b").expect("an answer"));
    assert!(!registry.forget_discovered_column("data", "b").expect("an answer"));
    assert_eq!(registry.discovered_columns().expect("columns"), [column("a")]);
    assert_eq!(registry.columns_forgotten().expect("a number"), 1);
    assert!(registry.state_was_given().expect("an answer"));
    assert_eq!(registry.written_through().expect("an answer"), None);
    let stats = spool.stats_reader().and_then(|mut reader| reader.read()).expect("stats");
    assert_eq!(stats.confirmed_through, Some(Sequence::new(9)), "it never goes back");
}

async fn stats_follow_what_is_added_and_trimmed<F: Fixture>() {
    let fixture = F::new();
    set_clock(1_000);
    let spool = fixture.open();
    let mut stats = spool.stats_reader().expect("a stats reader");
    let running = Running::start(&*spool, LIMITS);
    for _ in 0..4 {
        running.append_event().await;
    }
    running.append_rejected("5").await;
    let before = stats.read().expect("stats");
    assert_eq!((before.events, before.rejected, before.unconfirmed.events), (4, 1, 4));
    assert_eq!(before.committed_through, Sequence::new(1_004));
    set_clock(3_000);
    let mut trimmer = spool.trimmer().expect("a trimmer");
    trimmer.step(ItemKind::Event, Sequence::new(1_001), Duration::ZERO).expect("a step");
    let after = stats.read().expect("stats");
    assert_eq!((after.events, after.trimmed_through), (2, Some(Sequence::new(1_001))));
    let mut fresh = spool.stats_reader().expect("a stats reader");
    for (position, events) in [(1_002, 1), (1_000, 2), (1_003, 0)] {
        let pending = fresh.pending_past(Sequence::new(position)).expect("a number");
        assert_eq!(pending.events, events, "past {position}, before everything was counted");
    }
    let pending = stats.pending_past(Sequence::new(1_002)).expect("a number");
    assert_eq!((pending.events, pending.oldest), (1, Some(UnixMillis::new(1_000))));
    // Only a confirmation of more than before counts, and its time is the spool's.
    let mut registry = spool.registry().expect("a registry");
    for (now, confirmed_through) in [(4_000, 1_003), (5_000, 1_002)] {
        set_clock(now);
        registry.note_confirmed_through(Sequence::new(confirmed_through)).expect("a position");
        let confirmed = stats.read().expect("stats");
        assert_eq!(confirmed.confirmed_through, Some(Sequence::new(1_003)));
        assert_eq!(confirmed.confirmed_at, Some(UnixMillis::new(4_000)));
    }
    assert!(spool.check().expect("a check").is_empty());
}

/// Defines a module with all of these tests for one implementation.
macro_rules! contract_tests {
    ($implementation:ident, $fixture:ty, [$($test:ident),+ $(,)?]) => {
        mod $implementation {
            use super::*;
            $(
                // The implementations block, which only this kind of runtime lets them do.
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    let _alone = ONE_AT_A_TIME.lock().await;
                    super::$test::<$fixture>().await;
                }
            )+
        }
    };
    ($implementation:ident, $fixture:ty) => {
        contract_tests!($implementation, $fixture, [
            sequences_continue_when_the_clock_steps_back_between_two_runs,
            events_and_rejected_items_share_one_series,
            each_commit_advances_the_watermark_and_the_end_closes_it,
            a_probe_gets_the_answer_that_a_batch_would_get,
            a_batch_that_does_not_fit_is_refused_and_a_smaller_one_is_stored,
            sequences_continue_after_the_state_of_a_lost_spool,
            only_confirmed_and_old_items_are_trimmed,
            a_rejected_item_that_repeats_is_stored_once_until_it_is_trimmed,
            events_and_rejected_items_are_trimmed_separately,
            trimming_stops_at_the_first_item_that_has_to_stay,
            a_role_has_one_holder_and_ends_with_its_lock,
            webhook_urls_are_limited_and_their_ids_are_never_reused,
            a_retiring_webhook_url_is_revoked_once_it_was_unused_for_long_enough,
            items_are_counted_by_minute_and_by_hour_and_old_counts_are_forgotten,
            the_newest_items_are_read_first,
            the_registry_remembers_columns_and_positions,
            stats_follow_what_is_added_and_trimmed,
        ]);
    };
}

/// A spool in an SQLite file in a temporary folder.
struct SqliteFixture {
    folder: tempfile::TempDir,
}

impl Fixture for SqliteFixture {
    fn new() -> Self {
        SqliteFixture { folder: tempfile::tempdir().expect("a folder") }
    }

    fn open(&self) -> Arc<dyn Spool> {
        let path = self.folder.path().join("spool.db");
        spool::open_with_clock(&SpoolLocation::Sqlite(path), CLOCKS).expect("a spool")
    }
}

/// A spool in a schema of its own, in a database that all fixtures of the process share.
struct PostgresFixture {
    _server: Arc<Postgres>,
    location: PostgresLocation,
}

impl Fixture for PostgresFixture {
    fn new() -> Self {
        static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        static FIXTURES: AtomicI64 = AtomicI64::new(0);
        let mut running = SERVER.lock().expect("no test has panicked here");
        let server = running.upgrade().unwrap_or_else(|| Arc::new(Postgres::start_with(&["fsync=on"])));
        *running = Arc::downgrade(&server);
        let number = FIXTURES.fetch_add(1, Ordering::SeqCst);
        let location = PostgresLocation {
            url: server.url().parse().expect("a URL"),
            schema: format!("tap_{number}").try_into().expect("a name"),
            tls_authorities: TlsAuthorities::System,
            durability: Durability::Local,
            commit_timeout: Duration::from_secs(10),
            lease: Duration::from_secs(15),
        };
        PostgresFixture { _server: server, location }
    }

    fn open(&self) -> Arc<dyn Spool> {
        let location = SpoolLocation::Postgres(Box::new(self.location.clone()));
        spool::open_with_clock(&location, CLOCKS).expect("a spool")
    }
}

contract_tests!(sqlite_file, SqliteFixture);
contract_tests!(postgres_schema, PostgresFixture);
