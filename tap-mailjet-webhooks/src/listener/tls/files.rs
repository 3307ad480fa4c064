//! The certificate and its private key, as read from their files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use catalog::plugin::paths::{self, FileError};
use memchr::memmem;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::{CertifiedKey, SigningKey};

use super::pem::tidy;

use crate::os::clock::UnixMillis;

/// The end of the year 9999. No date in a certificate is later.
const LAST_DATE: Duration = Duration::from_secs(253_402_300_799);
/// How long before its end a certificate counts as about to expire.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum TlsError {
    #[error(
        "config key \"{}\": {source}. It has to be {}, and readable for this user",
        kind.key,
        kind.expected
    )]
    File { kind: &'static FileKind, source: FileError },
    #[error("config key \"{}\": {path} {reason}. It has to be {}", kind.key, kind.expected)]
    Invalid { kind: &'static FileKind, path: PathBuf, reason: String },
    #[error(
        "config key \"tls_private_key\": {private_key} is not the key of the certificate in {certificate}. \
         It has to belong to the first certificate in that file"
    )]
    Mismatch { private_key: PathBuf, certificate: PathBuf },
}

/// The files that `tls_certificate` and `tls_private_key` name.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's certificate and the intermediate certificates.
    pub certificate: PathBuf,
    /// Its private key.
    pub private_key: PathBuf,
}

/// What error messages say about a file: the key that names it, and what it has to be.
#[derive(Debug)]
pub struct FileKind {
    key: &'static str,
    expected: &'static str,
}

static CERTIFICATE: FileKind = FileKind {
    key: "tls_certificate",
    expected: "a PEM file with the server's certificate (BEGIN CERTIFICATE), followed by the intermediate \
               certificates",
};
static PRIVATE_KEY: FileKind = FileKind {
    key: "tls_private_key",
    expected: "a PEM file with the certificate's private key (BEGIN PRIVATE KEY), not encrypted: RSA, \
               ECDSA or Ed25519",
};

#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) certified_key: Arc<CertifiedKey>,
    pub(super) validity_period: ValidityPeriod,
    /// What is wrong with the chain, and what clients will see of it.
    pub(super) chain_problems: Vec<String>,
}

/// Identifies both files and their last changes, so it differs after any change to one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileStamps([Option<[i64; 7]>; 2]);

impl TlsFiles {
    pub(super) fn read(&self) -> Result<Certificate, TlsError> {
        let (chain, validity_period) = self.read_chain()?;
        let private_key = self.read_private_key()?;
        let certified_key = CertifiedKey::new(chain, private_key);
        match certified_key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
                let chain_problems = chain_problems(&certified_key.cert, UnixTime::now());
                Ok(Certificate { certified_key: Arc::new(certified_key), validity_period, chain_problems })
            }
            Err(rustls::Error::InconsistentKeys(_)) => {
                let TlsFiles { certificate, private_key } = self.clone();
                Err(TlsError::Mismatch { private_key, certificate })
            }
            Err(error) => {
                let reason = format!("holds a certificate that cannot be used ({error})");
                Err(TlsError::Invalid { kind: &CERTIFICATE, path: self.certificate.clone(), reason })
            }
        }
    }

    /// Reads the certificate, and those that follow it in the file.
    fn read_chain(&self) -> Result<(Vec<CertificateDer<'static>>, ValidityPeriod), TlsError> {
        let invalid =
            |reason| TlsError::Invalid { kind: &CERTIFICATE, path: self.certificate.clone(), reason };
        let text = paths::read_regular(&self.certificate)
            .map_err(|source| TlsError::File { kind: &CERTIFICATE, source })?;
        let chain = CertificateDer::pem_slice_iter(&tidy(&text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| invalid(format!("is not PEM ({error})")))?;
        let has_key = memmem::find(&text, b"PRIVATE KEY-----").is_some();
        let first = chain.first().ok_or_else(|| {
            let hint = if has_key { " but a private key, as if the two settings were swapped" } else { "" };
            invalid(format!("holds no certificate{hint}"))
        })?;
        let validity_period = ValidityPeriod::from_certificate(first).map_err(invalid)?;
        Ok((chain, validity_period))
    }

    fn read_private_key(&self) -> Result<Arc<dyn SigningKey>, TlsError> {
        let invalid =
            |reason| TlsError::Invalid { kind: &PRIVATE_KEY, path: self.private_key.clone(), reason };
        let text = paths::read_regular(&self.private_key)
            .map_err(|source| TlsError::File { kind: &PRIVATE_KEY, source })?;
        let private_key = PrivateKeyDer::from_pem_slice(&tidy(&text)).map_err(|error| {
            invalid(match error {
                pem::Error::NoItemsFound if memmem::find(&text, b"ENCRYPTED PRIVATE KEY").is_some() => {
                    "is encrypted, and there is no way to enter its password".to_owned()
                }
                pem::Error::NoItemsFound => "holds no private key".to_owned(),
                error => format!("is not PEM ({error})"),
            })
        })?;
        ring::sign::any_supported_type(&private_key)
            .map_err(|_| invalid("holds a private key that cannot be used".to_owned()))
    }

    /// Returns the stamps of both files. Links are followed, because certbot replaces links.
    pub(super) fn stamps(&self) -> FileStamps {
        FileStamps([&self.certificate, &self.private_key].map(|path| {
            let file = fs::metadata(path).ok()?;
            let [device, inode, size] = [file.dev(), file.ino(), file.size()].map(u64::cast_signed);
            Some([device, inode, size, file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()])
        }))
    }
}

/// Returns what is wrong with the certificates that follow the server's own. Browsers may fetch or know
/// what is missing; most programs do not, Mailjet's among them.
fn chain_problems(chain: &[CertificateDer<'_>], now: UnixTime) -> Vec<String> {
    let parsed: Vec<_> = chain.iter().map_while(|der| webpki::EndEntityCert::try_from(der).ok()).collect();
    let mut problems = Vec::new();
    if let Some(number) = (parsed.len() < chain.len()).then_some(parsed.len() + 1) {
        problems.push(format!("certificate {number} in the file cannot be read"));
    }
    if let [only] = &parsed[..]
        && chain.len() == 1
        && only.issuer() != only.subject()
    {
        problems.push(
            "the file holds only the server's certificate: unless a root has issued it, clients refuse it, \
             because they do not fetch the missing intermediate certificate. Append it (certbot's \
             fullchain.pem has it)"
                .to_owned(),
        );
    }
    for (number, pair) in (1..).zip(parsed.windows(2)) {
        if pair[0].issuer() != pair[1].subject() {
            let next = number + 1;
            problems.push(format!(
                "certificate {next} in the file is not the issuer of certificate {number}: clients that do \
                 not know the right one refuse the connection. Put the intermediate certificates in the \
                 order in which each issues the one before it"
            ));
        }
    }
    for (number, der) in (2..).zip(chain.iter().skip(1)) {
        let Ok(period) = ValidityPeriod::from_certificate(der) else { continue };
        let (start, end) = (date_text(period.start), date_text(period.end));
        let problem = match period.validity_at(now) {
            Validity::Valid => continue,
            Validity::ExpiresSoon => format!("is valid until {end} only"),
            Validity::NotYetValid => format!("is not valid before {start}: clients refuse the connection"),
            Validity::Expired => format!("expired on {end}: clients refuse the connection"),
        };
        problems.push(format!("certificate {number} in the file, an intermediate one, {problem}"));
    }
    problems
}

/// The first and the last moment at which a certificate is valid; `None` for one that cannot be determined.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValidityPeriod {
    pub(super) start: Option<UnixTime>,
    pub(super) end: Option<UnixTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    NotYetValid,
    Valid,
    ExpiresSoon,
    Expired,
}

impl ValidityPeriod {
    fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let parsed = webpki::EndEntityCert::try_from(certificate)
            .map_err(|error| format!("holds a certificate that cannot be used ({error})"))?;
        // The verifier checks the dates before anything else, and its errors contain them.
        let refused_at = |at: Duration| {
            let at = UnixTime::since_unix_epoch(at);
            let usage = webpki::KeyUsage::server_auth();
            parsed.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[], &[], at, usage, None, None).err()
        };
        let start = match refused_at(Duration::ZERO) {
            Some(webpki::Error::CertNotValidYet { not_before, .. }) => Some(not_before),
            _ => None,
        };
        let end = match refused_at(LAST_DATE) {
            Some(webpki::Error::CertExpired { not_after, .. }) => Some(not_after),
            _ => None,
        };
        Ok(ValidityPeriod { start, end })
    }

    pub(super) fn validity_at(&self, moment: UnixTime) -> Validity {
        let ends_before = |seconds| self.end.is_some_and(|end| end.as_secs() < seconds);
        if ends_before(moment.as_secs()) {
            Validity::Expired
        } else if self.start.is_some_and(|start| start.as_secs() > moment.as_secs()) {
            Validity::NotYetValid
        } else if ends_before(moment.as_secs() + SOON.as_secs()) {
            Validity::ExpiresSoon
        } else {
            Validity::Valid
        }
    }
}

pub(super) fn date_text(time: Option<UnixTime>) -> String {
    let millis = time.and_then(|time| i64::try_from(time.as_secs()).ok()).map(|seconds| seconds * 1000);
    millis.map_or_else(|| "an unknown date".to_owned(), |millis| UnixMillis::new(millis).to_rfc3339())
}
