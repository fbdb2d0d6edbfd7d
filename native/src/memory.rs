//! The memory that the process holds and has held, mapped weights included, where the system says (Linux).

/// Starts counting anew; whether that worked.
pub fn reset_peak() -> bool {
    // 5: the documented number for "reset the peak resident set size" (proc_pid_clear_refs).
    cfg!(target_os = "linux") && std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Bytes at the peak since [`reset_peak`].
pub fn peak() -> Option<u64> {
    read("VmHWM:")
}

/// Bytes now.
#[cfg(feature = "train")]
pub fn resident() -> Option<u64> {
    read("VmRSS:")
}

fn read(name: &str) -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?, name)
}

fn parse(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found() {
        let status = "Name:\tptbr-slm\nVmPeak:\t  999 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(parse(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(parse("VmRSS:\t 1 kB\n", "VmHWM:"), None);
    }
}
