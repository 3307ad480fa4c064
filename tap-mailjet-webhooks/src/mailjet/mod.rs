//! Mailjet's side: its API, what is registered there, and test posts to webhook URLs. All of it is outbound
//! HTTP.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`access`] | the address of the API and the keys to it |
//! | [`client`], [`retry`], [`error`] | the REST client, what it repeats, and how a call can fail |
//! | [`callback`] | one webhook URL as Mailjet's API shows it, read leniently |
//! | [`own_urls`] | which of these URLs are ours |
//! | [`registration`] | what is registered for each event, and what is wrong with it |
//! | [`plan`] | the changes that would make it right |
//! | [`registrar`] | carries out a plan |
//! | [`check`] | the check that a listener repeats |
//! | [`send_test`] | posts what Mailjet posts |

mod access;
pub mod callback;
pub mod check;
pub mod client;
pub mod error;
mod http;
pub mod own_urls;
pub mod plan;
pub mod registrar;
pub mod registration;
mod retry;
pub mod send_test;

pub use access::{Access, ApiKey, ApiUrl};
pub use registration::Wanted;
