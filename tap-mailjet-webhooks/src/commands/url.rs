//! `url`: creates, lists and revokes the secret URLs that Mailjet posts to.

use std::time::Duration;

use clap::Subcommand;
use indicatif::HumanDuration;
use tracing::{info, warn};

use super::text_table::table;
use super::{CommandError, print, print_once};
use crate::config::Config;
use crate::listener::token::{MAX_ACTIVE, Token};
use crate::listener::wait_until_accepted;
use crate::os::clock::UnixMillis;
use crate::spool::{self, Registry, Retirement, Spool, SpoolView};

/// A year.
const MAX_RETIREMENT: Duration = Duration::from_secs(8760 * 3600);

/// Create, list and revoke webhook URLs.
#[derive(Debug, Subcommand)]
pub enum UrlCommand {
    /// Create a URL and print it; it is never shown again
    New {
        /// A name for it
        #[arg(long, value_name = "LABEL", value_parser = label)]
        label: Option<String>,
    },
    /// List the active URLs, without their secret part
    List,
    /// Revoke a URL: a running listener stops accepting it within a second
    Revoke {
        /// The id that `url list` shows
        id: i64,
        /// Revoke it only after this many hours without use, counted while a listener runs
        #[arg(long, value_name = "HOURS", value_parser = hours)]
        when_unused: Option<Duration>,
    },
}

/// A webhook URL cannot be created or revoked.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum UrlError {
    #[error(
        "config key \"webhook_tokens\" is set, so the webhook URLs of `url` are not accepted; remove the \
         key to use them"
    )]
    TokensInConfig,
    #[error("the system's random source failed: {0}")]
    Random(getrandom::Error),
    #[error(
        "two webhook URLs are already active; revoke one first (`url list` shows them, `url revoke ID` \
         revokes one)"
    )]
    TooMany,
    #[error("there is no active webhook URL with id {0}; `url list` shows the active ones")]
    Unknown(i64),
}

/// Does what `command` says. It fails if the tokens come from the configuration.
pub fn execute(config: &Config, command: UrlCommand) -> Result<(), CommandError> {
    if config.webhook_tokens.configured().is_some() {
        return Err(UrlError::TokensInConfig.into());
    }
    let location = config.spool_location()?;
    match command {
        UrlCommand::New { label } => new(config, &*spool::open(&location)?, label.as_deref()),
        UrlCommand::List => list(&*spool::open_existing(&location)?),
        UrlCommand::Revoke { id, when_unused } => {
            // An absent spool has no URLs, and must not be created for that.
            drop(spool::open_existing(&location)?);
            revoke(&mut *spool::open(&location)?.registry()?, id, when_unused)
        }
    }
}

fn new(config: &Config, spool: &dyn Spool, label: Option<&str>) -> Result<(), CommandError> {
    let mut registry = spool.registry()?;
    // This can fail, and a token that was created before would never be seen.
    let public_url = config.public_url()?;
    let token = Token::random().map_err(UrlError::Random)?;
    let id = registry.add_webhook_url(token.hash(), label, None, MAX_ACTIVE)?.ok_or(UrlError::TooMany)?;
    warn_of_unusable_url(config);
    // A URL that is shown works.
    wait_until_accepted(spool)?;
    print_once(token.url(public_url.as_str()) + "\n")?;
    info!(
        "this is webhook URL {id} of spool {spool}; it is not shown again, and anyone who has it can post \
         events"
    );
    info!(
        "in Mailjet, open Account settings > Event notifications (webhooks) and enter it for each event \
         that you want"
    );
    Ok(())
}

/// Logs a warning if nobody can post to the printed URL.
fn warn_of_unusable_url(config: &Config) {
    let address = config.listen_address;
    if config.public_url.is_none() && (address.ip().is_unspecified() || address.port() == 0) {
        warn!(
            "the URL begins with the listen_address {address}, to which nobody can post: replace that part \
             with the host name (and the port) by which Mailjet reaches this machine, or set public_url"
        );
    }
}

fn list(spool: &dyn SpoolView) -> Result<(), CommandError> {
    let mut rows = vec![["id", "label", "created", "last used", ""].map(str::to_owned)];
    for url in spool.registry_view()?.webhook_urls()? {
        let last_used = url.last_used_at.map_or("never".to_owned(), UnixMillis::to_rfc3339);
        let label = url.label.unwrap_or_default();
        let retirement = url.retirement.map(|Retirement { after, unused_for }| {
            let left = HumanDuration(after.saturating_sub(unused_for));
            format!("retires after {left} more without use")
        });
        let created = url.created_at.to_rfc3339();
        rows.push([url.id.to_string(), label, created, last_used, retirement.unwrap_or_default()]);
    }
    print(table(&rows))
}

fn revoke(registry: &mut dyn Registry, id: i64, when_unused: Option<Duration>) -> Result<(), CommandError> {
    if let Some(after) = when_unused {
        if !registry.retire_webhook_url(id, after)? {
            return Err(UrlError::Unknown(id).into());
        }
        let after = HumanDuration(after);
        info!("webhook URL {id} is revoked once it has not been used for {after} while a listener runs");
        return Ok(());
    }
    if !registry.revoke_webhook_url(id)? {
        return Err(UrlError::Unknown(id).into());
    }
    info!("webhook URL {id} is revoked; a running listener stops accepting it within a second");
    Ok(())
}

/// Reads a number of hours, which need not be whole.
pub(super) fn hours(text: &str) -> Result<Duration, &'static str> {
    let hours = text.parse().ok().filter(|hours: &f64| hours.is_finite() && *hours >= 0.0);
    let duration = hours.and_then(|hours| Duration::try_from_secs_f64(hours * 3600.0).ok());
    duration.filter(|duration| *duration <= MAX_RETIREMENT).ok_or("it is not a number of hours up to 8760")
}

/// Checks that a label fits a line of the table.
fn label(text: &str) -> Result<String, &'static str> {
    if text.chars().any(char::is_control) || text.chars().count() > 100 {
        return Err("a label has up to 100 characters, in one line");
    }
    Ok(text.to_owned())
}
