//! Certificates that a test creates, and a client that verifies them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::tap::Tap;

/// A certificate that a client trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustAnchor(CertificateDer<'static>);

/// A self-signed certificate for 127.0.0.1.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate, in PEM.
    pub pem: String,
    /// Its private key, in PEM.
    pub private_key: String,
    trust: TrustAnchor,
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}

impl Certificate {
    /// Creates a certificate that is valid for decades.
    #[must_use]
    pub fn new() -> Self {
        Self::with_params(|_| {})
    }

    /// Creates a certificate with changed parameters.
    #[must_use]
    pub fn with_params(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address is a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Certificate {
            pem: certificate.pem(),
            private_key: key.serialize_pem(),
            trust: TrustAnchor(certificate.der().clone()),
        }
    }

    /// Creates a root, an intermediate certificate, and a certificate for 127.0.0.1 that it has issued.
    /// Returns the last, and the intermediate one in PEM.
    #[must_use]
    pub fn issued() -> (Self, String) {
        let authority = |name: &str| {
            let mut params = CertificateParams::new([]).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            (params, KeyPair::generate().expect("a key"))
        };
        let (root_params, root_key) = authority("Test root");
        let root = root_params.self_signed(&root_key).expect("a certificate");
        let (params, key) = authority("Test intermediate");
        let intermediate =
            params.signed_by(&key, &Issuer::from_params(&root_params, &root_key)).expect("a certificate");
        let names = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address is a name");
        let own_key = KeyPair::generate().expect("a key");
        let own = names.signed_by(&own_key, &Issuer::from_params(&params, &key)).expect("a certificate");
        let certificate = Certificate {
            pem: own.pem(),
            private_key: own_key.serialize_pem(),
            trust: TrustAnchor(root.der().clone()),
        };
        (certificate, intermediate.pem())
    }

    /// What a client needs to trust the certificate.
    #[must_use]
    pub fn trust(&self) -> &TrustAnchor {
        &self.trust
    }

    /// The certificate as DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.trust.0
    }

    /// Writes both files, the certificate first, as certbot does.
    pub fn write_into(&self, folder: &Path) {
        fs::write(folder.join("certificate.pem"), &self.pem).expect("a file");
        fs::write(folder.join("private-key.pem"), &self.private_key).expect("a file");
    }
}

impl Tap {
    /// Serves HTTPS with the files that [`Certificate::write_into`] writes into the tap's folder.
    #[must_use]
    pub fn with_tls(self, certificate: &Certificate) -> Self {
        certificate.write_into(self.folder());
        let file =
            |name: &str| self.folder().join(name).to_str().expect("a temporary path is text").to_owned();
        let (certificate, private_key) = (file("certificate.pem"), file("private-key.pem"));
        self.set("tls_certificate", certificate).set("tls_private_key", private_key)
    }
}

/// The configuration of a client that trusts only this certificate.
#[must_use]
pub fn client(trust: &TrustAnchor) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trust.0.clone()).expect("a certificate");
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports them")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
