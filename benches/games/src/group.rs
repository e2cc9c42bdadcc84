//! What is timed: groups of cases that have the same sides, and floors of the quotients of their times.

use std::hint::black_box;
use std::time::Instant;

use gradus_benches_common::median;

use crate::Failure;

/// A turn of a side takes about as long, in ms, unless one call takes longer.
const TURN: f64 = 20.0;
/// Parts of a turn that are timed one by one.
const PARTS: u32 = 5;

/// Cases with the same sides.
pub(crate) struct Group {
    pub(crate) title: &'static str,
    /// What is timed, as columns of the table.
    pub(crate) sides: Vec<&'static str>,
    pub(crate) quotients: Vec<Quotient>,
    pub(crate) cases: Vec<Case>,
}

/// The time of one side over that of another.
pub(crate) struct Quotient {
    pub(crate) name: &'static str,
    /// The places of the sides.
    pub(crate) over: usize,
    pub(crate) under: usize,
    pub(crate) floor: Option<Floor>,
}

/// What a quotient or a time must come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Floor {
    AtLeast(f64),
    AtMost(f64),
}

impl Floor {
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(floor) => value >= floor,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// One row.
pub(crate) struct Case {
    pub(crate) name: String,
    /// What there is to know beside the times.
    pub(crate) note: String,
    pub(crate) sides: Vec<Side>,
    /// Whether the quotients' floors are for this case.
    pub(crate) judged: bool,
    /// What the first side's time may be at most, in ms.
    pub(crate) most_ms: Option<f64>,
    /// Why the sides' outputs are not the same.
    pub(crate) disagreement: Option<String>,
}

/// A side of a case, and its times so far.
pub(crate) struct Side {
    /// One turn: the time of a call, in ms.
    turn: Box<dyn FnMut() -> Result<f64, Failure>>,
    /// Of each round.
    pub(crate) ms: Vec<f64>,
}

impl Case {
    pub(crate) fn new(name: impl Into<String>, sides: Vec<Side>) -> Self {
        Self { name: name.into(), note: String::new(), sides, judged: true, most_ms: None, disagreement: None }
    }
}

impl Side {
    /// By turns that time themselves.
    pub(crate) fn timed(turn: impl FnMut() -> Result<f64, Failure> + 'static) -> Self {
        Self { turn: Box::new(turn), ms: Vec::new() }
    }

    /// Calls of `work`, as many in each turn as fill it; the median of some parts of them, of which others on the machine disturb few.
    pub(crate) fn calls<R>(mut work: impl FnMut() -> R + 'static) -> Self {
        let mut calls = None;
        Self::timed(move || {
            let mut time = |calls: u32| {
                let start = Instant::now();
                (0..calls).for_each(|_| drop(black_box(work())));
                1e3 * start.elapsed().as_secs_f64() / f64::from(calls)
            };
            let first = time(1);
            if first > TURN {
                return Ok(first);
            }
            // The first call finds cold caches.
            let calls = *calls.get_or_insert_with(|| (TURN / f64::from(PARTS) / time(1).max(1e-6)).clamp(1.0, 1e7) as u32);
            Ok(median(&(0..PARTS).map(|_| time(calls)).collect::<Vec<f64>>()))
        })
    }
}

impl Group {
    /// A turn of every side of every case.
    pub(crate) fn turn(&mut self) -> Result<(), Failure> {
        for side in self.cases.iter_mut().flat_map(|case| &mut case.sides) {
            let ms = (side.turn)()?;
            side.ms.push(ms);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_and_floors_are_met() {
        let mut group = Group { title: "sums", sides: vec!["sum"], quotients: Vec::new(), cases: Vec::new() };
        group.cases.push(Case::new("short", vec![Side::calls(|| (0..100u64).sum::<u64>())]));
        group.turn().unwrap();
        group.turn().unwrap();
        let ms = &group.cases[0].sides[0].ms;
        assert!(ms.len() == 2 && ms.iter().all(|ms| (0.0..1.0).contains(ms)), "{ms:?}");
        assert!(Floor::AtLeast(2.0).is_met(2.0) && !Floor::AtLeast(2.0).is_met(f64::NAN));
        assert!(Floor::AtMost(2.0).is_met(2.0) && !Floor::AtMost(2.0).is_met(2.1));
    }
}
