//! Which processor cores the sides use.

/// Binds the main thread, and with it the threads and peers that it starts later, to the first `count` of the cores that it
/// may use: so every side has the same ones, and the thread pools of the peers, which take their size from them, the right
/// size. Elsewhere than on Linux the system chooses.
pub fn bind(count: usize) {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
        let first = sched_getaffinity(None).map(|allowed| {
            let mut first = CpuSet::new();
            (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).take(count).for_each(|core| first.set(core));
            first
        });
        if let Err(error) = first.and_then(|first| sched_setaffinity(None, &first)) {
            eprintln!("warning: the sides are not bound to the same cores: {error}");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = count;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_bound_to_as_many_cores() {
        // In a thread of its own: the others keep theirs.
        let bound = || {
            bind(1);
            rustix::thread::sched_getaffinity(None).map(|allowed| allowed.count())
        };
        assert_eq!(std::thread::spawn(bound).join().unwrap(), Ok(1));
    }
}
