//! Clients that speak another protocol than the listener: what their first bytes show, and what to change.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::warn;

use crate::os::log_throttle::LogThrottle;

/// How many bytes decide: the length of HTTP/2's preface.
const FIRST_BYTES: usize = 24;
/// What a header of the PROXY protocol, version 2, begins with.
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The first bytes that a client has sent. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct FirstBytes(Arc<Mutex<Vec<u8>>>);

/// A stream that notes the first bytes that are read from it.
#[derive(Debug)]
pub(super) struct Noting<S> {
    stream: S,
    first: FirstBytes,
    is_complete: bool,
}

impl<S> Noting<S> {
    pub(super) fn new(stream: S, first: FirstBytes) -> Self {
        Noting { stream, first, is_complete: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if !self.is_complete {
            let mut first = self.first.0.lock();
            let missing = FIRST_BYTES - first.len();
            first.extend(buffer.filled()[before..].iter().take(missing));
            let is_complete = first.len() == FIRST_BYTES;
            drop(first);
            self.is_complete = is_complete;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noting<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The log of such clients.
#[derive(Debug, Default)]
pub(super) struct ForeignProtocolLog(Mutex<LogThrottle>);

impl ForeignProtocolLog {
    /// Logs what a client of a connection that has failed seems to speak, unless it is what the listener
    /// speaks, or that was logged a moment ago.
    pub(super) fn log(&self, first: &FirstBytes, is_tls: bool) {
        let Some(advice) = advice(&first.0.lock(), is_tls) else { return };
        if let Some(suppressed) = self.0.lock().allow() {
            warn!("a client cannot be understood: {advice}{suppressed}");
        }
    }
}

/// Returns which protocol a client's first bytes show, and what to change.
fn advice(first: &[u8], is_tls: bool) -> Option<&'static str> {
    let is_http =
        [b"POST ".as_slice(), b"GET ", b"HEAD ", b"PUT "].iter().any(|verb| first.starts_with(verb));
    if first.starts_with(b"PROXY ") || first.starts_with(PROXY_V2) {
        return Some(
            "it begins with the PROXY protocol, which the tap does not speak. Switch it off in the load \
             balancer or proxy (send-proxy, proxy_protocol), and let the proxy send X-Forwarded-For",
        );
    }
    if first.starts_with(b"PRI * HTTP/2.0") {
        return Some(
            "it speaks HTTP/2 from the start, and the tap speaks HTTP/1.1. Set the proxy to HTTP/1.1 towards \
             the tap",
        );
    }
    match (first, is_tls) {
        ([0x16, 0x03, ..], false) => Some(
            "it speaks TLS, and this port does not. Set tls_certificate and tls_private_key, or let the \
             proxy speak plain HTTP to the tap",
        ),
        (_, true) if is_http => Some(
            "it speaks plain HTTP, and this port speaks TLS. Its URL must begin with https://, or remove \
             tls_certificate if a proxy in front of the tap speaks TLS",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_named_only_where_the_listener_speaks_another() {
        let cases: [(&[u8], bool, Option<&str>); 10] = [
            (b"PROXY TCP4 192.0.2.1", false, Some("PROXY")),
            (b"PROXY TCP4 192.0.2.1", true, Some("PROXY")),
            (b"\r\n\r\n\0\r\nQUIT\n!\x11", false, Some("PROXY")),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false, Some("HTTP/2")),
            (b"\x16\x03\x01\x02\0\x01", false, Some("speaks TLS")),
            (b"\x16\x03\x01\x02\0\x01", true, None),
            (b"POST /v1/mailjet/", true, Some("plain HTTP")),
            (b"POST /v1/mailjet/", false, None),
            (b"garbage", false, None),
            (b"", true, None),
        ];
        for (first, is_tls, expected) in cases {
            let advice = advice(first, is_tls);
            assert_eq!(advice.is_some(), expected.is_some(), "{first:?}");
            assert!(
                expected.is_none_or(|part| advice.is_some_and(|advice| advice.contains(part))),
                "{first:?}"
            );
        }
    }
}
