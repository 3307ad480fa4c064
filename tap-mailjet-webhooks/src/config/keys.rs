//! The configuration keys as they are read.
//!
//! The doc comment of a key is its description in `--about` and in the documentation.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use catalog::plugin::logging::{LogFormat, LogLevel};
use schemars::JsonSchema;
use serde::Deserialize;

use super::values::{
    AdminAddress, MailjetEvents, PublicUrl, SpoolPath, SpoolUrl, SystemColumnPrefix, WebhookTokens,
};
use crate::admin::access::hosts::AdminHosts;
use crate::admin::access::sessions::AdminPassword;
use crate::emitter::{ExtraColumn, UnknownFields};
use crate::listener::{Networks, Password, Username};
use crate::mailjet::{ApiKey, ApiUrl};
use crate::spool::{Durability, SchemaName, SequenceUnit, TlsAuthorities};
use crate::status::Components;

/// The configuration. Its many fields are flat because Singer's configuration keys are, and every key has a
/// default.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// `continuous`: listen and emit until stopped. `drain`: emit what the spool holds, then exit. `emit`:
    /// emit until stopped, without listening.
    #[schemars(with = "String", extend("x-form" = "continuous, drain or emit"))]
    pub mode: Components,
    /// Stop the run after this many seconds.
    #[schemars(range(min = 0))]
    pub max_runtime_seconds: Option<f64>,
    /// Stop the run when nothing has arrived for this many seconds.
    #[schemars(range(min = 0))]
    pub idle_exit_seconds: Option<f64>,
    /// The IP address and port where webhooks arrive.
    #[schemars(with = "String")]
    #[schemars(extend("x-form" = "an IP address and a port, such as 127.0.0.1:8480 or [::]:8480"))]
    pub listen_address: SocketAddr,
    /// The start of the webhook URLs that `url new` prints. Default: `http://<listen_address>`, or `https://`
    /// with `tls_certificate`.
    #[schemars(with = "Option<String>", extend(
        "default" = null, "x-form" = "a URL such as https://hooks.example.com"
    ))]
    pub public_url: Option<PublicUrl>,
    /// The IP address and port where health, readiness and metrics are answered while the tap listens. `off`
    /// or an empty text: nowhere.
    #[schemars(with = "String")]
    #[schemars(extend("x-form" = "an IP address and a port, such as 127.0.0.1:8481, or off"))]
    pub admin_address: AdminAddress,
    /// The password of the status page. Without one, a start on a terminal prints a link that signs in once.
    #[schemars(with = "Option<String>", extend("default" = null, "secret" = true, "writeOnly" = true))]
    #[schemars(extend("x-form" = "a password"))]
    pub admin_password: Option<AdminPassword>,
    /// The host names, besides IP addresses and localhost, by which the admin address may be asked.
    #[schemars(with = "Vec<String>")]
    #[schemars(extend("x-form" = "host names, such as tap.example.com"))]
    pub admin_hosts: AdminHosts,
    /// The spool: an SQLite file on a local disk. `~/` at its start is the home directory, and a relative
    /// path starts at the folder of the configuration file. A missing directory is created. Default:
    /// `$XDG_STATE_HOME/tap-mailjet-webhooks/spool.db`.
    #[schemars(with = "Option<String>", extend("default" = null, "x-path" = true))]
    #[schemars(extend("x-form" = "the path of a file"))]
    pub spool_path: Option<SpoolPath>,
    /// A spool in a replicated PostgreSQL, in place of `spool_path`:
    /// `postgresql://user:password@host1,host2/database`. Connections that leave the machine use TLS.
    #[schemars(with = "Option<String>", extend("default" = null, "secret" = true, "writeOnly" = true))]
    #[schemars(extend("x-form" = "a URL such as postgresql://user:password@db.example.com/mailjet"))]
    pub spool_url: Option<SpoolUrl>,
    /// The schema of the PostgreSQL spool. It is created if it does not exist.
    #[schemars(with = "String")]
    #[schemars(extend("x-form" = "lower-case letters, digits and _, not starting with a digit or pg_"))]
    pub spool_schema: SchemaName,
    /// The certificate authorities that may vouch for the database: `system`, or a PEM file.
    #[schemars(with = "String", extend("x-path" = true, "x-not-a-path" = "system"))]
    #[schemars(extend("x-form" = "system, or the path of a PEM file"))]
    pub spool_tls_ca: TlsAuthorities,
    /// What the database must promise before a webhook is answered 200. `quorum`: the events are on two
    /// servers. `managed`: what the provider promises, which cannot be checked. `local`: they are on the disk
    /// of one server.
    #[schemars(with = "String", extend("x-form" = "quorum, managed or local"))]
    pub spool_durability: Durability,
    /// How many seconds the database may take to store webhooks before they are answered 503.
    #[schemars(range(min = 0.1, max = 25))]
    pub spool_commit_timeout_seconds: f64,
    /// After how many seconds without a sign of life another process may take the place of the emitter, with
    /// a PostgreSQL spool.
    #[schemars(range(min = 1, max = 3600))]
    pub emitter_lease_seconds: f64,
    /// Up to two tokens of webhook URLs, which replace those that `url new` creates.
    #[schemars(with = "Vec<String>", extend("default" = [], "secret" = true, "writeOnly" = true))]
    #[schemars(extend("x-form" = "up to two different tokens of 64 lower-case hexadecimal digits"))]
    pub webhook_tokens: WebhookTokens,
    /// The user name that a webhook must send (Basic authentication). Set it together with
    /// `basic_auth_password`.
    #[schemars(with = "Option<String>", extend("default" = null, "secret" = true, "writeOnly" = true))]
    #[schemars(extend("x-form" = "a user name without a colon and without control characters"))]
    pub basic_auth_username: Option<Username>,
    /// The password that a webhook must send.
    #[schemars(with = "Option<String>", extend("default" = null, "secret" = true, "writeOnly" = true))]
    #[schemars(extend("x-form" = "a password without control characters"))]
    pub basic_auth_password: Option<Password>,
    /// The API key of the Mailjet account that `mailjet register` sets up and a listener checks. Set it
    /// together with `mailjet_secret_key`.
    #[schemars(with = "Option<String>", extend("default" = null, "secret" = true, "writeOnly" = true))]
    #[schemars(extend("x-form" = "an API key of Mailjet"))]
    pub mailjet_api_key: Option<ApiKey>,
    /// The secret key that belongs to `mailjet_api_key`.
    #[schemars(with = "Option<String>", extend("default" = null, "secret" = true, "writeOnly" = true))]
    #[schemars(extend("x-form" = "a secret key of Mailjet"))]
    pub mailjet_secret_key: Option<ApiKey>,
    /// Where Mailjet's API is: `https://api.mailjet.com`, or `https://api.us.mailjet.com` for accounts in the
    /// USA.
    #[schemars(with = "String")]
    #[schemars(extend("x-form" = "a URL that starts with https:// and is no more than a host"))]
    pub mailjet_api_url: ApiUrl,
    /// The events that `mailjet register` registers.
    #[schemars(with = "Vec<String>")]
    #[schemars(extend("x-form" = "one or more of sent, open, click, bounce, blocked, spam and unsub"))]
    pub mailjet_events: MailjetEvents,
    /// Whether Mailjet shall post the events of a second in one request ("Group events").
    pub mailjet_group_events: bool,
    /// How often a listener with a `mailjet_api_key` checks what is registered with Mailjet, in seconds. 0:
    /// never.
    #[schemars(range(min = 0))]
    pub mailjet_check_interval_seconds: f64,
    /// The networks that may send webhooks. Default: all.
    #[schemars(with = "Vec<String>")]
    #[schemars(extend("x-form" = "networks and addresses, such as 192.0.2.0/24 or 2001:db8::1"))]
    pub allowed_networks: Networks,
    /// The networks of reverse proxies whose X-Forwarded-For header is believed.
    #[schemars(with = "Vec<String>")]
    #[schemars(extend("x-form" = "networks and addresses, such as 127.0.0.1 or 10.0.0.0/8"))]
    pub trusted_proxies: Networks,
    /// The certificate for HTTPS without a proxy: a PEM file, which also holds the chain to the
    /// certificate's authority. Reloaded when it changes. Set it together with `tls_private_key`. A
    /// relative path starts at the folder of the configuration file.
    #[schemars(with = "Option<String>", extend("x-path" = true, "x-form" = "the path of a PEM file"))]
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key: a PEM file.
    #[schemars(with = "Option<String>", extend("x-path" = true, "x-form" = "the path of a PEM file"))]
    pub tls_private_key: Option<PathBuf>,
    /// The largest body of a webhook, in bytes.
    // SQLite stores no text longer than 10^9 bytes.
    #[schemars(range(min = 1, max = 900_000_000_u64))]
    pub max_body_bytes: u64,
    /// How many connections may be open at once. When all are taken, a new one replaces the one that has been
    /// idle longest.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: usize,
    /// How many seconds a TLS handshake or the header of a request may take, and how long a connection may be
    /// idle.
    #[schemars(range(min = 0.01, max = 86_400))]
    pub header_timeout_seconds: f64,
    /// How many seconds the body of a request may take.
    #[schemars(range(min = 0.01, max = 86_400))]
    pub body_timeout_seconds: f64,
    /// The unit of `_sdc_sequence`: `millisecond`, or `nanosecond` for the 19 digits that Stitch's own tables
    /// have.
    #[schemars(with = "String", extend("x-form" = "millisecond or nanosecond"))]
    pub sequence_unit: SequenceUnit,
    /// The start of the system columns' names. Targets of the Meltano SDK delete or overwrite columns that
    /// start with `_sdc_`: with them, use another prefix, such as `_mailjet_`.
    #[schemars(with = "String")]
    #[schemars(extend("x-form" = "lower-case letters, digits and _, not starting with a digit"))]
    pub system_column_prefix: SystemColumnPrefix,
    /// How to handle a field the catalog does not know. `columns`: it becomes a column. `extra`: it goes into
    /// one JSON column, and the schema never changes.
    #[schemars(with = "String", extend("x-form" = "columns or extra"))]
    pub unknown_fields: UnknownFields,
    /// How many columns may appear in a stream besides the documented ones. The values of further fields go
    /// into `_sdc_extra`. A row of PostgreSQL has to fit into 8 kB, which several hundred texts may not.
    #[schemars(range(min = 0, max = 1000))]
    pub max_discovered_columns: usize,
    /// The type of the column `_sdc_extra`. `text`: JSON text, which every target and mapper keeps. `object`:
    /// an object, which those that flatten objects drop.
    #[schemars(with = "String", extend("x-form" = "text or object"))]
    pub extra_column: ExtraColumn,
    /// The longest time between two STATEs, in seconds, while there is something new.
    #[schemars(range(min = 0))]
    pub state_interval_seconds: f64,
    /// The largest number of records between two STATEs.
    #[schemars(range(min = 1))]
    pub state_interval_records: u64,
    /// Whether an event counts as stored once stdout has taken it, if no run was ever given a state. If
    /// false, nothing counts as stored then, and nothing is deleted.
    pub confirm_without_state: bool,
    /// How many days an event stays in the spool after it arrived, so that it can be emitted again. An event
    /// that no state confirms stays longer.
    #[schemars(range(min = 0))]
    pub retention_days: f64,
    /// The size of the spool, in bytes, above which webhooks are answered 503.
    #[schemars(range(min = 1))]
    pub spool_max_bytes: u64,
    /// The free space on the spool's disk, in bytes, below which webhooks are answered 503.
    #[schemars(range(min = 0))]
    pub min_free_bytes: u64,
    /// How much is logged: `off`, `error`, `warning`, `info`, `debug` or `trace`.
    pub log_level: LogLevel,
    /// How log lines look: `text` (plain lines) or `json` (the structured form of the Meltano SDK).
    #[schemars(with = "String", extend("x-form" = "text or json"))]
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            mode: Components::Both,
            max_runtime_seconds: None,
            idle_exit_seconds: None,
            listen_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8480)),
            public_url: None,
            admin_address: AdminAddress::At(SocketAddr::from((Ipv4Addr::LOCALHOST, 8481))),
            admin_password: None,
            admin_hosts: AdminHosts::default(),
            spool_path: None,
            spool_url: None,
            spool_schema: SchemaName::default(),
            spool_tls_ca: TlsAuthorities::System,
            spool_durability: Durability::default(),
            spool_commit_timeout_seconds: 10.0,
            emitter_lease_seconds: 15.0,
            webhook_tokens: WebhookTokens::default(),
            basic_auth_username: None,
            basic_auth_password: None,
            mailjet_api_key: None,
            mailjet_secret_key: None,
            mailjet_api_url: ApiUrl::default(),
            mailjet_events: MailjetEvents::default(),
            mailjet_group_events: true,
            mailjet_check_interval_seconds: 900.0,
            allowed_networks: Networks::default(),
            trusted_proxies: Networks::default(),
            tls_certificate: None,
            tls_private_key: None,
            max_body_bytes: 20_000_000,
            max_connections: 1024,
            header_timeout_seconds: 10.0,
            body_timeout_seconds: 30.0,
            sequence_unit: SequenceUnit::default(),
            system_column_prefix: SystemColumnPrefix::default(),
            unknown_fields: UnknownFields::default(),
            max_discovered_columns: 100,
            extra_column: ExtraColumn::default(),
            state_interval_seconds: 5.0,
            state_interval_records: 10_000,
            confirm_without_state: false,
            retention_days: 7.0,
            spool_max_bytes: 10 << 30,
            min_free_bytes: 512 << 20,
            log_level: LogLevel::default(),
            log_format: LogFormat::default(),
        }
    }
}
