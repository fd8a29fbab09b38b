//! How much memory the process has, by the kernel's count.

use std::fmt;

/// The memory of this process, as the kernel counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What is in RAM now, in bytes: `VmRSS` of proc_pid_status(5), whose count may lag by some pages for each thread.
    pub resident: u64,
    /// The most that ever was, in bytes: `VmHWM`.
    pub peak: u64,
}

impl Memory {
    /// Read it now, from `/proc/self/status`: some microseconds and no disk. `None` where there is no such file, which
    /// is everywhere but on Linux.
    pub fn of_process() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        Self::of_status(&status)
    }

    fn of_status(status: &str) -> Option<Self> {
        Some(Self {
            resident: kilobytes(status, "VmRSS:")? * 1024,
            peak: kilobytes(status, "VmHWM:")? * 1024,
        })
    }
}

/// The number in a line like `VmRSS:      5124 kB`.
fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim().strip_suffix("kB")?.trim_end().parse().ok()
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} resident, {} at most",
            Bytes(self.resident),
            Bytes(self.peak)
        )
    }
}

/// A number of bytes, for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB", self.0 as f64 / (1024.0 * 1024.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_kernel_are_understood() {
        let status =
            "Name:\tx\nVmPeak:\t  9999 kB\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\nThreads:\t1\n";
        let memory = Memory::of_status(status).unwrap();
        assert_eq!((memory.resident, memory.peak), (1 << 20, 2 << 20));
        assert_eq!(memory.to_string(), "1.0 MiB resident, 2.0 MiB at most");
        assert_eq!(Memory::of_status("Name:\tx\n"), None);
        assert_eq!(Memory::of_status("VmRSS: much kB\nVmHWM: 1 kB\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_has_memory_and_its_peak_is_no_less() {
        let held = vec![1_u8; 8 << 20];
        let memory = Memory::of_process().unwrap();
        assert!(memory.peak >= memory.resident && memory.resident > held.len() as u64 / 2);
    }
}
