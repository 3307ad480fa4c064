//! PEM files as people leave them: joined without a line break, indented, or saved by an editor that adds a
//! byte order mark.

use catalog::byte_order_mark::without_byte_order_mark;
use memchr::memmem;

/// Returns the text of a PEM file with each boundary on a line of its own.
pub(super) fn tidy(text: &[u8]) -> Vec<u8> {
    let text = without_byte_order_mark(text);
    let mut tidy = Vec::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(start) = memmem::find(rest, b"-----BEGIN ") {
        push_lines(&mut tidy, &rest[..start]);
        rest = &rest[start..];
        let end = memmem::find(rest, b"-----END ").map_or(rest.len(), |end| {
            let label = end + b"-----END ".len();
            let dashes = memmem::find(&rest[label..], b"-----");
            dashes.map_or(rest.len(), |dashes| label + dashes + b"-----".len())
        });
        push_lines(&mut tidy, &rest[..end]);
        rest = &rest[end..];
    }
    push_lines(&mut tidy, rest);
    tidy
}

/// Appends lines without the space around them. The last one gets a line break, too.
fn push_lines(out: &mut Vec<u8>, text: &[u8]) {
    for line in text.split(|byte| *byte == b'\n') {
        let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
        let start = line.iter().position(|byte| !is_space(byte)).unwrap_or(line.len());
        let end = line.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
        out.extend_from_slice(&line[start..end]);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn certificates_are_found_however_the_file_was_put_together() {
        let one = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----";
        let indented = one.replace('\n', "\n    ");
        for text in [
            format!("{one}\n{one}\n"),
            format!("{one}{one}"),
            format!("\u{feff}{one}\r\n{one}"),
            format!("    {indented}\n\t{indented}"),
            format!("subject=/CN=a{one}issuer=/CN=b{one}\0\0"),
            format!("{}\r\n{}", one.replace('\n', "\r\n"), one.replace('\n', " \r\n")),
        ] {
            let found: Vec<_> = CertificateDer::pem_slice_iter(&tidy(text.as_bytes())).collect();
            assert_eq!(found.len(), 2, "{text:?}");
            for certificate in found {
                assert_eq!(certificate.expect("a certificate").as_ref(), [1, 2, 3], "{text:?}");
            }
        }
        assert!(CertificateDer::from_pem_slice(&tidy(b"-----BEGIN CERTIFICATE-----\nAQID\n")).is_err());
    }
}
