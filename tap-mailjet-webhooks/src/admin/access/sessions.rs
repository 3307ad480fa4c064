//! Who is signed in. Users sign in with the password or, if there is none, with a link that works once.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use warp::http::HeaderMap;
use warp::http::header::COOKIE;

/// How many wrong tries are allowed within [`TRY_INTERVAL`], for all clients together.
const MAX_WRONG_TRIES: usize = 5;
const TRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long a session lasts without a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(12 * 3600);
/// How many sessions there are at most. A further one ends the one that has been idle longest.
const MAX_SESSIONS: usize = 50;
/// The name of the cookie.
const COOKIE_NAME: &str = "tap_session";

/// The password of the status page, kept as given.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct AdminPassword(SecretString);

impl TryFrom<String> for AdminPassword {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() { Err("it is empty") } else { Ok(AdminPassword(text.into())) }
    }
}

/// A secret of 128 random bits, as 32 hexadecimal digits. It is never shown by `Debug`.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Secret(format!("{:032x}", u128::from_be_bytes(bytes)).into()))
    }

    /// The digits, for the one place where they belong: a cookie, a form or the one-time link.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether `text` is the secret. They are compared in constant time.
    pub fn is(&self, text: &str) -> bool {
        is_same(self.expose(), text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Compares in constant time: hashes have one length, so not even the length of the secret shows.
fn is_same(secret: &str, text: &str) -> bool {
    Sha256::digest(secret.as_bytes()).ct_eq(&Sha256::digest(text.as_bytes())).into()
}

/// Why nobody was signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInError {
    /// The password or the link is wrong, or the link was used already.
    Wrong,
    /// There were too many wrong tries. This one was not looked at.
    TooMany,
    /// The system's random source failed.
    Random,
}

/// The sessions of a process. They end with it. Each has `D`, which the page keeps for it.
#[derive(Debug)]
pub struct Sessions<D> {
    password: Option<AdminPassword>,
    state: Mutex<State<D>>,
}

#[derive(Debug)]
struct State<D> {
    one_time: Option<Secret>,
    sessions: Vec<Session<D>>,
    wrong_tries: VecDeque<Instant>,
}

#[derive(Debug)]
struct Session<D> {
    id: Secret,
    /// What its forms must send, because another site's page can make a browser send the cookie.
    form_token: Secret,
    last_used: Instant,
    data: D,
}

impl<D: Default> Sessions<D> {
    /// Nobody is signed in yet.
    pub fn new(password: Option<AdminPassword>) -> Self {
        let state = State { one_time: None, sessions: Vec::new(), wrong_tries: VecDeque::new() };
        Sessions { password, state: Mutex::new(state) }
    }

    /// Whether there is a password.
    pub fn have_password(&self) -> bool {
        self.password.is_some()
    }

    /// Returns the secret of a link that signs in once, in place of any link before.
    pub fn one_time_link(&self) -> Result<Secret, getrandom::Error> {
        let secret = Secret::random()?;
        self.state.lock().one_time = Some(secret.clone());
        Ok(secret)
    }

    /// Signs in with the password. Returns the value of the header `Set-Cookie`.
    pub fn sign_in(&self, password: &str, is_tls: bool) -> Result<String, SignInError> {
        let right = self.password.as_ref();
        self.try_at(Instant::now(), is_tls, |_| {
            right.is_some_and(|right| is_same(right.0.expose_secret(), password))
        })
    }

    /// Signs in with the secret of the one-time link.
    pub fn use_link(&self, secret: &str, is_tls: bool) -> Result<String, SignInError> {
        self.try_at(Instant::now(), is_tls, |state| {
            let is_right = state.one_time.as_ref().is_some_and(|right| right.is(secret));
            if is_right {
                state.one_time = None;
            }
            is_right
        })
    }

    fn try_at(
        &self,
        now: Instant,
        is_tls: bool,
        is_right: impl FnOnce(&mut State<D>) -> bool,
    ) -> Result<String, SignInError> {
        let mut state = self.state.lock();
        while state.wrong_tries.front().is_some_and(|tried| now.duration_since(*tried) >= TRY_INTERVAL) {
            state.wrong_tries.pop_front();
        }
        if state.wrong_tries.len() >= MAX_WRONG_TRIES {
            return Err(SignInError::TooMany);
        }
        if !is_right(&mut state) {
            state.wrong_tries.push_back(now);
            return Err(SignInError::Wrong);
        }
        let random = || Secret::random().map_err(|_| SignInError::Random);
        let session = Session { id: random()?, form_token: random()?, last_used: now, data: D::default() };
        let secure = if is_tls { "; Secure" } else { "" };
        let cookie =
            format!("{COOKIE_NAME}={}; Path=/; HttpOnly; SameSite=Strict{secure}", session.id.expose());
        state.sessions.retain(|session| now.duration_since(session.last_used) < IDLE_TIMEOUT);
        if state.sessions.len() >= MAX_SESSIONS {
            let idle = state.sessions.iter().enumerate().min_by_key(|(_, session)| session.last_used);
            if let Some((index, _)) = idle {
                state.sessions.swap_remove(index);
            }
        }
        state.sessions.push(session);
        Ok(cookie)
    }

    /// Returns the form token of the session that a request belongs to; `None` if its sender is not signed
    /// in.
    pub fn form_token(&self, headers: &HeaderMap) -> Option<Secret> {
        self.form_token_at(Instant::now(), headers)
    }

    fn form_token_at(&self, now: Instant, headers: &HeaderMap) -> Option<Secret> {
        let id = session_id(headers)?;
        let mut state = self.state.lock();
        let session = state.sessions.iter_mut().find(|session| session.id.is(id))?;
        if now.duration_since(session.last_used) >= IDLE_TIMEOUT {
            return None;
        }
        session.last_used = now;
        Some(session.form_token.clone())
    }

    /// Reads or changes what is kept for the session with a form token. Returns `None` if it has ended.
    pub fn with_data<T>(&self, form_token: &Secret, work: impl FnOnce(&mut D) -> T) -> Option<T> {
        let mut state = self.state.lock();
        let mut sessions = state.sessions.iter_mut();
        let session = sessions.find(|session| session.form_token.is(form_token.expose()))?;
        Some(work(&mut session.data))
    }

    /// Ends the session that a request belongs to. Returns the value of the header `Set-Cookie`.
    pub fn sign_out(&self, headers: &HeaderMap) -> String {
        if let Some(id) = session_id(headers) {
            self.state.lock().sessions.retain(|session| !session.id.is(id));
        }
        format!("{COOKIE_NAME}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
    }
}

/// Returns the id in the cookie of a request.
fn session_id(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies =
        lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find(|(name, _)| *name == COOKIE_NAME).map(|(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_password() -> Sessions<u8> {
        Sessions::new(Some(AdminPassword::try_from(" hunter2 ".to_owned()).expect("a password")))
    }

    fn sent_back(set_cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let cookie = format!("theme=dark; {}", set_cookie.split(';').next().expect("a cookie"));
        headers.insert(COOKIE, cookie.parse().expect("a header"));
        headers
    }

    #[test]
    fn a_password_is_taken_as_it_is_and_signs_in_until_the_user_signs_out() {
        let sessions = with_password();
        assert_eq!(sessions.sign_in("hunter2", false), Err(SignInError::Wrong));
        let cookie = sessions.sign_in(" hunter2 ", false).expect("the password");
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
        assert!(sessions.sign_in(" hunter2 ", true).expect("it").ends_with("; Secure"));
        let headers = sent_back(&cookie);
        let token = sessions.form_token(&headers).expect("a session");
        assert!(sessions.form_token(&headers).expect("the same").is(token.expose()));
        assert!(sessions.form_token(&HeaderMap::new()).is_none());
        assert_eq!(sessions.with_data(&token, |data| std::mem::replace(data, 7)), Some(0));
        assert_eq!(sessions.with_data(&token, |data| *data), Some(7));
        assert!(sessions.sign_out(&headers).contains("Max-Age=0"));
        assert!(sessions.form_token(&headers).is_none());
        assert_eq!(sessions.with_data(&token, |_| ()), None);
        assert!(!format!("{sessions:?} {token:?}").contains("hunter2"));
    }

    #[test]
    fn a_one_time_link_signs_in_once() {
        let sessions = Sessions::<()>::new(None);
        assert_eq!(sessions.use_link("", false), Err(SignInError::Wrong));
        let (first, second) =
            (sessions.one_time_link().expect("random"), sessions.one_time_link().expect("random"));
        assert_eq!(sessions.use_link(first.expose(), false), Err(SignInError::Wrong), "it was replaced");
        sessions.use_link(second.expose(), false).expect("the link");
        assert_eq!(sessions.use_link(second.expose(), false), Err(SignInError::Wrong));
        assert_eq!(sessions.sign_in("", false), Err(SignInError::Wrong), "there is no password");
    }

    #[test]
    fn five_wrong_tries_a_second_are_looked_at_and_no_more() {
        let sessions = with_password();
        let start = Instant::now();
        let wrong = |after| {
            sessions.try_at(start + Duration::from_millis(after), false, |_| false).expect_err("it is wrong")
        };
        assert_eq!([0, 0, 100, 200, 900].map(wrong), [SignInError::Wrong; 5]);
        let right = |after| sessions.try_at(start + Duration::from_millis(after), false, |_| true);
        assert_eq!(right(950), Err(SignInError::TooMany), "not even a right one");
        right(1_001).expect("the first tries are a second ago");
        assert_eq!(
            [1_001, 1_002, 1_003].map(wrong),
            [SignInError::Wrong, SignInError::Wrong, SignInError::TooMany]
        );
    }

    #[test]
    fn sessions_end_when_they_are_idle_and_their_number_is_bounded() {
        let sessions = with_password();
        let start = Instant::now();
        let first = sent_back(&sessions.try_at(start, false, |_| true).expect("a session"));
        assert!(sessions.form_token_at(start + IDLE_TIMEOUT / 2, &first).is_some());
        assert!(sessions.form_token_at(start + IDLE_TIMEOUT, &first).is_some(), "it was used meanwhile");
        assert!(sessions.form_token_at(start + 3 * IDLE_TIMEOUT, &first).is_none());
        for _ in 0..=MAX_SESSIONS {
            sessions.try_at(start + IDLE_TIMEOUT, false, |_| true).expect("a session");
        }
        assert_eq!(sessions.state.lock().sessions.len(), MAX_SESSIONS);
    }
}
