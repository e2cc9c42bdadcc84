//! What is found out about a game while boxes and points of a region are looked at.

use super::SmallGainError;
use super::blocks::Blocks;
use super::refusal::{Refusal, refusal_at};
use crate::game::{Enclosure, Game};
use crate::rigorous::Interval;

/// A game, and what was met at points.
pub(super) struct Probe<'a> {
    pub(super) game: &'a Game,
    pub(super) blocks: Blocks,
    /// The weights that are asked for, if any are.
    weights: Option<&'a [f64]>,
    /// What each quantity comes to at least somewhere.
    pub(super) met: Vec<f64>,
    /// Points at which no weights give a margin, the worst of each kind and player; curvatures first, without which no margin is asked for.
    pub(super) refusals: Vec<Refusal>,
}

/// A box that was looked at.
pub(super) struct Sight<'a> {
    pub(super) blocks: &'a Blocks,
    pub(super) region: &'a [Interval],
    /// Numbers around the Jacobian on it, and how much its entries change.
    pub(super) enclosure: &'a Enclosure,
    /// Upper bounds of the quantities in the middle.
    pub(super) middle: &'a [f64],
}

impl<'a> Probe<'a> {
    pub(super) fn new(game: &'a Game, weights: Option<&'a [f64]>) -> Result<Self, SmallGainError> {
        if !game.has_enclosures() {
            return Err(SmallGainError::NoEnclosure);
        }
        let blocks = Blocks::new(game);
        let met = vec![f64::NEG_INFINITY; blocks.quantities.len()];
        Ok(Self { game, blocks, weights, met, refusals: Vec::new() })
    }

    fn meet(&mut self, quantities: &[f64], refusal: Option<Refusal>) {
        self.met.iter_mut().zip(quantities).for_each(|(met, value)| *met = met.max(*value));
        let Some(refusal) = refusal else { return };
        match self.refusals.iter_mut().find(|known| known.rank() == refusal.rank()) {
            Some(known) if refusal.is_worse_than(known) => *known = refusal,
            Some(_) => {}
            None => {
                self.refusals.push(refusal);
                self.refusals.sort_by_key(Refusal::rank);
            }
        }
    }

    /// Looks at a point.
    ///
    /// # Errors
    /// [`SmallGainError::NonFinite`] where the Jacobian is not finite.
    pub(super) fn look_at(&mut self, point: &[f64]) -> Result<(), SmallGainError> {
        let region: Vec<Interval> = point.iter().map(|&x| Interval::point(x)).collect();
        let jacobian = self.game.jacobian_box(&region);
        let (quantities, refusal) = self.at_point(&jacobian, || point.to_vec())?;
        self.meet(&quantities, refusal);
        Ok(())
    }

    /// The quantities at a point, and what is wrong there.
    fn at_point(&self, jacobian: &[Interval], point: impl Fn() -> Vec<f64>) -> Result<(Vec<f64>, Option<Refusal>), SmallGainError> {
        if !jacobian.iter().all(|entry| entry.is_bounded()) {
            return Err(SmallGainError::NonFinite { what: "the Jacobian", point: point() });
        }
        let blocks = &self.blocks;
        let quantities: Vec<f64> = blocks.quantities.iter().map(|&quantity| blocks.bound(quantity, jacobian)).collect();
        let refusal = refusal_at(blocks, &quantities, jacobian, self.weights, point);
        Ok((quantities, refusal))
    }

    /// Looks at boxes, each with a tag, and keeps what is made of each; in their order, whatever the number of threads.
    ///
    /// # Errors
    /// [`SmallGainError::NonFinite`] where the Jacobian is not finite in the middle of a box.
    pub(super) fn see_all<K: Copy + Send + Sync, T: Send>(
        &mut self,
        boxes: &[(Vec<Interval>, K)],
        make: impl Fn(&Sight<'_>, K) -> T + Sync,
    ) -> Result<Vec<T>, SmallGainError> {
        let mut made = Vec::with_capacity(boxes.len());
        for seen in self.in_parallel(boxes, make) {
            let (value, quantities, refusal) = seen?;
            self.meet(&quantities, refusal);
            made.push(value);
        }
        Ok(made)
    }

    #[cfg(feature = "rayon")]
    fn in_parallel<K: Copy + Send + Sync, T: Send>(
        &self,
        boxes: &[(Vec<Interval>, K)],
        make: impl Fn(&Sight<'_>, K) -> T + Sync,
    ) -> Vec<Result<Seen<T>, SmallGainError>> {
        use rayon::prelude::*;
        boxes
            .par_iter()
            .map_init(Enclosure::default, |enclosure, (region, tag)| self.see(region, enclosure, |sight| make(sight, *tag)))
            .collect()
    }

    #[cfg(not(feature = "rayon"))]
    fn in_parallel<K: Copy + Send + Sync, T: Send>(
        &self,
        boxes: &[(Vec<Interval>, K)],
        make: impl Fn(&Sight<'_>, K) -> T + Sync,
    ) -> Vec<Result<Seen<T>, SmallGainError>> {
        let mut enclosure = Enclosure::default();
        boxes.iter().map(|(region, tag)| self.see(region, &mut enclosure, |sight| make(sight, *tag))).collect()
    }

    fn see<T>(&self, region: &[Interval], enclosure: &mut Enclosure, make: impl Fn(&Sight<'_>) -> T) -> Result<Seen<T>, SmallGainError> {
        enclosure.enclose(self.game, region);
        let middle = || region.iter().map(|side| side.midpoint()).collect();
        let (quantities, refusal) = self.at_point(&enclosure.middle, middle)?;
        let made = make(&Sight { blocks: &self.blocks, region, enclosure, middle: &quantities });
        Ok((made, quantities, refusal))
    }
}

/// What was made of a box, the quantities in its middle, and what is wrong there.
type Seen<T> = (T, Vec<f64>, Option<Refusal>);

impl Sight<'_> {
    /// An upper bound of a quantity, by its place.
    pub(super) fn bound(&self, quantity: usize) -> f64 {
        self.blocks.bound(self.blocks.quantities[quantity], &self.enclosure.jacobian)
    }

    /// The variable along which a quantity's block changes most, if a side can be cut; of equal ones the longest side's.
    pub(super) fn axis(&self, quantity: usize) -> Option<u16> {
        let change = |axis: usize| {
            let change = self.blocks.change(self.blocks.quantities[quantity], &self.enclosure.changes, axis);
            (change, self.region[axis].radius())
        };
        let order = |a: &usize, b: &usize| {
            let (a, b) = (change(*a), change(*b));
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
        };
        let axes = (0..self.region.len()).filter(|&axis| can_be_cut(self.region[axis]));
        axes.max_by(order).and_then(|axis| u16::try_from(axis).ok())
    }
}

pub(super) fn can_be_cut(side: Interval) -> bool {
    side.lo() < side.midpoint() && side.midpoint() < side.hi()
}

/// A box cut in the middle of one side.
pub(super) fn halves_of(region: &[Interval], axis: usize) -> [Vec<Interval>; 2] {
    let side = region[axis];
    let middle = side.midpoint();
    [(side.lo(), middle), (middle, side.hi())].map(|(lo, hi)| {
        let mut half = region.to_vec();
        half[axis] = Interval::new(lo, hi).unwrap_or(side);
        half
    })
}
