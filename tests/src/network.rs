//! Several machines in one: network namespaces, which a test can cut off from each other.
//!
//! Each host has an address in the network *behind*, in which databases are reached, and one in the network
//! *in front*, in which webhooks arrive. Only the network behind is ever cut: a listener that has lost the
//! database still gets webhooks.
//!
//! All of it lies in namespaces that the test makes. Nothing reaches a network of the machine.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::program::run;
use crate::wait;

/// The network behind: 10.99.0.0/24. The test itself is number 1.
const BEHIND: [u8; 3] = [10, 99, 0];
/// The network in front: 10.98.0.0/24.
const IN_FRONT: [u8; 3] = [10, 98, 0];
/// The number of the first host.
const FIRST_HOST: usize = 11;

/// Hosts that are connected with each other and with the test.
///
/// The thread that creates it moves into a namespace of its own, as do the threads and processes that it
/// starts later. On drop, it moves back.
#[derive(Debug)]
pub struct Network {
    before: File,
    hub: Namespace,
    hosts: Vec<Host>,
}

/// A host: a namespace with an address in each network.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    number: usize,
}

/// A network namespace with a name. On drop, its processes are killed and it is deleted.
#[derive(Debug)]
struct Namespace(String);

impl Network {
    /// Creates a network with `hosts` hosts. Prints a line and returns `None` if that is not allowed.
    #[must_use]
    pub fn start(hosts: usize) -> Option<Self> {
        let hub = match Namespace::create("hub") {
            Ok(hub) => hub,
            Err(reason) => {
                eprintln!("skipped: no network namespace can be made here (only root may): {reason}");
                return None;
            }
        };
        let before = File::open("/proc/thread-self/ns/net").expect("a thread is in a namespace");
        enter(&File::open(format!("/run/netns/{}", hub.0)).expect("the namespace was made"))
            .expect("root may enter a namespace");
        ip("link set lo up");
        // Hosts behind `cut` see each other, and nobody else.
        for bridge in ["behind", "front", "cut"] {
            ip(&format!("link add {bridge} type bridge"));
            ip(&format!("link set {bridge} up"));
        }
        ip(&format!("address add {}/24 dev behind", address(BEHIND, 1)));
        ip(&format!("address add {}/24 dev front", address(IN_FRONT, 1)));
        let hosts = (0..hosts).map(Host::create).collect();
        Some(Network { before, hub, hosts })
    }

    /// The test's address in the network behind.
    #[must_use]
    pub fn own_address(&self) -> Ipv4Addr {
        address(BEHIND, 1)
    }

    /// A host.
    #[must_use]
    pub fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// Cuts these hosts off from the network behind. They still reach each other.
    pub fn cut_off(&self, hosts: &[usize]) {
        for host in hosts {
            ip(&format!("link set {} master cut", self.hosts[*host].port("b")));
        }
    }

    /// Connects all hosts again.
    pub fn heal(&self) {
        for host in &self.hosts {
            ip(&format!("link set {} master behind", host.port("b")));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = enter(&self.before) {
            eprintln!("the thread stays in the namespace {}: {error}", self.hub.0);
        }
    }
}

impl Host {
    fn create(index: usize) -> Self {
        let namespace = Namespace::create(&index.to_string()).expect("the hub was allowed too");
        let host = Host { namespace, number: FIRST_HOST + index };
        let name = &host.namespace.0;
        ip(&format!("-n {name} link set lo up"));
        let networks = [("b", "behind", host.address()), ("f", "front", host.front_address())];
        for (prefix, bridge, address) in networks {
            let port = host.port(prefix);
            ip(&format!("link add {port} type veth peer name {bridge} netns {name}"));
            ip(&format!("link set {port} master {bridge} up"));
            ip(&format!("-n {name} address add {address}/24 dev {bridge}"));
            ip(&format!("-n {name} link set {bridge} up"));
        }
        host
    }

    /// The name of the hub's end of a connection to this host.
    fn port(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.number)
    }

    /// The address in the network behind.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        address(BEHIND, self.number)
    }

    /// The address in the network in front.
    #[must_use]
    pub fn front_address(&self) -> Ipv4Addr {
        address(IN_FRONT, self.number)
    }

    /// A command line that runs a program on this host. The program's path and arguments follow.
    #[must_use]
    pub fn wrapper(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net=/run/netns/{}", self.namespace.0)]
    }

    /// The processes on this host.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        self.namespace.processes()
    }

    /// Kills every process on this host, as a power cut does.
    pub fn kill_all(&self) {
        self.namespace.kill_all();
    }

    /// Stops every process on this host, as a hypervisor that pauses the machine.
    pub fn freeze(&self) {
        let mut frozen = Vec::new();
        loop {
            let new: Vec<_> = self.processes().into_iter().filter(|pid| !frozen.contains(pid)).collect();
            if new.is_empty() {
                return;
            }
            signal_all(&new, Signal::STOP);
            frozen.extend(new);
        }
    }

    /// Continues every process on this host.
    pub fn thaw(&self) {
        signal_all(&self.processes(), Signal::CONT);
    }
}

impl Namespace {
    fn create(name: &str) -> Result<Self, String> {
        let mut number = [0; 4];
        getrandom::fill(&mut number).expect("random numbers");
        let name = format!("tap-{:08x}-{name}", u32::from_be_bytes(number));
        match Command::new("ip").args(["netns", "add", &name]).output() {
            Ok(output) if output.status.success() => Ok(Namespace(name)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(format!("ip: {error}")),
        }
    }

    fn processes(&self) -> Vec<Pid> {
        let list = run(Command::new("ip").args(["netns", "pids", &self.0]));
        list.lines().filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)).collect()
    }

    fn kill_all(&self) {
        wait::until("every process of a host has ended", || {
            let processes = self.processes();
            signal_all(&processes, Signal::KILL);
            processes.is_empty().then_some(())
        });
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The test's own thread is in the hub until the network is dropped, and kills nobody there.
        if !self.0.ends_with("hub") {
            self.kill_all();
        }
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

fn signal_all(processes: &[Pid], signal: Signal) {
    for process in processes {
        // It may have ended by itself.
        let _ = kill_process(*process, signal);
    }
}

fn enter(namespace: &File) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

fn address([one, two, three]: [u8; 3], number: usize) -> Ipv4Addr {
    Ipv4Addr::new(one, two, three, u8::try_from(number).expect("few hosts"))
}

fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split(' ')));
}
