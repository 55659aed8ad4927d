//! What a process used, as the kernel counts it (`/proc/PID/stat` and `/proc/PID/status`).

use std::fs;

/// Ticks of `/proc/PID/stat` in a second: `USER_HZ`, which is 100 on every Linux.
const TICKS: f64 = 100.0;

/// CPU time of this process and of the broker.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Seconds of this process, harness included.
    pub(crate) own: f64,
    /// Seconds of the broker; 0 when its process isn't known.
    pub(crate) broker: f64,
}

impl Usage {
    /// Until now.
    pub(crate) fn now(broker: Option<u32>) -> Self {
        Self {
            own: cpu_seconds(std::process::id()).unwrap_or_default(),
            broker: broker.and_then(cpu_seconds).unwrap_or_default(),
        }
    }

    /// Since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { own: self.own - earlier.own, broker: self.broker - earlier.broker }
    }

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { own: self.own + other.own, broker: self.broker + other.broker }
    }
}

/// User and system time of a process in seconds; `None` when it is gone.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets; the fields begin after its last bracket.
    let fields = stat.rsplit_once(')')?.1;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

/// CPU seconds of a process and of those that it started and that still run.
pub(crate) fn tree_seconds(pid: u32) -> f64 {
    let own = cpu_seconds(pid).unwrap_or_default();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children = children.flat_map(|line| {
        line.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
    });
    own + children.map(tree_seconds).sum::<f64>()
}

/// A line of `/proc/PID/status` that is a number of KiB, in MiB.
pub(crate) fn status_mib(pid: u32, name: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kib: f64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

/// The most memory that a process has had resident, in MiB.
pub(crate) fn peak_rss_mib(pid: u32) -> Option<f64> {
    status_mib(pid, "VmHWM:")
}

/// The memory that a process has resident, in MiB.
pub(crate) fn rss_mib(pid: u32) -> Option<f64> {
    status_mib(pid, "VmRSS:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_has_used_memory_and_a_gone_one_is_none() {
        let own = std::process::id();
        assert!(peak_rss_mib(own).unwrap() >= rss_mib(own).unwrap() * 0.5);
        assert!(cpu_seconds(own).is_some());
        assert_eq!(cpu_seconds(u32::MAX), None);
    }

    #[test]
    fn own_process_uses_cpu_as_a_tree_as_well() {
        let own = std::process::id();
        let alone = cpu_seconds(own).unwrap();
        assert!(tree_seconds(own) >= alone);
        assert!(tree_seconds(u32::MAX).abs() < f64::EPSILON);
    }
}
