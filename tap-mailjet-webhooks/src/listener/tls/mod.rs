//! TLS: the handshake, and a certificate that is replaced while connections go on.

pub(super) mod files;

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{error, info, warn};

use files::{Identity, Stamp, Standing, TlsError, TlsFiles, Validity};

/// How often the files are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// What speaks TLS for a listener.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    provider: Arc<CryptoProvider>,
    files: TlsFiles,
    /// What the files were when they were read first.
    loaded: Stamp,
    current: Arc<Current>,
}

/// What new connections are shown.
#[derive(Debug)]
struct Current {
    identity: RwLock<Identity>,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let identity = self.identity.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&identity.key))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads certificate and private key.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        // Before they are read: what changes meanwhile is read again.
        let loaded = files.stamp();
        let current = Arc::new(Current { identity: RwLock::new(files.read(&provider)?) });
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3 are what the provider is for")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { acceptor: Arc::new(config).into(), provider, files, loaded, current })
    }

    /// Answers a client's handshake, however long that takes.
    pub(super) async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }

    /// Tells how the certificate stands, and takes up what the files hold when they change. Connections that are open keep
    /// what they were shown. Never ends.
    pub(super) async fn follow(self) {
        let mut told = Standing::Good;
        let mut tried = self.loaded.clone();
        let mut seen = tried.clone();
        loop {
            let validity = self.validity();
            let standing = validity.standing(UnixTime::now());
            if standing != told {
                self.tell(standing, validity);
                told = standing;
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
            let stamp = self.stamp().await;
            // Whoever writes two files, or a large one, is let finish.
            if stamp == seen && stamp != tried {
                tried.clone_from(&stamp);
                self.replace().await;
            }
            seen = stamp;
        }
    }

    async fn replace(&self) {
        let Tls { files, provider, .. } = self.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || files.read(&provider)).await else { return };
        let path = self.files.certificate.display();
        let now = UnixTime::now();
        match read {
            Ok(identity) => {
                let until = identity.validity.until();
                let is_worse = identity.validity.standing(now) == Standing::Expired
                    && self.validity().standing(now) != Standing::Expired;
                if is_worse {
                    warn!("the new certificate in {path} expired on {until}; the old one stays in use");
                    return;
                }
                *self.current.identity.write().unwrap_or_else(PoisonError::into_inner) = identity;
                info!(
                    "the certificate in {path} was replaced; new connections get the new one, valid until {until}"
                );
            }
            Err(error) => warn!("certificate and key were changed, and the old ones stay in use: {error}"),
        }
    }

    fn validity(&self) -> Validity {
        self.current.identity.read().unwrap_or_else(PoisonError::into_inner).validity
    }

    async fn stamp(&self) -> Stamp {
        let files = self.files.clone();
        // A file system that does not answer must not keep a thread that answers webhooks.
        tokio::task::spawn_blocking(move || files.stamp()).await.expect("looking at files does not panic")
    }

    fn tell(&self, standing: Standing, validity: Validity) {
        let path = self.files.certificate.display();
        let renew = "renew it: a new one is taken up while the tap runs";
        match standing {
            Standing::Good => {}
            Standing::EndsSoon => {
                warn!("the certificate in {path} is valid until {} only; {renew}", validity.until());
            }
            Standing::NotYetValid => {
                error!(
                    "the certificate in {path} is not valid before {}: clients that check it post nothing. Is the clock \
                     right?",
                    validity.from()
                );
            }
            Standing::Expired => {
                error!(
                    "the certificate in {path} expired on {}: clients that check it post nothing; {renew}",
                    validity.until()
                );
            }
        }
    }
}
