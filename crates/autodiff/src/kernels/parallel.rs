//! Work that several threads share. It has the shape of rayon's parallel iterators, and its threads are rayon's, but the
//! thread that asks takes part and the others stay awake for a moment between two pieces of work: a derivative is a chain of
//! short ones. Handing work to rayon from outside its pool costs 30 to 75 µs, most of it for waking threads; here it costs one
//! or two while the helpers are awake.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::iter::plumbing::{Producer, ProducerCallback};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{Chunks, ChunksExact, ChunksExactMut, ChunksMut};

/// How long a helper looks out for more work before it goes back to rayon.
const PATIENCE: Duration = Duration::from_micros(200);
/// How long a helper stays at most.
const TURN: Duration = Duration::from_millis(10);
/// Looks between two readings of the clock.
const LOOKS: u32 = 64;
/// Portions at most into which work is cut.
const PORTIONS: usize = 64;

/// What each thread of the team does: all of the work that nobody has done yet.
type Work<'a> = &'a (dyn Fn() + Sync);

/// The threads that work together: the one that asks, and helpers, which are jobs of rayon's global pool.
struct Team {
    /// Whether a thread has the team.
    taken: AtomicBool,
    /// The work under way; null between two pieces of work.
    work: AtomicPtr<Work<'static>>,
    /// Numbers the pieces of work.
    number: AtomicUsize,
    /// Helpers that may be reading `work` or doing it.
    inside: AtomicUsize,
    /// Helpers there are.
    helpers: AtomicUsize,
    /// The core of the thread that asked last.
    core: AtomicUsize,
    /// What a helper panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

thread_local! {
    /// Whether this thread is a helper at work: work inside it is its own alone. Were it rayon's, this thread could take any other job
    /// of the pool's while it waits, and the thread that asked would wait for that.
    static TAKES_PART: Cell<bool> = const { Cell::new(false) };
}

static TEAM: Team = Team {
    taken: AtomicBool::new(false),
    work: AtomicPtr::new(std::ptr::null_mut()),
    number: AtomicUsize::new(0),
    inside: AtomicUsize::new(0),
    helpers: AtomicUsize::new(0),
    core: AtomicUsize::new(usize::MAX),
    panic: Mutex::new(None),
};

impl Team {
    /// Runs `work` on this thread and on every helper, and returns when none of them is at it any more.
    fn run(&'static self, work: Work<'_>) {
        let others = rayon::current_num_threads() - 1;
        if others == 0 || self.taken.swap(true, SeqCst) {
            return work();
        }
        // Declared first, so that it is there until `end` is dropped, also while a panic unwinds.
        let mut place: Work<'_> = work;
        let end = End(self);
        self.work.store((&raw mut place).cast(), SeqCst);
        self.core.store(core(), SeqCst);
        self.number.fetch_add(1, SeqCst);
        while self.helpers.load(SeqCst) < others {
            self.helpers.fetch_add(1, SeqCst);
            rayon::spawn(|| self.help());
        }
        work();
        drop(end);
    }

    /// A helper's job. It ends after a while also when there is work: the other work of the pool then has its turn, and a helper
    /// that is asked for anew comes after it.
    fn help(&self) {
        leave(self.core.load(SeqCst));
        let (mut seen, begin) = (0, Instant::now());
        let mut idle_since = begin;
        while idle_since.elapsed() < PATIENCE && begin.elapsed() < TURN {
            let number = self.number.load(SeqCst);
            if number != seen {
                seen = number;
                self.take_part();
                idle_since = Instant::now();
            }
            for _ in 0..LOOKS {
                if self.number.load(SeqCst) != seen {
                    break;
                }
                std::hint::spin_loop();
            }
            // The machine may have other work, too.
            std::thread::yield_now();
            leave(self.core.load(SeqCst));
        }
        self.helpers.fetch_sub(1, SeqCst);
    }

    fn take_part(&self) {
        self.inside.fetch_add(1, SeqCst);
        TAKES_PART.set(true);
        let work = self.work.load(SeqCst);
        // SAFETY: `work` points to a local variable of `run`, and that to what `run` borrows, until `End` is dropped, which
        // sets `work` to null and then waits for `inside` to be 0. In the one order of all these operations, either this
        // thread is counted before it is waited for, or it finds null.
        if let Some(work) = unsafe { work.as_ref() }
            && let Err(panic) = catch_unwind(AssertUnwindSafe(work))
        {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
        TAKES_PART.set(false);
        self.inside.fetch_sub(1, SeqCst);
    }
}

/// Ends a piece of work when dropped, also while a panic unwinds.
struct End(&'static Team);

impl Drop for End {
    fn drop(&mut self) {
        let team = self.0;
        team.work.store(std::ptr::null_mut(), SeqCst);
        let mut looks = 0u32;
        while team.inside.load(SeqCst) > 0 {
            // Nothing here may panic: a helper is still at work that this thread owns.
            looks = looks.wrapping_add(1);
            // On a machine with more threads than cores, the helper may need this one's.
            if looks.is_multiple_of(4096) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
        let panic = team.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        team.taken.store(false, SeqCst);
        if let Some(panic) = panic.filter(|_| !std::thread::panicking()) {
            resume_unwind(panic);
        }
    }
}

/// The processor core this thread is on, if known.
fn core() -> usize {
    #[cfg(all(target_os = "linux", not(miri)))]
    return rustix::thread::sched_getcpu();
    #[cfg(any(not(target_os = "linux"), miri))]
    usize::MAX
}

/// Moves this thread to another core if it is on `core`. Linux wakes a helper now and then on the core of the thread that asks,
/// though another is idle, and a helper that sleeps often stays there for a tenth of a second and more: work then takes twice
/// the time.
fn leave(core: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
        if core < CpuSet::MAX_CPU
            && sched_getcpu() == core
            && let Ok(allowed) = sched_getaffinity(None)
        {
            let mut others = allowed;
            others.unset(core);
            if others.count() > 0 && sched_setaffinity(None, &others).is_ok() {
                // Where it may go stays as it was. (Linux then takes it for the program's own wish, should the system's change later.)
                let _ = sched_setaffinity(None, &allowed);
            }
        }
    }
    #[cfg(any(not(target_os = "linux"), miri))]
    let _ = core;
}

/// An iterator whose items the team shares, in portions that depend on their number alone.
pub(crate) struct Parallel<I>(I);

impl<I: IndexedParallelIterator> Parallel<I> {
    pub(crate) fn zip<J: IndexedParallelIterator>(self, other: Parallel<J>) -> Parallel<rayon::iter::Zip<I, J>> {
        Parallel(self.0.zip(other.0))
    }

    pub(crate) fn enumerate(self) -> Parallel<rayon::iter::Enumerate<I>> {
        Parallel(self.0.enumerate())
    }

    pub(crate) fn take(self, count: usize) -> Parallel<rayon::iter::Take<I>> {
        Parallel(self.0.take(count))
    }

    pub(crate) fn map<R: Send, F: Fn(I::Item) -> R + Sync + Send>(self, f: F) -> Parallel<rayon::iter::Map<I, F>> {
        Parallel(self.0.map(f))
    }

    pub(crate) fn for_each(self, f: impl Fn(I::Item) + Sync + Send) {
        self.for_each_init(|| (), |(), item| f(item));
    }

    /// `f` with the item and with what `init` makes for each thread, or more often.
    pub(crate) fn for_each_init<S>(self, init: impl Fn() -> S + Sync + Send, f: impl Fn(&mut S, I::Item) + Sync + Send) {
        let count = self.0.len();
        if rayon::current_thread_index().is_some() && !TAKES_PART.get() {
            return self.0.with_min_len(count.div_ceil(PORTIONS)).for_each_init(init, f);
        }
        if count > 0 {
            self.0.with_producer(Portions { count, init, f });
        }
    }

    /// The items in their order.
    pub(crate) fn collect(self) -> Vec<I::Item> {
        let mut found: Vec<Option<I::Item>> = (0..self.0.len()).map(|_| None).collect();
        self.zip(found.par_iter_mut()).for_each(|(item, place)| *place = Some(item));
        found.into_iter().flatten().collect()
    }
}

struct Portions<N, F> {
    count: usize,
    init: N,
    f: F,
}

impl<T, S, N: Fn() -> S + Sync, F: Fn(&mut S, T) + Sync> ProducerCallback<T> for Portions<N, F> {
    type Output = ();
    fn callback<P: Producer<Item = T>>(self, producer: P) {
        let Self { count, init, f } = self;
        let portions = count.min(PORTIONS);
        let mut rest = Some(producer);
        let portion = |i: usize| {
            let size = (i + 1) * count / portions - i * count / portions;
            let (first, after) = match rest.take()? {
                last if i + 1 == portions => (last, None),
                rest => {
                    let (first, after) = rest.split_at(size);
                    (first, Some(after))
                }
            };
            rest = after;
            Some(Mutex::new(Some(first)))
        };
        let portions: Vec<Mutex<Option<P>>> = (0..portions).map_while(portion).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut state = None;
            while let Some(portion) = portions.get(next.fetch_add(1, SeqCst)) {
                let portion = portion.lock().unwrap_or_else(PoisonError::into_inner).take();
                let state = state.get_or_insert_with(&init);
                portion.into_iter().flat_map(P::into_iter).for_each(|item| f(state, item));
            }
        };
        // A single item leaves the team to the work inside it.
        if count == 1 || TAKES_PART.get() { work() } else { TEAM.run(&work) }
    }
}

/// Slices in portions, and ranges and vectors by their items, as [`Parallel`] work.
pub(crate) trait ParallelSlices<T> {
    fn par_chunks(&self, size: usize) -> Parallel<Chunks<'_, T>>
    where
        T: Sync;
    fn par_chunks_exact(&self, size: usize) -> Parallel<ChunksExact<'_, T>>
    where
        T: Sync;
    fn par_chunks_mut(&mut self, size: usize) -> Parallel<ChunksMut<'_, T>>
    where
        T: Send;
    fn par_chunks_exact_mut(&mut self, size: usize) -> Parallel<ChunksExactMut<'_, T>>
    where
        T: Send;
    fn par_iter(&self) -> Parallel<rayon::slice::Iter<'_, T>>
    where
        T: Sync;
    fn par_iter_mut(&mut self) -> Parallel<rayon::slice::IterMut<'_, T>>
    where
        T: Send;
}

impl<T> ParallelSlices<T> for [T] {
    fn par_chunks(&self, size: usize) -> Parallel<Chunks<'_, T>>
    where
        T: Sync,
    {
        Parallel(rayon::slice::ParallelSlice::par_chunks(self, size))
    }
    fn par_chunks_exact(&self, size: usize) -> Parallel<ChunksExact<'_, T>>
    where
        T: Sync,
    {
        Parallel(rayon::slice::ParallelSlice::par_chunks_exact(self, size))
    }
    fn par_chunks_mut(&mut self, size: usize) -> Parallel<ChunksMut<'_, T>>
    where
        T: Send,
    {
        Parallel(rayon::slice::ParallelSliceMut::par_chunks_mut(self, size))
    }
    fn par_chunks_exact_mut(&mut self, size: usize) -> Parallel<ChunksExactMut<'_, T>>
    where
        T: Send,
    {
        Parallel(rayon::slice::ParallelSliceMut::par_chunks_exact_mut(self, size))
    }
    fn par_iter_mut(&mut self) -> Parallel<rayon::slice::IterMut<'_, T>>
    where
        T: Send,
    {
        Parallel(rayon::iter::IntoParallelRefMutIterator::par_iter_mut(self))
    }
    fn par_iter(&self) -> Parallel<rayon::slice::Iter<'_, T>>
    where
        T: Sync,
    {
        Parallel(rayon::iter::IntoParallelRefIterator::par_iter(self))
    }
}

/// Ranges and vectors by their items, as [`Parallel`] work.
pub(crate) trait IntoParallel: rayon::iter::IntoParallelIterator<Iter: IndexedParallelIterator> + Sized {
    fn into_par_iter(self) -> Parallel<Self::Iter> {
        Parallel(rayon::iter::IntoParallelIterator::into_par_iter(self))
    }
}

impl IntoParallel for Range<usize> {}
impl<T: Send> IntoParallel for Vec<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_met_once() {
        for count in [0, 1, 2, 63, 64, 65, 1000] {
            let mut x = vec![0usize; count];
            for round in 1..50 {
                x.par_chunks_mut(3).zip((0..count.div_ceil(3)).into_par_iter()).for_each(|(x, i)| x.iter_mut().for_each(|x| *x += i));
                assert!(x.iter().enumerate().all(|(i, &x)| x == round * (i / 3)), "{count}, round {round}");
            }
            let collected: Vec<usize> = (0..count).into_par_iter().map(|i| 2 * i).collect();
            assert!(collected.into_iter().eq((0..count).map(|i| 2 * i)));
        }
    }

    #[test]
    fn work_inside_work_and_from_many_threads_at_once() {
        let sum = || {
            let inner = |i: usize| (0..20usize).into_par_iter().map(|j| i * j).collect().into_iter().sum::<usize>();
            (0..20usize).into_par_iter().map(inner).collect().into_iter().sum::<usize>()
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(move || (0..100).all(|_| sum() == 190 * 190))).collect();
            assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
        });
    }

    #[test]
    #[cfg(all(target_os = "linux", not(miri)))]
    fn a_thread_that_leaves_a_core_may_return() {
        let moved = || {
            let allowed = rustix::thread::sched_getaffinity(None).unwrap();
            let before = core();
            leave(before);
            (allowed == rustix::thread::sched_getaffinity(None).unwrap(), allowed.count() == 1 || core() != before)
        };
        // The system may move it back between two looks, but not each time.
        let tries: Vec<_> = (0..20).map(|_| std::thread::spawn(moved).join().unwrap()).collect();
        assert!(tries.iter().all(|(same, _)| *same) && tries.iter().any(|(_, moved)| *moved));
    }

    #[test]
    fn a_helper_s_panic_reaches_the_one_that_asked() {
        let asking = std::thread::current().id();
        // Until a helper takes part; with one thread, none does.
        for _ in 0..if rayon::current_num_threads() > 1 { 10_000 } else { 0 } {
            let work = || (0..64).into_par_iter().for_each(|_: usize| assert!(std::thread::current().id() == asking, "a helper"));
            if catch_unwind(work).is_err() {
                return;
            }
        }
        assert_eq!(rayon::current_num_threads(), 1);
    }

    #[test]
    fn a_panic_reaches_the_one_that_asked_and_the_team_goes_on() {
        for at in [0, 5, 63] {
            let work = || (0..64).into_par_iter().for_each(|i| assert!(i != at, "item {at}"));
            let panic = catch_unwind(work).unwrap_err();
            assert_eq!(panic.downcast_ref::<String>().unwrap(), &format!("item {at}"));
            assert_eq!((0..64usize).into_par_iter().map(|i| i).collect().len(), 64);
        }
    }
}
