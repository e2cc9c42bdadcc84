use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Watches long work. Both methods do nothing unless overridden.
///
/// ```
/// use gradus_base::Observer;
///
/// struct Last(u64);
/// impl Observer for Last {
///     fn progress(&mut self, done: u64, _total: Option<u64>, _stage: &str) {
///         self.0 = done;
///     }
/// }
///
/// fn sum(values: &[f64], observer: &mut dyn Observer) -> f64 {
///     let mut sum = 0.0;
///     for (done, value) in (1..).zip(values) {
///         sum += value;
///         observer.progress(done, Some(values.len() as u64), "summing");
///     }
///     sum
/// }
///
/// let mut last = Last(0);
/// assert_eq!(sum(&[1.0, 2.0], &mut last), 3.0);
/// assert_eq!(last.0, 2);
/// ```
pub trait Observer {
    /// `done` steps of `total` (where it is known) are finished in the part of the work called `stage`.
    fn progress(&mut self, done: u64, total: Option<u64>, stage: &str) {
        let _ = (done, total, stage);
    }

    /// One line for the person who watches.
    fn message(&mut self, text: &str) {
        let _ = text;
    }
}

/// The observer that says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silent;

impl Observer for Silent {}

/// The work was cancelled through its [`Cancel`] token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// A token that stops long work from outside, such as a signal handler or another thread. Clones share one state.
///
/// ```
/// use gradus_base::Cancel;
///
/// let cancel = Cancel::default();
/// let worker = cancel.clone();
/// assert!(worker.check().is_ok());
/// cancel.cancel();
/// assert!(worker.check().is_err());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work that holds a clone of this token to stop. There is no way back.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called on this token or a clone.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// For use between steps: `cancel.check()?`.
    ///
    /// # Errors
    /// [`Interrupted`] once the token is cancelled.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.is_cancelled() { Err(Interrupted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_sees_the_cancellation_from_another_thread() {
        let cancel = Cancel::new();
        let worker = cancel.clone();
        assert_eq!(worker.check(), Ok(()));
        std::thread::spawn(move || cancel.cancel()).join().unwrap();
        assert!(worker.is_cancelled());
        assert_eq!(worker.check(), Err(Interrupted));
        assert_eq!(worker.check().unwrap_err().to_string(), "interrupted");
    }

    #[test]
    fn separate_tokens_are_independent() {
        let one = Cancel::new();
        one.cancel();
        assert!(!Cancel::new().is_cancelled());
    }
}
