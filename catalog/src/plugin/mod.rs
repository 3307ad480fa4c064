//! The command-line conventions of a Singer plugin, which the tap and the target share.

pub mod about;
pub mod logging;
pub mod paths;
pub mod settings;
pub mod signals;
pub mod standard_stream;
