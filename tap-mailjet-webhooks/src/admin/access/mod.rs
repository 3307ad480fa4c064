//! Who may see the status page.
//!
//! | file | what it decides |
//! | --- | --- |
//! | [`hosts`] | the host names that requests may ask for |
//! | [`sessions`] | who is signed in, and how users sign in |

pub mod hosts;
pub mod sessions;
