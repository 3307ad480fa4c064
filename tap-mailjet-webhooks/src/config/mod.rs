//! The configuration.
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

pub use components::Components;
pub use keys::Config;
pub use values::{AdminAddress, Mode, PublicUrl, SpoolPath, SystemColumnPrefix, WebhookTokens};

use crate::listener::TlsError;

/// The start of the environment variables that set a key.
const ENVIRONMENT_PREFIX: &str = "TAP_MAILJET_WEBHOOKS_";

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read, or a value is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// There is no home directory for the spool.
    #[error(
        "config key \"spool_path\" is not set, and its default needs XDG_STATE_HOME or HOME, which are not \
         set either; set spool_path"
    )]
    NoDefaultSpoolPath,
    /// Of two keys that belong together, only one is set.
    #[error("config key \"{set}\" is set, but \"{missing}\" is not; set both or neither")]
    OneOfTwo {
        /// The key that is set.
        set: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// The URL contains secrets, but is not secret itself.
    #[error(
        "config key \"public_url\" contains a user name or a password; set basic_auth_username and \
         basic_auth_password instead, and `url new` adds them to the URL"
    )]
    CredentialsInUrl,
    /// The certificate or its private key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Config {
    /// Loads the configuration from the arguments of `--config`: files, and the word ENV for the environment.
    pub fn load(arguments: &[String]) -> Result<LoadedConfig<Self>, ConfigError> {
        Ok(settings::load(arguments, ENVIRONMENT_PREFIX)?)
    }
}
