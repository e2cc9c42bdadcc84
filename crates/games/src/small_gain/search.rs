//! Block bounds on a region, by branch and bound.

use std::collections::BinaryHeap;

use super::certificate::Branch;
use super::probe::{Probe, Sight, halves_of};
use super::tree::MOST_BYTES;
use super::{BlockBounds, SmallGainError};
use crate::game::Game;
use crate::rigorous::Interval;

/// Boxes that are cut at once: what comes out must not depend on the number of threads.
pub(super) const BATCH: usize = 8;

/// How far a search for bounds goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// The gap between a bound and a value that is met in the region, at which the bound is good enough.
    pub tolerance: Tolerance,
    /// The most boxes that the region is cut into.
    pub most_boxes: usize,
}

impl Default for Search {
    fn default() -> Self {
        Self { tolerance: Tolerance::Relative(1e-6), most_boxes: 200_000 }
    }
}

/// A gap between a bound and the truth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// Whatever the bound.
    Absolute(f64),
    /// Times the larger of 1 and the bound.
    Relative(f64),
}

impl Tolerance {
    pub(super) fn at(self, bound: f64) -> f64 {
        match self {
            Self::Absolute(gap) => gap,
            Self::Relative(gap) => gap * bound.abs().max(1.0),
        }
    }
}

/// What a search has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Bounds that hold at every point of the region.
    pub bounds: BlockBounds,
    /// Boxes that the region was cut into.
    pub boxes: usize,
    /// Whether every bound is within the tolerance of a value that is met.
    pub complete: bool,
}

/// Rigorous bounds of the blocks of a game's Jacobian on a box, with a point or an interval for each variable: the box is cut where a
/// bound may still be loose, and the Jacobian is enclosed on each part by intervals and by its mean value form.
///
/// ```
/// use gradus_games::game::Game;
/// use gradus_games::rigorous::Interval;
/// use gradus_games::scalar::Real;
/// use gradus_games::small_gain::{Search, block_bounds, optimal_weights};
///
/// let duel = Game::from_losses(&[1, 1], |x| {
///     let push = (x[0] * x[1]).sin();
///     vec![x[0].cosh() + push / 2.0, x[1].cosh() - push / 2.0]
/// })?;
/// let side = Interval::new(-0.5, 0.5).unwrap();
/// let found = block_bounds(&duel, &[side, side], &Search::default())?;
/// assert!(found.complete && optimal_weights(&found.bounds).margin > 0.4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`SmallGainError::Dimension`] when the region does not fit the game; [`SmallGainError::NonFinite`] where the Jacobian is not finite at a
/// point of the region, or is still not enclosed when the boxes are used up.
pub fn block_bounds(game: &Game, region: &[Interval], search: &Search) -> Result<Found, SmallGainError> {
    if region.len() != game.size() {
        return Err(SmallGainError::Dimension { what: "sides of the region", expected: game.size(), got: region.len() });
    }
    let mut probe = Probe::new(game, None)?;
    let mut hunts = Hunts::new(&mut probe, region)?;
    let complete = hunts.tighten(&mut probe, search, &mut |_, _| Ok(true))?;
    match hunts.unbounded() {
        Some(region) => {
            let point = region.iter().map(|side| side.midpoint()).collect();
            Err(SmallGainError::NonFinite { what: "the Jacobian's enclosure", point })
        }
        None => Ok(Found { bounds: probe.blocks.bounds(&hunts.upper())?, boxes: hunts.boxes, complete }),
    }
}

/// Whether a search is to go on, asked between its steps with the number of boxes; an error ends it.
pub(super) type GoOn<'a> = dyn FnMut(&Probe<'_>, usize) -> Result<bool, SmallGainError> + 'a;

/// The search for the greatest value of each quantity. Each has boxes of its own: what raises one quantity mostly depends on a few
/// variables, and to cut the boxes of one quantity along those of another would multiply them.
pub(super) struct Hunts {
    /// Of each quantity, the boxes whose bounds are not close to what is met.
    open: Vec<BinaryHeap<Open>>,
    /// Of each quantity, the greatest bound of the others.
    closed: Vec<f64>,
    /// Of each quantity, how its boxes were cut: of each box, the variable, the value and the first of the two halves, if it was.
    cuts: Vec<Vec<Option<(u16, f64, usize)>>>,
    /// Boxes of all quantities that were not cut; those that are the whole region count once.
    pub(super) boxes: usize,
}

/// A box by a bound, the greatest first; of equal ones, the first that was made.
struct Open {
    bound: f64,
    /// The place among the quantity's boxes, in the order in which they were made.
    place: usize,
    region: Vec<Interval>,
    axis: Option<u16>,
}

impl Hunts {
    pub(super) fn new(probe: &mut Probe<'_>, region: &[Interval]) -> Result<Self, SmallGainError> {
        let quantities = probe.met.len();
        let mut hunts = Self {
            open: (0..quantities).map(|_| BinaryHeap::new()).collect(),
            closed: vec![f64::NEG_INFINITY; quantities],
            cuts: vec![vec![None]; quantities],
            boxes: 1,
        };
        // The whole region is looked at once for all quantities.
        let all =
            |sight: &Sight<'_>, (): ()| (0..quantities).map(|quantity| (sight.bound(quantity), sight.axis(quantity))).collect::<Vec<_>>();
        let seen = probe.see_all(&[(region.to_vec(), ())], all)?;
        for (open, (bound, axis)) in hunts.open.iter_mut().zip(seen.into_iter().flatten()) {
            open.push(Open { bound, place: 0, region: region.to_vec(), axis });
        }
        Ok(hunts)
    }

    fn see(&mut self, probe: &mut Probe<'_>, boxes: &[(Vec<Interval>, usize)]) -> Result<(), SmallGainError> {
        let seen = probe.see_all(boxes, |sight, quantity| (sight.bound(quantity), sight.axis(quantity)))?;
        for ((region, quantity), (bound, axis)) in boxes.iter().zip(seen) {
            let cuts = &mut self.cuts[*quantity];
            cuts.push(None);
            self.open[*quantity].push(Open { bound, place: cuts.len() - 1, region: region.clone(), axis });
        }
        Ok(())
    }

    /// An upper bound of each quantity.
    pub(super) fn upper(&self) -> Vec<f64> {
        let top = |open: &BinaryHeap<Open>| open.peek().map_or(f64::NEG_INFINITY, |open| open.bound);
        self.open.iter().zip(&self.closed).map(|(open, &closed)| top(open).max(closed)).collect()
    }

    /// How the region was cut for a quantity, in preorder.
    pub(super) fn tree(&self, quantity: usize) -> Vec<Branch> {
        let (mut tree, mut leaves, mut open) = (Vec::new(), 0, vec![0]);
        while let Some(place) = open.pop() {
            match self.cuts[quantity][place] {
                Some((axis, at, first)) => {
                    tree.push(Branch::Split { axis: usize::from(axis), at });
                    open.extend([first + 1, first]);
                }
                None => {
                    tree.push(Branch::Leaf(leaves));
                    leaves += 1;
                }
            }
        }
        tree
    }

    /// A box on which a quantity is not known to be bounded.
    pub(super) fn unbounded(&self) -> Option<&[Interval]> {
        let top = self.open.iter().filter_map(BinaryHeap::peek).find(|open| !open.bound.is_finite());
        top.map(|open| open.region.as_slice())
    }

    /// Cuts the boxes whose bounds are farthest above what is met, until all bounds are close, and says whether they are. It ends before
    /// when the boxes are used up, no side can be cut, or it is not to go on.
    pub(super) fn tighten(&mut self, probe: &mut Probe<'_>, search: &Search, go_on: &mut GoOn<'_>) -> Result<bool, SmallGainError> {
        // Each box that waits keeps its sides.
        let most_boxes = search.most_boxes.min(MOST_BYTES / (size_of::<Open>() + 16 * probe.game.size() + 128));
        while go_on(probe, self.boxes)? {
            let room = most_boxes.saturating_sub(self.boxes).min(BATCH);
            let mut halves = Vec::with_capacity(2 * BATCH);
            while halves.len() < 2 * room {
                let Some(quantity) = self.worst(probe, search.tolerance) else { break };
                let Some(axis) = self.open[quantity].peek().and_then(|open| open.axis) else { return Ok(false) };
                let Some(open) = self.open[quantity].pop() else { break };
                let [lower, upper] = halves_of(&open.region, usize::from(axis));
                // The halves of one quantity come in the order in which they are asked for.
                let before = halves.iter().filter(|(_, other)| *other == quantity).count();
                let first = self.cuts[quantity].len() + before;
                self.cuts[quantity][open.place] = Some((axis, lower[usize::from(axis)].hi(), first));
                halves.extend([(lower, quantity), (upper, quantity)]);
                self.boxes += 1;
            }
            if halves.is_empty() {
                return Ok(self.worst(probe, search.tolerance).is_none());
            }
            self.see(probe, &halves)?;
        }
        Ok(false)
    }

    /// The quantity whose bound is the most tolerances above what is met, of those that are not close. Boxes that are close are dropped: what
    /// is met only grows.
    fn worst(&mut self, probe: &Probe<'_>, tolerance: Tolerance) -> Option<usize> {
        let mut worst = None;
        for (quantity, (open, closed)) in self.open.iter_mut().zip(&mut self.closed).enumerate() {
            let gap = |bound: f64| if bound == f64::INFINITY { bound } else { (bound - probe.met[quantity]) / tolerance.at(bound) };
            if let Some(top) = open.peek() {
                let gap = gap(top.bound);
                if gap <= 1.0 {
                    // None of the others is greater.
                    *closed = closed.max(top.bound);
                    open.clear();
                } else if worst.is_none_or(|(greatest, _)| gap > greatest) {
                    worst = Some((gap, quantity));
                }
            }
        }
        worst.map(|(_, quantity)| quantity)
    }
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bound.total_cmp(&other.bound).then(other.place.cmp(&self.place))
    }
}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Open {}

/// A leaf of a tree by a bound, the greatest first; of equal ones, the first that was made.
pub(super) struct Entry {
    pub(super) bound: f64,
    pub(super) leaf: usize,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bound.total_cmp(&other.bound).then(other.leaf.cmp(&self.leaf))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use nalgebra::DMatrix;

    use super::*;
    use crate::scalar::Real;

    fn square(side: f64, count: usize) -> Vec<Interval> {
        vec![Interval::new(-side, side).unwrap(); count]
    }

    fn waves() -> Game {
        Game::from_field(&[1, 1], |x| vec![x[0] + x[0].powi(3) / 2.0 + 2.0 * x[1].sin(), x[1] + 0.3 * x[1].powi(3) + 0.2 * x[0].cos()])
            .unwrap()
    }

    #[test]
    fn a_nonlinear_game() {
        let found = block_bounds(&waves(), &square(1.0, 2), &Search::default()).unwrap();
        assert!(found.complete);
        let close = |bound: f64, truth: f64, sign: f64| (-1e-15..1e-6 * truth.abs().max(1.0)).contains(&(sign * (bound - truth)));
        let bounds = &found.bounds;
        assert!(bounds.curvature().iter().all(|&mu| close(mu, 1.0, -1.0)), "{found:?}");
        assert!(close(bounds.coupling()[(0, 1)], 2.0, 1.0) && close(bounds.coupling()[(1, 0)], 0.168_294_196_961_579_32, 1.0));
        assert!(close(bounds.own_lipschitz()[0], 2.5, 1.0) && close(bounds.own_lipschitz()[1], 1.9, 1.0));
        assert!((super::super::optimal_weights(bounds).margin - 0.419_837_614_177_583_36).abs() < 2e-6);
    }

    /// A coupling that is strong in a place which no corner and no grid shows.
    fn needle() -> Game {
        let game = Game::from_field(&[1, 1], |x| {
            let bump = (-((x[0] - 0.3141) * 200.0).square()).exp();
            vec![x[0] + x[1] * (0.5 + 5.0 * bump), x[1] + x[0] * 0.3]
        });
        game.unwrap()
    }

    #[test]
    fn a_needle_is_found() {
        let search = Search { most_boxes: 10_000, ..Search::default() };
        let found = block_bounds(&needle(), &square(1.0, 2), &search).unwrap();
        // 1 - 1000 √2 exp(-½), at y = 1 and an eighth of a needle's width beside it.
        let truth = 1.0 - 1000.0 * 2f64.sqrt() * (-0.5f64).exp();
        let mu = found.bounds.curvature()[0];
        assert!(found.complete && mu <= truth && mu > truth - 2e-3, "{mu} {truth}");
        assert!((found.bounds.coupling()[(0, 1)] - 5.5).abs() < 1e-5);
    }

    #[test]
    fn linear_games_need_one_box() {
        let jacobian = DMatrix::from_row_slice(3, 3, &[2.0, 0.5, 1.0, 0.5, 2.0, 0.0, -0.3, 0.0, 2.0]);
        let game = Game::affine(&[2, 1], jacobian, vec![0.0; 3]).unwrap();
        let found = block_bounds(&game, &square(1.0, 3), &Search::default()).unwrap();
        assert!(found.complete && found.boxes == 1);
        let bounds = &found.bounds;
        assert!((bounds.curvature()[0] - 1.5).abs() < 1e-13 && bounds.curvature()[1] == 2.0);
        assert!((bounds.coupling()[(0, 1)] - 1.0).abs() < 1e-13 && (bounds.coupling()[(1, 0)] - 0.3).abs() < 1e-13);
        assert!((bounds.own_lipschitz()[0] - 2.5).abs() < 1e-13);
    }

    #[test]
    fn poles_and_edges_are_named() {
        let search = Search { most_boxes: 2_000, ..Search::default() };
        for place in [0.0, 0.123] {
            let pole = Game::from_field(&[1, 1], |x| vec![x[0] + 1.0 / (x[0] - place), x[1]]).unwrap();
            let found = block_bounds(&pole, &square(1.0, 2), &search);
            assert!(matches!(found, Err(SmallGainError::NonFinite { .. })), "{found:?}");
        }
        let found = block_bounds(&waves(), &square(1.0, 3), &Search::default());
        assert!(matches!(found, Err(SmallGainError::Dimension { expected: 2, got: 3, .. })));
    }

    #[test]
    fn a_spent_budget_is_said_and_its_bounds_hold() {
        let search = Search { most_boxes: 5, ..Search::default() };
        let found = block_bounds(&needle(), &square(1.0, 2), &search).unwrap();
        assert!(!found.complete && found.boxes == 5 && found.bounds.curvature()[0] <= -856.7);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(24))]
            #[test]
            fn bounds_hold_at_every_point(c in prop::array::uniform6(-1.5..1.5f64), points in prop::collection::vec(prop::array::uniform3(-0.8..=0.8f64), 30)) {
                let game = Game::from_field(&[2, 1], |x| {
                    let [a, b, d] = [x[0], x[1], x[2]];
                    vec![
                        a * c[0] + (b * d).sin() * c[1],
                        b * c[2] + a.tanh() * d,
                        d.powi(3) * c[3] + (a * c[4]).cos() + b.sigmoid() * c[5],
                    ]
                }).unwrap();
                let search = Search { tolerance: Tolerance::Relative(1e-2), most_boxes: 300 };
                let found = block_bounds(&game, &square(0.8, 3), &search).unwrap();
                for x in points {
                    let j = game.jacobian(&x);
                    let own = j.view((0, 0), (2, 2)).into_owned();
                    let least = nalgebra::SymmetricEigen::new(0.5 * (&own + own.transpose())).eigenvalues.min();
                    prop_assert!(found.bounds.curvature()[0] <= least + 1e-12 && found.bounds.curvature()[1] <= j[(2, 2)] + 1e-12);
                    prop_assert!(found.bounds.own_lipschitz()[0] >= own.singular_values().max() - 1e-12);
                    prop_assert!(found.bounds.coupling()[(0, 1)] >= j.view((0, 2), (2, 1)).norm() - 1e-12);
                    prop_assert!(found.bounds.coupling()[(1, 0)] >= j.view((2, 0), (1, 2)).norm() - 1e-12);
                }
            }
        }
    }
}
