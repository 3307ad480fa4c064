//! What the database promises about what it has stored: checked at the start and with each group.

use super::location::Durability;

/// The part of a query that reads the settings, in the order in which [`Settings::read`] takes them.
pub(super) const SETTINGS_SQL: &str = "current_setting('fsync'), current_setting('synchronous_commit'), \
     current_setting('synchronous_standby_names')";

/// The settings that decide what a commit means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) fsync: String,
    pub(super) synchronous_commit: String,
    pub(super) synchronous_standby_names: String,
}

impl Settings {
    /// Reads the settings from a row, from column `first` on.
    pub(super) fn read(row: &tokio_postgres::Row, first: usize) -> Result<Self, tokio_postgres::Error> {
        Ok(Settings {
            fsync: row.try_get(first)?,
            synchronous_commit: row.try_get(first + 1)?,
            synchronous_standby_names: row.try_get(first + 2)?,
        })
    }

    /// Returns what keeps the database from promising `demanded`: one line that names the setting.
    pub(super) fn wrong_for(&self, demanded: Durability) -> Option<String> {
        if self.fsync != "on" {
            return Some(format!(
                "the database's setting fsync is {}, so a crash of the server loses events; set it to on",
                self.fsync
            ));
        }
        let waits = |levels: &[&str]| levels.contains(&self.synchronous_commit.as_str());
        let enough = match demanded {
            Durability::Quorum => waits(&["on", "remote_apply"]),
            // Without standbys that the server knows, every level but off means the same.
            Durability::Managed | Durability::Local => !waits(&["off"]),
        };
        if !enough {
            return Some(format!(
                "the database's setting synchronous_commit is {}, so a commit is answered before it is safe; \
                 set it to on",
                self.synchronous_commit
            ));
        }
        (demanded == Durability::Quorum && self.synchronous_standby_names.trim().is_empty()).then(|| {
            "the database's setting synchronous_standby_names is empty, so nothing waits for a second \
             server; name the standbys (with Patroni: synchronous_mode and synchronous_mode_strict), or set \
             spool_durability to managed or local"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_setting_is_named() {
        use Durability::{Local, Managed, Quorum};
        let cases = [
            (Quorum, ["on", "on", "ANY 1 (b, c)"], None),
            (Quorum, ["on", "remote_apply", "b"], None),
            (Quorum, ["off", "on", "b"], Some("fsync")),
            (Quorum, ["on", "local", "b"], Some("synchronous_commit")),
            (Quorum, ["on", "remote_write", "b"], Some("synchronous_commit")),
            (Quorum, ["on", "off", "b"], Some("synchronous_commit")),
            (Quorum, ["on", "on", " "], Some("synchronous_standby_names")),
            (Managed, ["on", "on", ""], None),
            (Managed, ["on", "off", ""], Some("synchronous_commit")),
            (Local, ["on", "local", ""], None),
            (Local, ["off", "local", ""], Some("fsync")),
        ];
        for (demanded, [fsync, commit, standbys], wrong) in cases {
            let settings = Settings {
                fsync: fsync.to_owned(),
                synchronous_commit: commit.to_owned(),
                synchronous_standby_names: standbys.to_owned(),
            };
            let message = settings.wrong_for(demanded);
            assert_eq!(message.is_some(), wrong.is_some(), "{demanded:?} {settings:?}");
            if let (Some(message), Some(wrong)) = (message, wrong) {
                assert!(message.contains(&format!("setting {wrong} is")), "{message}");
            }
        }
    }
}
