//! Follows the files of the certificate and its key while the listener runs.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use tracing::{error, info, warn};

use super::files::{FileStamps, TlsFiles, Validity, ValidityPeriod};
use super::{CurrentCertificate, Tls};
use crate::os::thread::ThreadError;
use crate::os::worker::{Round, Worker};

/// How often the files are checked for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Replaces the current certificate when the files change.
pub(super) struct Follower {
    provider: Arc<CryptoProvider>,
    files: TlsFiles,
    current: Arc<CurrentCertificate>,
    /// The stamps of the files when they were last read.
    stamps_read: FileStamps,
    /// The stamps of the files at the last check.
    stamps_seen: FileStamps,
    /// The validity that was last logged.
    logged: Validity,
}

impl Follower {
    pub(super) fn new(tls: &Tls) -> Self {
        Follower {
            provider: Arc::clone(&tls.provider),
            files: tls.files.clone(),
            current: Arc::clone(&tls.current),
            stamps_read: tls.first_stamps.clone(),
            stamps_seen: tls.first_stamps.clone(),
            logged: Validity::Valid,
        }
    }

    pub(super) fn start(mut self) -> Result<Worker<Infallible>, ThreadError> {
        self.log_validity();
        Worker::start("tls-files", CHECK_INTERVAL, move |round| {
            if round == Round::Regular {
                self.check_files();
                self.log_validity();
            }
            Ok(())
        })
    }

    fn check_files(&mut self) {
        let stamps = self.files.stamps();
        // Writing both files takes a while: they are read once they have not changed for an interval.
        if stamps == self.stamps_seen && stamps != self.stamps_read {
            self.stamps_read.clone_from(&stamps);
            self.reload();
        }
        self.stamps_seen = stamps;
    }

    fn reload(&self) {
        let path = self.files.certificate.display();
        let is_expired = |period: ValidityPeriod| period.validity_at(UnixTime::now()) == Validity::Expired;
        match self.files.read(&self.provider) {
            Ok(new) if is_expired(new.validity_period) && !is_expired(self.current.validity_period()) => {
                let end = new.validity_period.end_text();
                warn!("the new certificate in {path} expired on {end}; the tap keeps using the old one");
            }
            Ok(new) => {
                let end = new.validity_period.end_text();
                self.current.replace(new);
                info!(
                    "the certificate in {path} was replaced: new connections get it; it is valid until {end}"
                );
            }
            Err(error) => {
                warn!("the new certificate or key is invalid; the tap keeps using the old ones: {error}");
            }
        }
    }

    /// Logs whether the certificate is valid, if that has changed since it was last logged.
    fn log_validity(&mut self) {
        let path = self.files.certificate.display();
        let period = self.current.validity_period();
        let validity = period.validity_at(UnixTime::now());
        if validity == self.logged {
            return;
        }
        self.logged = validity;
        let (start, end) = (period.start_text(), period.end_text());
        let renew = "renew it; the tap will use the new one without a restart";
        match validity {
            Validity::Valid => {}
            Validity::ExpiresSoon => warn!("the certificate in {path} is valid until {end} only; {renew}"),
            Validity::NotYetValid => error!(
                "the certificate in {path} is not valid before {start}: clients that verify it cannot post \
                 webhooks; check the system's clock"
            ),
            Validity::Expired => error!(
                "the certificate in {path} expired on {end}: clients that verify it cannot post webhooks; \
                 {renew}"
            ),
        }
    }
}
