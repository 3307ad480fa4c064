//! TLS: the handshake, and a certificate that can be replaced while the listener runs.

pub(super) mod files;
mod follower;
mod pem;

use std::io;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::files::{Certificate, FileStamps, TlsError, TlsFiles};

/// Speaks TLS for a listener.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    files: TlsFiles,
    /// The stamps of the files when they were first read.
    first_stamps: FileStamps,
    current: Arc<CurrentCertificate>,
}

/// The certificate that new connections get.
#[derive(Debug)]
struct CurrentCertificate(RwLock<Certificate>);

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().certified_key))
    }
}

impl Tls {
    /// Reads the certificate and its private key.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        // Taken before the files are read, so that a change in between is noticed later.
        let first_stamps = files.stamps();
        let current = Arc::new(CurrentCertificate(RwLock::new(files.read()?)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider supports TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { config: Arc::new(config), files, first_stamps, current })
    }

    /// Does the handshake with a client. It has no timeout.
    pub(super) async fn handshake<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await
    }
}
