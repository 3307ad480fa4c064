//! The resource `/v3/REST/eventcallbackurl`, with its oddities.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{API_KEY, Account, EVENT_TYPES, Row, SECRET_KEY};

const RESOURCE: &str = "/v3/REST/eventcallbackurl";
/// How many rows a page has if nobody says otherwise.
const DEFAULT_LIMIT: usize = 10;

/// What a call gets in place of its proper answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// No fault: this call is answered.
    None,
    /// 429, which is HTML and does not say how long to wait.
    TooMany,
    /// A status with any body.
    Answer(u16, &'static str),
    /// The call is carried out, but the connection breaks before the answer.
    LostAnswer,
    /// The answer takes its time.
    Slow(Duration),
    /// Somebody registers this URL for this event before the call is carried out.
    Overtaken(&'static str, String),
}

/// A running API.
#[derive(Debug)]
pub struct Api {
    /// Its API key. The secret key is [`SECRET_KEY`].
    pub key: String,
    /// Its account.
    pub account: Account,
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The header that a call must have.
    authorization: String,
    /// Faults of the next calls, by their method; an empty one fits every method.
    faults: Mutex<VecDeque<(&'static str, Fault)>>,
    calls: Mutex<Vec<String>>,
    is_stopping: AtomicBool,
}

struct Request {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    authorization: String,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Api {
    fn default() -> Self {
        Self::start()
    }
}

impl Api {
    /// Starts an API with an account that has no rows.
    #[must_use]
    pub fn start() -> Self {
        Api::start_with_key(API_KEY)
    }

    /// The same for another API key, such as that of a sub-account.
    #[must_use]
    pub fn start_with_key(key: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let account = Account::default();
        let authorization = format!("Basic {}", base64(&format!("{key}:{SECRET_KEY}")));
        let shared = Arc::new(Shared { authorization, ..Shared::default() });
        let (in_thread, rows) = (Arc::clone(&shared), account.clone());
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if in_thread.is_stopping.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, account) = (Arc::clone(&in_thread), rows.clone());
                thread::spawn(move || drop(serve(connection, &shared, &account)));
            }
        });
        Api { key: key.to_owned(), account, address, shared }
    }

    /// What `mailjet_api_url` has to be.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next calls with `method` meet these faults, one each. An empty method fits every call.
    pub fn fail_next(&self, method: &'static str, faults: impl IntoIterator<Item = Fault>) {
        locked(&self.shared.faults).extend(faults.into_iter().map(|fault| (method, fault)));
    }

    /// Forgets the faults that no call has met.
    pub fn clear_faults(&self) {
        locked(&self.shared.faults).clear();
    }

    /// The calls so far, as method and path without a query.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        locked(&self.shared.calls).clone()
    }

    /// How many calls so far were not GET.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.calls().iter().filter(|call| !call.starts_with("GET")).count()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers one call.
fn serve(connection: TcpStream, shared: &Shared, account: &Account) -> io::Result<()> {
    connection.set_read_timeout(Some(crate::wait::DEADLINE))?;
    let mut reader = BufReader::new(connection.try_clone()?);
    let request = read(&mut reader)?;
    locked(&shared.calls).push(format!("{} {}", request.method, request.path));
    let fault = {
        let mut faults = locked(&shared.faults);
        let fits = |(method, _): &(&str, Fault)| method.is_empty() || *method == request.method;
        let position = faults.iter().position(fits);
        position.and_then(|position| faults.remove(position)).map_or(Fault::None, |(_, fault)| fault)
    };
    let answer = |request: &Request, account: &Account| match request.authorization == shared.authorization {
        true => answer(request, account),
        false => Answer { status: 401, content_type: "text/html", body: String::new() },
    };
    let html = |status, body: &str| Answer { status, content_type: "text/html", body: body.to_owned() };
    let answered = match fault {
        Fault::None => answer(&request, account),
        Fault::TooMany => html(429, "<html><title>429 Too Many Requests</title></html>"),
        Fault::Answer(status, body) => html(status, body),
        Fault::LostAnswer => {
            drop(answer(&request, account));
            return Ok(());
        }
        Fault::Slow(delay) => {
            thread::sleep(delay);
            answer(&request, account)
        }
        Fault::Overtaken(event_type, url) => {
            account.add(event_type, &url, false);
            answer(&request, account)
        }
    };
    let Answer { status, content_type, body } = answered;
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: \
         close\r\n\r\n"
    );
    // Neither 204 nor 304 has a length or a body.
    let head = match status {
        204 | 304 => format!("HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n"),
        _ => head,
    };
    let mut connection = connection;
    connection.write_all(head.as_bytes())?;
    connection.write_all(body.as_bytes())
}

fn read(reader: &mut impl BufRead) -> io::Result<Request> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (method, path) = (method.to_owned(), path.to_owned());
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap_or((&header, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => value.trim().clone_into(&mut authorization),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Request { method, path, query, authorization, body })
}

fn json_answer(status: u16, body: &Value) -> Answer {
    Answer { status, content_type: "application/json", body: body.to_string() }
}

/// An error. `ErrorInfo` is text for some, and an object for others.
fn refusal(status: u16, message: &str) -> Answer {
    let info = if message.starts_with("MJ18") { json!("") } else { json!({ "Detail": message }) };
    json_answer(status, &json!({ "ErrorInfo": info, "ErrorMessage": message, "StatusCode": status }))
}

fn answer(request: &Request, account: &Account) -> Answer {
    let Some(rest) = request.path.strip_prefix(RESOURCE) else {
        let body = "<html><title>404 Not Found</title></html>".to_owned();
        return Answer { status: 404, content_type: "text/html", body };
    };
    let fields: Map<String, Value> = serde_json::from_slice(&request.body).unwrap_or_default();
    let mut rows = account.lock();
    match (request.method.as_str(), rest.strip_prefix('/')) {
        ("GET", None) => list(request, &rows),
        ("POST", None) => create(&fields, &mut rows),
        // These exist, and do what they say.
        ("DELETE", None) => {
            rows.clear();
            json_answer(204, &Value::Null)
        }
        ("PUT", None) => {
            for row in rows.iter_mut() {
                let _ = update(&fields, row);
            }
            json_answer(200, &Value::Null)
        }
        (method, Some(id)) => {
            let position = rows.iter().position(|row| row.id.to_string() == id);
            let Some(position) = position else { return refusal(404, "Object not found") };
            match method {
                "GET" => envelope(200, &[&rows[position]]),
                "PUT" => update(&fields, &mut rows[position]),
                "DELETE" => {
                    rows.remove(position);
                    json_answer(204, &Value::Null)
                }
                _ => refusal(405, "Method not allowed"),
            }
        }
        _ => refusal(405, "Method not allowed"),
    }
}

/// Base64, computed here so that nothing is shared with the client.
fn base64(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for digit in 0..4 {
            let value = usize::try_from((bits >> (18 - 6 * digit)) & 63).expect("six bits");
            let is_padding = digit > u32::try_from(chunk.len()).expect("three bytes");
            encoded.push(if is_padding { '=' } else { char::from(ALPHABET[value]) });
        }
    }
    encoded
}

/// A page has 10 rows unless `Limit` says otherwise. `Limit=0` means 1000, and switches `Offset` off. `Total`
/// is the count of the page.
fn list(request: &Request, rows: &[Row]) -> Answer {
    let parameter = |name: &str| request.query.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let number = |name: &str| parameter(name).and_then(|value| value.parse::<usize>().ok());
    let (limit, offset) = match (number("Limit"), number("Offset")) {
        (Some(0), _) => (1000, 0),
        (limit, offset) => (limit.unwrap_or(DEFAULT_LIMIT), offset.unwrap_or(0)),
    };
    let fits = |row: &&Row| {
        let code = EVENT_TYPES.iter().find(|(name, _)| *name == row.event_type).map(|(_, code)| *code);
        let is = |name: &str, value: &str| parameter(name).is_none_or(|wanted| wanted == value);
        (is("EventType", &row.event_type) || is("EventType", &code.unwrap_or(0).to_string()))
            && is("Status", if row.is_alive { "alive" } else { "dead" })
            && is("Version", &row.version.to_string())
            && is("Backup", if row.is_backup { "true" } else { "false" })
    };
    let page: Vec<_> = rows.iter().filter(fits).skip(offset).take(limit).collect();
    envelope(200, &page)
}

fn envelope(status: u16, rows: &[&Row]) -> Answer {
    let data: Vec<_> = rows.iter().map(|row| shown(row)).collect();
    json_answer(status, &json!({ "Count": data.len(), "Data": data, "Total": data.len() }))
}

/// A row, with fields that the documentation does not mention.
fn shown(row: &Row) -> Value {
    json!({
        "AccountID": null,
        "APIKeyID": 1_234_567,
        "EventType": row.event_type,
        "ID": row.id,
        "IsBackup": row.is_backup,
        "Region": "eu",
        "Status": if row.is_alive { "alive" } else { "dead" },
        "Topic": {"Name": "", "Tags": []},
        "Url": row.url,
        "Version": row.version,
    })
}

fn create(fields: &Map<String, Value>, rows: &mut Vec<Row>) -> Answer {
    let event_type = fields.get("EventType").and_then(Value::as_str).unwrap_or_default();
    let Some((name, code)) = EVENT_TYPES.iter().find(|(name, _)| *name == event_type) else {
        return refusal(400, "MJ04 Invalid value for property EventType");
    };
    let is_backup = match fields.get("IsBackup") {
        None => false,
        Some(Value::Bool(is_backup)) => *is_backup,
        // The text "false" is no boolean.
        Some(_) => return refusal(400, "MJ04 Invalid value for property IsBackup"),
    };
    if rows.iter().any(|row| row.event_type == *name && row.is_backup == is_backup) {
        let message = format!(
            "MJ18 A EventCallbackURL resource with value \"{code}|{is_backup}\" for EventType|Backup already \
             exists."
        );
        return refusal(400, &message);
    }
    let id = rows.iter().map(|row| row.id).max().unwrap_or(90_000) + 13;
    let mut row =
        Row { id, event_type: (*name).to_owned(), url: String::new(), is_backup, is_alive: true, version: 1 };
    let set = update(fields, &mut row);
    if row.url.is_empty() || set.status == 400 {
        return refusal(400, "MJ03 A non-empty value is required for property Url");
    }
    rows.push(row);
    envelope(201, &[rows.last().expect("a row")])
}

/// Changes only what is named. A suspended URL is revived only by a new one. If nothing changes, the answer
/// is 304 without a body.
fn update(fields: &Map<String, Value>, row: &mut Row) -> Answer {
    let before = row.clone();
    if let Some(url) = fields.get("Url") {
        let Some(url) = url.as_str().filter(|url| url.starts_with("http")) else {
            return refusal(400, "MJ04 Invalid value for property Url");
        };
        if url != row.url {
            url.clone_into(&mut row.url);
            row.is_alive = true;
        }
    }
    if let Some(version) = fields.get("Version").and_then(Value::as_u64) {
        row.version = version;
    }
    if *row == before {
        return json_answer(304, &Value::Null);
    }
    envelope(200, &[row])
}
