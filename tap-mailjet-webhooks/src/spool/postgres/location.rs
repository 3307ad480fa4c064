//! Where a PostgreSQL spool is, and what its database has to promise.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// The port of a server whose URL names none.
const DEFAULT_PORT: u16 = 5432;
/// The longest name that PostgreSQL keeps whole.
const MAX_NAME_BYTES: usize = 63;

/// Where a PostgreSQL spool is, and how to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresLocation {
    /// The servers.
    pub url: PostgresUrl,
    /// The schema that holds the spool's tables.
    pub schema: SchemaName,
    /// The certificate authorities that may vouch for a server.
    pub tls_authorities: TlsAuthorities,
    /// What the database has to promise.
    pub durability: Durability,
    /// How long a commit may take before its outcome counts as unknown.
    pub commit_timeout: Duration,
    /// How long a process that has vanished keeps its role.
    pub lease: Duration,
}

/// A URL such as `postgresql://user:password@host1,host2/database`. It is a secret, and is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PostgresUrl(Box<Config>);

/// Why a text is not the URL of a PostgreSQL spool. It never shows the text.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum PostgresUrlError {
    #[error("it does not start with postgresql:// or postgres://")]
    Scheme,
    #[error("{0}")]
    Invalid(String),
    #[error("it names no server")]
    NoHost,
    #[error("target_session_attrs has to be read-write")]
    ReadOnly,
    #[error(
        "sslmode=disable is possible only if every server is on this machine: connections to others use TLS \
         and check the certificate"
    )]
    WithoutTls,
}

/// The name of a schema: lower-case letters, digits and underscores.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct SchemaName(String);

/// The certificate authorities that may vouch for a server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "PathBuf")]
pub enum TlsAuthorities {
    /// Those that this machine trusts.
    System,
    /// Those in a PEM file.
    File(PathBuf),
}

/// What a 200 means with this database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Stored on two servers. This is checked with every commit.
    #[default]
    Quorum,
    /// Stored as the provider of the database promises. Its replication cannot be seen from here.
    Managed,
    /// Stored on the disk of one server.
    Local,
}

/// One server of a URL.
pub(super) struct Server {
    pub(super) config: Config,
    pub(super) name: String,
    pub(super) with_tls: bool,
}

impl FromStr for PostgresUrl {
    type Err = PostgresUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.starts_with("postgresql://") && !text.starts_with("postgres://") {
            return Err(PostgresUrlError::Scheme);
        }
        // The client does not know the two stricter modes. It needs no word for them, because every
        // certificate is verified here.
        let (start, options) = text.split_once('?').unwrap_or((text, ""));
        let options = options.replace("sslmode=verify-full", "sslmode=require");
        let options = options.replace("sslmode=verify-ca", "sslmode=require");
        let parsed = Config::from_str(&format!("{start}?{options}"));
        let mut config = parsed.map_err(|error| PostgresUrlError::Invalid(super::error::explain(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(PostgresUrlError::NoHost);
        }
        if config.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
            return Err(PostgresUrlError::ReadOnly);
        }
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let url = PostgresUrl(Box::new(config));
        if !url.is_on_this_machine() && options.contains("sslmode=disable") {
            return Err(PostgresUrlError::WithoutTls);
        }
        Ok(url)
    }
}

impl TryFrom<String> for PostgresUrl {
    type Error = PostgresUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl PostgresUrl {
    /// Whether no connection leaves this machine.
    fn is_on_this_machine(&self) -> bool {
        let is_local = |host: &Host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) => {
                name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        };
        let addresses = self.0.get_hostaddrs();
        self.0.get_hosts().iter().all(is_local) && addresses.iter().all(IpAddr::is_loopback)
    }

    /// Whether connections use TLS.
    pub(super) fn uses_tls(&self) -> bool {
        !self.is_on_this_machine() || self.0.get_ssl_mode() == SslMode::Require
    }

    /// Returns how to connect to each server alone, so that one that does not answer cannot hold up the rest.
    pub(super) fn servers(&self) -> Vec<Server> {
        let all = &*self.0;
        let with_tls = self.uses_tls();
        let count = all.get_hosts().len().max(all.get_hostaddrs().len());
        let server = |index: usize| {
            let mut config = Config::new();
            let mut name = String::new();
            match all.get_hosts().get(index) {
                Some(Host::Tcp(host)) => {
                    config.host(host);
                    name.clone_from(host);
                }
                Some(Host::Unix(path)) => {
                    config.host_path(path);
                    name = path.display().to_string();
                }
                None => {}
            }
            if let Some(address) = all.get_hostaddrs().get(index) {
                config.hostaddr(*address);
                if name.is_empty() {
                    name = address.to_string();
                }
            }
            let ports = all.get_ports();
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
            config.port(port);
            if let Some(user) = all.get_user() {
                config.user(user);
            }
            if let Some(password) = all.get_password() {
                config.password(password);
            }
            if let Some(database) = all.get_dbname() {
                config.dbname(database);
            }
            if let Some(options) = all.get_options() {
                config.options(options);
            }
            config
                .application_name(all.get_application_name().unwrap_or(env!("CARGO_PKG_NAME")))
                .channel_binding(all.get_channel_binding())
                .ssl_negotiation(all.get_ssl_negotiation())
                .target_session_attrs(TargetSessionAttrs::ReadWrite)
                .ssl_mode(if with_tls { SslMode::Require } else { SslMode::Disable })
                .keepalives_idle(Duration::from_secs(30));
            Server { config, name: format!("{name}:{port}"), with_tls }
        };
        (0..count).map(server).collect()
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresUrl(secret)")
    }
}

impl SchemaName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SchemaName {
    fn default() -> Self {
        SchemaName("tap_mailjet".to_owned())
    }
}

impl TryFrom<String> for SchemaName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let is_known = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err("it does not have 1 to 63 characters");
        }
        if !name.bytes().all(is_known) || name.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(
                "it has other characters than lower-case letters, digits and _, or starts with a digit",
            );
        }
        if name.starts_with("pg_") {
            return Err("PostgreSQL keeps names that start with pg_ for itself");
        }
        Ok(SchemaName(name))
    }
}

impl From<PathBuf> for TlsAuthorities {
    fn from(path: PathBuf) -> Self {
        if path == Path::new("system") { TlsAuthorities::System } else { TlsAuthorities::File(path) }
    }
}

impl fmt::Display for PostgresLocation {
    /// Names the servers, the database and the schema, but neither user nor password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.url.servers().into_iter().map(|server| server.name).collect();
        let database = self.url.0.get_dbname().unwrap_or("(the user's)");
        write!(f, "{}/{database}, schema {}", names.join(","), self.schema.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<PostgresUrl, String> {
        text.parse().map_err(|error: PostgresUrlError| error.to_string())
    }

    #[test]
    fn connections_that_leave_the_machine_use_tls() {
        let cases = [
            ("postgresql://a:b@127.0.0.1/db", false),
            ("postgresql://a:b@localhost:5433,[::1]/db", false),
            ("postgresql:///db?host=/run/postgresql", false),
            ("postgresql://a:b@127.0.0.1/db?sslmode=verify-full", true),
            ("postgresql://a:b@127.0.0.1,db.example.com/db", true),
            ("postgres://a:b@192.0.2.7:5433/db?sslmode=prefer", true),
        ];
        for (text, uses_tls) in cases {
            assert_eq!(url(text).expect(text).uses_tls(), uses_tls, "{text}");
        }
    }

    #[test]
    fn a_wrong_url_is_explained_without_showing_it() {
        let cases = [
            ("mysql://tap:hush@db.example.com/x", "postgresql://"),
            ("postgresql://tap:hush@/x", "names no server"),
            ("postgresql://tap:hush@db.example.com/x?colour=hush", "colour"),
            ("postgresql://tap:hush@db.example.com/x?sslmode=disable", "sslmode"),
            ("postgresql://tap:hush@db.example.com/x?target_session_attrs=read-only", "read-write"),
        ];
        for (text, expected) in cases {
            let error = url(text).expect_err(text);
            assert!(error.contains(expected) && !error.contains("hush"), "{text}: {error}");
        }
    }

    #[test]
    fn each_server_of_a_url_has_its_own_port_and_no_secret_is_shown() {
        let url = url("postgresql://tap:hush@one.example.com:5433,two.example.com:5434/mail").expect("a URL");
        let names: Vec<_> = url.servers().into_iter().map(|server| server.name).collect();
        assert_eq!(names, ["one.example.com:5433", "two.example.com:5434"]);
        let location = PostgresLocation {
            url,
            schema: SchemaName::default(),
            tls_authorities: TlsAuthorities::System,
            durability: Durability::Quorum,
            commit_timeout: Duration::from_secs(10),
            lease: Duration::from_secs(15),
        };
        let shown = format!("{location} {location:?}");
        assert!(!shown.contains("hush") && !shown.contains("tap:"), "{shown}");
        let expected = "one.example.com:5433,two.example.com:5434/mail, schema tap_mailjet";
        assert_eq!(location.to_string(), expected);
    }

    #[test]
    fn a_schema_needs_no_quotes() {
        for wrong in ["", "Tap", "1tap", "tap-x", "pg_tap", "tap\"x", &"a".repeat(64)] {
            SchemaName::try_from(wrong.to_owned()).expect_err(wrong);
        }
        SchemaName::try_from("tap_2".to_owned()).expect("a name");
    }
}
