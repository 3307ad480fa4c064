//! `spool status`: what the spool holds, how far each component has got with it, and which processes use it.

use clap::{Args, ValueEnum};

use super::{CommandError, print};
use crate::config::Config;
use crate::os::clock::UnixMillis;
use crate::spool::{self, Role, SpoolError, SpoolView};
use crate::status::{SpoolUse, StatusSource, WebhookUrls, json, text};

/// How to print a status.
#[derive(Debug, Args)]
pub struct SpoolStatusArgs {
    /// How to print it
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub format: StatusFormat,
}

/// The form of a printed status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatusFormat {
    /// Lines for people
    Text,
    /// One JSON object
    Json,
}

/// Prints the status.
pub fn execute(config: &Config, args: &SpoolStatusArgs) -> Result<(), CommandError> {
    let spool = spool::open_existing(&config.spool_location()?)?;
    let usage = SpoolUse {
        listeners: spool.role_holders(Role::Listener)?,
        emitters: spool.role_holders(Role::Emitter)?,
        webhook_urls: webhook_urls(config, &*spool)?,
    };
    let status = StatusSource::new(spool, None, None).spool_status()?;
    let render = match args.format {
        StatusFormat::Text => text::render,
        StatusFormat::Json => json::render,
    };
    print(render(&status, &usage, UnixMillis::now()))
}

fn webhook_urls(config: &Config, spool: &dyn SpoolView) -> Result<WebhookUrls, SpoolError> {
    if let Some(tokens) = config.webhook_tokens.configured() {
        return Ok(WebhookUrls::Configured(tokens.len()));
    }
    let urls = spool.registry_view()?.webhook_urls()?;
    let last_used_at = urls.iter().filter_map(|url| url.last_used_at).max();
    Ok(WebhookUrls::Registered(urls.len(), last_used_at))
}
