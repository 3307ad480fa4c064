//! A small HTTP/1.1 client that keeps connections alive and can also misbehave.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::Value;

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::tap::TOKEN;
use crate::tls::{self, TrustAnchor};
use crate::wait::{self, DEADLINE};

/// The address and path of a server, and how to connect to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The server's address.
    pub address: SocketAddr,
    /// The path, including the token.
    pub path: String,
    /// For HTTPS: the certificate that the client trusts.
    pub trust: Option<TrustAnchor>,
    /// The local address to connect from, if it matters.
    pub source: Option<IpAddr>,
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<Stream>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The head as received, including the status line.
    pub head: String,
    /// The body.
    pub body: String,
}

/// An address at which nothing listens, for programs that must have the same one after a restart.
#[must_use]
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

impl Endpoint {
    /// Parses a URL such as `http://127.0.0.1:8480/v1/mailjet/…`. For https, call [`Endpoint::trusting`] too.
    #[must_use]
    pub fn parse(url: &str) -> Self {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let rest = rest.unwrap_or_else(|| panic!("not an http URL: {url}"));
        let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let address = address.parse().unwrap_or_else(|_| panic!("not a socket address: {url}"));
        Endpoint { address, path: path.to_owned(), trust: None, source: None }
    }

    /// The webhook URL of a test's tap that listens at `address`.
    #[must_use]
    pub fn webhook_at(address: SocketAddr) -> Self {
        Endpoint { address, path: format!("/v1/mailjet/{TOKEN}"), trust: None, source: None }
    }

    /// Waits until the server has read everything that was sent to it.
    pub fn wait_read(&self) {
        let port = format!(":{:04X}", self.address.port());
        wait::until("the server reads everything sent to it", || {
            let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux lists its sockets");
            // Local address, remote address, state, and the bytes that wait to be acknowledged and to be
            // read.
            let waits = |line: &str| {
                let columns: Vec<_> = line.split_whitespace().collect();
                let [_, local, remote, _, queues, ..] = columns[..] else { return false };
                (local.ends_with(&port) && !queues.ends_with(":00000000"))
                    || (remote.ends_with(&port) && !queues.starts_with("00000000:"))
            };
            (!sockets.lines().any(waits)).then_some(())
        });
    }

    /// The same server over HTTPS; it must show a certificate that `trust` accepts.
    #[must_use]
    pub fn trusting(self, trust: &TrustAnchor) -> Self {
        Endpoint { trust: Some(trust.clone()), ..self }
    }

    /// The same server, with connections from another loopback address, such as 127.0.0.2.
    #[must_use]
    pub fn from_source(self, source: &str) -> Self {
        Endpoint { source: Some(source.parse().expect("an address")), ..self }
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.trust.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.address, self.path)
    }

    /// The same server with another path.
    #[must_use]
    pub fn with_path(&self, path: &str) -> Self {
        Endpoint { path: path.to_owned(), ..self.clone() }
    }

    /// Opens a connection.
    #[must_use]
    pub fn connect(&self) -> Client {
        self.try_connect().unwrap_or_else(|error| panic!("{}: {error}", self.address))
    }

    /// Opens a connection, or returns the error.
    pub fn try_connect(&self) -> io::Result<Client> {
        let tcp = open(self.source, self.address)?;
        match &self.trust {
            None => Ok(Client { stream: BufReader::new(Stream::Plain(tcp)) }),
            Some(trust) => Client::connect_tls_over(tcp, self.address, tls::client(trust)),
        }
    }

    /// Posts `body` on a new connection.
    #[must_use]
    pub fn post(&self, body: impl AsRef<[u8]>) -> Reply {
        self.post_with(&[], body)
    }

    /// Posts `body` with additional headers.
    #[must_use]
    pub fn post_with(&self, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
        let body = body.as_ref();
        let mut client = self.connect();
        client.send(post_head(&self.path, headers, body.len()));
        client.send(body);
        client.reply()
    }

    /// Posts `body` and asserts that the answer is 200.
    pub fn post_accepted(&self, body: impl AsRef<[u8]>) {
        let reply = self.post(body);
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    /// Sends a request without a body, with any method, on a new connection.
    #[must_use]
    pub fn request(&self, method: &str) -> Reply {
        self.try_request(method).expect("an answer")
    }

    /// The same, but returns an error if there is no answer.
    pub fn try_request(&self, method: &str) -> io::Result<Reply> {
        let mut client = self.try_connect()?;
        let host = self.address;
        client.try_send(format!("{method} {} HTTP/1.1\r\nHost: {host}\r\n\r\n", self.path))?;
        client.reply_to(method)
    }
}

impl Client {
    /// Opens a connection to `address`.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Client { stream: BufReader::new(Stream::Plain(open(None, address)?)) })
    }

    /// Opens a TLS connection to `address`. The server's certificate must be valid for the address.
    pub fn connect_tls(address: SocketAddr, config: ClientConfig) -> io::Result<Self> {
        Self::connect_tls_over(open(None, address)?, address, config)
    }

    fn connect_tls_over(mut tcp: TcpStream, address: SocketAddr, config: ClientConfig) -> io::Result<Self> {
        let name = address.ip().into();
        let mut tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(Client { stream: BufReader::new(Stream::Tls(Box::new(StreamOwned::new(tls, tcp)))) })
    }

    /// The certificate that the server has shown, as DER.
    #[must_use]
    pub fn peer_certificate(&self) -> &[u8] {
        let Stream::Tls(stream) = self.stream.get_ref() else { panic!("this is plain HTTP") };
        &stream.conn.peer_certificates().expect("a handshake")[0]
    }

    /// The protocol that client and server have negotiated.
    #[must_use]
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        let Stream::Tls(stream) = self.stream.get_ref() else { panic!("this is plain HTTP") };
        stream.conn.alpn_protocol()
    }

    /// Posts `body` and reads the answer. The connection stays open.
    pub fn post(&mut self, path: &str, body: &str) -> io::Result<Reply> {
        let mut request = post_head(path, &[], body.len()).into_bytes();
        request.extend_from_slice(body.as_bytes());
        self.stream.get_mut().write_all(&request)?;
        self.try_reply()
    }

    /// Sends any bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let stream = self.stream.get_mut();
        stream.write_all(bytes.as_ref()).and_then(|()| stream.flush()).expect("the server accepts the bytes");
    }

    /// Sends bytes that the server may no longer accept.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Reads an answer.
    #[must_use]
    pub fn reply(&mut self) -> Reply {
        self.try_reply().expect("an answer")
    }

    /// Reads an answer, or returns the error.
    pub fn try_reply(&mut self) -> io::Result<Reply> {
        self.reply_to("POST")
    }

    fn reply_to(&mut self, method: &str) -> io::Result<Reply> {
        let head = self.head()?;
        let mut lines = head.lines();
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let mut reply = Reply {
            status: status.ok_or_else(|| io::Error::other(format!("no status: {status_line}")))?,
            headers,
            head,
            body: String::new(),
        };
        // An answer to HEAD states a body's length but has no body; a 100 has neither.
        if method != "HEAD" && reply.status != 100 {
            let length = reply.header("content-length").map_or(0, |value| value.parse().expect("a length"));
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body)?;
            reply.body = String::from_utf8(body).expect("answers are text");
        }
        Ok(reply)
    }

    fn head(&mut self) -> io::Result<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before an answer"));
            }
        }
        Ok(head)
    }

    /// Waits until the server closes the connection, and returns what it sent before.
    #[must_use]
    pub fn read_until_closed(&mut self) -> String {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            // A TLS connection that is cut off ends without a close_notify.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {}
            Err(error) => panic!("the connection is not closed: {error}"),
        }
        String::from_utf8_lossy(&rest).into_owned()
    }
}

fn open(source: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect_timeout(&address.into(), DEADLINE)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    Ok(stream)
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

impl Reply {
    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body, parsed as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        crate::message::value(&self.body)
    }

    /// The whole answer except its date.
    #[must_use]
    pub fn without_date(&self) -> String {
        let head: Vec<_> =
            self.head.lines().filter(|line| !line.to_lowercase().starts_with("date:")).collect();
        format!("{}\n\n{}", head.join("\n"), self.body)
    }
}

/// The head of a POST, including the empty line.
#[must_use]
pub fn post_head(path: &str, headers: &[(&str, &str)], length: usize) -> String {
    head(path, headers, &format!("Content-Length: {length}"))
}

/// The head of a POST with a chunked body.
#[must_use]
pub fn chunked_head(path: &str) -> String {
    head(path, &[], "Transfer-Encoding: chunked")
}

/// A chunk of a chunked body. An empty one ends the body.
#[must_use]
pub fn chunk(bytes: &str) -> String {
    format!("{:x}\r\n{bytes}\r\n", bytes.len())
}

fn head(path: &str, headers: &[(&str, &str)], framing: &str) -> String {
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: test\r\n{framing}\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head + "\r\n"
}
