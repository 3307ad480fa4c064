//! The command-line conventions of a Singer plugin, which the tap and the target share.
//!
//! - [`settings`]: configuration keys, merged from files and the environment, and checked
//! - [`about`]: what `--about` prints
//! - [`logging`]: the log on stderr, for people and for Meltano
//! - [`paths`]: files that the user names

pub mod about;
pub mod logging;
pub mod paths;
pub mod settings;
