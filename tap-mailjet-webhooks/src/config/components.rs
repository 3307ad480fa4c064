//! What each component receives from the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use catalog::selection::Selection;
use url::Url;

use super::ConfigError;
use super::keys::Config;
use super::values::{PublicUrl, SpoolPath, SpoolUrl};
use crate::admin::page::PageConfig;
use crate::emitter::{ColumnRules, OutputSpec, Pace};
use crate::listener::{
    ActiveTokens, AddressGuard, ConnectionLimits, Credentials, Guards, Setup, Tls, TlsFiles,
};
use crate::mailjet::{Access, Wanted};
use crate::spool::{Limits, PostgresLocation, SpoolLocation};

/// Memory for events that wait to be written, unless `max_body_bytes` needs more. A usual body takes about 1
/// KiB.
const MEMORY_BYTES: usize = 64 << 20;
/// How long requests in flight may take once the listener stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

impl Config {
    /// How long the run may take.
    pub fn max_runtime(&self) -> Option<Duration> {
        self.max_runtime_seconds.map(seconds)
    }

    /// Where the spool is.
    pub fn spool_location(&self) -> Result<SpoolLocation, ConfigError> {
        if let Some(SpoolUrl(url)) = &self.spool_url {
            if self.spool_path.is_some() {
                return Err(ConfigError::TwoSpools);
            }
            return Ok(SpoolLocation::Postgres(Box::new(PostgresLocation {
                url: url.clone().map_err(ConfigError::SpoolUrl)?,
                schema: self.spool_schema.clone(),
                tls_authorities: self.spool_tls_ca.clone(),
                durability: self.spool_durability,
                commit_timeout: seconds(self.spool_commit_timeout_seconds),
                lease: seconds(self.emitter_lease_seconds),
            })));
        }
        let path = match &self.spool_path {
            Some(SpoolPath(path)) => path.clone(),
            None => default_spool_path().ok_or(ConfigError::NoDefaultSpoolPath)?,
        };
        // Absolute, so that messages say which file it is.
        let path = std::path::absolute(&path).unwrap_or(path);
        Ok(SpoolLocation::Sqlite(path))
    }

    /// What the spool may use of memory and disk.
    pub fn limits(&self) -> Limits {
        // The largest body has to fit when it comes alone. While its list of events grows, the old and the
        // new list exist side by side for a moment, and each is at most as large as the text.
        let largest = usize::try_from(self.max_body_bytes).unwrap_or(usize::MAX);
        Limits {
            spool_max_bytes: self.spool_max_bytes,
            min_free_bytes: self.min_free_bytes,
            memory_bytes: largest.saturating_mul(4).max(MEMORY_BYTES),
        }
    }

    /// How long events stay in the spool after they arrived.
    pub fn retention(&self) -> Duration {
        seconds(self.retention_days * 86_400.0)
    }

    /// Returns the start of the webhook URLs that are printed. It contains the user name and the password,
    /// because Mailjet takes them from the URL.
    pub fn public_url(&self) -> Result<Url, ConfigError> {
        let mut url = match &self.public_url {
            Some(PublicUrl::Valid(url)) => url.clone(),
            Some(PublicUrl::WithCredentials) => return Err(ConfigError::CredentialsInUrl),
            None => {
                // Without the scope of a link-local address, which has no place in a URL.
                let address = SocketAddr::new(self.listen_address.ip(), self.listen_address.port());
                Url::parse(&format!("{}://{address}", self.scheme()))
                    .expect("an address is the host of a URL")
            }
        };
        if let Some(credentials) = self.credentials()? {
            credentials.add_to(&mut url);
        }
        Ok(url)
    }

    /// The scheme that the listener speaks: http or https.
    pub fn scheme(&self) -> &'static str {
        if self.tls_certificate.is_some() { "https" } else { "http" }
    }

    /// What the listener checks, and what a connection may use.
    pub fn listener_setup(&self, tokens: ActiveTokens) -> Result<Setup, ConfigError> {
        let guards = Guards {
            tokens,
            addresses: AddressGuard::new(self.allowed_networks.clone(), self.trusted_proxies.clone()),
            credentials: self.credentials()?,
            max_body_bytes: self.max_body_bytes,
        };
        let limits = ConnectionLimits {
            max_connections: self.max_connections,
            header_timeout: seconds(self.header_timeout_seconds),
            body_timeout: seconds(self.body_timeout_seconds),
            stop_timeout: STOP_TIMEOUT,
        };
        Ok(Setup { guards, limits, tls: self.tls()? })
    }

    fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        let certificate = ("tls_certificate", &self.tls_certificate);
        let both = both_or_neither(certificate, ("tls_private_key", &self.tls_private_key))?;
        let Some((certificate, private_key)) = both else { return Ok(None) };
        let files = TlsFiles { certificate: certificate.clone(), private_key: private_key.clone() };
        Ok(Some(Tls::load(files)?))
    }

    fn credentials(&self) -> Result<Option<Credentials>, ConfigError> {
        let username = ("basic_auth_username", &self.basic_auth_username);
        let both = both_or_neither(username, ("basic_auth_password", &self.basic_auth_password))?;
        Ok(both.map(|(username, password)| Credentials::new(username.clone(), password.clone())))
    }

    /// What gives access to Mailjet's API; `None` if no keys are set.
    pub fn mailjet_access(&self) -> Result<Option<Access>, ConfigError> {
        let api_key = ("mailjet_api_key", &self.mailjet_api_key);
        let both = both_or_neither(api_key, ("mailjet_secret_key", &self.mailjet_secret_key))?;
        Ok(both.map(|(api_key, secret_key)| Access {
            url: self.mailjet_api_url.clone(),
            api_key: api_key.clone(),
            secret_key: secret_key.clone(),
        }))
    }

    /// What has to be registered with Mailjet.
    pub fn wanted_registration(&self) -> Result<Wanted, ConfigError> {
        Ok(Wanted {
            events: self.mailjet_events.types().to_vec(),
            is_grouped: self.mailjet_group_events,
            base_url: match self.public_url {
                Some(_) => Some(self.public_url()?.to_string().into()),
                None => None,
            },
        })
    }

    /// What the status page needs.
    pub fn page(&self) -> Result<PageConfig, ConfigError> {
        Ok(PageConfig {
            public_url: self.public_url()?,
            listen_scheme: self.scheme(),
            has_configured_tokens: self.webhook_tokens.configured().is_some(),
            wanted_events: self.mailjet_events.types().len(),
            check_interval: self.mailjet_check_interval(),
            spool_max_bytes: self.spool_max_bytes,
            min_free_bytes: self.min_free_bytes,
            confirm_without_state: self.confirm_without_state,
            output: self.output(Selection::default()),
        })
    }

    /// How often a listener checks what is registered with Mailjet; `None` if it never does.
    pub fn mailjet_check_interval(&self) -> Option<Duration> {
        let interval = seconds(self.mailjet_check_interval_seconds);
        (!interval.is_zero()).then_some(interval)
    }

    /// When the emitter writes a STATE, and when it ends by itself.
    pub fn pace(&self) -> Pace {
        Pace {
            state_interval: seconds(self.state_interval_seconds),
            state_interval_records: self.state_interval_records,
            idle_exit: self.idle_exit_seconds.map(seconds),
        }
    }

    /// What the emitter writes, given what is selected.
    pub fn output(&self, selection: Selection) -> OutputSpec {
        OutputSpec {
            selection,
            system_prefix: self.system_column_prefix.as_str().to_owned(),
            columns: ColumnRules {
                unknown_fields: self.unknown_fields,
                max_discovered: self.max_discovered_columns,
                extra_column: self.extra_column,
            },
        }
    }
}

fn default_spool_path() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state_home = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")));
    Some(state_home?.join("tap-mailjet-webhooks/spool.db"))
}

/// Returns the values of two keys, each given with its name, that make sense only together.
fn both_or_neither<'a, A, B>(
    (first, first_value): (&'static str, &'a Option<A>),
    (second, second_value): (&'static str, &'a Option<B>),
) -> Result<Option<(&'a A, &'a B)>, ConfigError> {
    match (first_value, second_value) {
        (Some(first_value), Some(second_value)) => Ok(Some((first_value, second_value))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConfigError::OneOfTwo { set: first, missing: second }),
        (None, Some(_)) => Err(ConfigError::OneOfTwo { set: second, missing: first }),
    }
}

/// Converts seconds. A number too large for a `Duration` becomes the longest one.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
