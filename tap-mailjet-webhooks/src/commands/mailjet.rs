//! `mailjet`: registers webhook URLs with Mailjet, and shows what is registered.

use std::collections::BTreeSet;
use std::time::Duration;

use catalog::event::EventType;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::HumanDuration;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::text_table::table;
use super::url::hours;
use super::{CommandError, event_type, print};
use crate::config::{Config, ConfigError};
use crate::mailjet::client::Client;
use crate::mailjet::error::ApiError;
use crate::mailjet::own_urls::{OwnUrls, Owner};
use crate::mailjet::plan::{Change, Plan, Target};
use crate::mailjet::registrar::{self, Registrar, RegistrarError, names};
use crate::mailjet::registration::{EventRegistration, Problem, Registered, Registration};
use crate::mailjet::{Access, Wanted};
use crate::spool::{self, SpoolErrorKind, UrlPurpose};

/// Register webhook URLs with Mailjet, and see what is registered.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)] // The types say what the fields are.
pub enum MailjetCommand {
    /// Show what is registered for each event: exit code 0 if everything is as configured, 1 otherwise
    Status(FormatArgs),
    /// Make Mailjet post each event of `mailjet_events` here, and change nothing that is right already
    Register {
        #[command(flatten)]
        change: ChangeArgs,
        /// Also replace URLs that are not ours. The plan names them
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        retire: RetireArgs,
    },
    /// Move every event to a new webhook URL. The old one works until it is no longer used
    Rotate {
        #[command(flatten)]
        change: ChangeArgs,
        #[command(flatten)]
        retire: RetireArgs,
    },
    /// Remove the webhook URLs of this tap from Mailjet, and no others
    Unregister {
        #[command(flatten)]
        change: ChangeArgs,
        /// Only for this event; may be repeated
        #[arg(long, value_name = "EVENT", value_parser = event_type())]
        event: Vec<EventType>,
    },
}

/// How to print an answer.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// How to print it
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub format: Format,
}

/// The form of a printed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people
    Text,
    /// One JSON object
    Json,
}

/// How to change something.
#[derive(Debug, Args)]
#[allow(missing_docs)] // The types say what the fields are.
pub struct ChangeArgs {
    /// Only print what would be changed
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub format: FormatArgs,
}

/// When an old webhook URL is revoked.
#[derive(Debug, Args)]
pub struct RetireArgs {
    /// Revoke the old URL after this many hours without use, counted while a listener runs. Mailjet repeats
    /// what failed for 24 hours
    #[arg(long, value_name = "HOURS", default_value = "24", value_parser = hours)]
    pub when_unused: Duration,
}

/// Not everything is registered as configured.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum MailjetError {
    #[error(
        "not registered as configured: {}; `mailjet register --dry-run` shows what would be changed",
        names(.0)
    )]
    NotAsConfigured(Vec<EventType>),
    #[error(
        "not registered as configured: {}; the tokens come from webhook_tokens, so enter a URL with one of \
         them yourself in Mailjet, under Account settings > Event notifications (webhooks)",
        names(.0)
    )]
    NotAsConfiguredByHand(Vec<EventType>),
    #[error(
        "config key \"webhook_tokens\" is set: the tap keeps only hashes of these tokens and cannot register \
         them. Enter the URL yourself in Mailjet, under Account settings > Event notifications (webhooks)"
    )]
    TokensInConfig,
    #[error(
        "other URLs are registered for {} and were left alone; replace them with `mailjet register \
         --replace`, or remove these events from mailjet_events",
        names(.0)
    )]
    Left(Vec<EventType>),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Registrar(#[from] RegistrarError),
}

/// Does what `command` says.
pub fn execute(config: &Config, command: MailjetCommand) -> Result<(), CommandError> {
    let access = config.mailjet_access()?.ok_or(ConfigError::NoMailjetKeys)?;
    let wanted = config.wanted_registration()?;
    match command {
        MailjetCommand::Status(args) => status(config, &access, &wanted, args.format),
        MailjetCommand::Register { change, replace, retire } => {
            set(config, &access, &wanted, UrlPurpose::Register, &change, replace, retire.when_unused)
        }
        MailjetCommand::Rotate { change, retire } => {
            set(config, &access, &wanted, UrlPurpose::Rotate, &change, false, retire.when_unused)
        }
        MailjetCommand::Unregister { change, event } => unregister(config, &access, &wanted, &change, &event),
    }
}

fn status(config: &Config, access: &Access, wanted: &Wanted, format: Format) -> Result<(), CommandError> {
    let own = own_urls(config)?;
    let listing = Client::new(access).list().map_err(MailjetError::from)?;
    let registration = Registration::new(&listing, &own, wanted);
    print(match format {
        Format::Text => status_table(&registration),
        Format::Json => {
            let events: Vec<_> = registration.events.iter().map(event_json).collect();
            let is_as_configured = registration.problems().next().is_none();
            json!({ "as_configured": is_as_configured, "events": events }).to_string() + "\n"
        }
    })?;
    demand_as_configured(&registration, own.are_configured())
}

/// Reads which URLs are ours. This creates no spool: one that does not exist yet has none.
fn own_urls(config: &Config) -> Result<OwnUrls, CommandError> {
    let configured = config.webhook_tokens.configured();
    match spool::open_existing(&config.spool_location()?) {
        Ok(spool) => Ok(OwnUrls::read(&mut *spool.registry_view()?, configured)?),
        Err(error) if error.kind() == SpoolErrorKind::Missing => Ok(OwnUrls::without_spool(configured)),
        Err(error) => Err(error.into()),
    }
}

fn demand_as_configured(registration: &Registration, by_hand: bool) -> Result<(), CommandError> {
    let wrong: Vec<_> = registration.problems().map(|(event, _)| event).collect();
    match (wrong.is_empty(), by_hand) {
        (true, _) => Ok(()),
        (false, false) => Err(MailjetError::NotAsConfigured(wrong).into()),
        (false, true) => Err(MailjetError::NotAsConfiguredByHand(wrong).into()),
    }
}

/// `register` and `rotate`.
fn set(
    config: &Config,
    access: &Access,
    wanted: &Wanted,
    purpose: UrlPurpose,
    change: &ChangeArgs,
    may_replace: bool,
    retire_after: Duration,
) -> Result<(), CommandError> {
    let configured = config.webhook_tokens.configured();
    if configured.is_some() {
        return Err(MailjetError::TokensInConfig.into());
    }
    let base_url = config.public_url.as_ref().map(|_| config.public_url()).transpose()?;
    let base_url = base_url.ok_or(ConfigError::NoPublicUrl)?;
    if base_url.scheme() != "https" {
        warn!("public_url does not start with https: what Mailjet posts can be read on its way");
    }
    let show = |plan: &Plan| {
        print(match change.format.format {
            Format::Text => plan_table(plan),
            Format::Json => plan_json(plan),
        })
    };
    if change.dry_run {
        let (client, own) = (Client::new(access), own_urls(config)?);
        let plan = registrar::plan(&client, &access.account(), &own, wanted, purpose, may_replace);
        show(&plan.map_err(MailjetError::from)?)?;
        info!("nothing was changed (--dry-run)");
        return Ok(());
    }
    let spool = spool::open(&config.spool_location()?)?;
    let mut registrar = Registrar::new(access, wanted, &*spool, configured)?;
    let plan = registrar.plan(purpose, may_replace).map_err(MailjetError::from)?;
    show(&plan)?;
    let had_nothing_to_do = plan.is_empty();
    let outcome = registrar.carry_out(purpose, &plan, retire_after).map_err(MailjetError::from)?;
    for id in outcome.retired {
        let after = HumanDuration(retire_after);
        info!(
            "webhook URL {id} still works; it is revoked once it has not been used for {after}. If another \
             account posts to it, give that account another URL first"
        );
    }
    for id in outcome.registration.in_use().iter().filter(|id| Some(**id) != outcome.url_id) {
        let backups = outcome.registration.backups(*id);
        let reason = match backups.is_empty() {
            false => format!("it is the backup for {}", names(&backups)),
            true if purpose == UrlPurpose::Rotate => {
                "Mailjet has it for an event that is not known".to_owned()
            }
            true => continue,
        };
        warn!(
            "webhook URL {id} stays active, because {reason}; to end that, remove it in Mailjet and run `url \
             revoke {id} --when-unused 24`"
        );
    }
    let left = outcome.registration.problems().filter(|(_, problem)| matches!(problem, Problem::Other(_)));
    let left: Vec<_> = left.map(|(event, _)| event).collect();
    if !left.is_empty() {
        return Err(MailjetError::Left(left).into());
    }
    demand_as_configured(&outcome.registration, false)?;
    if had_nothing_to_do {
        info!("everything was already registered as configured");
    } else {
        info!("Mailjet posts {} here", names(&wanted.events));
    }
    Ok(())
}

fn unregister(
    config: &Config,
    access: &Access,
    wanted: &Wanted,
    change: &ChangeArgs,
    events: &[EventType],
) -> Result<(), CommandError> {
    // An absent spool has no URLs, and must not be created for that.
    drop(spool::open_existing(&config.spool_location()?)?);
    let spool = spool::open(&config.spool_location()?)?;
    let mut registrar = Registrar::new(access, wanted, &*spool, config.webhook_tokens.configured())?;
    let events = if events.is_empty() { &EventType::ALL[..] } else { events };
    let removed = registrar.unregister(events, change.dry_run).map_err(MailjetError::from)?;
    print(match change.format.format {
        Format::Text => removal_table(&removed),
        Format::Json => {
            let rows: Vec<_> = removed.iter().map(removal_json).collect();
            json!({ "removed": rows }).to_string() + "\n"
        }
    })?;
    let ids: BTreeSet<_> = removed.iter().filter_map(|registered| registered.owner.id()).collect();
    if removed.is_empty() {
        info!("no webhook URL of this tap was registered");
    } else if change.dry_run {
        info!("nothing was changed (--dry-run)");
    }
    for id in ids.iter().filter(|_| !change.dry_run) {
        info!(
            "Mailjet may repeat for a day what has failed, so webhook URL {id} still works; `url revoke {id} \
             --when-unused 24` revokes it after that"
        );
    }
    Ok(())
}

fn owner_text(registered: &Registered) -> String {
    match registered.owner {
        Owner::Ours { id: Some(id), .. } => format!("webhook URL {id}"),
        Owner::Ours { id: None, .. } => "a URL of webhook_tokens".to_owned(),
        Owner::Revoked => "a webhook URL that is revoked or not accepted".to_owned(),
        Owner::Other => registered.row.url.shown(),
    }
}

/// Describes a row in words.
fn registered_text(registered: Option<&Registered>) -> String {
    let Some(registered) = registered else { return "none".to_owned() };
    let state = if registered.row.is_alive { "alive" } else { "dead" };
    let kind = if registered.row.is_grouped { "grouped" } else { "single" };
    format!("{}, {state}, {kind}", owner_text(registered))
}

fn status_table(registration: &Registration) -> String {
    let mut rows = vec![["event", "URL", "backup", ""].map(str::to_owned)];
    for event in &registration.events {
        let note = match &event.problem {
            Some(Problem::Other(_)) => "not ours".to_owned(),
            Some(problem) => problem.to_string(),
            None if event.is_wanted => "as configured".to_owned(),
            None => "not in mailjet_events".to_owned(),
        };
        let backup = registered_text(event.backup.as_ref());
        rows.push([event.event.name().to_owned(), registered_text(event.primary.as_ref()), backup, note]);
    }
    table(&rows)
}

fn change_text(change: Change, plan: &Plan) -> String {
    let target = match &plan.target {
        Target::Existing { id, .. } => format!("webhook URL {id}"),
        Target::New => "a new webhook URL".to_owned(),
    };
    match change {
        Change::Keep => "nothing to change".to_owned(),
        Change::Ignore => "not in mailjet_events".to_owned(),
        Change::Leave => "left alone, since it is not ours (--replace replaces it)".to_owned(),
        Change::Create => format!("register {target}"),
        Change::Update => format!("set to {target}"),
        Change::Replace => format!("REPLACE by {target}"),
    }
}

fn plan_table(plan: &Plan) -> String {
    let mut rows = vec![["event", "now", "change"].map(str::to_owned)];
    for planned in &plan.changes {
        let mut now = registered_text(planned.now.primary.as_ref());
        match &planned.now.problem {
            // What is registered says it already.
            None | Some(Problem::Missing | Problem::Other(_)) => {}
            Some(problem) => now = format!("{now}: {problem}"),
        }
        rows.push([planned.now.event.name().to_owned(), now, change_text(planned.change, plan)]);
    }
    table(&rows)
}

fn plan_json(plan: &Plan) -> String {
    let changes = plan.changes.iter().map(|planned| {
        let mut event = event_json(&planned.now);
        event["change"] = json!(planned.change.tag());
        event
    });
    json!({ "changes": changes.collect::<Vec<_>>() }).to_string() + "\n"
}

fn event_json(event: &EventRegistration) -> Value {
    json!({
        "event": event.event.name(),
        "wanted": event.is_wanted,
        "primary": event.primary.as_ref().map(registered_json),
        "backup": event.backup.as_ref().map(registered_json),
        "problem": event.problem.as_ref().map(Problem::tag),
    })
}

fn registered_json(registered: &Registered) -> Value {
    let (owner, id) = match registered.owner {
        Owner::Ours { id, .. } => ("ours", id),
        Owner::Revoked => ("revoked", None),
        Owner::Other => ("other", None),
    };
    json!({
        "owner": owner,
        "webhook_url_id": id,
        "address": registered.row.url.shown(),
        "status": if registered.row.is_alive { "alive" } else { "dead" },
        "grouped": registered.row.is_grouped,
    })
}

fn removal_table(removed: &[Registered]) -> String {
    let mut rows = vec![["event", "removed"].map(str::to_owned)];
    for registered in removed {
        let kind = if registered.row.is_backup { " (backup)" } else { "" };
        rows.push([registered.row.event.name().to_owned(), owner_text(registered) + kind]);
    }
    table(&rows)
}

fn removal_json(registered: &Registered) -> Value {
    let mut removal = registered_json(registered);
    removal["event"] = json!(registered.row.event.name());
    removal["backup"] = json!(registered.row.is_backup);
    removal
}
