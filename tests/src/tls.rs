//! Certificates that a test makes itself, and a client that checks them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::tap::Tap;

/// A certificate that a client takes for the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust(CertificateDer<'static>);

/// A certificate for 127.0.0.1 that its own key has signed.
#[derive(Debug)]
pub struct Certificate {
    /// As a PEM file has it.
    pub pem: String,
    /// Its private key, as a PEM file has it.
    pub private_key: String,
    trust: Trust,
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}

impl Certificate {
    /// A new one, valid for decades.
    #[must_use]
    pub fn new() -> Self {
        Self::changed(|_| {})
    }

    /// A new one that is not as usual.
    #[must_use]
    pub fn changed(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address is a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Certificate {
            pem: certificate.pem(),
            private_key: key.serialize_pem(),
            trust: Trust(certificate.der().clone()),
        }
    }

    /// What a client needs to take it for the right one.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The certificate: DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.trust.0
    }

    /// Writes both files, first the certificate, as certbot does.
    pub fn write_into(&self, folder: &Path) {
        fs::write(folder.join("certificate.pem"), &self.pem).expect("a file");
        fs::write(folder.join("private-key.pem"), &self.private_key).expect("a file");
    }
}

impl Tap {
    /// Speaks TLS, with the files that [`Certificate::write_into`] writes into its folder.
    #[must_use]
    pub fn with_tls(self, certificate: &Certificate) -> Self {
        certificate.write_into(self.folder());
        let file =
            |name: &str| self.folder().join(name).to_str().expect("a temporary path is text").to_owned();
        let (certificate, private_key) = (file("certificate.pem"), file("private-key.pem"));
        self.set("tls_certificate", certificate).set("tls_private_key", private_key)
    }
}

/// A client that takes one certificate for the right one.
#[must_use]
pub fn client(trust: &Trust) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trust.0.clone()).expect("a certificate");
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
