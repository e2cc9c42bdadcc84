//! Which processor cores the two sides use.

/// Binds this thread, and with it the threads and peers that it starts, to the first `count` of the cores that it may use:
/// so every side has the same ones, and the thread pools of the peers, which take their size from them, the right size.
#[cfg(target_os = "linux")]
pub(crate) fn bind(count: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let first = |allowed: CpuSet| {
        let mut cores = CpuSet::new();
        (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).take(count).for_each(|core| cores.set(core));
        cores
    };
    if let Err(error) = sched_getaffinity(None).and_then(|allowed| sched_setaffinity(None, &first(allowed))) {
        eprintln!("warning: no side is bound to {count} cores: {error}");
    }
}

/// Elsewhere, the system chooses.
#[cfg(not(target_os = "linux"))]
pub(crate) fn bind(_count: usize) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn threads_inherit_the_cores() {
        // In a thread of its own: the others keep their cores.
        let inherited = std::thread::spawn(|| {
            bind(1);
            std::thread::spawn(|| rustix::thread::sched_getaffinity(None).unwrap().count()).join().unwrap()
        });
        assert_eq!(inherited.join().unwrap(), 1);
    }
}
