//! How long the machine has been running, by a clock that nobody can set.

use std::fs;
use std::time::Duration;

/// A moment of one boot of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uptime {
    /// Differs from boot to boot, and from machine to machine. Not negative.
    pub boot: i64,
    /// The time since the boot, suspension included.
    pub since_boot: Duration,
}

impl Uptime {
    /// Asks the kernel; `None` without procfs.
    pub fn read() -> Option<Self> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        Self::parse(&boot_id, &uptime)
    }

    fn parse(boot_id: &str, uptime: &str) -> Option<Self> {
        // 60 random bits of the UUID.
        let digits: String = boot_id.chars().filter(char::is_ascii_hexdigit).take(15).collect();
        let boot = i64::from_str_radix(&digits, 16).ok()?;
        let seconds: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Uptime { boot, since_boot: Duration::try_from_secs_f64(seconds).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_answers_are_understood() {
        let uptime = Uptime::parse("0f9c0b62-6f0e-4a4b-9d2c-3f3f5e8a7b10\n", "4321.50 1234.00\n");
        let since_boot = Duration::from_millis(4_321_500);
        assert_eq!(uptime, Some(Uptime { boot: 0x00f9_c0b6_26f0_e4a4, since_boot }));
        assert_eq!(Uptime::parse("", "4321.50 1234.00\n"), None);
        assert_eq!(Uptime::parse("0f9c", "\n"), None);
    }
}
