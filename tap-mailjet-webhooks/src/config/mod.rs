//! The configuration: every key, documented where it is read from.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use catalog::plugin::logging::{LogConfig, LogFormat, LogLevel};
use catalog::plugin::settings::{self, LoadedConfig, SettingsError};
use catalog::selection::Selection;
use catalog::stream::DEFAULT_SYSTEM_PREFIX;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::emitter::{OutputSpec, Pace, UnknownFields};
use crate::listener::ActiveTokens;
use crate::listener::token::{MOST_ACTIVE, Token};
use crate::listener::{
    AddressGuard, Credentials, Guards, Networks, Password, Tls, TlsError, TlsFiles, Username,
};
use crate::spool::{Limits, SequenceUnit, SpoolLocation};

/// What environment variables that set a key start with.
pub const ENVIRONMENT_PREFIX: &str = "TAP_MAILJET_WEBHOOKS_";

/// Memory for what waits to be written, if `max_body_bytes` is not larger. Bodies of the usual size take about 1 KiB each.
const MEMORY_BYTES: usize = 64 << 20;
/// How long requests in flight may take once the listener stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Listen and emit until stopped.
    #[default]
    Continuous,
    /// Emit what the spool holds, then exit.
    Drain,
}

/// Which rooms a process has, and so what there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Components {
    /// Webhooks are received.
    pub listener: bool,
    /// Messages are written.
    pub emitter: bool,
}

impl Components {
    /// What Singer's measurements call a run of these components.
    #[must_use]
    pub fn job_type(self) -> &'static str {
        match self {
            Components { emitter: false, .. } => "listen",
            Components { listener: false, .. } => "drain",
            Components { .. } => "continuous",
        }
    }
}

/// The configuration keys, flat as Singer has them. Every one has a default.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// continuous: listen and emit until stopped. drain: emit what the spool holds, then exit.
    #[schemars(with = "String", extend("x-form" = "continuous or drain"))]
    pub mode: Mode,
    /// End the run after so many seconds.
    #[schemars(range(min = 0))]
    pub max_runtime_seconds: Option<f64>,
    /// End the run when nothing has arrived for so many seconds.
    #[schemars(range(min = 0))]
    pub idle_exit_seconds: Option<f64>,
    /// Where webhooks arrive: an IP address and a port.
    #[schemars(with = "String", extend("x-form" = "an IP address and a port, such as 127.0.0.1:8480 or [::]:8480"))]
    pub listen_address: SocketAddr,
    /// What the printed webhook URLs start with. By default `http://<listen_address>`, or https:// with `tls_certificate`.
    #[schemars(with = "Option<String>", extend("x-form" = "a URL such as https://hooks.example.com"))]
    pub public_url: Option<PublicUrl>,
    /// Where health, readiness and metrics are answered while webhooks are received: an IP address and a port. off, or an empty
    /// text: nowhere.
    #[schemars(with = "String", extend("x-form" = "an IP address and a port, such as 127.0.0.1:8481, or off"))]
    pub admin_address: AdminAddress,
    /// The spool, an SQLite file on a local disk; `~/` at its start is the home directory. Its directory is made if it is missing. By default
    /// `$XDG_STATE_HOME/tap-mailjet-webhooks/spool.db`.
    #[schemars(with = "Option<String>", extend("x-form" = "the path of a file"))]
    pub spool_path: Option<SpoolPath>,
    /// Up to two tokens of webhook URLs, given here instead of being made by `url new`.
    #[schemars(with = "Vec<String>", extend(
        "secret" = true, "writeOnly" = true, "x-form" = "up to two different tokens of 64 lower-case hexadecimal digits"
    ))]
    pub webhook_tokens: WebhookTokens,
    /// The user name that a webhook has to bring (Basic authentication). Set both, or neither.
    #[schemars(with = "Option<String>", extend(
        "secret" = true, "writeOnly" = true, "x-form" = "a user name without a colon and without control characters"
    ))]
    pub basic_auth_username: Option<Username>,
    /// The password that a webhook has to bring.
    #[schemars(with = "Option<String>", extend(
        "secret" = true, "writeOnly" = true, "x-form" = "a password without control characters"
    ))]
    pub basic_auth_password: Option<Password>,
    /// Networks that webhooks may come from. By default from anywhere.
    #[schemars(with = "Vec<String>", extend("x-form" = "networks and addresses, such as 192.0.2.0/24 or 2001:db8::1"))]
    pub allowed_networks: Networks,
    /// Networks of the reverse proxies that are believed when they say, in X-Forwarded-For, for whom they speak.
    #[schemars(with = "Vec<String>", extend("x-form" = "networks and addresses, such as 127.0.0.1 or 10.0.0.0/8"))]
    pub trusted_proxies: Networks,
    /// The certificate for HTTPS without a proxy: a PEM file, with the certificates that lead to its authority behind it.
    /// Set both, or neither. Taken up again when the files change.
    #[schemars(with = "Option<String>", extend("x-form" = "the path of a PEM file"))]
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key: a PEM file.
    #[schemars(with = "Option<String>", extend("x-form" = "the path of a PEM file"))]
    pub tls_private_key: Option<PathBuf>,
    /// Bytes that a webhook's body may have.
    // SQLite keeps no text beyond 10^9 bytes.
    #[schemars(range(min = 1, max = 900_000_000_u64))]
    pub max_body_bytes: u64,
    /// Connections that may be open at a time. The one that has been idle for longest makes room for a new one.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: usize,
    /// Seconds that a TLS handshake and the header of a request may take, and that a connection may idle.
    #[schemars(range(min = 0.01, max = 86_400))]
    pub header_timeout_seconds: f64,
    /// Seconds that the body of a request may take.
    #[schemars(range(min = 0.01, max = 86_400))]
    pub body_timeout_seconds: f64,
    /// Unit of `_sdc_sequence`: millisecond, or nanosecond, the 19-digit form that Stitch's own tables hold.
    #[schemars(with = "String", extend("x-form" = "millisecond or nanosecond"))]
    pub sequence_unit: SequenceUnit,
    /// What the names of the system columns start with. Targets of the Meltano SDK delete or overwrite columns that start
    /// with `_sdc_`: with them, use another prefix, such as `_mailjet_`.
    #[schemars(with = "String", extend("x-form" = "lower-case letters, digits and _, not starting with a digit"))]
    pub system_column_prefix: SystemColumnPrefix,
    /// What becomes of a field that is not documented: columns (it becomes a column) or extra (it goes into one JSON
    /// column, and the schema never changes).
    #[schemars(with = "String", extend("x-form" = "columns or extra"))]
    pub unknown_fields: UnknownFields,
    /// A STATE is written at least so often, in seconds, while there is news.
    #[schemars(range(min = 0))]
    pub state_interval_seconds: f64,
    /// A STATE is written after so many records at the latest.
    #[schemars(range(min = 1))]
    pub state_interval_records: u64,
    /// Days that an event stays in the spool after its webhook arrived, so that it can be written again. It stays for as
    /// long as no state confirms it.
    #[schemars(range(min = 0))]
    pub retention_days: f64,
    /// Size of the spool in bytes past which webhooks are answered 503.
    #[schemars(range(min = 1))]
    pub spool_max_bytes: u64,
    /// Free bytes on the spool's disk below which webhooks are answered 503.
    #[schemars(range(min = 0))]
    pub min_free_bytes: u64,
    /// How much is logged: off, error, warning, info, debug or trace.
    pub log_level: LogLevel,
    /// How it is logged: text (plain lines) or json (the structured form of the Meltano SDK).
    #[schemars(with = "String", extend("x-form" = "text or json"))]
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            mode: Mode::default(),
            max_runtime_seconds: None,
            idle_exit_seconds: None,
            listen_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8480)),
            public_url: None,
            admin_address: AdminAddress::At(SocketAddr::from((Ipv4Addr::LOCALHOST, 8481))),
            spool_path: None,
            webhook_tokens: WebhookTokens::default(),
            basic_auth_username: None,
            basic_auth_password: None,
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
            state_interval_seconds: 5.0,
            state_interval_records: 10_000,
            retention_days: 7.0,
            spool_max_bytes: 10 << 30,
            min_free_bytes: 512 << 20,
            log_level: LogLevel::default(),
            log_format: LogFormat::default(),
        }
    }
}

/// Why the configuration can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// What the files and the environment say is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// There is no default place for the spool.
    #[error(
        "config key \"spool_path\" is not set, and neither XDG_STATE_HOME nor HOME says where its default is; set spool_path"
    )]
    NoHome,
    /// Of two keys that belong together one is not set.
    #[error("config key \"{missing}\" is not set, and \"{set}\" is: set both or neither")]
    Half {
        /// The key that is set.
        set: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// The URL holds what has keys of its own, and is no secret.
    #[error(
        "config key \"public_url\" holds a user name or password: they belong to basic_auth_username and \
         basic_auth_password, and `url new` puts them into the URL"
    )]
    CredentialsInUrl,
    /// Certificate or private key are of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Config {
    /// Reads what `--config` names: files, and the word ENV for the environment.
    pub fn load(sources: &[String]) -> Result<LoadedConfig<Self>, ConfigError> {
        Ok(settings::load(sources, ENVIRONMENT_PREFIX)?)
    }

    /// What is logged, and how.
    #[must_use]
    pub fn log(&self) -> LogConfig {
        LogConfig { level: self.log_level, format: self.log_format }
    }

    /// Where the spool is.
    pub fn spool_location(&self) -> Result<SpoolLocation, ConfigError> {
        if let Some(path) = &self.spool_path {
            return Ok(SpoolLocation::Sqlite(path.0.clone()));
        }
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let state_home = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")));
        let state_home = state_home.ok_or(ConfigError::NoHome)?;
        Ok(SpoolLocation::Sqlite(state_home.join("tap-mailjet-webhooks/spool.db")))
    }

    /// What printed webhook URLs start with: also the user name and the password, since Mailjet is given them so.
    pub fn public_url(&self) -> Result<String, ConfigError> {
        let url = self
            .public_url
            .as_ref()
            .map_or_else(|| format!("{}://{}", self.scheme(), self.listen_address), |url| url.0.clone());
        let (scheme, rest) = url.split_once("://").expect("it was looked at when it was read");
        if holds_credentials(rest) {
            return Err(ConfigError::CredentialsInUrl);
        }
        let credentials = self.credentials()?.map(|credentials| credentials.in_url()).unwrap_or_default();
        Ok(format!("{scheme}://{credentials}{rest}"))
    }

    /// What the listener speaks: http or https.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls_certificate.is_some() { "https" } else { "http" }
    }

    fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        let certificate = ("tls_certificate", &self.tls_certificate);
        let Some((certificate, private_key)) =
            both_or_neither(certificate, ("tls_private_key", &self.tls_private_key))?
        else {
            return Ok(None);
        };
        let files = TlsFiles { certificate: certificate.clone(), private_key: private_key.clone() };
        Ok(Some(Tls::load(files)?))
    }

    /// The user name and password that webhooks have to bring, if any.
    fn credentials(&self) -> Result<Option<Credentials>, ConfigError> {
        let username = ("basic_auth_username", &self.basic_auth_username);
        let both = both_or_neither(username, ("basic_auth_password", &self.basic_auth_password))?;
        Ok(both.map(|(username, password)| Credentials::new(username.clone(), password.clone())))
    }

    /// What the listener guards itself with.
    pub fn guards(&self, tokens: ActiveTokens) -> Result<Guards, ConfigError> {
        Ok(Guards {
            tokens,
            addresses: AddressGuard::new(self.allowed_networks.clone(), self.trusted_proxies.clone()),
            credentials: self.credentials()?,
            tls: self.tls()?,
            max_body_bytes: self.max_body_bytes,
            max_connections: self.max_connections,
            header_timeout: seconds(self.header_timeout_seconds),
            body_timeout: seconds(self.body_timeout_seconds),
            stop_timeout: STOP_TIMEOUT,
        })
    }

    /// What the spool may use.
    #[must_use]
    pub fn limits(&self) -> Limits {
        // The largest body always fits when it comes alone: while its list of events grows, that is at most as large as
        // the text, and for a moment there are an old and a new one.
        let largest = usize::try_from(self.max_body_bytes).unwrap_or(usize::MAX);
        Limits {
            spool_max_bytes: self.spool_max_bytes,
            min_free_bytes: self.min_free_bytes,
            memory_bytes: largest.saturating_mul(4).max(MEMORY_BYTES),
        }
    }

    /// When a run writes a STATE, and when it ends by itself.
    #[must_use]
    pub fn pace(&self) -> Pace {
        Pace {
            state_interval: seconds(self.state_interval_seconds),
            state_interval_records: self.state_interval_records,
            idle_exit: self.idle_exit_seconds.map(seconds),
        }
    }

    /// What is written, given what is selected.
    #[must_use]
    pub fn shape(&self, selection: Selection) -> OutputSpec {
        OutputSpec {
            selection,
            system_prefix: self.system_column_prefix.0.clone(),
            unknown_fields: self.unknown_fields,
        }
    }

    /// How long the run may take.
    #[must_use]
    pub fn max_runtime(&self) -> Option<Duration> {
        self.max_runtime_seconds.map(seconds)
    }

    /// How long events stay after they arrived.
    #[must_use]
    pub fn retention(&self) -> Duration {
        seconds(self.retention_days * 86_400.0)
    }
}

/// The values of two keys, each with its name, of which one makes no sense without the other.
fn both_or_neither<'a, A, B>(
    (one, first): (&'static str, &'a Option<A>),
    (other, second): (&'static str, &'a Option<B>),
) -> Result<Option<(&'a A, &'a B)>, ConfigError> {
    match (first, second) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConfigError::Half { set: one, missing: other }),
        (None, Some(_)) => Err(ConfigError::Half { set: other, missing: one }),
    }
}

/// More seconds than there will ever be are as good as no limit.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// The start of a webhook URL.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct PublicUrl(String);

impl TryFrom<String> for PublicUrl {
    type Error = &'static str;

    fn try_from(url: String) -> Result<Self, Self::Error> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        match rest {
            // An error here would show the value: `Config::public_url` says what is wrong, and shows nothing.
            Some(rest) if holds_credentials(rest) => Ok(PublicUrl(url)),
            Some(rest) if !rest.is_empty() && !rest.contains([' ', '?', '#']) => Ok(PublicUrl(url)),
            Some(_) => Err("it is not the start of a URL"),
            None => Err("it does not start with https:// or http://"),
        }
    }
}

/// Where health, readiness and metrics are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum AdminAddress {
    /// Nowhere.
    Off,
    /// Here.
    At(SocketAddr),
}

impl TryFrom<String> for AdminAddress {
    type Error = std::net::AddrParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            // An environment variable that is empty counts as one that is not set.
            "" | "off" => Ok(AdminAddress::Off),
            address => address.parse().map(AdminAddress::At),
        }
    }
}

impl From<AdminAddress> for String {
    fn from(address: AdminAddress) -> Self {
        match address {
            AdminAddress::Off => String::new(),
            AdminAddress::At(address) => address.to_string(),
        }
    }
}

/// Whether a URL, from its authority on, has a user name.
fn holds_credentials(rest: &str) -> bool {
    rest.split('/').next().is_some_and(|authority| authority.contains('@'))
}

/// The path of the spool.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(try_from = "PathBuf")]
pub struct SpoolPath(PathBuf);

impl TryFrom<PathBuf> for SpoolPath {
    type Error = &'static str;

    fn try_from(path: PathBuf) -> Result<Self, Self::Error> {
        // As a shell would have it.
        let path = match (path.strip_prefix("~"), std::env::home_dir()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path,
        };
        if path.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/") {
            return Err("it names no file");
        }
        Ok(SpoolPath(path))
    }
}

/// What the names of the system columns start with.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct SystemColumnPrefix(String);

impl SystemColumnPrefix {
    /// The prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SystemColumnPrefix {
    fn default() -> Self {
        SystemColumnPrefix(DEFAULT_SYSTEM_PREFIX.to_owned())
    }
}

impl TryFrom<String> for SystemColumnPrefix {
    type Error = &'static str;

    fn try_from(prefix: String) -> Result<Self, Self::Error> {
        let is_word = prefix.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        // Half of what PostgreSQL keeps of a name, so that there is room for the rest of it.
        if prefix.is_empty()
            || !is_word
            || prefix.starts_with(|c: char| c.is_ascii_digit())
            || prefix.len() > 31
        {
            return Err("columns can't be named so");
        }
        Ok(SystemColumnPrefix(prefix))
    }
}

/// Tokens from the configuration.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(try_from = "Vec<String>")]
pub struct WebhookTokens(Vec<String>);

impl WebhookTokens {
    /// The tokens; none if they are to be found in the spool.
    #[must_use]
    pub fn given(&self) -> Option<&[String]> {
        if self.0.is_empty() { None } else { Some(&self.0) }
    }
}

impl std::fmt::Debug for WebhookTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secret tokens", self.0.len())
    }
}

impl TryFrom<Vec<String>> for WebhookTokens {
    type Error = &'static str;

    fn try_from(tokens: Vec<String>) -> Result<Self, Self::Error> {
        let repeated = tokens.len() == 2 && tokens[0] == tokens[1];
        if tokens.len() > MOST_ACTIVE || repeated || !tokens.iter().all(|token| Token::is_well_formed(token))
        {
            return Err("these are not tokens");
        }
        Ok(WebhookTokens(tokens))
    }
}
