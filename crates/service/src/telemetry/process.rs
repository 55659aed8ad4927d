//! What the process uses, as Linux tells it at the moment of asking. On a system without `/proc` there
//! are no such metrics.

use std::fmt::Write as _;
use std::fs;

/// Clock ticks a second in `/proc`: `USER_HZ`, which Linux keeps at 100 for programs, whatever it counts
/// with itself (`man 7 time`).
const TICKS: f64 = 100.0;

/// One metric with the names that Prometheus' own client libraries use.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

const MEMORY: Metric = Metric {
    name: "process_resident_memory_bytes",
    kind: "gauge",
    help: "Resident memory in bytes.",
};
const CPU: Metric = Metric {
    name: "process_cpu_seconds_total",
    kind: "counter",
    help: "User and system CPU time in seconds.",
};
const FILES: Metric =
    Metric { name: "process_open_fds", kind: "gauge", help: "Open file descriptors." };
const START: Metric = Metric {
    name: "process_start_time_seconds",
    kind: "gauge",
    help: "Start of the process, in seconds since the Unix epoch.",
};

/// Appends the process's metrics to `text`, those that can be read.
pub(super) fn render_into(text: &mut String) {
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let fields = stat.as_deref().map(fields_after_name).unwrap_or_default();
    let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    append(text, &MEMORY, resident_bytes());
    append(text, &CPU, ticks(14).zip(ticks(15)).map(|(user, system)| (user + system) / TICKS));
    append(text, &FILES, fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64));
    append(text, &START, boot_time().zip(ticks(22)).map(|(boot, start)| boot + start / TICKS));
}

/// The fields of `/proc/self/stat` from the third on (`man 5 proc_pid_stat`). The second, the program's
/// name, may have spaces and parentheses itself.
fn fields_after_name(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default()
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib * 1024.0)
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn append(text: &mut String, metric: &Metric, value: Option<f64>) {
    if let Some(value) = value {
        let Metric { name, kind, help } = metric;
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
            .expect("a string takes every text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_name_with_parentheses_moves_no_field() {
        let fields = fields_after_name("7 (a) b) (c)) S 1 2 3");
        assert_eq!(fields, ["S", "1", "2", "3"]);
    }
}
