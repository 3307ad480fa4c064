//! The command line without a spool. Tests that need one are end-to-end tests, in the crate `tests` at the
//! top level; that crate finds the program because cargo builds it for this test.

use std::process::{Command, Output};

fn tap(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tap-mailjet-webhooks")).args(args).output().expect("the program starts")
}

#[test]
fn discover_needs_no_configuration_and_prints_the_catalog_of_the_repository() {
    let output = tap(&["--discover"]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), include_str!("../../catalog/catalog.json"));
    assert!(output.stderr.is_empty());
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_would_be_right() {
    let cases: [(&[&str], &str); 6] = [
        (&[], "--config <FILE|ENV> is missing"),
        (&["listen"], "--config <FILE|ENV> is missing"),
        (
            &["--config", "ENV", "--state", "s", "listen"],
            "--state, --catalog, --properties and --test belong to a run",
        ),
        (&["--nonsense"], "unexpected argument '--nonsense'"),
        (&["send-test"], "--url <URL>"),
        (&["send-test", "--url", "x", "--event", "opened"], "possible values: sent, open"),
    ];
    for (args, expected) in cases {
        let output = tap(args);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        assert!(message.contains(expected), "{args:?}: {message}");
        assert!(output.stdout.is_empty());
    }
}
