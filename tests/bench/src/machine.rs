//! The machine that was measured on.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Describes the machine in pairs of a name and a value.
pub(crate) fn describe(folder: &Path) -> Vec<(&'static str, String)> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let memory = field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal");
    let memory = memory
        .trim_end_matches(" kB")
        .parse::<u64>()
        .map_or(memory.clone(), |kib| format!("{} MB", kib * 1024 / 1_000_000));
    let commit = output_of(Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=10"]));
    let findmnt =
        |column: &str| output_of(Command::new("findmnt").args(["-n", "-o", column, "-T"]).arg(folder));
    vec![
        ("processor", format!("{}, {processors} cores", field(&cpuinfo, "model name"))),
        ("memory", memory),
        ("kernel", output_of(Command::new("uname").args(["-s", "-r", "-m"]))),
        ("disk", format!("{} on {} ({})", findmnt("FSTYPE"), findmnt("SOURCE"), findmnt("OPTIONS"))),
        ("date", output_of(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))),
        ("commit", commit),
    ]
}

fn output_of(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    output.map_or("unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
