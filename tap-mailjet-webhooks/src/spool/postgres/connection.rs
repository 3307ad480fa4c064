//! Connections: one server at a time, with deadlines, and never a guess about what a broken one has stored.
//!
//! A [`Database`] has a runtime of its own, which runs only during a call. So it can be used from any thread,
//! and an idle one costs nothing.

use std::cell::Cell;
use std::fs;
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::try_join;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::error::Severity;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::{error, info};

use super::durability::{SETTINGS_SQL, Settings};
use super::error::{PostgresError, explain, keeps_session};
use super::location::{PostgresLocation, Server, TlsAuthorities};
use crate::os::clock::UnixMillis;
use crate::os::log_throttle::LogThrottle;
use crate::spool::Role;

/// How long one server may take at most to accept a connection, before the next one is asked.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an [`Impatient`](Patience::Impatient) call may take.
const IMPATIENT_TIMEOUT: Duration = Duration::from_millis(800);
/// How long a [`Thorough`](Patience::Thorough) call may take.
const THOROUGH_TIMEOUT: Duration = Duration::from_secs(3600);
/// The pause before an operation is repeated that the database could not do.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// A parameter of a query, and its type. Queries with types need no prepared statement, which a connection
/// pool between here and the server might not keep.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// What all connections of an open spool have in common.
pub(super) struct Context {
    pub(super) location: PostgresLocation,
    /// The location as text, for messages.
    pub(super) name: String,
    /// The schema in quotes.
    schema: String,
    tls: Option<MakeRustlsConnect>,
    /// Tells the time in tests. Otherwise the database does.
    clock: Option<fn() -> UnixMillis>,
    /// The epochs of the roles that this process has.
    epochs: Mutex<Vec<(Role, i64)>>,
    /// The row of this process among the listeners, if it is one.
    listener: Mutex<Option<i64>>,
    /// The server that is asked first for a new connection.
    first_server: AtomicUsize,
}

/// A connection, which is made when it is needed.
pub(super) struct Database {
    pub(super) context: Arc<Context>,
    /// `None` only while this is dropped.
    runtime: Option<Runtime>,
    session: Option<Session>,
    sessions: u64,
    throttle: LogThrottle,
}

struct Session {
    client: Client,
    signals: Arc<Signals>,
    driver: Driver,
}

/// The task that runs a connection. The connection is closed when this is dropped and the runtime runs again:
/// by itself it would wait for answers that nobody wants any more.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a server says besides its answers.
#[derive(Default)]
struct Signals {
    /// It has warned since this was last set to false.
    has_warned: AtomicBool,
    /// It has sent a notification.
    notified: Notify,
}

/// How long a call waits for a database that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// For less than a second: the caller soon tries again.
    Impatient,
    /// For this long.
    Within(Duration),
    /// For `spool_commit_timeout_seconds`.
    Once,
    /// Like [`Once`](Patience::Once), for work that takes long.
    Thorough,
    /// Until it answers again: the emitter has nothing else to do. Its work can be repeated.
    UntilItAnswers,
}

/// How a write takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// Durable.
    Durable,
    /// Durable, by a process with this role, if it has it. Fails if another process has taken the role since.
    As(Role),
    /// It need not be durable, so it does not wait for standbys.
    Relaxed,
    /// Like [`As`](Write::As), but it need not be durable.
    RelaxedAs(Role),
}

/// What a call does.
#[derive(Debug, Clone, Copy)]
enum Call {
    Read,
    Transaction(Write),
    /// One statement that commits itself.
    Statement,
}

/// Why a call has failed.
enum Failure {
    Query(tokio_postgres::Error),
    /// The server warned during a commit, which it does when it stops waiting for a standby.
    Warned,
    /// The commit took effect, but the database does not promise to keep it.
    NotDurable(String),
    RoleLost(Role),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Failure::Query(error)
    }
}

impl Context {
    pub(super) fn new(
        location: &PostgresLocation,
        clock: Option<fn() -> UnixMillis>,
    ) -> Result<Self, PostgresError> {
        let tls = location.url.uses_tls().then(|| tls(&location.tls_authorities)).transpose()?;
        Ok(Context {
            name: location.to_string(),
            schema: format!("\"{}\".", location.schema.as_str()),
            tls,
            clock,
            epochs: Mutex::default(),
            listener: Mutex::default(),
            first_server: AtomicUsize::new(0),
            location: location.clone(),
        })
    }

    /// The time that a test has set; `None` if the database tells the time.
    pub(super) fn now(&self) -> Option<i64> {
        self.clock.map(|clock| clock().get())
    }

    /// The epoch in which this process has taken `role`; `None` if it has not. Another process may have taken
    /// it since.
    pub(super) fn epoch(&self, role: Role) -> Option<i64> {
        let epochs = self.epochs.lock();
        epochs.iter().find(|(other, _)| *other == role).map(|(_, epoch)| *epoch)
    }

    /// Notes that this process has taken `role`, or with `None` that it has given it back.
    pub(super) fn set_epoch(&self, role: Role, epoch: Option<i64>) {
        let mut epochs = self.epochs.lock();
        epochs.retain(|(other, _)| *other != role);
        epochs.extend(epoch.map(|epoch| (role, epoch)));
    }

    /// The row of this process among the listeners; `None` if it is none.
    pub(super) fn listener(&self) -> Option<i64> {
        *self.listener.lock()
    }

    pub(super) fn set_listener(&self, id: Option<i64>) {
        *self.listener.lock() = id;
    }

    /// How patient the emitter is. Anybody else does the same things once.
    pub(super) fn emitter_patience(&self) -> Patience {
        if self.epoch(Role::Emitter).is_some() { Patience::UntilItAnswers } else { Patience::Once }
    }
}

/// Returns how TLS connections are made: the certificate of the server is always verified.
fn tls(authorities: &TlsAuthorities) -> Result<MakeRustlsConnect, PostgresError> {
    let wrong = |reason| PostgresError::Tls { reason };
    let mut roots = RootCertStore::empty();
    match authorities {
        TlsAuthorities::System => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(wrong(
                    "this machine trusts no certificate authority; install the package ca-certificates, or \
                     name a PEM file"
                        .to_owned(),
                ));
            }
        }
        TlsAuthorities::File(path) => {
            for certificate in read_certificates(path).map_err(wrong)? {
                let added = roots.add(certificate);
                added.map_err(|error| wrong(format!("{}: {error}", path.display())))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{}: it holds no certificate in PEM form", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

impl Database {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self, PostgresError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(PostgresError::Runtime)?;
        Ok(Database {
            context: Arc::clone(context),
            runtime: Some(runtime),
            session: None,
            sessions: 0,
            throttle: LogThrottle::default(),
        })
    }

    /// The number of the session that the last call has used. It changes when a new connection is made, maybe
    /// to another server.
    pub(super) fn session_number(&self) -> u64 {
        self.sessions
    }

    /// Reads. `work` may be repeated.
    #[allow(clippy::needless_pass_by_value)] // A closure by value is easier to read where this is called.
    pub(super) fn read<T>(
        &mut self,
        action: &'static str,
        patience: Patience,
        work: impl AsyncFn(Queries<'_>) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        self.repeat(action, patience, Call::Read, &work)
    }

    /// Does `work` in one transaction. If `patience` is [`UntilItAnswers`](Patience::UntilItAnswers), a
    /// transaction whose outcome is unknown is repeated too, so doing `work` twice must be like doing it
    /// once.
    #[allow(clippy::needless_pass_by_value)] // A closure by value is easier to read where this is called.
    pub(super) fn write<T>(
        &mut self,
        action: &'static str,
        patience: Patience,
        write: Write,
        work: impl AsyncFn(Queries<'_>) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        self.repeat(action, patience, Call::Transaction(write), &work)
    }

    /// Executes one statement that commits itself. It is never repeated.
    pub(super) fn commit<T>(
        &mut self,
        action: &'static str,
        work: &impl AsyncFn(Queries<'_>) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        self.attempt(action, Patience::Once, Call::Statement, work)
    }

    /// Notices whether the server has ended the session while it was idle.
    pub(super) fn look_after_session(&mut self) {
        if self.session.is_some() {
            self.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
            self.session.take_if(|session| session.client.is_closed());
        }
    }

    fn repeat<T>(
        &mut self,
        action: &'static str,
        patience: Patience,
        call: Call,
        work: &impl AsyncFn(Queries<'_>) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        let (mut may_be_stale, mut has_waited) = (self.session.is_some(), false);
        loop {
            let error = match self.attempt(action, patience, call, work) {
                Ok(value) => {
                    if has_waited {
                        info!("spool {}: the database answers again", self.context.name);
                    }
                    return Ok(value);
                }
                Err(error) if error.is_temporary() => error,
                Err(error) if patience == Patience::UntilItAnswers && error.may_pass() => error,
                Err(error) => return Err(error),
            };
            if may_be_stale && matches!(error, PostgresError::Unavailable { .. }) {
                // A session that was idle may have ended long ago, which shows only now.
                may_be_stale = false;
            } else if patience == Patience::UntilItAnswers {
                if let Some(suppressed) = self.throttle.allow() {
                    error!("{error}; trying again until it answers{suppressed}");
                }
                has_waited = true;
                std::thread::sleep(RETRY_PAUSE);
            } else {
                return Err(error);
            }
        }
    }

    fn attempt<T>(
        &mut self,
        action: &'static str,
        patience: Patience,
        call: Call,
        work: &impl AsyncFn(Queries<'_>) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        let context = Arc::clone(&self.context);
        let deadline = match patience {
            Patience::Impatient => IMPATIENT_TIMEOUT,
            Patience::Within(limit) => limit,
            Patience::Thorough => THOROUGH_TIMEOUT,
            Patience::Once | Patience::UntilItAnswers => context.location.commit_timeout,
        };
        // What was sent for a commit may have taken effect.
        let is_committing = Cell::new(false);
        let mut session = self.session.take().filter(|session| !session.client.is_closed());
        let is_new = session.is_none();
        let outcome = self.block_on(async {
            tokio::time::timeout(deadline, async {
                let session = match &mut session {
                    Some(session) => session,
                    none => none.insert(connect(&context, deadline).await.map_err(Ended::NotConnected)?),
                };
                Ok(perform(session, &context, call, &is_committing, work).await)
            })
            .await
            .unwrap_or(Err(Ended::Late))
        });
        self.sessions += u64::from(is_new && session.is_some());
        let keeps_session = match &outcome {
            Ok(Ok(_) | Err(Failure::RoleLost(_) | Failure::NotDurable(_))) => true,
            Ok(Err(Failure::Query(error))) => keeps_session(error),
            Ok(Err(Failure::Warned)) | Err(_) => false,
        };
        if keeps_session {
            self.session = session;
        } else if let Some(mut session) = session {
            // It is closed, not cancelled: to cancel what it waits for would end the wait and keep the
            // commit.
            session.driver.0.abort();
            let _ = self.block_on(&mut session.driver.0);
        }
        let spool = context.name.clone();
        let ended = |reason: String| {
            if is_committing.get() {
                PostgresError::OutcomeUnknown { spool: context.name.clone(), action, reason }
            } else {
                PostgresError::Unavailable { spool: context.name.clone(), action, reason }
            }
        };
        let done = match outcome {
            Ok(done) => done,
            Err(Ended::NotConnected(reason)) => {
                return Err(PostgresError::Unavailable { spool, action, reason });
            }
            Err(Ended::Late) => return Err(ended(format!("no answer within {deadline:?}"))),
        };
        match done {
            Ok(value) => Ok(value),
            Err(Failure::RoleLost(role)) => Err(PostgresError::RoleLost { role, spool }),
            Err(Failure::NotDurable(wrong)) => Err(PostgresError::Setting { spool, wrong }),
            Err(Failure::Query(error)) if keeps_session => {
                Err(PostgresError::from_query(&spool, action, &error))
            }
            Err(Failure::Query(error)) => Err(ended(explain(&error))),
            Err(Failure::Warned) => {
                Err(ended("the server stopped waiting for a standby before it had confirmed".to_owned()))
            }
        }
    }

    /// Waits until the server sends a notification or ends the session, for at most `limit`. Without a
    /// session, it waits for `limit`.
    pub(super) fn wait_for_notification(&mut self, limit: Duration) {
        let signals = self.session.as_ref().map(|session| Arc::clone(&session.signals));
        self.block_on(async {
            match signals {
                Some(signals) => {
                    let _ = tokio::time::timeout(limit, signals.notified.notified()).await;
                }
                None => tokio::time::sleep(limit).await,
            }
        });
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let runtime = self.runtime.as_ref().expect("it is set until this is dropped");
        // A thread that already runs tasks of another runtime has to hand them over first.
        if Handle::try_current().is_ok() {
            tokio::task::block_in_place(|| runtime.block_on(future))
        } else {
            runtime.block_on(future)
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({})", self.context.name)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({})", self.name)
    }
}

/// Why there is no answer.
enum Ended {
    NotConnected(String),
    Late,
}

/// Does `work` as `call` says.
async fn perform<T>(
    session: &Session,
    context: &Context,
    call: Call,
    is_committing: &Cell<bool>,
    work: &impl AsyncFn(Queries<'_>) -> Result<T, tokio_postgres::Error>,
) -> Result<T, Failure> {
    let Session { client, signals, .. } = session;
    let queries = Queries { client, schema: &context.schema };
    let write = match call {
        Call::Read => return Ok(work(queries).await?),
        Call::Statement => {
            signals.has_warned.store(false, Ordering::Relaxed);
            is_committing.set(true);
            let (value, settings) = try_join(work(queries), read_settings(queries)).await?;
            demand_kept(signals, context, &settings)?;
            return Ok(value);
        }
        Call::Transaction(write) => write,
    };
    let is_relaxed = matches!(write, Write::Relaxed | Write::RelaxedAs(_));
    client.batch_execute("BEGIN").await?;
    let in_transaction = async {
        if let Write::As(role) | Write::RelaxedAs(role) = write
            && let Some(epoch) = context.epoch(role)
        {
            // Locked until the commit, so that no other process takes the role in between.
            let held = "SELECT 1 FROM @.role WHERE name = $1 AND epoch = $2 FOR SHARE";
            let parameters = &[(&role.to_string() as _, Type::TEXT), (&epoch as _, Type::INT8)];
            if queries.rows(held, parameters).await?.is_empty() {
                return Err(Failure::RoleLost(role));
            }
        }
        if is_relaxed {
            client.batch_execute("SET LOCAL synchronous_commit = local").await?;
        }
        Ok(work(queries).await?)
    };
    match in_transaction.await {
        Ok(value) => {
            signals.has_warned.store(false, Ordering::Relaxed);
            is_committing.set(true);
            let ((), settings) = try_join(client.batch_execute("COMMIT"), read_settings(queries)).await?;
            if !is_relaxed {
                demand_kept(signals, context, &settings)?;
            }
            Ok(value)
        }
        Err(failure) => {
            client.batch_execute("ROLLBACK").await?;
            Err(failure)
        }
    }
}

/// Reads the settings. It is sent together with a commit, and answered after it: if the setting that made the
/// commit wait is emptied meanwhile, the server ends the wait and reports success.
async fn read_settings(queries: Queries<'_>) -> Result<Settings, tokio_postgres::Error> {
    Settings::read(&queries.row(&format!("SELECT {SETTINGS_SQL}"), &[]).await?, 0)
}

/// Demands that the database keeps what it has just committed.
fn demand_kept(signals: &Signals, context: &Context, settings: &Settings) -> Result<(), Failure> {
    if signals.has_warned.load(Ordering::Relaxed) {
        return Err(Failure::Warned);
    }
    match settings.wrong_for(context.location.durability) {
        Some(wrong) => Err(Failure::NotDurable(wrong)),
        None => Ok(()),
    }
}

/// Connects to the first server that accepts writes, beginning with the one that did so last.
///
/// A server that is silent must not hide the others: each gets its share of `deadline`, and if the caller's
/// time is up before all were asked, the next call begins with the next server.
async fn connect(context: &Context, deadline: Duration) -> Result<Session, String> {
    let servers = context.location.url.servers();
    let shares = u32::try_from(servers.len()).unwrap_or(u32::MAX).saturating_add(1);
    let limit = (deadline / shares).clamp(IMPATIENT_TIMEOUT, CONNECT_TIMEOUT);
    let first = context.first_server.load(Ordering::Relaxed);
    let mut reasons = Vec::new();
    for offset in 0..servers.len() {
        let index = (first + offset) % servers.len();
        let server = &servers[index];
        context.first_server.store((index + 1) % servers.len(), Ordering::Relaxed);
        match tokio::time::timeout(limit, connect_to(server, context)).await {
            Ok(Ok(session)) => {
                context.first_server.store(index, Ordering::Relaxed);
                return Ok(session);
            }
            Ok(Err(error)) => reasons.push(format!("{}: {}", server.name, explain(&error))),
            Err(_) => reasons.push(format!("{}: it does not answer", server.name)),
        }
    }
    Err(format!("no server accepts writes: {}", reasons.join("; ")))
}

async fn connect_to(server: &Server, context: &Context) -> Result<Session, tokio_postgres::Error> {
    let signals = Arc::new(Signals::default());
    let (client, driver) = match &context.tls {
        Some(tls) if server.with_tls => {
            let (client, connection) = server.config.connect(tls.clone()).await?;
            (client, drive(connection, Arc::clone(&signals)))
        }
        _ => {
            let (client, connection) = server.config.connect(NoTls).await?;
            (client, drive(connection, Arc::clone(&signals)))
        }
    };
    // Warnings are needed. A group must see the last commit before it, whatever the database's default is. A
    // session that was given up must not wait for a lock any longer, and then store what was refused; nor may
    // one keep its locks whose process has stopped in the middle of a transaction.
    let commit_timeout = context.location.commit_timeout.as_millis();
    let lock_timeout = commit_timeout / 2;
    let settings = format!(
        "SET client_min_messages = warning; SET default_transaction_isolation = 'read committed'; \
         SET statement_timeout = 0; SET lock_timeout = {lock_timeout}; \
         SET idle_in_transaction_session_timeout = {commit_timeout}"
    );
    client.batch_execute(&settings).await?;
    Ok(Session { client, signals, driver })
}

/// Runs a connection on the current runtime.
fn drive<S, T>(mut connection: Connection<S, T>, signals: Arc<Signals>) -> Driver
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Driver(tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                AsyncMessage::Notice(notice) if notice.parsed_severity() == Some(Severity::Warning) => {
                    signals.has_warned.store(true, Ordering::Relaxed);
                }
                AsyncMessage::Notification(_) => signals.notified.notify_one(),
                _ => {}
            }
        }
        signals.notified.notify_one();
    }))
}

/// Sends queries. In their text, `@.` stands for the spool's schema.
#[derive(Clone, Copy)]
pub(super) struct Queries<'a> {
    client: &'a Client,
    schema: &'a str,
}

impl Queries<'_> {
    fn text(self, sql: &str) -> String {
        sql.replace("@.", self.schema)
    }

    /// Returns all rows.
    pub(super) async fn rows(
        self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.client.query_typed(&self.text(sql), parameters).await
    }

    /// Returns the only row of a query that has one.
    pub(super) async fn row(
        self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Row, tokio_postgres::Error> {
        self.client.query_typed_one(&self.text(sql), parameters).await
    }

    /// Executes a statement, and returns the number of rows that it has changed.
    pub(super) async fn execute(
        self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<u64, tokio_postgres::Error> {
        self.client.execute_typed(&self.text(sql), parameters).await
    }

    /// Executes several statements without parameters.
    pub(super) async fn execute_all(self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(&self.text(sql)).await
    }
}
