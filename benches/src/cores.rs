//! Which processor cores the sides use.

use std::process::{Command, Stdio};

/// Binds the main thread, and with it the threads and peers that it starts later, to the first `count` of the cores that it
/// may use: so every side has the same ones, and the thread pools of the peers, which take their size from them, the right
/// size. Where Linux's `taskset` is missing, the system chooses.
pub(crate) fn bind(count: usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let cores: Vec<String> = allowed(&status).iter().take(count).map(usize::to_string).collect();
    // A program and not a crate: those that know of cores would have everything above them built in another way than
    // without the benchmarks.
    let mut taskset = Command::new("taskset");
    taskset.args(["--cpu-list", "--pid", &cores.join(","), &std::process::id().to_string()]).stdout(Stdio::null());
    if !taskset.status().is_ok_and(|status| status.success()) {
        eprintln!("warning: the sides are not bound to the same cores, for lack of `taskset`");
    }
}

/// The cores that a process may use, from a line `Cpus_allowed_list: 0-2,5` of its status.
fn allowed(status: &str) -> Vec<usize> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_read_from_ranges() {
        assert_eq!(allowed("Name:\tx\nCpus_allowed_list:\t0-2,5\nMems_allowed_list:\t0\n"), [0, 1, 2, 5]);
        assert!(allowed("").is_empty());
    }
}
