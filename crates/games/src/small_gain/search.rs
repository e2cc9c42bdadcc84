//! Block bounds on a region, by branch and bound.

use std::collections::BinaryHeap;
use std::ops::Range;

use nalgebra::DMatrix;

use super::{BlockBounds, SmallGainError};
use crate::game::{Field, jacobian};
use crate::rigorous::{Interval, greatest_norm, least_eigenvalue};
use crate::scalar::Dual;

/// How far a search for bounds goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// The gap between a bound and a value that is met in the region, relative to the larger of 1 and the bound, at which the bound is
    /// good enough.
    pub tolerance: f64,
    /// The most boxes that the region is cut into.
    pub most_boxes: usize,
}

impl Default for Search {
    fn default() -> Self {
        Self { tolerance: 1e-6, most_boxes: 200_000 }
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
/// use gradus_games::game::{Losses, OfLosses};
/// use gradus_games::rigorous::Interval;
/// use gradus_games::scalar::Real;
/// use gradus_games::small_gain::{Search, block_bounds, optimal_weights};
///
/// struct Duel;
///
/// impl Losses for Duel {
///     fn dimensions(&self) -> &[usize] {
///         &[1, 1]
///     }
///     fn loss<R: Real>(&self, player: usize, x: &[R]) -> R {
///         let push = (x[0].clone() * x[1].clone()).sin();
///         x[player].clone().cosh() + if player == 0 { push } else { -push } * R::constant(0.5)
///     }
/// }
///
/// let side = Interval::new(-0.5, 0.5).unwrap();
/// let found = block_bounds(&OfLosses(Duel), &[side, side], &Search::default())?;
/// assert!(found.complete && optimal_weights(&found.bounds).margin > 0.4);
/// # Ok::<(), gradus_games::small_gain::SmallGainError>(())
/// ```
///
/// # Errors
/// [`SmallGainError::Dimension`] when the game's players, its field or the region do not fit; [`SmallGainError::NonFinite`] where the Jacobian
/// is not finite at a point of the region, or is still not enclosed when the boxes are used up.
pub fn block_bounds<F: Field>(game: &F, region: &[Interval], search: &Search) -> Result<Found, SmallGainError> {
    let blocks = Blocks::new(game, region)?;
    let mut met = vec![f64::NEG_INFINITY; blocks.quantities.len()];
    let mut leaves = vec![Leaf::new(game, &blocks, region.to_vec(), None, &mut met)?];
    let mut heaps: Vec<BinaryHeap<Entry>> = leaves[0].bounds.iter().map(|&bound| BinaryHeap::from([Entry { bound, leaf: 0 }])).collect();
    // Leaves that were cut stay where they are, without a box.
    let mut boxes = 1;
    let complete = loop {
        for heap in &mut heaps {
            while heap.peek().is_some_and(|entry| leaves[entry.leaf].region.is_empty()) {
                heap.pop();
            }
        }
        let tops = heaps.iter().map(|heap| heap.peek().map_or((f64::NEG_INFINITY, 0), |entry| (entry.bound, entry.leaf)));
        // How many tolerances a bound is away from what is met.
        let excess = |(q, (bound, leaf)): (usize, (f64, usize))| {
            let gap = if bound == f64::INFINITY { f64::INFINITY } else { (bound - met[q]) / (search.tolerance * bound.abs().max(1.0)) };
            (gap, q, leaf)
        };
        let worst = tops.enumerate().map(excess).max_by(|a, b| a.0.total_cmp(&b.0));
        let Some((gap, quantity, leaf)) = worst else { break true };
        if gap <= 1.0 {
            break true;
        }
        let Some(axis) = leaves[leaf].axis(quantity).filter(|_| boxes < search.most_boxes) else { break false };
        for half in halves(&leaves[leaf].region, axis) {
            let child = Leaf::new(game, &blocks, half, Some(&leaves[leaf]), &mut met)?;
            heaps.iter_mut().zip(&child.bounds).for_each(|(heap, &bound)| heap.push(Entry { bound, leaf: leaves.len() }));
            leaves.push(child);
        }
        leaves[leaf] = Leaf::default();
        boxes += 1;
    };
    let bounds: Vec<f64> = heaps.iter().map(|heap| heap.peek().map_or(f64::NEG_INFINITY, |entry| entry.bound)).collect();
    if let Some(q) = bounds.iter().position(|bound| !bound.is_finite()) {
        let leaf = heaps[q].peek().map_or(0, |entry| entry.leaf);
        let point = leaves[leaf].region.iter().map(|side| side.midpoint()).collect();
        return Err(SmallGainError::NonFinite { what: "the Jacobian's enclosure", point });
    }
    Ok(Found { bounds: blocks.bounds(&bounds)?, boxes, complete })
}

/// What is bounded, from above.
#[derive(Debug, Clone, Copy)]
enum Quantity {
    /// The least eigenvalue of the symmetric part of a player's own block, negated.
    Curvature(usize),
    /// The norm of the block of two players, which may be the same.
    Norm(usize, usize),
}

/// The blocks of a Jacobian and what is asked of them.
struct Blocks {
    players: Vec<Range<usize>>,
    size: usize,
    quantities: Vec<Quantity>,
}

impl Blocks {
    fn new<F: Field>(game: &F, region: &[Interval]) -> Result<Self, SmallGainError> {
        let dimensions = game.dimensions();
        let dimension = |what, expected, got| Err(SmallGainError::Dimension { what, expected, got });
        if dimensions.len() < 2 {
            return dimension("players, at least", 2, dimensions.len());
        }
        if dimensions.contains(&0) {
            return dimension("variables of a player, at least", 1, 0);
        }
        let size = dimensions.iter().sum();
        if region.len() != size {
            return dimension("sides of the region", size, region.len());
        }
        let found = game.field(region).len();
        if found != size {
            return dimension("entries of the field", size, found);
        }
        let starts = dimensions.iter().scan(0, |end, size| {
            let start = *end;
            *end += size;
            Some(start..*end)
        });
        let players: Vec<Range<usize>> = starts.collect();
        let count = players.len();
        let norms = (0..count).flat_map(|i| (0..count).map(move |j| Quantity::Norm(i, j)));
        Ok(Self { size, quantities: (0..count).map(Quantity::Curvature).chain(norms).collect(), players })
    }

    /// The rows and columns of a quantity's block.
    fn block(&self, quantity: Quantity) -> [Range<usize>; 2] {
        let [i, j] = match quantity {
            Quantity::Curvature(i) => [i, i],
            Quantity::Norm(i, j) => [i, j],
        };
        [self.players[i].clone(), self.players[j].clone()]
    }

    /// An upper bound of a quantity of every matrix in the enclosure.
    fn bound(&self, quantity: Quantity, enclosure: &[Interval]) -> f64 {
        let [rows, columns] = self.block(quantity);
        let entry = |i: usize, j: usize| enclosure[(rows.start + i) * self.size + columns.start + j];
        match quantity {
            Quantity::Curvature(_) => {
                let half = Interval::point(0.5);
                -least_eigenvalue(&DMatrix::from_fn(rows.len(), rows.len(), |i, j| {
                    // The sum of an entry with itself halved is the entry.
                    if i == j { entry(i, i) } else { (entry(i, j) + entry(j, i)) * half }
                }))
            }
            Quantity::Norm(..) => greatest_norm(&DMatrix::from_fn(rows.len(), columns.len(), entry)),
        }
    }

    fn bounds(&self, upper: &[f64]) -> Result<BlockBounds, SmallGainError> {
        let count = self.players.len();
        let curvature: Vec<f64> = upper[..count].iter().map(|bound| -bound).collect();
        let norm = |i: usize, j: usize| upper[count + i * count + j];
        let coupling = DMatrix::from_fn(count, count, |i, j| if i == j { 0.0 } else { norm(i, j) });
        // No norm is less than an eigenvalue of the symmetric part.
        let own = (0..count).map(|i| norm(i, i).max(curvature[i].abs())).collect();
        BlockBounds::new(curvature, coupling, own)
    }
}

/// A box that the region was cut into.
#[derive(Default)]
struct Leaf {
    region: Vec<Interval>,
    /// Of each quantity.
    bounds: Vec<f64>,
    /// How much each quantity's block changes along each variable at most.
    changes: Vec<Vec<f64>>,
}

impl Leaf {
    fn new<F: Field>(
        game: &F,
        blocks: &Blocks,
        region: Vec<Interval>,
        parent: Option<&Leaf>,
        met: &mut [f64],
    ) -> Result<Self, SmallGainError> {
        let middle: Vec<f64> = region.iter().map(|side| side.midpoint()).collect();
        let points: Vec<Interval> = middle.iter().map(|&x| Interval::point(x)).collect();
        let at_middle = jacobian(game, &points);
        if !at_middle.iter().all(|entry| entry.is_bounded()) {
            return Err(SmallGainError::NonFinite { what: "the Jacobian", point: middle });
        }
        for (met, &quantity) in met.iter_mut().zip(&blocks.quantities) {
            *met = met.max(blocks.bound(quantity, &at_middle));
        }
        let mut mean_value = at_middle;
        let (mut natural, mut changes) = (Vec::new(), vec![Vec::with_capacity(region.len()); blocks.quantities.len()]);
        for axis in 0..region.len() {
            let duals: Vec<Dual<Interval>> =
                region.iter().enumerate().map(|(i, &side)| if i == axis { Dual::variable(side) } else { Dual::constant(side) }).collect();
            let along = jacobian(game, &duals);
            let away = region[axis] - points[axis];
            mean_value.iter_mut().zip(&along).for_each(|(sum, entry)| *sum = *sum + entry.slope * away);
            for (changes, &quantity) in changes.iter_mut().zip(&blocks.quantities) {
                let [rows, columns] = blocks.block(quantity);
                let entries = rows.flat_map(|i| columns.clone().map(move |j| i * blocks.size + j));
                let slope = entries.map(|at| along[at].slope.magnitude()).fold(0.0, f64::max);
                changes.push(slope * region[axis].radius());
            }
            natural = along.into_iter().map(|entry| entry.value).collect();
        }
        // Both hold, so what they have in common does.
        let both: Vec<Interval> = mean_value.iter().zip(&natural).map(|(a, b)| a.intersection(*b).unwrap_or(*b)).collect();
        let mut bounds: Vec<f64> = blocks.quantities.iter().map(|&quantity| blocks.bound(quantity, &both)).collect();
        if let Some(parent) = parent {
            bounds.iter_mut().zip(&parent.bounds).for_each(|(bound, parent)| *bound = bound.min(*parent));
        }
        Ok(Self { region, bounds, changes })
    }

    /// The variable along which a quantity's block changes most in this box, of equal ones the widest; none where no side can be cut.
    fn axis(&self, quantity: usize) -> Option<usize> {
        let side = |axis: usize| self.region[axis];
        let can_be_cut = |axis: &usize| side(*axis).lo() < side(*axis).midpoint() && side(*axis).midpoint() < side(*axis).hi();
        let change = |axis: usize| (self.changes[quantity][axis], side(axis).radius());
        let order = |a: &usize, b: &usize| {
            let (a, b) = (change(*a), change(*b));
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
        };
        (0..self.region.len()).filter(can_be_cut).max_by(order)
    }
}

/// A box cut in the middle of one side.
fn halves(region: &[Interval], axis: usize) -> [Vec<Interval>; 2] {
    let side = region[axis];
    let middle = side.midpoint();
    [(side.lo(), middle), (middle, side.hi())].map(|(lo, hi)| {
        let mut half = region.to_vec();
        half[axis] = Interval::new(lo, hi).unwrap_or(side);
        half
    })
}

/// A leaf by one of its bounds, the greatest first; of equal ones, the first that was made.
struct Entry {
    bound: f64,
    leaf: usize,
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
    use super::*;
    use crate::scalar::Real;

    struct Game<T>(T, Vec<usize>);

    /// A formula for every kind of number.
    trait Formula: Sync {
        fn field<R: Real>(&self, x: &[R]) -> Vec<R>;
    }

    impl<T: Formula> Field for Game<T> {
        fn dimensions(&self) -> &[usize] {
            &self.1
        }
        fn field<R: Real>(&self, x: &[R]) -> Vec<R> {
            self.0.field(x)
        }
    }

    fn square(side: f64, count: usize) -> Vec<Interval> {
        vec![Interval::new(-side, side).unwrap(); count]
    }

    struct Waves;
    impl Formula for Waves {
        fn field<R: Real>(&self, x: &[R]) -> Vec<R> {
            let (x, y) = (x[0].clone(), x[1].clone());
            let first = x.clone() + x.clone().powi(3) * R::constant(0.5) + R::constant(2.0) * y.clone().sin();
            vec![first, y.clone() + y.powi(3) * R::constant(0.3) + R::constant(0.2) * x.cos()]
        }
    }

    #[test]
    fn a_nonlinear_game() {
        let found = block_bounds(&Game(Waves, vec![1, 1]), &square(1.0, 2), &Search::default()).unwrap();
        assert!(found.complete);
        let close = |bound: f64, truth: f64, sign: f64| (-1e-15..1e-6 * truth.abs().max(1.0)).contains(&(sign * (bound - truth)));
        let bounds = &found.bounds;
        assert!(bounds.curvature().iter().all(|&mu| close(mu, 1.0, -1.0)), "{found:?}");
        assert!(close(bounds.coupling()[(0, 1)], 2.0, 1.0) && close(bounds.coupling()[(1, 0)], 0.168_294_196_961_579_32, 1.0));
        assert!(close(bounds.own_lipschitz()[0], 2.5, 1.0) && close(bounds.own_lipschitz()[1], 1.9, 1.0));
        assert!((super::super::optimal_weights(bounds).margin - 0.419_837_614_177_583_36).abs() < 2e-6);
    }

    /// A coupling that is strong in a place which no corner and no grid shows.
    struct Needle;
    impl Formula for Needle {
        fn field<R: Real>(&self, x: &[R]) -> Vec<R> {
            let (x, y) = (x[0].clone(), x[1].clone());
            let bump = (-((x.clone() - R::constant(0.3141)) * R::constant(200.0)).square()).exp();
            vec![x.clone() + y.clone() * (R::constant(0.5) + R::constant(5.0) * bump), y + x * R::constant(0.3)]
        }
    }

    #[test]
    fn a_needle_is_found() {
        let search = Search { most_boxes: 10_000, ..Search::default() };
        let found = block_bounds(&Game(Needle, vec![1, 1]), &square(1.0, 2), &search).unwrap();
        // 1 - 1000 √2 exp(-½), at y = 1 and an eighth of a needle's width beside it.
        let truth = 1.0 - 1000.0 * 2f64.sqrt() * (-0.5f64).exp();
        let mu = found.bounds.curvature()[0];
        assert!(found.complete && mu <= truth && mu > truth - 2e-3, "{mu} {truth}");
        assert!((found.bounds.coupling()[(0, 1)] - 5.5).abs() < 1e-5);
    }

    #[test]
    fn linear_games_need_one_box() {
        struct Linear;
        impl Formula for Linear {
            fn field<R: Real>(&self, x: &[R]) -> Vec<R> {
                let c = R::constant;
                vec![
                    c(2.0) * x[0].clone() + c(0.5) * x[1].clone() + x[2].clone(),
                    c(0.5) * x[0].clone() + c(2.0) * x[1].clone(),
                    c(-0.3) * x[0].clone() + c(2.0) * x[2].clone(),
                ]
            }
        }
        let found = block_bounds(&Game(Linear, vec![2, 1]), &square(1.0, 3), &Search::default()).unwrap();
        assert!(found.complete && found.boxes == 1);
        let bounds = &found.bounds;
        assert!((bounds.curvature()[0] - 1.5).abs() < 1e-13 && bounds.curvature()[1] == 2.0);
        assert!((bounds.coupling()[(0, 1)] - 1.0).abs() < 1e-13 && (bounds.coupling()[(1, 0)] - 0.3).abs() < 1e-13);
        assert!((bounds.own_lipschitz()[0] - 2.5).abs() < 1e-13);
    }

    #[test]
    fn poles_and_edges_are_named() {
        struct Pole(f64);
        impl Formula for Pole {
            fn field<R: Real>(&self, x: &[R]) -> Vec<R> {
                vec![x[0].clone() + R::constant(1.0) / (x[0].clone() - R::constant(self.0)), x[1].clone()]
            }
        }
        let search = Search { most_boxes: 2_000, ..Search::default() };
        for place in [0.0, 0.123] {
            let found = block_bounds(&Game(Pole(place), vec![1, 1]), &square(1.0, 2), &search);
            assert!(matches!(found, Err(SmallGainError::NonFinite { .. })), "{found:?}");
        }
        let (game, search) = (Game(Waves, vec![1, 1]), Search::default());
        assert!(matches!(block_bounds(&game, &square(1.0, 3), &search), Err(SmallGainError::Dimension { expected: 2, got: 3, .. })));
        let of = |dimensions: Vec<usize>, sides| block_bounds(&Game(Waves, dimensions), &square(1.0, sides), &search);
        assert!(matches!(of(vec![2], 2), Err(SmallGainError::Dimension { .. })));
        assert!(matches!(of(vec![2, 0], 2), Err(SmallGainError::Dimension { .. })));
        assert!(matches!(of(vec![2, 1], 3), Err(SmallGainError::Dimension { expected: 3, got: 2, .. })));
    }

    #[test]
    fn a_spent_budget_is_said_and_its_bounds_hold() {
        let search = Search { most_boxes: 5, ..Search::default() };
        let found = block_bounds(&Game(Needle, vec![1, 1]), &square(1.0, 2), &search).unwrap();
        assert!(!found.complete && found.boxes == 5 && found.bounds.curvature()[0] <= -856.7);
    }

    /// Smooth couplings of two players with three variables.
    struct Random([f64; 6]);
    impl Formula for Random {
        fn field<R: Real>(&self, x: &[R]) -> Vec<R> {
            let c = |i: usize| R::constant(self.0[i]);
            let [a, b, d] = [x[0].clone(), x[1].clone(), x[2].clone()];
            vec![
                a.clone() * c(0) + (b.clone() * d.clone()).sin() * c(1),
                b.clone() * c(2) + a.clone().tanh() * d.clone(),
                d.clone().powi(3) * c(3) + (a * c(4)).cos() + b.sigmoid() * c(5),
            ]
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(24))]
            #[test]
            fn bounds_hold_at_every_point(parts in prop::array::uniform6(-1.5..1.5f64), points in prop::collection::vec(prop::array::uniform3(-0.8..=0.8f64), 30)) {
                let game = Game(Random(parts), vec![2, 1]);
                let search = Search { tolerance: 1e-2, most_boxes: 300 };
                let found = block_bounds(&game, &square(0.8, 3), &search).unwrap();
                for x in points {
                    let j = DMatrix::from_row_slice(3, 3, &jacobian(&game, &x));
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
