//! HTTPS without a proxy: handshakes, and certificates that are good, bad or replaced.

use std::fs;
use std::os::unix::fs::symlink;

use end_to_end::events::{DOCUMENTED_EVENTS, numbered_event};
use end_to_end::http::{Client, free_address};
use end_to_end::oracle::Oracle;
use end_to_end::tap::{RunningTap, Tap};
use end_to_end::tls::{Certificate, client};
use end_to_end::wait;
use rcgen::date_time_ymd;
use rustls::{AlertDescription, ClientConfig};

/// Waits until the listener shows `certificate` to new connections.
fn wait_shown(listener: &RunningTap, certificate: &Certificate) {
    let endpoint = listener.endpoint().trusting(certificate.trust());
    wait::until("the listener shows the new certificate", || endpoint.try_connect().ok());
}

#[test]
fn with_a_certificate_webhooks_are_accepted_over_https_only() {
    let certificate = Certificate::new();
    let tap = Tap::new().with_tls(&certificate);
    let listener = tap.listen().start();
    let line = listener.program.stderr().wait_for("listening on ");
    assert!(line.contains("listening on https://127.0.0.1:"), "{line}");
    let endpoint = listener.endpoint().trusting(certificate.trust());
    let mut connection = endpoint.connect();
    for event in DOCUMENTED_EVENTS {
        assert_eq!(connection.post(&endpoint.path, event).expect("an answer").status, 200);
    }
    let mut plain = listener.endpoint().connect();
    plain.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(!plain.read_until_closed().contains("HTTP"));
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    assert_eq!(tap.spool().events().len(), 8);

    let printed =
        Tap::new().with_created_urls().with_tls(&certificate).url(&["new"]).finish().stdout.remove(0);
    assert!(printed.starts_with("https://127.0.0.1:0/v1/mailjet/"), "{printed}");
}

#[test]
fn the_negotiated_protocol_is_http_1_1() {
    let certificate = Certificate::new();
    let tap = Tap::new().with_tls(&certificate);
    let listener = tap.listen().start();
    let address = listener.endpoint().address;
    let offering = |protocols: &[&str]| -> ClientConfig {
        let mut config = client(certificate.trust());
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    };
    for (offered, agreed) in [(&[][..], None), (&["h2", "http/1.1"], Some(&b"http/1.1"[..]))] {
        let connection = Client::connect_tls(address, offering(offered)).expect("a handshake");
        assert_eq!(connection.alpn_protocol(), agreed);
    }
    let refused = Client::connect_tls(address, offering(&["h2"])).expect_err("there is no HTTP/2");
    let expected = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
    assert_eq!(refused.to_string(), expected.to_string());
}

/// Such a handshake neither blocks other clients nor stays open.
#[test]
fn an_unfinished_handshake_is_cut_off() {
    let certificate = Certificate::new();
    let tap = Tap::new().with_tls(&certificate).set("header_timeout_seconds", 1);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint().trusting(certificate.trust());
    let mut unfinished: Vec<_> = [&b""[..], b"\x16\x03\x01\x02\x00\x01"]
        .map(|start| {
            let mut connection = listener.endpoint().connect();
            connection.send(start);
            connection
        })
        .into();
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    for connection in &mut unfinished {
        assert_eq!(connection.read_until_closed(), "");
    }
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    // It does not keep the tap from ending either.
    let tap = Tap::new().with_tls(&certificate).set("header_timeout_seconds", 1000);
    let listener = tap.listen().start();
    let _silent = listener.endpoint().connect();
    let _idle = listener.endpoint().trusting(certificate.trust()).connect();
    let finished = listener.stop();
    finished.assert_code(0);
    assert!(!finished.stderr_contains("cut off"), "{:?}", finished.stderr);
}

/// As certbot replaces certificates: by links that point elsewhere.
#[test]
fn a_new_certificate_is_used_and_no_connection_is_dropped() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let tap = Tap::new().with_tls(&old);
    for (name, certificate) in [("old", &old), ("new", &new)] {
        let folder = tap.folder().join(name);
        fs::create_dir(&folder).expect("a folder");
        certificate.write_into(&folder);
    }
    let link = |name: &str| {
        for file in ["certificate.pem", "private-key.pem"] {
            let link = tap.folder().join("link");
            symlink(tap.folder().join(name).join(file), &link).expect("a link");
            fs::rename(link, tap.folder().join(file)).expect("the link is renamed");
        }
    };
    link("old");
    let listener = tap.listen().start();
    let endpoint = listener.endpoint().trusting(old.trust());
    let oracle = Oracle::start(endpoint.clone(), 2);
    let mut open = endpoint.connect();
    assert_eq!(open.post(&endpoint.path, DOCUMENTED_EVENTS[0]).expect("an answer").status, 200);
    assert_eq!(open.peer_certificate(), old.der());
    link("new");
    wait_shown(&listener, &new);
    assert!(endpoint.try_connect().is_err(), "the old certificate is no longer shown");
    oracle.wait_acknowledged(100);
    let sent = oracle.stop();
    assert_eq!(
        open.post(&endpoint.path, DOCUMENTED_EVENTS[0]).expect("the connection is still open").status,
        200
    );
    assert_eq!(tap.spool().events().len(), sent.acknowledged() + 2);
    let line = listener.program.stderr().wait_for("was replaced");
    assert!(line.contains("certificate.pem"), "{line}");
}

#[test]
fn an_invalid_certificate_does_not_replace_a_valid_one() {
    let old = Certificate::new();
    let tap = Tap::new().with_tls(&old);
    let listener = tap.listen().start();
    let endpoint = listener.endpoint().trusting(old.trust());
    endpoint.post_accepted(DOCUMENTED_EVENTS[0]);
    let expired = Certificate::with_params(|params| params.not_after = date_time_ymd(2020, 1, 1));
    let (file, key_file) = (tap.folder().join("certificate.pem"), tap.folder().join("private-key.pem"));
    let stderr = listener.program.stderr();
    fs::write(&file, "torn").expect("a file");
    let _ = stderr.wait_for("holds no certificate");
    endpoint.post_accepted(numbered_event(1));
    fs::remove_file(&file).expect("the file exists");
    let _ = stderr.wait_for("cannot be read");
    endpoint.post_accepted(numbered_event(2));
    fs::write(&file, &expired.pem).expect("a file");
    let _ = stderr.wait_for("is not the key of the certificate");
    endpoint.post_accepted(numbered_event(3));
    fs::write(&key_file, &expired.private_key).expect("a file");
    let _ = stderr.wait_for("the new certificate");
    endpoint.post_accepted(numbered_event(4));
    let new = Certificate::new();
    new.write_into(tap.folder());
    wait_shown(&listener, &new);
    listener.endpoint().trusting(new.trust()).post_accepted(numbered_event(5));
}

#[test]
fn unusable_files_are_errors_that_name_the_file_and_what_it_must_be() {
    let good = Certificate::new();
    let not_pem = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned();
    let not_a_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned();
    let certificate = ("certificate.pem", "tls_certificate");
    let private_key = ("private-key.pem", "tls_private_key");
    let cases = [
        (certificate, None, "No such file"),
        (certificate, Some(String::new()), "holds no certificate"),
        (certificate, Some("hello".to_owned()), "holds no certificate"),
        (certificate, Some(good.private_key.clone()), "holds no certificate"),
        (certificate, Some(not_pem.to_owned()), "is not PEM"),
        (certificate, Some(not_pem.replace('!', "AAAA")), "holds a certificate that cannot be used"),
        (private_key, None, "No such file"),
        (private_key, Some(good.pem.clone()), "holds no private key"),
        (private_key, Some(encrypted), "is encrypted"),
        (private_key, Some(not_a_key), "cannot be used"),
        (private_key, Some(Certificate::new().private_key), "is not the key of the certificate in"),
    ];
    for ((file, key), content, reason) in cases {
        let tap = Tap::new().with_tls(&good);
        let path = tap.folder().join(file);
        match content {
            Some(content) => fs::write(&path, content).expect("a file"),
            None => fs::remove_file(&path).expect("the file exists"),
        }
        let finished = tap.listen().finish();
        let error = finished.only_error();
        for part in [key, path.to_str().expect("text"), reason, "It has to be"] {
            assert!(error.contains(part), "{part} is missing: {error}");
        }
        assert!(!finished.stderr_contains("listening"), "{:?}", finished.stderr);
    }
    let tap = Tap::new().with_tls(&good);
    let error = tap.listen().set("tls_private_key", serde_json::Value::Null).finish();
    assert!(error.only_error().contains("set both or neither"), "{:?}", error.stderr);
}

/// Clients that do not verify certificates keep working after one expires, and events keep flowing.
#[test]
fn a_certificate_outside_its_validity_is_reported_and_used() {
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(24 * 3600);
    let cases = [
        (
            Certificate::with_params(|params| params.not_after = date_time_ymd(2020, 1, 1)),
            "expired on 2020-01-01",
        ),
        (
            Certificate::with_params(|params| params.not_before = date_time_ymd(4000, 1, 1)),
            "not valid before 4000",
        ),
        (Certificate::with_params(|params| params.not_after = soon.into()), "is valid until"),
    ];
    for (certificate, warning) in cases {
        let tap = Tap::new().with_tls(&certificate).set("listen_address", free_address().to_string());
        let listener = tap.listen().start();
        let line = listener.program.stderr().wait_for(warning);
        assert!(line.contains("certificate.pem"), "{line}");
        let connected = listener.endpoint().trusting(certificate.trust()).try_connect();
        assert_eq!(connected.is_ok(), warning == "is valid until", "for a client that verifies it");
        listener.stop().assert_code(0);
    }
    let good = Tap::new().with_tls(&Certificate::new());
    let finished = good.listen().start();
    let _ = finished.endpoint();
    assert!(!finished.stop().stderr_contains("certificate in"));
}

/// `cat leaf chain` where the first file has no line break at its end, an editor's byte order mark,
/// indentation.
#[test]
fn certificates_are_found_however_the_file_was_put_together() {
    let (certificate, intermediate) = Certificate::issued();
    let leaf = certificate.pem.trim_end();
    let indented = |pem: &str| pem.replace('\n', "\n   ");
    for text in [
        format!("{leaf}{intermediate}"),
        format!("\u{feff}{leaf}\r\n{intermediate}"),
        format!("   {}{}", indented(&certificate.pem), indented(&intermediate)),
    ] {
        let tap = Tap::new().with_tls(&certificate);
        fs::write(tap.folder().join("certificate.pem"), text).expect("a file");
        let listener = tap.listen().start();
        listener.endpoint().trusting(certificate.trust()).post_accepted(DOCUMENTED_EVENTS[0]);
        let finished = listener.stop();
        assert!(!finished.stderr_contains("tls_certificate"), "{:?}", finished.stderr);
    }
}

/// Mailjet does not fetch an intermediate certificate that the server does not send.
#[test]
fn a_chain_that_clients_refuse_is_a_warning_that_says_so() {
    let (certificate, intermediate) = Certificate::issued();
    let foreign = Certificate::new();
    for (text, expected) in [
        (certificate.pem.clone(), "holds only the server's certificate"),
        (format!("{}{}", certificate.pem, foreign.pem), "certificate 2 in the file is not the issuer"),
        (format!("{}{intermediate}", certificate.pem), ""),
    ] {
        let tap = Tap::new().with_tls(&certificate);
        fs::write(tap.folder().join("certificate.pem"), text).expect("a file");
        let listener = tap.listen().start();
        let _ = listener.endpoint();
        let finished = listener.stop();
        finished.assert_code(0);
        let warnings: Vec<_> =
            finished.stderr.iter().filter(|line| line.contains("tls_certificate")).collect();
        assert_eq!(warnings.len(), usize::from(!expected.is_empty()), "{warnings:?}");
        assert!(warnings.iter().all(|line| line.contains(expected)), "{warnings:?}");
    }
}

#[test]
fn plain_http_on_the_tls_port_leaves_a_warning_that_says_what_to_change() {
    let certificate = Certificate::new();
    let tap = Tap::new().with_tls(&certificate);
    let listener = tap.listen().start();
    let mut plain = listener.endpoint().connect();
    plain.send("POST / HTTP/1.1\r\nHost: test\r\n\r\n");
    let warning = listener.program.stderr().wait_for("a client cannot be understood");
    assert!(warning.contains("it speaks plain HTTP") && warning.contains("https://"), "{warning}");
}
