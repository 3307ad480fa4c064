//! Certificate and private key, from their files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use catalog::plugin::paths::{self, FileError};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;

use crate::os::clock::UnixMillis;

/// The end of the year 9999: there is no date after it in a certificate.
const END_OF_DATES: Duration = Duration::from_secs(253_402_300_799);
/// How long before its end a certificate is told to end soon.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Why the files are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("config key \"{key}\": {source}. It has to be {right}, and readable for this user")]
    File {
        /// The key that names the file.
        key: &'static str,
        /// What is wrong with it.
        source: FileError,
        /// What would be right.
        right: &'static str,
    },
    /// A file does not hold what it has to.
    #[error("config key \"{key}\": {path} {reason}. It has to be {right}")]
    Wrong {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What would be right.
        right: &'static str,
    },
    /// The key is that of another certificate.
    #[error(
        "config key \"tls_private_key\": {private_key} is not the key of the certificate in {certificate}. It has to be the \
         one that belongs to the first certificate in that file"
    )]
    Mismatch {
        /// `tls_private_key`.
        private_key: PathBuf,
        /// `tls_certificate`.
        certificate: PathBuf,
    },
}

/// The files that `tls_certificate` and `tls_private_key` name.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, and those that lead from it to an authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub private_key: PathBuf,
}

/// One of the two: its key in the configuration, and what it has to be.
struct Kind {
    key: &'static str,
    right: &'static str,
}

const CERTIFICATE: Kind = Kind {
    key: "tls_certificate",
    right: "a PEM file with the server's certificate (BEGIN CERTIFICATE) and, behind it, those that lead to its authority",
};
const PRIVATE_KEY: Kind = Kind {
    key: "tls_private_key",
    right: "a PEM file with the certificate's private key (BEGIN PRIVATE KEY), not encrypted: RSA, ECDSA or Ed25519",
};

/// What the files held when they were read.
#[derive(Debug)]
pub(in crate::listener) struct Identity {
    pub(in crate::listener) key: Arc<CertifiedKey>,
    pub(in crate::listener) validity: Validity,
}

/// Which files they are, and in which state: it changes with whatever is done to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::listener) struct Stamp([Option<[i64; 7]>; 2]);

impl TlsFiles {
    /// Reads both.
    pub(in crate::listener) fn read(&self, provider: &CryptoProvider) -> Result<Identity, TlsError> {
        let text = read(&CERTIFICATE, &self.certificate)?;
        let wrong = |reason| wrong(&CERTIFICATE, &self.certificate, reason);
        let chain = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| wrong(format!("is not PEM ({error})")))?;
        let Some(first) = chain.first() else { return Err(wrong("holds no certificate".to_owned())) };
        let validity = Validity::of(first).map_err(wrong)?;

        let text = read(&PRIVATE_KEY, &self.private_key)?;
        let private_key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
            let reason = match error {
                pem::Error::NoItemsFound if contains(&text, b"ENCRYPTED PRIVATE KEY") => {
                    "is encrypted, and nobody is here to type its password".to_owned()
                }
                pem::Error::NoItemsFound => "holds no private key".to_owned(),
                error => format!("is not PEM ({error})"),
            };
            self::wrong(&PRIVATE_KEY, &self.private_key, reason)
        })?;
        let private_key = provider.key_provider.load_private_key(private_key).map_err(|_| {
            self::wrong(&PRIVATE_KEY, &self.private_key, "holds a private key that can't be used".to_owned())
        })?;
        let key = CertifiedKey::new(chain, private_key);
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                let TlsFiles { certificate, private_key } = self.clone();
                return Err(TlsError::Mismatch { private_key, certificate });
            }
            Err(error) => return Err(wrong(format!("holds a certificate that can't be used ({error})"))),
        }
        Ok(Identity { key: Arc::new(key), validity })
    }

    /// The state of both. Of a link, that of the file that it leads to: certbot replaces links.
    pub(in crate::listener) fn stamp(&self) -> Stamp {
        Stamp([&self.certificate, &self.private_key].map(|path| {
            let file = fs::metadata(path).ok()?;
            let numbers = [file.dev(), file.ino(), file.size()].map(u64::cast_signed);
            let [device, inode, size] = numbers;
            Some([device, inode, size, file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()])
        }))
    }
}

fn read(kind: &Kind, path: &Path) -> Result<Vec<u8>, TlsError> {
    paths::read_regular(path).map_err(|source| TlsError::File { key: kind.key, source, right: kind.right })
}

fn wrong(kind: &Kind, path: &Path, reason: String) -> TlsError {
    TlsError::Wrong { key: kind.key, path: path.to_owned(), reason, right: kind.right }
}

fn contains(text: &[u8], sought: &[u8]) -> bool {
    memchr::memmem::find(text, sought).is_some()
}

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy)]
pub(in crate::listener) struct Validity {
    from: Option<UnixTime>,
    until: Option<UnixTime>,
}

/// How a certificate stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::listener) enum Standing {
    NotYetValid,
    Good,
    EndsSoon,
    Expired,
}

impl Validity {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let parsed = webpki::EndEntityCert::try_from(certificate)
            .map_err(|error| format!("holds a certificate that can't be used ({error})"))?;
        // The library that clients check certificates with tells the dates when it refuses one for them, and looks at them
        // before anything else.
        let refused_at = |at: Duration| {
            let at = UnixTime::since_unix_epoch(at);
            let usage = webpki::KeyUsage::server_auth();
            parsed.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[], &[], at, usage, None, None).err()
        };
        let from = match refused_at(Duration::ZERO) {
            Some(webpki::Error::CertNotValidYet { not_before, .. }) => Some(not_before),
            _ => None,
        };
        let until = match refused_at(END_OF_DATES) {
            Some(webpki::Error::CertExpired { not_after, .. }) => Some(not_after),
            _ => None,
        };
        Ok(Validity { from, until })
    }

    pub(in crate::listener) fn standing(&self, now: UnixTime) -> Standing {
        let is_past = |time: UnixTime, ahead: Duration| now.as_secs() + ahead.as_secs() > time.as_secs();
        if self.until.is_some_and(|until| is_past(until, Duration::ZERO)) {
            Standing::Expired
        } else if self.from.is_some_and(|from| now.as_secs() < from.as_secs()) {
            Standing::NotYetValid
        } else if self.until.is_some_and(|until| is_past(until, SOON)) {
            Standing::EndsSoon
        } else {
            Standing::Good
        }
    }

    pub(in crate::listener) fn from(&self) -> String {
        date(self.from)
    }

    pub(in crate::listener) fn until(&self) -> String {
        date(self.until)
    }
}

fn date(time: Option<UnixTime>) -> String {
    let millis = time.and_then(|time| i64::try_from(time.as_secs()).ok()).map(|seconds| seconds * 1000);
    millis.map_or_else(|| "further notice".to_owned(), |millis| UnixMillis::new(millis).to_rfc3339())
}
