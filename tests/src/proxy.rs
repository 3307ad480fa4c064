//! Reverse proxies in front of the tap, configured as in `scripts/proxies`, with ports and certificates of
//! their own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::http::{Endpoint, free_address};
use crate::program::{ChildProcess, repository};
use crate::tls::Certificate;
use crate::wait;

/// A running reverse proxy.
#[derive(Debug)]
pub struct Proxy {
    /// Where it accepts webhooks.
    pub endpoint: Endpoint,
    _program: ChildProcess,
    folder: TempDir,
}

/// Changes to the configuration in the repository, as pairs of old and new text.
pub type Replacements<'a> = &'a [(&'a str, &'a str)];

impl Proxy {
    /// Starts Debian's nginx.
    #[must_use]
    pub fn nginx(tap: SocketAddr, changes: Replacements<'_>) -> Self {
        Self::start(tap, |folder, address, certificate, private_key| {
            let (tap, listen) = (tap.to_string(), format!("listen {address} ssl;"));
            let error_log = format!("error_log {} crit;", folder.join("error.log").display());
            let own = [
                ("127.0.0.1:8480", &*tap),
                ("listen 443 ssl;", &listen),
                ("listen [::]:443 ssl;", ""),
                ("/etc/letsencrypt/live/hooks.example.com/fullchain.pem", certificate),
                ("/etc/letsencrypt/live/hooks.example.com/privkey.pem", private_key),
                ("error_log /var/log/nginx/error.log crit;", &error_log),
            ];
            let site = changed("nginx.conf", &[&own, changes].concat());
            let mut config =
                "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {}\nhttp {\n"
                    .to_owned();
            for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
                config.extend([kind, "_temp_path ", kind, ";\n"]);
            }
            config.extend(["access_log access.log;\n", &site, "\n}\n"]);
            let file = folder.join("nginx.conf");
            fs::write(&file, config).expect("a file");
            let mut command = Command::new("/usr/sbin/nginx");
            command.arg("-p").arg(folder).arg("-e").arg("stderr").arg("-c").arg(file);
            ("nginx", command)
        })
    }

    /// Starts Debian's Caddy.
    #[must_use]
    pub fn caddy(tap: SocketAddr, changes: Replacements<'_>) -> Self {
        Self::start(tap, |folder, address, certificate, private_key| {
            let site = format!(
                // Any name, since the harness has none.
                "https://:{} {{\n\tbind {}\n\ttls {certificate} {private_key}\n",
                address.port(),
                address.ip()
            );
            let tap = tap.to_string();
            let options = "\tadmin off\n\tauto_https disable_redirects\n\tlog {\n";
            let own = [("127.0.0.1:8480", &*tap), ("hooks.example.com {\n", &site), ("\tlog {\n", options)];
            let site = changed("Caddyfile", &[&own, changes].concat());
            let file = folder.join("Caddyfile");
            fs::write(&file, site).expect("a file");
            let mut command = Command::new("/usr/bin/caddy");
            command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file).env("HOME", folder);
            command.env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
            ("caddy", command)
        })
    }

    fn start(
        tap: SocketAddr,
        command: impl FnOnce(&Path, SocketAddr, &str, &str) -> (&'static str, Command),
    ) -> Self {
        assert!(tap.ip().is_loopback(), "a proxy is on the same machine");
        let folder = TempDir::new().expect("a folder");
        let certificate = Certificate::new();
        certificate.write_into(folder.path());
        let address = free_address();
        let file =
            |name: &str| folder.path().join(name).to_str().expect("a temporary path is text").to_owned();
        let (name, mut command) =
            command(folder.path(), address, &file("certificate.pem"), &file("private-key.pem"));
        let program = command.get_program().to_owned();
        assert!(
            Path::new(&program).is_file(),
            "{} is missing: run scripts/test once, it installs what the tests need",
            program.display()
        );
        let mut program = ChildProcess::spawn(
            name,
            command.current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::null()),
        );
        let endpoint = Endpoint::webhook_at(address).trusting(certificate.trust());
        wait::until("the proxy listens", || {
            assert!(program.is_running(), "{name} ends");
            endpoint.try_connect().ok()
        });
        Proxy { endpoint, _program: program, folder }
    }

    /// What the proxy has logged into files.
    #[must_use]
    pub fn logs(&self) -> String {
        let files = fs::read_dir(&self.folder).expect("its folder").filter_map(Result::ok);
        let logs = files.filter(|file| file.file_name().to_string_lossy().ends_with(".log"));
        logs.map(|file| fs::read_to_string(file.path()).expect("a log")).collect()
    }
}

/// The text of a file in `scripts/proxies` after replacements. Each old text must occur.
fn changed(name: &str, changes: Replacements<'_>) -> String {
    let path = repository().join("scripts/proxies").join(name);
    let mut text = fs::read_to_string(path).expect("the file is in the repository");
    for (old, new) in changes {
        assert!(text.contains(old), "{name} has no {old}");
        text = text.replace(old, new);
    }
    text
}
