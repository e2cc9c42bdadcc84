//! What is known of the machine and of what else it does, where Linux tells.

use std::time::Duration;

/// The name of the processor.
pub fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == "model name")
        .map(|(_, value)| value.trim().to_owned())
}

/// Number of cores that this process may use.
pub fn cores() -> Option<usize> {
    std::thread::available_parallelism().ok().map(usize::from)
}

/// The load average over the last minute.
pub fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// The processor time of all living threads of a process.
pub fn processor_time(process: u32) -> Option<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{process}/task")).ok()? {
        let Ok(text) = std::fs::read_to_string(task.ok()?.path().join("schedstat")) else { continue };
        nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanoseconds))
}

/// Seconds of processor time since the start of the system that went to processes other than `own`.
pub fn other_work(own: &[u32]) -> Option<f64> {
    /// Ticks a second in `/proc/stat`, the same on every Linux.
    const TICKS: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<f64> = text.lines().next()?.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
    // user, nice, system, idle, waiting for input or output, two kinds of interrupts
    let busy: f64 = ticks.iter().take(7).sum::<f64>() - ticks.iter().skip(3).take(2).sum::<f64>();
    let own = own.iter().map(|&id| processor_time(id)).sum::<Option<Duration>>()?;
    Some(busy / TICKS - own.as_secs_f64())
}
