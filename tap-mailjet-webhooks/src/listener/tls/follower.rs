//! Follows the files of the certificate and its key while the listener runs.

use std::convert::Infallible;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use tracing::{error, info, warn};

use super::Tls;
use super::files::{FileStamps, Validity, ValidityPeriod, date_text};
use crate::os::thread::ThreadError;
use crate::os::worker::{Round, Worker};

/// How often the files are checked for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Replaces the current certificate when the files change.
struct Follower {
    tls: Tls,
    /// The stamps of the files when they were last read.
    stamps_read: FileStamps,
    /// The stamps of the files at the last check.
    stamps_seen: FileStamps,
    /// The validity that was last logged.
    logged: Validity,
}

impl Tls {
    /// Starts a thread that reads the files again when they change, and logs when the certificate is not
    /// valid or about to expire. It ends when the returned worker is dropped.
    ///
    /// Open connections keep the certificate that they got.
    pub(crate) fn follow(&self) -> Result<Worker<Infallible>, ThreadError> {
        let (stamps_read, stamps_seen) = (self.first_stamps.clone(), self.first_stamps.clone());
        let mut follower = Follower { tls: self.clone(), stamps_read, stamps_seen, logged: Validity::Valid };
        follower.log_validity();
        follower.log_chain_problems();
        Worker::start("tls-files", CHECK_INTERVAL, move |round| {
            if round == Round::Regular {
                follower.check_files();
                follower.log_validity();
            }
            Ok(())
        })
    }
}

impl Follower {
    fn check_files(&mut self) {
        let stamps = self.tls.files.stamps();
        // Writing both files takes a while: they are read once they have not changed for an interval.
        if stamps == self.stamps_seen && stamps != self.stamps_read {
            self.stamps_read.clone_from(&stamps);
            self.reload();
        }
        self.stamps_seen = stamps;
    }

    fn reload(&self) {
        let path = self.tls.files.certificate.display();
        let is_expired = |period: ValidityPeriod| period.validity_at(UnixTime::now()) == Validity::Expired;
        match self.tls.files.read() {
            Ok(new)
                if is_expired(new.validity_period)
                    && !is_expired(self.tls.current.0.read().validity_period) =>
            {
                let end = date_text(new.validity_period.end);
                warn!("the new certificate in {path} expired on {end}; the tap keeps using the old one");
            }
            Ok(new) => {
                let end = date_text(new.validity_period.end);
                *self.tls.current.0.write() = new;
                info!(
                    "the certificate in {path} was replaced: new connections get it; it is valid until {end}"
                );
                self.log_chain_problems();
            }
            Err(error) => {
                warn!("the new certificate or key is invalid; the tap keeps using the old ones: {error}");
            }
        }
    }

    /// Logs what is wrong with the certificates that issued the current one.
    fn log_chain_problems(&self) {
        for problem in &self.tls.current.0.read().chain_problems {
            warn!("tls_certificate: {}: {problem}", self.tls.files.certificate.display());
        }
    }

    /// Logs whether the certificate is valid, if that has changed since it was last logged.
    fn log_validity(&mut self) {
        let path = self.tls.files.certificate.display();
        let period = self.tls.current.0.read().validity_period;
        let validity = period.validity_at(UnixTime::now());
        if validity == self.logged {
            return;
        }
        self.logged = validity;
        let (start, end) = (date_text(period.start), date_text(period.end));
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
