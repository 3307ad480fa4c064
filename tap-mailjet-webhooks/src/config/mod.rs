//! The configuration keys, their value types, and what each component receives.
//!
//! | module | what it has |
//! | --- | --- |
//! | [`keys`] | the keys as they are read, with their descriptions and defaults |
//! | [`values`] | the types of their values |
//! | [`components`] | what each component receives |

mod components;
mod keys;
mod values;

use catalog::plugin::settings::{self, LoadedConfig, SettingsError};

pub use keys::Config;
pub use values::{
    AdminAddress, MailjetEvents, PublicUrl, SpoolPath, SpoolUrl, SystemColumnPrefix, WebhookTokens,
};

use crate::listener::TlsError;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum ConfigError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(
        "config key \"spool_path\" is not set, and its default needs XDG_STATE_HOME or HOME, which are not \
         set either; set spool_path"
    )]
    NoDefaultSpoolPath,
    #[error(
        "config keys \"spool_path\" and \"spool_url\" are both set; set spool_path for an SQLite file or \
         spool_url for a PostgreSQL database"
    )]
    TwoSpools,
    #[error(
        "config key \"spool_url\": {0}; it takes a URL such as \
         postgresql://user:password@db1.example.com,db2.example.com/mailjet"
    )]
    SpoolUrl(String),
    #[error("config key \"{set}\" is set, but \"{missing}\" is not; set both or neither")]
    OneOfTwo { set: &'static str, missing: &'static str },
    #[error(
        "config key \"public_url\" contains a user name or a password; set basic_auth_username and \
         basic_auth_password instead, and `url new` adds them to the URL"
    )]
    CredentialsInUrl,
    #[error(
        "config keys \"mailjet_api_key\" and \"mailjet_secret_key\" are not set; create a pair in Mailjet \
         under Account settings > API key management, and set both"
    )]
    NoMailjetKeys,
    #[error(
        "config key \"public_url\" is not set; set it to the address by which Mailjet reaches this machine, \
         such as https://hooks.example.com"
    )]
    NoPublicUrl,
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Config {
    /// Loads the configuration from the arguments of `--config`: files, and the word ENV for the environment.
    pub fn load(arguments: &[String]) -> Result<LoadedConfig<Self>, ConfigError> {
        Ok(settings::load(arguments, "TAP_MAILJET_WEBHOOKS_")?)
    }
}
