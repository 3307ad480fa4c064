//! What a body that is not JSON looks like, as far as its bytes show it.

/// How many bytes decide.
const HEAD_BYTES: usize = 1024;

/// What files and streams of a format begin with, and what to call the format.
const SIGNATURES: [(&[u8], &str); 11] = [
    (b"\x1f\x8b", "gzip data"),
    (b"\x28\xb5\x2f\xfd", "Zstandard data"),
    (b"BZh", "bzip2 data"),
    (b"PK\x03\x04", "a ZIP file"),
    (b"\x78\x01", "zlib data (deflate)"),
    (b"\x78\x9c", "zlib data (deflate)"),
    (b"\x78\xda", "zlib data (deflate)"),
    (b"\xff\xfe\0\0", "text in UTF-32"),
    (b"\0\0\xfe\xff", "text in UTF-32"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
];

/// Names the format that a body seems to have; `None` if nothing shows it.
pub(super) fn name_format(body: &[u8]) -> Option<&'static str> {
    let head = &body[..body.len().min(HEAD_BYTES)];
    let signature = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature));
    if let Some((_, name)) = signature {
        return Some(name);
    }
    // JSON begins with two ASCII characters.
    match head.first_chunk().map(|first: &[u8; 4]| first.map(|byte| byte == 0)) {
        Some([true, true, true, false] | [false, true, true, true]) => return Some("text in UTF-32"),
        Some([true, false, true, false] | [false, true, false, true]) => return Some("text in UTF-16"),
        _ => {}
    }
    let text = head.trim_ascii_start();
    let has = |part: &[u8]| text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
    if text.starts_with(b"--") && has(b"content-disposition:") {
        return Some("a multipart form");
    }
    if text.starts_with(b"<") {
        let is_html = has(b"<html") || has(b"<!doctype html");
        return Some(if is_html { "HTML" } else { "XML" });
    }
    is_form(text).then_some("a URL-encoded form")
}

/// Whether the text begins as `name=value` does, with a name that a form would send without quotes.
fn is_form(text: &[u8]) -> bool {
    let name = text.split(|byte| *byte == b'=').next().unwrap_or_default();
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.%+[]*".contains(byte);
    name.len() < text.len() && name.first().is_some_and(|first| *first != b'[') && name.iter().all(is_of_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_named_only_where_the_bytes_show_it() {
        let utf16: Vec<u8> = "{\"event\"".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf16_be: Vec<u8> = "{\"event\"".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let cases: [(&[u8], Option<&str>); 16] = [
            (b"\x1f\x8b\x08\0", Some("gzip data")),
            (b"\x78\x9c\xab", Some("zlib data (deflate)")),
            (b"\x28\xb5\x2f\xfd\x04", Some("Zstandard data")),
            (&utf16, Some("text in UTF-16")),
            (&utf16_be, Some("text in UTF-16")),
            (b"\xff\xfe{\0", Some("text in UTF-16")),
            (b"\xff\xfe\0\0{\0\0\0", Some("text in UTF-32")),
            (b"{\0\0\0\"\0\0\0", Some("text in UTF-32")),
            (b"event=open&time=1", Some("a URL-encoded form")),
            (b"payload%5B0%5D=x", Some("a URL-encoded form")),
            (b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n", Some("a multipart form")),
            (b" <!DOCTYPE html><html>", Some("HTML")),
            (b"<?xml version=\"1.0\"?>", Some("XML")),
            (b"garbage", None),
            (b"a b=c", None),
            (b"", None),
        ];
        for (body, expected) in cases {
            assert_eq!(name_format(body), expected, "{:?}", String::from_utf8_lossy(body));
        }
    }
}
