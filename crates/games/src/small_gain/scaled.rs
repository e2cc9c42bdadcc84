//! The whole Jacobian of a field or a map, in a metric, on a region: a bound by branch and bound.

use std::collections::BinaryHeap;

use gradus_base::Cancel;
use nalgebra::DMatrix;

use super::SmallGainError;
use super::blocks::{curvature_reached, norm_reached};
use super::certificate::Branch;
use super::certify::corners;
use super::checker::whole::{BlockMetric, ratios};
use super::probe::{can_be_cut, halves_of};
use super::search::{BATCH, Entry, Search};
use crate::game::{Enclosure, Game};
use crate::rigorous::{Interval, curvature_is_at_least, norm_is_at_most};
pub(super) use crate::rigorous::{least_symmetric, norm};

/// What is bounded from above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// The norm of `M^{1/2} J M^{-1/2}`.
    Norm,
    /// The least eigenvalue of its symmetric part, negated.
    Curvature,
}

/// A field, of which `M^{1/2} J M^{-1/2}` is bounded with `M = blkdiag(w_i I)`, or in any other metric of blocks.
pub(super) struct Scaled<'a> {
    field: &'a Game,
    goal: Goal,
    /// `√(w_i / w_j)` for each entry, row by row; of other metrics, of their diagonals.
    ratios: Vec<Interval>,
    /// A metric that is not diagonal.
    frame: Option<Frame<'a>>,
}

/// A metric `M = Rᵀ R`, with `R` and its inverse to rounding: good enough to search with, and no proof.
struct Frame<'a> {
    metric: BlockMetric<'a>,
    root: DMatrix<f64>,
    inverse: DMatrix<f64>,
}

/// A box, and what is known of it.
struct Node {
    region: Vec<Interval>,
    /// A bound of the quantity, to rounding.
    bound: f64,
    /// The variable along which the matrix changes most, if a side can be cut.
    axis: Option<usize>,
    /// The variable and the first of the two children, if it was cut.
    cut: Option<(usize, usize)>,
}

/// A region cut into boxes.
pub(super) struct Cover {
    nodes: Vec<Node>,
    /// The greatest quantity that was met at a point, to rounding.
    pub(super) attained: f64,
    /// The point.
    pub(super) at: Vec<f64>,
    /// Whether the bound is within the tolerance of what was met.
    pub(super) complete: bool,
}

/// A box with a bound that the checker's test confirms; infinite where none is.
pub(super) struct Proven {
    pub(super) region: Vec<Interval>,
    pub(super) bound: f64,
}

impl<'a> Scaled<'a> {
    pub(super) fn new(field: &'a Game, weights: &[f64], goal: Goal) -> Self {
        Self { field, goal, ratios: ratios(field, weights), frame: None }
    }

    /// In any metric of blocks that is positive definite to rounding; none in one that is not.
    pub(super) fn in_metric(field: &'a Game, metric: BlockMetric<'a>, goal: Goal) -> Option<Self> {
        let matrix = metric.about();
        let root = matrix.clone().cholesky()?.unpack().transpose();
        let inverse = root.clone().try_inverse()?;
        let diagonal: Vec<f64> = matrix.diagonal().iter().copied().collect();
        let ratios = diagonal.iter().flat_map(|i| diagonal.iter().map(move |j| Interval::point((i / j).sqrt()))).collect();
        Some(Self { field, goal, ratios, frame: Some(Frame { metric, root, inverse }) })
    }

    /// `M^{1/2} J M^{-1/2}`; its symmetric part, if that is what is asked of.
    fn matrix(&self, jacobian: &[Interval]) -> DMatrix<Interval> {
        let size = self.field.size();
        let product = self.frame.as_ref().map(|frame| frame.around(jacobian));
        let entry = |i: usize, j: usize| match &product {
            Some(product) => product[(i, j)],
            None => jacobian[i * size + j] * self.ratios[i * size + j],
        };
        DMatrix::from_fn(size, size, |i, j| match self.goal {
            Goal::Curvature if i != j => (entry(i, j) + entry(j, i)) * 0.5,
            _ => entry(i, j),
        })
    }

    /// What [`Scaled::holds`] will confirm, to rounding: the quantity of the middle and by how much the others may exceed it, or that of
    /// the matrix of the entries' sizes.
    fn about(&self, jacobian: &[Interval]) -> f64 {
        if !jacobian.iter().all(|entry| entry.is_bounded()) {
            return f64::INFINITY;
        }
        let matrix = self.matrix(jacobian);
        let middle = matrix.map(Interval::midpoint);
        let radii = matrix.map(Interval::radius);
        let rows = radii.row_iter().map(|row| row.sum()).fold(0.0, f64::max);
        let away = radii.column_iter().map(|column| column.sum()).fold(rows, f64::max);
        let of_middle = self.quantity(&middle) + away;
        if away == 0.0 {
            return of_middle;
        }
        let sizes = match self.goal {
            Goal::Norm => matrix.map(Interval::magnitude),
            Goal::Curvature => matrix.map_with_location(|i, j, entry| if i == j { entry.lo() } else { -entry.magnitude() }),
        };
        of_middle.min(self.quantity(&sizes))
    }

    /// The quantity of one matrix, to rounding.
    fn quantity(&self, matrix: &DMatrix<f64>) -> f64 {
        match self.goal {
            Goal::Norm => norm(matrix),
            Goal::Curvature => -least_symmetric(matrix),
        }
    }

    /// The quantity at a point, to rounding.
    pub(super) fn at(&self, x: &[f64]) -> f64 {
        let mut jacobian = self.field.jacobian(x);
        let size = jacobian.nrows();
        if let Some(frame) = &self.frame {
            jacobian = &frame.root * jacobian * &frame.inverse;
        }
        let ratio = |i: usize, j: usize| if self.frame.is_some() { 1.0 } else { self.ratios[i * size + j].midpoint() };
        let entry = |i: usize, j: usize| jacobian[(i, j)] * ratio(i, j);
        let matrix = DMatrix::from_fn(size, size, |i, j| match self.goal {
            Goal::Norm => entry(i, j),
            Goal::Curvature => 0.5 * (entry(i, j) + entry(j, i)),
        });
        self.quantity(&matrix)
    }

    /// A number that the quantity at a point is at least.
    pub(super) fn reached(&self, x: &[f64]) -> f64 {
        let point: Vec<Interval> = x.iter().map(|&x| Interval::point(x)).collect();
        let jacobian = self.field.jacobian_box(&point);
        if !jacobian.iter().all(|entry| entry.is_bounded()) {
            return f64::NEG_INFINITY;
        }
        let matrix = self.matrix(&jacobian);
        match self.goal {
            Goal::Norm => norm_reached(&matrix),
            Goal::Curvature => -curvature_reached(&matrix),
        }
    }

    /// Whether the quantity of every matrix in the enclosure is at most `bound`.
    pub(super) fn holds(&self, jacobian: &[Interval], bound: f64) -> bool {
        if let Some(Frame { metric, .. }) = &self.frame {
            let holds = match self.goal {
                Goal::Norm => metric.has_lipschitz(jacobian, bound),
                Goal::Curvature => metric.has_margin(jacobian, -bound),
            };
            return bound.is_finite() && holds;
        }
        let matrix = self.matrix(jacobian);
        bound.is_finite()
            && matrix.iter().all(|entry| entry.is_bounded())
            && match self.goal {
                Goal::Norm => norm_is_at_most(&matrix, bound),
                Goal::Curvature => curvature_is_at_least(&matrix, -bound),
            }
    }

    /// Cuts the boxes with the greatest bounds, until the greatest is close to what is met at a point, the boxes are used up, or more than
    /// `most` is met.
    ///
    /// # Errors
    /// [`SmallGainError::NonFinite`] where the Jacobian is not finite at a corner or in the middle of a box; [`SmallGainError::Cancelled`].
    pub(super) fn cover(&self, region: &[Interval], search: &Search, most: f64, cancel: &Cancel) -> Result<Cover, SmallGainError> {
        let mut cover = Cover { nodes: Vec::new(), attained: f64::NEG_INFINITY, at: Vec::new(), complete: false };
        for corner in corners(region).take(if self.field.is_affine() { 1 } else { usize::MAX }) {
            let met = self.at(&corner);
            if !met.is_finite() {
                return Err(SmallGainError::NonFinite { what: "the Jacobian", point: corner });
            }
            cover.meet(met, || corner);
        }
        self.add(&mut cover, vec![region.to_vec()])?;
        let mut heap = BinaryHeap::from([Entry { bound: cover.nodes[0].bound, leaf: 0 }]);
        while cover.attained < most {
            if cancel.is_cancelled() {
                return Err(SmallGainError::Cancelled);
            }
            let room = search.most_boxes.saturating_sub(cover.nodes.len().div_ceil(2)).min(BATCH);
            let mut halves = Vec::with_capacity(2 * room);
            while halves.len() < 2 * room {
                let Some(worst) = heap.peek() else { break };
                if worst.bound - cover.attained <= search.tolerance.at(cover.attained) {
                    break;
                }
                let first = cover.nodes.len() + halves.len();
                let node = &mut cover.nodes[worst.leaf];
                let Some(axis) = node.axis else { break };
                halves.extend(halves_of(&node.region, axis));
                node.cut = Some((axis, first));
                heap.pop();
            }
            if halves.is_empty() {
                break;
            }
            let first = cover.nodes.len();
            self.add(&mut cover, halves)?;
            heap.extend((first..cover.nodes.len()).map(|leaf| Entry { bound: cover.nodes[leaf].bound, leaf }));
        }
        cover.complete = heap.peek().is_some_and(|worst| worst.bound - cover.attained <= search.tolerance.at(cover.attained));
        Ok(cover)
    }

    fn add(&self, cover: &mut Cover, regions: Vec<Vec<Interval>>) -> Result<(), SmallGainError> {
        for seen in map_all(regions, Enclosure::default, |enclosure, region| self.see(region, enclosure)) {
            let (node, met) = seen?;
            cover.meet(met, || node.region.iter().map(|side| side.midpoint()).collect());
            cover.nodes.push(node);
        }
        Ok(())
    }

    fn see(&self, region: Vec<Interval>, enclosure: &mut Enclosure) -> Result<(Node, f64), SmallGainError> {
        enclosure.enclose(self.field, &region);
        if !enclosure.middle.iter().all(|entry| entry.is_bounded()) {
            let point = region.iter().map(|side| side.midpoint()).collect();
            return Err(SmallGainError::NonFinite { what: "the Jacobian", point });
        }
        let (bound, met) = (self.about(&enclosure.jacobian), self.about(&enclosure.middle));
        let size = region.len();
        let change = |axis: usize| {
            let entries = enclosure.changes.iter().skip(axis).step_by(size).zip(&self.ratios);
            entries.map(|(change, ratio)| (change * ratio.hi()).powi(2)).sum::<f64>()
        };
        let order = |a: &usize, b: &usize| change(*a).total_cmp(&change(*b)).then(region[*a].radius().total_cmp(&region[*b].radius()));
        let axis = (0..size).filter(|&axis| can_be_cut(region[axis])).max_by(order);
        Ok((Node { region, bound, axis, cut: None }, met))
    }

    /// The boxes that were not cut, in preorder, each with a bound that the checker's test confirms.
    pub(super) fn prove(&self, cover: &Cover) -> (Vec<Branch>, Vec<Proven>) {
        let (mut branches, mut leaves, mut open) = (Vec::new(), Vec::new(), vec![0]);
        while let Some(place) = open.pop() {
            let node = &cover.nodes[place];
            if let Some((axis, children)) = node.cut {
                branches.push(Branch::Split { axis, at: cover.nodes[children].region[axis].hi() });
                open.extend([children + 1, children]);
            } else {
                branches.push(Branch::Leaf(leaves.len()));
                leaves.push((node.region.clone(), node.bound));
            }
        }
        let proven = map_all(leaves, Enclosure::default, |enclosure, (region, about)| {
            enclosure.enclose(self.field, &region);
            let bound = self.confirmed(&enclosure.jacobian, about);
            Proven { region, bound }
        });
        (branches, proven)
    }

    /// A bound that is confirmed, as little above a guess as that takes; infinite if none is.
    fn confirmed(&self, jacobian: &[Interval], guess: f64) -> f64 {
        let size = jacobian.iter().zip(&self.ratios).map(|(entry, ratio)| (*entry * *ratio).magnitude()).fold(f64::MIN_POSITIVE, f64::max);
        let mut guesses = (0..24).map(|k| guess + f64::EPSILON * size * 4f64.powi(k));
        guesses.find(|&bound| self.holds(jacobian, bound)).unwrap_or(f64::INFINITY)
    }
}

impl Frame<'_> {
    /// Numbers around `R J R⁻¹`, of each `J` of an enclosure.
    fn around(&self, jacobian: &[Interval]) -> DMatrix<Interval> {
        let size = self.root.nrows();
        let sum = |terms: &mut dyn Iterator<Item = Interval>| terms.fold(Interval::point(0.0), |sum, term| sum + term);
        // The root is upper triangular, and so is its inverse; zeros add nothing.
        let nonzero = |matrix: &DMatrix<f64>, at: [usize; 2]| Some(matrix[(at[0], at[1])]).filter(|entry| *entry != 0.0);
        let left = DMatrix::from_fn(size, size, |i, j| {
            sum(&mut (i..size).filter_map(|k| nonzero(&self.root, [i, k]).map(|root| jacobian[k * size + j] * root)))
        });
        DMatrix::from_fn(size, size, |i, j| {
            sum(&mut (0..=j).filter_map(|k| nonzero(&self.inverse, [k, j]).map(|inverse| left[(i, k)] * inverse)))
        })
    }
}

impl Cover {
    fn meet(&mut self, met: f64, point: impl FnOnce() -> Vec<f64>) {
        if met > self.attained {
            (self.attained, self.at) = (met, point());
        }
    }

    /// Boxes that were not cut.
    pub(super) fn boxes(&self) -> usize {
        self.nodes.len().div_ceil(2)
    }

    /// The greatest bound of all boxes, to rounding.
    pub(super) fn bound(&self) -> f64 {
        self.nodes.iter().filter(|node| node.cut.is_none()).map(|node| node.bound).fold(f64::NEG_INFINITY, f64::max)
    }
}

/// What a function makes of each, in their order, whatever the number of threads.
#[cfg(feature = "rayon")]
fn map_all<T: Send, S, U: Send>(all: Vec<T>, state: impl Fn() -> S + Sync + Send, f: impl Fn(&mut S, T) -> U + Sync + Send) -> Vec<U> {
    use rayon::prelude::*;
    all.into_par_iter().map_init(state, f).collect()
}

#[cfg(not(feature = "rayon"))]
fn map_all<T, S, U>(all: Vec<T>, state: impl Fn() -> S, f: impl Fn(&mut S, T) -> U) -> Vec<U> {
    let mut state = state();
    all.into_iter().map(|one| f(&mut state, one)).collect()
}
