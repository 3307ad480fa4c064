//! Outbound HTTP to webhook URLs and to Mailjet.

pub mod send_test;
