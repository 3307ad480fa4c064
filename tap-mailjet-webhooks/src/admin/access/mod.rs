//! Who may see the status page.
//!
//! | file | what it decides |
//! | --- | --- |
//! | [`hosts`] | the names by which the admin address may be asked |
//! | [`sessions`] | who is signed in, and how one signs in |

pub mod hosts;
pub mod sessions;
